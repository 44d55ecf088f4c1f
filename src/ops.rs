//! The ops listener: `/livez`, `/readyz` and `/metrics` on a port of its own, and the probes behind readiness.
//!
//! Liveness never looks at a dependency: a restart does not bring a scanner back. Readiness says what a person
//! has to look at.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::circuit::{self, Circuit};
use crate::clock;
use crate::fault::{Fault, FaultCode};
use crate::pipeline::Pipeline;
use crate::scanner::Probe;
use crate::store::ObjectStore;
use crate::telemetry::metrics::Metrics;
use crate::verdict::Stage;

/// A loop that has not turned for so long is stuck.
const LIVE_WITHIN: i64 = 60;
/// How many clients may talk to the listener at once, and how long each may take to ask.
const MAX_CONNECTIONS: usize = 32;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest wait for the answers of the store to a round of probes.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// The time between two rounds of probes, and between two while something is down.
const PROBE_EVERY: Duration = Duration::from_secs(15);
const PROBE_AGAIN: Duration = Duration::from_secs(1);

/// What the process knows about itself.
#[derive(Debug)]
pub struct Health {
    consuming: AtomicBool,
    /// Seconds since 1970 of the last turn of a loop that must turn.
    ticked: AtomicI64,
    dependencies: Mutex<BTreeMap<&'static str, Dependency>>,
}

/// The last probes of one dependency.
#[derive(Debug, Clone, Default, serde::Serialize)]
struct Dependency {
    up: bool,
    /// RFC 3339.
    last_success: Option<String>,
    problem: Option<String>,
}

impl Health {
    /// Nothing is up before it has answered once: neither the broker nor the store nor any of these engines.
    #[must_use]
    pub fn new(engines: impl Iterator<Item = &'static str>) -> Self {
        let unknown = Dependency { up: false, last_success: None, problem: Some("not asked yet".to_owned()) };
        let dependencies = ["amqp", "s3"].into_iter().chain(engines).map(|name| (name, unknown.clone())).collect();
        Self {
            consuming: AtomicBool::new(false),
            ticked: AtomicI64::new(clock::now()),
            dependencies: Mutex::new(dependencies),
        }
    }

    /// A consumer is registered, or not any more.
    pub fn consuming(&self, yes: bool) {
        self.consuming.store(yes, Ordering::Relaxed);
        self.tick();
    }

    /// The loop has turned.
    pub fn tick(&self) {
        self.ticked.store(clock::now(), Ordering::Relaxed);
    }

    /// The end of a probe.
    pub fn dependency(&self, name: &'static str, probe: Result<(), String>) {
        let mut dependencies = self.dependencies.lock().unwrap_or_else(PoisonError::into_inner);
        let dependency = dependencies.entry(name).or_default();
        dependency.up = probe.is_ok();
        match probe {
            Ok(()) => {
                dependency.last_success = Some(clock::rfc3339(clock::now()));
                dependency.problem = None;
            }
            Err(problem) => dependency.problem = Some(problem),
        }
    }

    fn is_live(&self) -> bool {
        clock::now() - self.ticked.load(Ordering::Relaxed) < LIVE_WITHIN
    }

    /// Whether this worker can work, and why not.
    #[must_use]
    pub fn readiness(&self) -> (bool, serde_json::Value) {
        let dependencies = self.dependencies.lock().unwrap_or_else(PoisonError::into_inner);
        let consuming = self.consuming.load(Ordering::Relaxed);
        let ready = consuming && dependencies.values().all(|d| d.up);
        (ready, json!({ "ready": ready, "consuming": consuming, "dependencies": *dependencies }))
    }
}

/// Probes the engines and the buckets again and again, for readiness, the metrics and the circuit; what is down comes
/// back into service by it. Never returns.
///
/// `warn_age` is the age of the signature database from which on it is worth a line in the log.
pub async fn probe_forever<S: ObjectStore>(
    pipeline: &Pipeline<S>,
    health: &Health,
    circuit: &Circuit,
    warn_age: Duration,
) {
    // Apart, so that one that keeps silent does not delay the other.
    tokio::join!(probe_store_forever(pipeline, health, circuit), probe_engines_forever(pipeline, health, warn_age));
}

async fn probe_store_forever<S: ObjectStore>(pipeline: &Pipeline<S>, health: &Health, circuit: &Circuit) {
    loop {
        let store = probe_store(pipeline).await;
        // Refused access is for a person to mend and may concern one route only: jobs go on and tell.
        let is_down = store.as_ref().is_err_and(|fault| fault.code == FaultCode::S3Unavailable);
        let problem = store.map_err(|fault| fault.to_string());
        circuit.report(circuit::STORE, if is_down { problem.clone() } else { Ok(()) });
        report(pipeline, health, "s3", problem);
        // A job that met a silent store wakes it: the sooner the look, the fewer jobs burn an attempt.
        tokio::select! {
            () = tokio::time::sleep(if is_down { PROBE_AGAIN } else { PROBE_EVERY }) => {}
            () = circuit.doubted(), if !is_down => {}
        }
    }
}

async fn probe_engines_forever<S: ObjectStore>(pipeline: &Pipeline<S>, health: &Health, warn_age: Duration) {
    let mut trusted = pipeline.judge.engines.trusted();
    loop {
        for probe in pipeline.judge.engines.probe().await {
            tell_age(pipeline, &probe, warn_age);
            if let Some(trouble) = &probe.trouble {
                pipeline.metrics.faulted(trouble.code);
                tracing::error!(code = %trouble.code, "{} goes on with its last good rules: {}", probe.name, trouble.detail);
            }
            report(pipeline, health, probe.name, probe.answer.map(|_| ()).map_err(|f| f.to_string()));
        }
        let pause = if *trusted.borrow() { PROBE_EVERY } else { PROBE_AGAIN };
        // A fault wakes it: the sooner the self-test, the sooner the worker takes work again.
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            Ok(()) = trusted.changed() => tokio::time::sleep(PROBE_AGAIN).await,
        }
    }
}

/// Asks for every bucket at the same time; the first trouble in the order of the configuration counts.
async fn probe_store<S: ObjectStore>(pipeline: &Pipeline<S>) -> Result<(), Fault> {
    let buckets = pipeline.routes.iter().flat_map(|route| [&route.quarantine, &route.clean, &route.rejected]);
    let probes = async {
        let (routes, ledger) =
            tokio::join!(join_all(buckets.map(|bucket| pipeline.store.probe(bucket))), pipeline.ledger.probe());
        routes.into_iter().collect::<Result<(), Fault>>().and(ledger)
    };
    tokio::time::timeout(PROBE_PATIENCE, probes).await.unwrap_or_else(|_| {
        let detail = format!("the store did not answer within {} s", PROBE_PATIENCE.as_secs());
        Err(Fault::new(FaultCode::S3Unavailable, Stage::Fetch, detail))
    })
}

fn tell_age<S>(pipeline: &Pipeline<S>, probe: &Probe, warn_age: Duration) {
    let Some(age) = probe.signatures_built.map(clock::age_of) else { return };
    pipeline.metrics.signature_age(age);
    if age > warn_age {
        let (name, hours) = (probe.name, age.as_secs() / 3600);
        tracing::warn!(
            event = "signatures_stale",
            severity = "medium",
            hours,
            "the signatures of {name} are {hours} hours old: look at freshclam or its mirror"
        );
    }
}

fn report<S>(pipeline: &Pipeline<S>, health: &Health, name: &'static str, probe: Result<(), String>) {
    if let Err(problem) = &probe {
        tracing::warn!(dependency = name, "{name} does not work: {problem}");
    }
    pipeline.metrics.dependency(name, probe.is_ok());
    health.dependency(name, probe);
}

/// Serves until the future is dropped. The address is bound when this returns.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
) -> std::io::Result<(SocketAddr, impl Future<Output = ()> + Send)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    Ok((bound, accept(listener, health, metrics)))
}

async fn accept(listener: TcpListener, health: Arc<Health>, metrics: Arc<Metrics>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: not a reason to stop, nor to spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (health, metrics) = (Arc::clone(&health), Arc::clone(&metrics));
        tokio::spawn(async move {
            let _slot = slot;
            let service = service_fn(|request| {
                let response = answer(&request, &health, &metrics);
                async { Ok::<_, Infallible>(response) }
            });
            // A client that breaks off is its own affair.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_TIMEOUT)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn answer(request: &Request<Incoming>, health: &Health, metrics: &Metrics) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    if request.method() != Method::GET {
        return respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".to_owned());
    }
    match request.uri().path() {
        "/livez" if health.is_live() => respond(StatusCode::OK, TEXT, "live\n".to_owned()),
        "/livez" => {
            respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, "the worker's loop has stopped turning\n".to_owned())
        }
        "/readyz" => {
            let (ready, body) = health.readiness();
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            respond(status, "application/json", format!("{body}\n"))
        }
        "/metrics" => {
            let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            respond(StatusCode::OK, openmetrics, metrics.encode())
        }
        _ => respond(StatusCode::NOT_FOUND, TEXT, "/livez, /readyz or /metrics\n".to_owned()),
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}
