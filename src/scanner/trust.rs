//! Why an answer of a scanner may be believed: a self-test that passed before it, and a canary that was found
//! after it.
//!
//! The self-test is long and proves the settings; it runs at the start, on a timer, and after every fault. The canary
//! is short and proves that nothing has gone wrong since: a clamd whose temporary directory is full answers `OK` to
//! everything that it can no longer unpack.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::fault::{Fault, FaultCode};
use crate::verdict::Stage;

/// Whether the self-test of one scanner stands.
#[derive(Debug, Default)]
pub struct Proof {
    state: std::sync::Mutex<State>,
    /// One self-test at a time; whoever waits for it uses its result.
    running: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    passed: Option<Instant>,
    /// How often the proof was lost. A self-test during which that happened proves nothing.
    losses: u64,
}

impl Proof {
    /// For how long a passed self-test is believed, if nothing goes wrong.
    pub const LIFETIME: Duration = Duration::from_mins(10);

    /// Whether the self-test passed, not too long ago, and nothing has gone wrong since.
    pub fn stands(&self) -> bool {
        self.is_younger_than(Self::LIFETIME)
    }

    fn is_younger_than(&self, age: Duration) -> bool {
        self.state().passed.is_some_and(|at| at.elapsed() < age)
    }

    /// Something went wrong: nothing is believed before the next self-test has passed.
    pub fn lose(&self) {
        let mut state = self.state();
        state.passed = None;
        state.losses += 1;
    }

    /// Returns at once if the proof is younger than `age`; otherwise runs the self-test.
    ///
    /// # Errors
    /// What the self-test fails with. `clamd.unavailable` when a scan failed while it ran.
    pub async fn renew<F: Future<Output = Result<(), Fault>>>(
        &self,
        age: Duration,
        self_test: impl FnOnce() -> F,
    ) -> Result<(), Fault> {
        let _one = self.running.lock().await;
        if self.is_younger_than(age) {
            return Ok(());
        }
        let losses = self.state().losses;
        let tested = self_test().await.inspect_err(|_| self.lose());
        tested?;
        let mut state = self.state();
        if state.losses != losses {
            let detail = "a scan failed while the scanner's self-test ran";
            return Err(Fault::new(FaultCode::ClamdUnavailable, Stage::Scan, detail));
        }
        state.passed = Some(Instant::now());
        Ok(())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets many waiting answers share canaries without ever accepting one that was begun before the answer.
#[derive(Debug, Default)]
pub struct Canary {
    /// How many canaries have begun.
    begun: AtomicU64,
    /// The number of the newest canary that was found. Guards: one canary runs at a time.
    found: Mutex<u64>,
}

impl Canary {
    /// Returns once a canary that began after this call was found. `ask` runs one.
    ///
    /// # Errors
    /// What `ask` fails with; the answer that waits then counts as a fault.
    pub async fn confirm<F: Future<Output = Result<(), Fault>>>(&self, ask: impl FnOnce() -> F) -> Result<(), Fault> {
        let before = self.begun.load(Ordering::SeqCst);
        let mut found = self.found.lock().await;
        if *found > before {
            return Ok(());
        }
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        ask().await?;
        *found = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn fault() -> Fault {
        Fault::new(FaultCode::ClamdProtocol, Stage::Scan, "the canary passed")
    }

    #[tokio::test]
    async fn answers_that_wait_together_share_one_canary() {
        let (canary, runs) = (Arc::new(Canary::default()), Arc::new(AtomicU64::new(0)));
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let spawn = || {
            let (canary, runs, gate) = (canary.clone(), runs.clone(), gate.clone());
            tokio::spawn(async move {
                canary
                    .confirm(|| async move {
                        runs.fetch_add(1, Ordering::SeqCst);
                        gate.acquire().await.unwrap().forget();
                        Ok(())
                    })
                    .await
            })
        };
        let first = spawn();
        while runs.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // These came while the first was under way: it began before them and proves nothing about them.
        let others: Vec<_> = (0..5).map(|_| spawn()).collect();
        tokio::task::yield_now().await;
        gate.add_permits(10);
        for task in others.into_iter().chain([first]) {
            task.await.unwrap().unwrap();
        }
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_canary_that_is_not_found_confirms_nothing() {
        let canary = Canary::default();
        let lost = || async { Err(fault()) };
        assert!(canary.confirm(lost).await.is_err());
        assert!(canary.confirm(|| async { Ok(()) }).await.is_ok());
        assert!(canary.confirm(lost).await.is_err(), "an earlier success does not count later");
    }

    #[tokio::test]
    async fn a_proof_stands_until_something_goes_wrong() {
        let proof = Proof::default();
        assert!(!proof.stands());
        assert!(proof.renew(Proof::LIFETIME, || async { Err(fault()) }).await.is_err());
        assert!(!proof.stands());
        proof.renew(Proof::LIFETIME, || async { Ok(()) }).await.unwrap();
        proof.renew(Proof::LIFETIME, || async { panic!("it stands already") }).await.unwrap();
        assert!(proof.stands());
        // Due, and failed: what stood before falls.
        assert!(proof.renew(Duration::ZERO, || async { Err(fault()) }).await.is_err());
        assert!(!proof.stands());
    }

    #[tokio::test]
    async fn a_self_test_during_which_a_scan_failed_proves_nothing() {
        let proof = Proof::default();
        let disturbed = || async {
            proof.lose();
            Ok(())
        };
        assert!(proof.renew(Proof::LIFETIME, disturbed).await.is_err());
        assert!(!proof.stands());
    }
}
