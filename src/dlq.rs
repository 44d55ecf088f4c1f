//! The dead-letter queue as its operators work on it: look through it, send messages back to work, drop them.
//!
//! Everything here ends: no more messages are looked at than the queue held at the start, and no more than
//! [`MAX_HELD`] are held back at a time. Nothing is lost wherever it is interrupted: a message leaves the queue only
//! by an ack, and before that ack its copy is confirmed in the work queue.

mod advice;
mod letter;
mod selection;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use self::advice::advice;
pub use self::letter::{Group, Letter, UNKNOWN, group};
pub use self::selection::Selection;
use crate::clock;
use crate::fault::Fault;
use crate::pace::Pace;
use crate::queue::amqp::Confirmed;
use crate::queue::dead::{DeadLetter, DeadQueue};
use crate::route::Route;
use crate::text;

/// The most messages that are held back at a time. The broker keeps each of them in its books until it is given back.
pub const MAX_HELD: u32 = 20_000;

/// Why the look through the queue ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum End {
    /// Everything that was there at the start has been looked at.
    #[default]
    Complete,
    /// As many messages as were asked for.
    Limit,
    /// [`MAX_HELD`] messages are held back.
    Full,
    Interrupted,
}

/// What a look through the queue saw.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub at_start: u32,
    pub looked_at: u32,
    pub matched: u32,
    /// How many of those were redriven or discarded.
    pub done: u32,
    /// The largest number of times that a message here was given back already, as the broker counts.
    pub returned: u64,
    pub end: End,
}

impl Tally {
    /// How many messages nobody has looked at.
    #[must_use]
    pub const fn unseen(&self) -> u32 {
        self.at_start.saturating_sub(self.looked_at)
    }
}

/// A tool over the dead-letter queue.
pub struct Dlq<'a> {
    pub queue: &'a mut DeadQueue,
    pub routes: &'a [Arc<Route>],
    pub selection: &'a Selection,
    /// Ends the work between two messages.
    pub stop: &'a CancellationToken,
    /// What was seen so far, also where the work ends with a fault.
    pub tally: Tally,
}

impl Dlq<'_> {
    /// Shows every letter that matches, with its message, and leaves all of them in the queue.
    ///
    /// # Errors
    /// `broker.unavailable`.
    pub async fn look(&mut self, mut show: impl FnMut(&Letter, &DeadLetter)) -> Result<(), Fault> {
        self.each(async |letter, dead| {
            show(&letter, &dead);
            Ok(Some(dead))
        })
        .await
    }

    /// Sends every letter that matches back to work, at this pace.
    ///
    /// # Errors
    /// Ends at the first message that could not be published; it stays.
    pub async fn redrive(
        &mut self,
        publisher: &Confirmed,
        mut pace: Pace,
        mut show: impl FnMut(&Letter),
    ) -> Result<(), Fault> {
        let stop = self.stop;
        self.each(async |letter, dead| {
            tokio::select! { biased; () = stop.cancelled() => return Ok(Some(dead)), () = pace.turn() => {} }
            dead.redrive(publisher).await?;
            report("redriven", &letter);
            show(&letter);
            Ok(None)
        })
        .await
    }

    /// Drops every letter that matches.
    ///
    /// # Errors
    /// `broker.unavailable`; the message at hand may or may not be gone then.
    pub async fn discard(&mut self, mut show: impl FnMut(&Letter)) -> Result<(), Fault> {
        self.each(async |letter, dead| {
            dead.discard().await?;
            report("discarded", &letter);
            show(&letter);
            Ok(None)
        })
        .await
    }

    /// Visits every letter that matches; `None` says that it has left the queue.
    async fn each(
        &mut self,
        mut visit: impl AsyncFnMut(Letter, DeadLetter) -> Result<Option<DeadLetter>, Fault>,
    ) -> Result<(), Fault> {
        let (mut held, now) = (0, clock::now());
        self.tally.end = loop {
            if self.stop.is_cancelled() {
                break End::Interrupted;
            }
            if self.selection.limit.is_some_and(|limit| self.tally.matched >= limit) {
                break End::Limit;
            }
            if held >= MAX_HELD {
                break if self.tally.unseen() == 0 { End::Complete } else { End::Full };
            }
            if self.tally.looked_at > 0 && self.tally.unseen() == 0 {
                break End::Complete;
            }
            let Some(dead) = self.queue.next().await? else { break End::Complete };
            if self.tally.looked_at == 0 {
                self.tally.at_start = dead.behind.saturating_add(1);
            }
            self.tally.looked_at += 1;
            self.tally.returned = self.tally.returned.max(dead.returned);
            let letter = Letter::of(&dead.message, dead.death.as_ref(), self.routes);
            let kept = if self.selection.matches(&letter, now) {
                self.tally.matched += 1;
                visit(letter, dead).await?
            } else {
                Some(dead)
            };
            match kept {
                None => self.tally.done += 1,
                Some(dead) => {
                    self.queue.hold(dead);
                    held += 1;
                }
            }
        };
        Ok(())
    }
}

/// The security event of a message that left the queue.
fn report(event: &'static str, letter: &Letter) {
    let shown = |text: &str| text::printable_within(text, 200);
    let key = letter.key.as_deref().map(shown).unwrap_or_default();
    let (id, code) = (shown(&letter.id), shown(&letter.code));
    tracing::info!(event, severity = "medium", code, key, redriven = letter.redriven, "dead letter {id} is {event}");
}
