//! Proxies in front of the services of one worker, and the YARA engine, with which a worker is there at once.

use std::io::Write;

use crate::gate::Protocol;
use crate::proxy::Proxy;
use crate::services::variable;
use crate::world::World;

/// A rule that finds nothing, and one that finds every JPEG.
pub const NOTHING: &str = r#"rule nothing { strings: $a = "no such text 8371" condition: $a }"#;
pub const JPEGS: &str = "rule jpegs { strings: $a = { FF D8 FF } condition: $a }";

/// What one worker goes through.
pub struct Front {
    pub s3: Proxy,
    pub amqp: Proxy,
    _rules: tempfile::NamedTempFile,
}

impl Front {
    /// The workers that this world starts from now on go through these proxies and scan with these rules.
    pub async fn of(world: &mut World, rules: &str) -> Self {
        let (endpoint, url) = (variable("AIRLOCK_TEST_S3"), variable("AIRLOCK_TEST_AMQP"));
        let s3 = Proxy::start(Protocol::Http, endpoint.trim_start_matches("http://")).await;
        let (user, broker) = url.rsplit_once('@').expect("a user in the broker's URL");
        let amqp = Proxy::start(Protocol::Amqp, broker).await;
        world.set("s3.endpoint", format!("http://{}", s3.address()));
        world.set("amqp.url", format!("{user}@{}", amqp.address()));
        let mut file = tempfile::NamedTempFile::with_suffix(".yar").expect("a temporary file");
        file.write_all(rules.as_bytes()).expect("the rules are written");
        world.set("scan.engines", "[\"yara\"]");
        world.set("yara.rules", format!("[\"{}\"]", file.path().display()));
        Self { s3, amqp, _rules: file }
    }

    /// What was asked of both since the last call, in its order.
    pub fn heard(&self) -> Vec<String> {
        let mut heard = [self.s3.heard(), self.amqp.heard()].concat();
        heard.sort();
        heard.into_iter().map(|(_, said)| said).collect()
    }

    /// The proxy in which a step can be stopped.
    pub fn at(&self, step: &str) -> &Proxy {
        if step == "ack" || step.starts_with("publish ") { &self.amqp } else { &self.s3 }
    }
}
