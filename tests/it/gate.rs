//! Gates: what a proxy understands of the two protocols, and what it does at the step that a test has named.
//!
//! A step is a prefix of what a client says: `PUT /clean-x/a.jpg` for a request, `publish x.verdicts` or `ack` for
//! AMQP. Nothing else is understood; bytes pass unchanged and in order.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The connection ends before the service hears of it.
    LoseRequest,
    /// The service does it, and the connection ends before it can say so.
    LoseAnswer,
    /// Stops in front of the service.
    HoldRequest,
    /// The service does it, and its answer waits.
    HoldAnswer,
}

/// The protocol that a proxy takes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Amqp,
    Opaque,
}

/// The test's end of a gate.
pub struct Gate {
    step: String,
    reached: mpsc::UnboundedReceiver<Held>,
}

impl Gate {
    /// Waits until a client has come to the step.
    pub async fn reached(&mut self) -> Held {
        let reached = tokio::time::timeout(Duration::from_secs(40), self.reached.recv()).await;
        reached.ok().flatten().unwrap_or_else(|| panic!("nobody came to the step {}", self.step))
    }
}

/// Somebody stands at a gate. Dropped, it is cut off there.
pub struct Held(oneshot::Sender<()>);

impl Held {
    pub fn go_on(self) {
        // A client that has given up meanwhile needs no permission.
        let _ = self.0.send(());
    }
}

/// The proxy's end of a gate: good for one passage.
pub(super) struct Post {
    step: String,
    act: Act,
    /// How many may pass before.
    pass: usize,
    tell: mpsc::UnboundedSender<Held>,
}

impl Post {
    pub fn act(&self) -> Act {
        self.act
    }

    /// Tells the test; says whether the connection goes on.
    pub async fn stop(self) -> bool {
        let (held, permission) = oneshot::channel();
        let _ = self.tell.send(Held(held));
        matches!(self.act, Act::HoldRequest | Act::HoldAnswer) && permission.await.is_ok()
    }
}

/// The gates of a proxy.
#[derive(Default)]
pub(super) struct Posts(Mutex<Vec<Post>>);

impl Posts {
    /// A gate at the `nth` passage of a step from now, counted from 1.
    pub fn add(&self, step: String, nth: usize, act: Act) -> Gate {
        let (tell, reached) = mpsc::unbounded_channel();
        let mut posts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        posts.push(Post { step: step.clone(), act, pass: nth - 1, tell });
        Gate { step, reached }
    }

    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The post that stops what a client says, if one does.
    pub fn at(&self, said: &str) -> Option<Post> {
        let mut posts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let n = posts.iter().position(|post| said.starts_with(&post.step))?;
        if posts[n].pass == 0 {
            return Some(posts.remove(n));
        }
        posts[n].pass -= 1;
        None
    }
}

/// A piece of what a client sends; named where it begins a step.
pub(super) struct Piece {
    pub step: Option<String>,
    pub bytes: Vec<u8>,
}

/// Takes a client's bytes apart.
pub(super) struct Parser {
    protocol: Protocol,
    pending: Vec<u8>,
    /// Bytes that belong to the body of a request, or to the greeting of an AMQP client.
    body: usize,
}

impl Parser {
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol, pending: Vec::new(), body: if protocol == Protocol::Amqp { 8 } else { 0 } }
    }

    /// All that is complete with these bytes.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Piece> {
        self.pending.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        while !self.pending.is_empty() {
            let (length, step) = if self.body > 0 || self.protocol == Protocol::Opaque {
                let length = if self.body > 0 { self.body.min(self.pending.len()) } else { self.pending.len() };
                self.body = self.body.saturating_sub(length);
                (length, None)
            } else {
                let next = if self.protocol == Protocol::Http { self.request() } else { self.frame() };
                let Some(next) = next else { break };
                next
            };
            pieces.push(Piece { step, bytes: self.pending.drain(..length).collect() });
        }
        pieces
    }

    /// The head of a request; remembers how long its body is.
    fn request(&mut self) -> Option<(usize, Option<String>)> {
        let length = self.pending.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&self.pending[..length]).into_owned();
        let header = |line: &str| Some(line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        self.body = head.lines().find_map(header).flatten().unwrap_or(0);
        Some((length, head.lines().next().map(str::to_owned)))
    }

    /// A frame; of a method that counts, its name.
    fn frame(&self) -> Option<(usize, Option<String>)> {
        let size = u32::from_be_bytes(self.pending.get(3..7)?.try_into().ok()?) as usize;
        let payload = self.pending.get(7..size + 8)?;
        let step = match (self.pending[0], payload.get(..4)) {
            // basic.publish: two reserved bytes, then the exchange behind its length.
            (1, Some([0, 60, 0, 40])) => {
                let length = usize::from(payload[6]);
                Some(format!("publish {}", String::from_utf8_lossy(&payload[7..7 + length])))
            }
            (1, Some([0, 60, 0, 80])) => Some("ack".to_owned()),
            _ => None,
        };
        Some((size + 8, step))
    }
}
