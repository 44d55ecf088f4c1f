//! What the process tells about itself: logs here, numbers in [`metrics`].

pub mod metrics;

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, filter};

use crate::config::{Log, LogFormat, LogLevel};

/// Starts logging to standard error. A second call does nothing.
///
/// Never logged: file content, secrets, metadata values. Names that came from an uploader are escaped by whoever
/// logs them (guarantee G8).
pub fn init(log: &Log) {
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // The SDKs are chatty below warnings, and what they print is not ours to vouch for.
    let ours = filter::Targets::new()
        .with_default(LevelFilter::WARN.min(level))
        // The embedded S3 server calls every ordinary 404 an error.
        .with_target("s3s", LevelFilter::OFF)
        .with_target("airlock", level);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = match log.format {
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
        LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).with_target(false).boxed(),
    };
    // An error means that a subscriber is set already: a test or an embedding program decides then.
    let _ = tracing_subscriber::registry().with(layer.with_filter(ours)).try_init();
}
