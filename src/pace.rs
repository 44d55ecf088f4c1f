//! Pace: how fast a tool that walks through a bucket may act, so that a backlog reaches the workers as a stream and
//! not as a wave.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How much a walk that was held up may catch up on. Timers are too coarse to space a high rate evenly.
const CATCH_UP: Duration = Duration::from_millis(100);

/// What a rate may be counted in.
const UNITS: [(&str, Duration); 3] =
    [("s", Duration::from_secs(1)), ("m", Duration::from_mins(1)), ("h", Duration::from_hours(1))];

/// So many in a unit of time: `50/s`, `600/m`, `1000/h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    unit: Duration,
}

impl Rate {
    /// The time from one to the next.
    #[must_use]
    pub fn interval(self) -> Duration {
        self.unit / self.count.get()
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (count, unit) = text.split_once('/')?;
            let (_, unit) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
            Some(Self { count: count.parse().ok()?, unit })
        };
        read().ok_or_else(|| "must be a whole number above 0 per s, m or h, such as \"50/s\"".to_owned())
    }
}

/// Lets its caller go on at some rate; without one, always.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    next: Instant,
}

impl Pace {
    #[must_use]
    pub fn new(rate: Option<Rate>) -> Self {
        Self { interval: rate.map_or(Duration::ZERO, Rate::interval), next: Instant::now() }
    }

    /// Waits for the next turn. A wait that is given up takes no turn.
    pub async fn turn(&mut self) {
        if self.interval.is_zero() {
            return;
        }
        sleep_until(self.next).await;
        let behind = Instant::now().checked_sub(CATCH_UP).unwrap_or(self.next);
        self.next = self.next.max(behind) + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        for (text, millis) in [("50/s", 20), ("600/m", 100), ("1000/h", 3_600)] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.interval(), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "50", "0/s", "-1/s", "1.5/s", "/s", "5/", "5/d", "99999999999/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn turns_are_spaced_and_a_long_pause_is_not_made_up_for() {
        let mut pace = Pace::new(Some("100/s".parse().unwrap()));
        tokio::time::sleep(Duration::from_millis(500)).await;
        let started = Instant::now();
        for _ in 0..31 {
            pace.turn().await;
        }
        // At most the first ten are made up for; the other twenty have 10 ms each.
        assert!(started.elapsed() >= Duration::from_millis(180), "{:?}", started.elapsed());
    }
}
