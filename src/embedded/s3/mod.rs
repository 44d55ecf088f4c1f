//! An S3 server on loopback with its objects in memory.
//!
//! The crate `s3s` translates between HTTP and typed requests and verifies signatures; `users` decides who may
//! do what, `body` receives uploads within bounds and verifies their digests, `store` holds buckets, versions
//! and unfinished uploads under one lock, `listing` pages through them, and `service` ties these to the
//! operations. What is not implemented answers 501.
//!
//! `s3s` logs every refused request as an error, ordinary 404 and 412 included, and whole requests at debug
//! level: whoever starts this server should silence the log target `s3s`.

mod body;
mod listing;
mod service;
mod shared;
mod store;
#[cfg(test)]
mod tests;
mod uploads;
mod users;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{HttpError, HttpResponse};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use self::body::Budget;
use self::service::Service;
use self::shared::Shared;
pub use self::users::{Action, Credentials, Grant};

/// Connections served at once; further ones wait in the backlog of the socket.
const MAX_CONNECTIONS: usize = 128;

/// Request line and headers of one request: a key of 1024 bytes, percent-encoded, and 8 KiB of metadata fit.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How long to wait after a failed accept: the usual cause, no file descriptor left, passes by itself.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// An S3 server in this process, on loopback, with an in-memory store. Dropping it closes the port and every
/// connection, and frees the objects.
#[derive(Debug)]
pub struct EmbeddedS3 {
    address: SocketAddr,
    admin: Credentials,
    shared: Arc<Shared>,
    _server: AbortOnDropHandle<()>,
}

/// One object that was just created: what a bucket notification would say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    pub bucket: String,
    pub key: String,
    /// `None` in a bucket without versioning.
    pub version_id: Option<String>,
    /// Bytes.
    pub size: u64,
    /// Without quotes. The MD5 of the bytes, or `<digest>-<parts>` after a multipart upload.
    pub etag: String,
    pub content_type: String,
}

impl EmbeddedS3 {
    /// Binds 127.0.0.1:`port` (0 picks a free one) and serves in the background until dropped. Must be called
    /// in a tokio runtime.
    ///
    /// # Errors
    /// When the port cannot be bound: most often something else listens there.
    pub async fn start(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let admin = Credentials::random("airlock");
        let shared = Arc::new(Shared::new(&admin));
        let server = tokio::spawn(accept(listener, protocol(&shared), shared.budget.clone()));
        Ok(Self { address, admin, shared, _server: AbortOnDropHandle::new(server) })
    }

    /// The URL to give to a client, which must use path-style addressing and may name any region.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// May do everything: the worker, and whoever inspects the outcome. The secret is new at every start.
    #[must_use]
    pub const fn admin(&self) -> &Credentials {
        &self.admin
    }

    /// Adds a user who may do what `grants` say and nothing else. A user of the same access key is replaced.
    pub fn add_user(&self, access_key: impl Into<String>, secret_key: impl Into<String>, grants: Vec<Grant>) {
        let credentials = Credentials { access_key: access_key.into(), secret_key: secret_key.into() };
        self.shared.users.add(&credentials, grants);
    }

    /// Creates a bucket, or sets the versioning of one that exists. Clients can reach it if its name is one
    /// that [`Bucket`](crate::object::Bucket) accepts.
    pub fn create_bucket(&self, name: &str, versioned: bool) {
        self.shared.store().ensure_bucket(name, versioned);
    }

    /// Calls `listener` after each object created by PUT, COPY or a completed multipart upload, before the
    /// client has its answer. It runs on the server's task, so it must not block.
    pub fn on_created(&self, listener: impl Fn(&Created) + Send + Sync + 'static) {
        self.shared.listen(Arc::new(listener));
    }
}

/// The layers every request passes: names, signature, rights, operation.
fn protocol(shared: &Arc<Shared>) -> S3Service {
    let mut builder = S3ServiceBuilder::new(Service(Arc::clone(shared)));
    builder.set_validation(users::BucketNames);
    builder.set_auth(shared.users.clone());
    builder.set_access(shared.users.clone());
    builder.build()
}

/// Serves connections until it is aborted, which aborts the connections with it.
async fn accept(listener: TcpListener, protocol: S3Service, budget: Budget) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve(stream, protocol.clone(), budget.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// One connection. How it ends is the client's affair: an error here only means that it went away.
async fn serve(stream: TcpStream, protocol: S3Service, budget: Budget) {
    // Without this the kernel holds back the last packet of an answer for up to 40 ms: 27 requests a second.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| respond(request, protocol.clone(), budget.clone()));
    // With a timer, hyper also gives up on a client that takes 30 s over its headers.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Reads the whole request before anything is decided about it. A refusal sent while the client still writes
/// would reach it as a broken pipe, and `s3s` would gather chunks, whose size the client chooses, without limit.
async fn respond(
    request: hyper::Request<Incoming>,
    protocol: S3Service,
    budget: Budget,
) -> Result<HttpResponse, HttpError> {
    let (mut head, body) = request.into_parts();
    join_encodings(&mut head.headers);
    match body::gather(body, &budget).await {
        Ok(gathered) => protocol.call(hyper::Request::from_parts(head, s3s::Body::from(gathered))).await,
        Err(error) => error.to_http_response().map_err(|error| HttpError::new(error.into())),
    }
}

/// The AWS SDK sends one `Content-Encoding` of the object and another of the transfer, which means the same as one
/// list, to HTTP and to the signature. `s3s` refuses headers that come twice.
fn join_encodings(headers: &mut HeaderMap) {
    let values: Vec<&[u8]> = headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes).collect();
    if let (2.., Ok(list)) = (values.len(), HeaderValue::from_bytes(&values.join(&b","[..]))) {
        headers.insert(CONTENT_ENCODING, list);
    }
}
