//! A TCP proxy on loopback in front of one service. It can be told to fail as networks and services do, and to stop
//! one client at one step ([`crate::gate`]).
//!
//! A client that signs its requests signs the proxy's address. That is fine for the Ceph gateway, which checks the
//! signature over the `Host` that it gets and takes any host for its own where the bucket is in the path.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::flow::{Flow, Mode};
use crate::gate::{Act, Gate, Parser, Post, Posts, Protocol};

pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    protocol: Protocol,
    mode: watch::Sender<Mode>,
    posts: Posts,
    /// Every step, in the order in which the clients came to it.
    heard: Mutex<Vec<(Instant, String)>>,
}

impl Proxy {
    /// In front of `host:port`; ends with the runtime that started it.
    pub async fn start(protocol: Protocol, upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free loopback port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (mode, _) = watch::channel(Mode::Pass);
        let (upstream, posts, heard) = (upstream.to_owned(), Posts::default(), Mutex::default());
        let shared = Arc::new(Shared { upstream, protocol, mode, posts, heard });
        tokio::spawn(serve(address, listener, Arc::clone(&shared)));
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// What clients have asked for since the last call: a request line for each request, `publish EXCHANGE`, `ack`.
    pub fn heard(&self) -> Vec<(Instant, String)> {
        std::mem::take(&mut self.shared.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A gate at the next passage of a step.
    pub fn gate(&self, step: &str, act: Act) -> Gate {
        self.nth_gate(step, 1, act)
    }

    /// A gate at the `nth` passage of a step from now.
    pub fn nth_gate(&self, step: &str, nth: usize, act: Act) -> Gate {
        self.shared.posts.add(step.to_owned(), nth, act)
    }

    /// Nobody is stopped any more.
    pub fn open_gates(&self) {
        self.shared.posts.clear();
    }
}

/// Accepts; where the proxy refuses, without a listener.
async fn serve(address: SocketAddr, listener: TcpListener, shared: Arc<Shared>) {
    let (mut listener, mut mode) = (Some(listener), shared.mode.subscribe());
    loop {
        let refuse = *mode.borrow_and_update() == Mode::Refuse;
        listener = match listener {
            _ if refuse => None,
            Some(listener) => Some(listener),
            None => Some(TcpListener::bind(address).await.expect("the port is still free")),
        };
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = mode.changed() => if changed.is_err() { return },
            accepted = accept => if let Ok((client, _)) = accepted {
                tokio::spawn(connect(client, Arc::clone(&shared)));
            },
        }
    }
}

/// One connection: both directions, until one of them ends or the mode ends it.
async fn connect(client: TcpStream, shared: Arc<Shared>) {
    let mut mode = shared.mode.subscribe();
    let ends = mode.wait_for(|mode| matches!(mode, Mode::Drop | Mode::Refuse));
    let through = async {
        let Ok(server) = TcpStream::connect(&shared.upstream).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let answer = Mutex::new(None);
        tokio::select! {
            () = upward(from_client, Flow::new(to_server, shared.mode.subscribe(), true), &shared, &answer) => {}
            () = downward(from_server, Flow::new(to_client, shared.mode.subscribe(), false), &answer) => {}
        }
    };
    tokio::select! { biased; _ = ends => {}, () = through => {} }
}

/// From the client to the service, piece by piece. A post that waits for an answer is left in `answer`.
async fn upward(mut from: OwnedReadHalf, mut to: Flow, shared: &Shared, answer: &Mutex<Option<Post>>) {
    let mut parser = Parser::new(shared.protocol);
    while let Some(bytes) = read(&mut from).await {
        for piece in parser.feed(&bytes) {
            if let Some(step) = &piece.step {
                let now = (Instant::now(), step.clone());
                shared.heard.lock().unwrap_or_else(PoisonError::into_inner).push(now);
            }
            let post = piece.step.as_ref().and_then(|step| shared.posts.at(step));
            let mut behind = None;
            match post.as_ref().map(Post::act) {
                Some(Act::LoseRequest | Act::HoldRequest) => {
                    if let Some(post) = post
                        && !post.stop().await
                    {
                        return;
                    }
                }
                // There is no answer to an ack.
                Some(_) if piece.step.as_deref() == Some("ack") => behind = post,
                Some(_) => *answer.lock().unwrap_or_else(PoisonError::into_inner) = post,
                None => {}
            }
            if !to.write(&piece.bytes).await {
                return;
            }
            if let Some(post) = behind
                && !post.stop().await
            {
                return;
            }
        }
    }
}

/// From the service to the client.
async fn downward(mut from: OwnedReadHalf, mut to: Flow, answer: &Mutex<Option<Post>>) {
    /// The type of an AMQP frame that answers nothing.
    const HEARTBEAT: u8 = 8;
    while let Some(bytes) = read(&mut from).await {
        let mut post = None;
        if bytes.first() != Some(&HEARTBEAT) {
            post = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        if let Some(post) = post
            && !post.stop().await
        {
            return;
        }
        if !to.write(&bytes).await {
            return;
        }
    }
}

async fn read(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 16 << 10];
    let n = from.read(&mut bytes).await.ok().filter(|n| *n > 0)?;
    bytes.truncate(n);
    Some(bytes)
}
