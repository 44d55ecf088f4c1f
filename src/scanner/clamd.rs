//! The clamd adapter: one connection and one `INSTREAM` per scan, every step under a deadline.
//!
//! A scan counts as clean when four things hold: the signature database is young enough, the reply is exactly
//! `stream: OK`, the whole snapshot was sent, and a canary that began afterwards was found on the same address.
//! Sessions (`IDSESSION`) would save a tenth of a millisecond and lose the answers of running scans whenever
//! one of them fails; passing descriptors makes an unreadable file look clean. Neither is used.

use std::io;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::canary::{self, Canary};
use super::reply::{self, MAX_REPLY_BYTES, Reply, Version};
use super::{Answer, Scanner};
use crate::clock;
use crate::config::{ClamdAddress, Settings};
use crate::fault::{Fault, FaultCode};
use crate::snapshot::{Snapshot, Spool};
use crate::verdict::{EngineInfo, Reason, ReasonCode, Stage};

/// How long a `VERSION` answer is used before it is asked again.
const VERSION_LIFETIME: Duration = Duration::from_secs(10);
/// The longest wait for a connection; the rest of the time belongs to the scan.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server that failed is passed over while another one works.
const SHUN_FOR: Duration = Duration::from_secs(5);
/// The size of an `INSTREAM` chunk. Between 1 KiB and 1 MiB it makes no measurable difference.
const CHUNK: usize = 64 << 10;

/// One or more clamd servers; scans go to them in turn.
pub struct Clamd {
    backends: Vec<Backend>,
    next: AtomicUsize,
    timeout: Duration,
    max_age: Duration,
    require_date: bool,
}

struct Backend {
    address: ClamdAddress,
    /// clamd never says that it is busy, it just does not answer: so we count ourselves.
    slots: Semaphore,
    canary: Canary,
    version: Mutex<Option<(Instant, Version)>>,
    /// Build time of the signatures in the last answer; zero before it.
    built: AtomicI64,
    /// Not chosen before this moment, while another address may do.
    shunned: std::sync::Mutex<Option<Instant>>,
}

impl Clamd {
    /// An adapter for the configured addresses; connects when first used.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let backend = |address: &ClamdAddress| Backend {
            address: address.clone(),
            slots: Semaphore::new(settings.clamd.concurrency),
            canary: Canary::default(),
            version: Mutex::new(None),
            built: AtomicI64::new(0),
            shunned: std::sync::Mutex::default(),
        };
        Self {
            backends: settings.clamd.addresses.iter().map(backend).collect(),
            next: AtomicUsize::new(0),
            timeout: settings.clamd.timeout,
            max_age: settings.scan.max_signature_age,
            require_date: settings.clamd.require_date,
        }
    }

    /// The next address that works and has a free slot, or the next in turn when there is none.
    fn backend(&self) -> &Backend {
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let turn = (0..self.backends.len()).map(|i| &self.backends[(start + i) % self.backends.len()]);
        let free = turn.clone().find(|b| b.slots.available_permits() > 0 && !b.is_shunned());
        free.or_else(|| turn.clone().next()).expect("the configuration has at least one address")
    }

    async fn scan_somewhere(&self, snapshot: &Snapshot) -> Result<Answer, Fault> {
        let backend = self.backend();
        let answer = self.scan_on(backend, snapshot).await;
        if answer.is_err() {
            backend.shun();
        }
        answer
    }

    async fn scan_on(&self, backend: &Backend, snapshot: &Snapshot) -> Result<Answer, Fault> {
        let deadline = Instant::now() + self.timeout;
        let engine = self.fresh_engine(backend, deadline).await?;
        let reply = backend.instream(snapshot, deadline).await?;
        let reason = |code, detail: &str| vec![Reason::from_engine(code, NAME, detail)];
        let reasons = match reply {
            Reply::Clean => {
                backend.canary.confirm(|| backend.find_canary("in a ZIP", canary::zipped(), deadline)).await?;
                Vec::new()
            }
            Reply::Malware(name) => reason(ReasonCode::Malware, &name),
            Reply::Encrypted(name) => reason(ReasonCode::Encrypted, &name),
            Reply::Macros(name) => reason(ReasonCode::Macro, &name),
            Reply::LimitsExceeded(name) => reason(ReasonCode::ScanLimitsExceeded, &name),
            Reply::Fault(code, why) => return Err(backend.fault(code, why)),
        };
        Ok(Answer { engine, reasons })
    }

    /// The engine's description, provided that its signatures are young enough to judge by.
    async fn fresh_engine(&self, backend: &Backend, deadline: Instant) -> Result<EngineInfo, Fault> {
        let version = backend.version(deadline).await?;
        match &version.signatures {
            Some(signatures) if clock::age_of(signatures.built) > self.max_age => Err(backend.fault(
                FaultCode::SignaturesStale,
                &format!("signatures {} are of {}", signatures.version, clock::rfc3339(signatures.built)),
            )),
            None if self.require_date => Err(backend
                .fault(FaultCode::SignaturesStale, "no daily signature database is loaded, so its age is unknown")),
            _ => Ok(engine_info(version)),
        }
    }

    async fn probe_all(&self) -> Result<EngineInfo, Fault> {
        let mut engine = None;
        for backend in &self.backends {
            let deadline = Instant::now() + self.timeout;
            engine = Some(self.fresh_engine(backend, deadline).await?);
            for (form, bytes) in canary::full_set() {
                backend.find_canary(form, bytes, deadline).await?;
            }
        }
        engine.ok_or_else(|| Fault::new(FaultCode::ClamdUnavailable, Stage::Scan, "no clamd address is configured"))
    }
}

const NAME: &str = "clamd";

impl Scanner for Clamd {
    fn name(&self) -> &'static str {
        NAME
    }

    fn scan<'a>(&'a self, snapshot: &'a Snapshot) -> BoxFuture<'a, Result<Answer, Fault>> {
        Box::pin(self.scan_somewhere(snapshot))
    }

    fn probe(&self) -> BoxFuture<'_, Result<EngineInfo, Fault>> {
        Box::pin(self.probe_all())
    }

    /// Of the oldest database among the servers.
    fn signatures_built(&self) -> Option<i64> {
        self.backends.iter().map(|b| b.built.load(Ordering::Relaxed)).filter(|built| *built != 0).min()
    }
}

fn engine_info(version: Version) -> EngineInfo {
    EngineInfo {
        name: NAME.to_owned(),
        version: version.program,
        signatures_at: version.signatures.as_ref().map(|s| clock::rfc3339(s.built)),
        signatures: version.signatures.map(|s| s.version),
    }
}

impl Backend {
    /// A dead server always has free slots: without a pause it would attract every scan.
    fn shun(&self) {
        *self.shunned.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + SHUN_FOR);
    }

    fn is_shunned(&self) -> bool {
        self.shunned.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| until > Instant::now())
    }

    fn fault(&self, code: FaultCode, why: &str) -> Fault {
        Fault::new(code, Stage::Scan, format!("{why} ({})", self.address))
    }

    /// Sends the snapshot and reads the whole reply.
    async fn instream(&self, snapshot: &Snapshot, deadline: Instant) -> Result<Reply, Fault> {
        let busy = || self.fault(FaultCode::ClamdBusy, "clamd did not answer in time");
        let _slot = timeout_at(deadline, self.slots.acquire())
            .await
            .map_err(|_| busy())?
            .map_err(|_| self.fault(FaultCode::Internal, "the scan slots are closed"))?;
        match timeout_at(deadline, self.converse(snapshot)).await {
            Err(_) => Err(busy()),
            Ok(Err(e)) => Err(self.fault(FaultCode::ClamdUnavailable, &e.to_string())),
            Ok(Ok(raw)) => Ok(reply::parse(&raw)),
        }
    }

    async fn converse(&self, snapshot: &Snapshot) -> io::Result<Vec<u8>> {
        let mut stream = connect(&self.address).await?;
        // A reply that came before we were done (a limit, a full disk) explains a failed write better than the
        // write's own error does, so it is read in either case.
        let sent = send(&mut stream, snapshot).await;
        let reply = read_reply(&mut stream).await;
        match (sent, reply) {
            (Ok(()), reply) => reply,
            (Err(_), Ok(reply)) if !reply.is_empty() && reply::parse(&reply) != Reply::Clean => Ok(reply),
            (Err(e), _) => Err(e),
        }
    }

    /// Scans a marker; not finding it means that nothing this clamd calls clean can be believed.
    async fn find_canary(&self, form: &str, bytes: Vec<u8>, deadline: Instant) -> Result<(), Fault> {
        match self.instream(&Spool::of_bytes(bytes.into()), deadline).await? {
            Reply::Malware(_) => Ok(()),
            Reply::Fault(code, why) => Err(self.fault(code, why)),
            _ => Err(self.fault(FaultCode::ClamdProtocol, &format!("clamd did not find the test marker {form}"))),
        }
    }

    async fn version(&self, deadline: Instant) -> Result<Version, Fault> {
        let mut cached = self.version.lock().await;
        if let Some((at, version)) = &*cached
            && at.elapsed() < VERSION_LIFETIME
        {
            return Ok(version.clone());
        }
        let answer = timeout_at(deadline, self.command(b"zVERSION\0")).await;
        let raw = answer
            .map_err(|_| self.fault(FaultCode::ClamdBusy, "clamd did not tell its version in time"))?
            .map_err(|e| self.fault(FaultCode::ClamdUnavailable, &e.to_string()))?;
        let line = raw.strip_suffix(b"\0").and_then(|line| std::str::from_utf8(line).ok());
        let version = line
            .and_then(reply::parse_version)
            .ok_or_else(|| self.fault(FaultCode::ClamdProtocol, "clamd's answer to VERSION has no known form"))?;
        if let Some(signatures) = &version.signatures {
            self.built.store(signatures.built, Ordering::Relaxed);
        }
        *cached = Some((Instant::now(), version.clone()));
        Ok(version)
    }

    async fn command(&self, command: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = connect(&self.address).await?;
        stream.write_all(command).await?;
        read_reply(&mut stream).await
    }
}

/// Either kind of socket.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(address: &ClamdAddress) -> io::Result<Box<dyn Stream>> {
    let connecting = async {
        Ok::<Box<dyn Stream>, io::Error>(match address {
            ClamdAddress::Tcp(host) => {
                let stream = TcpStream::connect(host.as_str()).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            ClamdAddress::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// `zINSTREAM`, then chunks of a length and that many bytes, then a length of zero.
async fn send(stream: &mut Box<dyn Stream>, snapshot: &Snapshot) -> io::Result<()> {
    stream.write_all(b"zINSTREAM\0").await?;
    let (mut offset, mut frame) = (0, BytesMut::with_capacity(CHUNK + 4));
    loop {
        let batch = snapshot.chunk(offset).await?;
        if batch.is_empty() {
            break;
        }
        offset += batch.len() as u64;
        for chunk in batch.chunks(CHUNK) {
            frame.clear();
            frame.put_u32(u32::try_from(chunk.len()).map_err(io::Error::other)?);
            frame.put_slice(chunk);
            stream.write_all(&frame).await?;
        }
    }
    stream.write_all(&0u32.to_be_bytes()).await?;
    stream.flush().await
}

/// Everything until clamd closes the connection, but not more than a reply can be.
async fn read_reply(stream: &mut Box<dyn Stream>) -> io::Result<Vec<u8>> {
    let mut reply = Vec::new();
    match stream.take(MAX_REPLY_BYTES as u64 + 1).read_to_end(&mut reply).await {
        // Over a limit clamd resets the connection behind its reply.
        Err(_) if !reply.is_empty() => Ok(reply),
        Err(e) => Err(e),
        Ok(_) => Ok(reply),
    }
}
