//! Opening a session with RabbitMQ: two connections, three channels, everything under a deadline.
//!
//! lapin can recover connections by itself; that is not used, because in several ways (a channel error, a backoff
//! that ran out, a queue that vanished meanwhile) it leaves a consumer that looks alive and never hears anything
//! again. Here any anomaly ends the whole session, and the worker opens a new one.
//!
//! Consuming and publishing have a connection each: a broker that is short of memory blocks publishing
//! connections, and on a blocked connection not even an ack gets through. Both are driven by a small runtime of
//! their own, so that no work of ours can delay a heartbeat.

use std::time::Duration;

use async_rs::TokioRuntime;
use lapin::options::{BasicQosOptions, ConfirmSelectOptions};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::types::LongString;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::topology::{Topology, short};
use crate::config;
use crate::fault::{Fault, FaultCode};
use crate::verdict::Stage;

/// The longest wait for any single answer of the broker.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Black-holed links are noticed after twice this.
const HEARTBEAT_SECONDS: u16 = 10;

/// What a worker needs to open sessions.
pub struct Connector {
    pub(super) settings: config::Amqp,
    pub(super) topology: Topology,
    prefetch: u16,
    /// Names the connections in the broker's tools.
    pub(super) name: String,
    runtime: Option<tokio::runtime::Runtime>,
}

/// The parts of an open session.
pub(super) struct Parts {
    pub consume: Connection,
    pub publish: Connection,
    pub consume_channel: Channel,
    pub publish_channel: Channel,
}

impl Connector {
    /// `prefetch` is the number of jobs: a message that waits in a client ages towards the broker's ack timeout.
    ///
    /// # Errors
    /// When the operating system refuses the runtime's thread.
    pub fn new(settings: &config::Amqp, tiers: &[Duration], prefetch: usize, name: &str) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("airlock-amqp")
            .enable_all()
            .build()?;
        Ok(Self {
            settings: settings.clone(),
            topology: Topology::new(&settings.prefix, tiers),
            prefetch: u16::try_from(prefetch).unwrap_or(u16::MAX),
            name: name.to_owned(),
            runtime: Some(runtime),
        })
    }

    pub(super) async fn open(&self) -> Result<Parts, Fault> {
        let consume = self.connect("consume").await?;
        let publish = self.connect("publish").await?;
        let probe = within("open a channel", consume.create_channel()).await?;
        let ensured = timeout(PATIENCE, self.topology.ensure(self.settings.topology, &probe)).await;
        ensured
            .map_err(|_| late("check the topology"))?
            .map_err(|e| unavailable(format!("{e}; see [amqp] topology in the configuration")))?;

        let publish_channel = within("open a channel", publish.create_channel()).await?;
        within("ask for confirms", publish_channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let consume_channel = within("open a channel", consume.create_channel()).await?;
        within("set the prefetch", consume_channel.basic_qos(self.prefetch, BasicQosOptions::default())).await?;
        Ok(Parts { consume, publish, consume_channel, publish_channel })
    }

    /// A connection and a channel with confirms, for tools that only publish.
    ///
    /// # Errors
    /// `broker.unavailable`.
    pub(super) async fn open_publisher(&self) -> Result<(Connection, Channel), Fault> {
        let connection = self.connect("publish").await?;
        let channel = within("open a channel", connection.create_channel()).await?;
        within("ask for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok((connection, channel))
    }

    pub(super) async fn connect(&self, role: &str) -> Result<Connection, Fault> {
        let properties = ConnectionProperties::default()
            .with_connection_name(LongString::from(format!("airlock/{}/{role}", self.name)));
        let (uri, tls) = (self.uri()?, self.tls()?);
        let handle = self.runtime.as_ref().map(|r| r.handle().clone());
        let handle = handle.ok_or_else(|| unavailable("the AMQP runtime has stopped"))?;
        let runtime = TokioRuntime::tokio_with_handle(handle);
        within("connect", Connection::connect_uri_with_config(uri, properties, tls, runtime)).await
    }

    fn uri(&self) -> Result<AMQPUri, Fault> {
        let mut uri = parsed(&self.settings)?;
        if let Some(user) = &self.settings.user {
            uri.authority.userinfo.username.clone_from(user);
        }
        if let Some(password) = &self.settings.password {
            password.expose().clone_into(&mut uri.authority.userinfo.password);
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        Ok(uri)
    }

    /// Read at every connect, so that rotated certificates are taken up by the next session.
    fn tls(&self) -> Result<OwnedTLSConfig, Fault> {
        let read = |path: &std::path::PathBuf| {
            std::fs::read(path).map_err(|e| unavailable(format!("{} cannot be read: {e}", path.display())))
        };
        let tls = &self.settings.tls;
        let cert_chain = match tls.ca.as_ref().map(read).transpose()? {
            Some(pem) => Some(String::from_utf8(pem).map_err(|_| unavailable("[amqp.tls] ca is not a PEM file"))?),
            None => None,
        };
        let identity = match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => Some(OwnedIdentity::PKCS8 { pem: read(cert)?, key: read(key)? }),
            _ => None,
        };
        Ok(OwnedTLSConfig { identity, cert_chain })
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        // A runtime must not be dropped from within another one; its tasks end with their connections.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The virtual host that the settings name.
///
/// # Errors
/// `broker.unavailable` for a URL that cannot be used.
pub fn virtual_host(settings: &config::Amqp) -> Result<String, Fault> {
    Ok(parsed(settings)?.vhost)
}

fn parsed(settings: &config::Amqp) -> Result<AMQPUri, Fault> {
    let uri = settings.url.expose().parse();
    uri.map_err(|e: String| unavailable(format!("[amqp] url cannot be used: {e}")))
}

/// Waits for an answer of the broker, but not for ever: on a black-holed link lapin's calls never return.
pub(super) async fn within<T>(what: &str, call: impl Future<Output = lapin::Result<T>>) -> Result<T, Fault> {
    match timeout(PATIENCE, call).await {
        Err(_) => Err(late(what)),
        Ok(Err(e)) => Err(unavailable(format!("cannot {what}: {}", said(&e)))),
        Ok(Ok(value)) => Ok(value),
    }
}

/// What an error says, with what to look at where the broker refuses something.
pub(super) fn said(error: &lapin::Error) -> String {
    let text = error.to_string();
    let refused = ["ACCESS_REFUSED", "ACCESS-REFUSED", "NOT_ALLOWED", "NOT-ALLOWED", "InvalidCredentials"];
    if refused.iter().any(|mark| text.contains(mark)) {
        return format!("the broker refuses this user, its password or its rights: {text}");
    }
    text
}

pub(super) fn unavailable(detail: impl AsRef<str>) -> Fault {
    Fault::new(FaultCode::BrokerUnavailable, Stage::Event, detail)
}

fn late(what: &str) -> Fault {
    unavailable(format!("cannot {what}: no answer within {} s", PATIENCE.as_secs()))
}

/// Closes a connection without waiting longer than a few seconds for its peer.
pub(super) async fn close(connection: &Connection) {
    let closing = connection.close(200, short("done"));
    // Nothing depends on it: a broker that misses the close finds out by its heartbeat.
    let _ = timeout(Duration::from_secs(5), closing).await;
}

/// Shared by deliveries and publishers of a session to say that it can no longer be trusted.
#[derive(Clone, Default)]
pub(super) struct Broken(CancellationToken);

impl Broken {
    pub(super) fn report(&self) {
        self.0.cancel();
    }

    pub(super) async fn reported(&self) {
        self.0.cancelled().await;
    }
}
