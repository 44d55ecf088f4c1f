//! Who disturbs: workers are killed, stopped and replaced, their connections fail in every way that the proxy knows,
//! single requests and answers are lost.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::flow::Mode;
use crate::front::Front;
use crate::gate::{Act, Gate};
use crate::process::WorkerProcess;
use crate::proxy::Proxy;
use crate::random::Random;
use crate::world::World;

/// How many workers there are, as far as they live.
const WORKERS: usize = 3;

/// The steps of a job at which a request or its answer is lost.
const STEPS: [&str; 9] = [
    "GET /quarantine-",
    "HEAD /clean-",
    "PUT /clean-",
    "PUT /rejected-",
    "PUT /ledger-",
    "DELETE /quarantine-",
    "publish {id}.verdicts",
    "publish {id}.jobs",
    "ack",
];

pub struct Chaos<'a> {
    world: &'a World,
    front: &'a Front,
    scanner: &'a Proxy,
    random: Random,
    pub workers: Vec<WorkerProcess>,
    gates: Vec<Gate>,
    /// What was done, how often.
    pub done: BTreeMap<String, usize>,
}

impl<'a> Chaos<'a> {
    /// Workers in a world that is still quiet.
    pub async fn new(world: &'a World, front: &'a Front, scanner: &'a Proxy, random: Random) -> Self {
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            workers.push(world.worker().await);
        }
        Self { world, front, scanner, random, workers, gates: Vec::new(), done: BTreeMap::new() }
    }

    /// Disturbs once.
    pub async fn disturb(&mut self) {
        match self.random.below(10) {
            0 => self.kill().await,
            1 => self.replace().await,
            2..5 => self.outage().await,
            _ => self.lose_something(),
        }
        self.pause(900).await;
    }

    /// Everything works from now on, and the workers are as many as in the beginning.
    pub async fn calm(&mut self) {
        for proxy in [&self.front.s3, &self.front.amqp, self.scanner] {
            proxy.set(Mode::Pass);
            proxy.open_gates();
        }
        while self.workers.len() < WORKERS {
            self.workers.push(self.world.worker().await);
        }
    }

    /// A worker is gone, and another one comes: at once, or after a while.
    async fn kill(&mut self) {
        self.count("worker killed");
        let one = self.random.below(self.workers.len());
        self.workers[one].kill();
        if self.random.below(2) == 0 {
            self.pause(1_500).await;
        }
        self.workers[one] = WorkerProcess::spawn(&self.world.flags());
    }

    /// A worker is asked to end, as in a rollout.
    async fn replace(&mut self) {
        self.count("worker replaced");
        let one = self.random.below(self.workers.len());
        let old = self.workers.remove(one);
        self.workers.push(WorkerProcess::spawn(&self.world.flags()));
        // One that has only just begun may not have its signal handler yet.
        let code = old.terminate().await;
        assert!(matches!(code, Some(0) | None), "a worker ends with {code:?}");
    }

    /// A dependency fails for up to three seconds; meanwhile a worker may die as well.
    async fn outage(&mut self) {
        let (name, proxy) =
            [("S3", &self.front.s3), ("RabbitMQ", &self.front.amqp), ("clamd", self.scanner)][self.random.below(3)];
        let some = 200 + self.random.below(20_000);
        let mode = [
            Mode::Refuse,
            Mode::Drop,
            Mode::BlackHole,
            Mode::Slow(2_000 + some),
            Mode::CutUp(some),
            Mode::CutDown(some),
        ][self.random.below(6)];
        let kind = format!("{mode:?}");
        self.count(&format!("{name}: {}", kind.split('(').next().unwrap_or_default()));
        proxy.set(mode);
        self.pause(3_000).await;
        if self.random.below(4) == 0 {
            self.kill().await;
        }
        proxy.set(Mode::Pass);
    }

    /// One of the next requests at some step is lost, or its answer is.
    fn lose_something(&mut self) {
        let step = STEPS[self.random.below(STEPS.len())];
        let act = [Act::LoseRequest, Act::LoseAnswer][self.random.below(2)];
        let nth = 1 + self.random.below(8);
        self.count(&format!("{act:?} at {step}"));
        let proxy = self.front.at(step);
        self.gates.push(proxy.nth_gate(&step.replace("{id}", &self.world.id), nth, act));
    }

    async fn pause(&mut self, most: usize) {
        let milliseconds = u64::try_from(self.random.below(most)).expect("a number");
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }

    fn count(&mut self, what: &str) {
        *self.done.entry(what.to_owned()).or_default() += 1;
    }
}
