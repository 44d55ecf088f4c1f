//! How bytes pass a proxy: freely, slowly, not at all, or up to a point.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::watch;

/// How the proxy treats its connections, old and new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Nobody listens, as if the service had ended.
    Refuse,
    /// Connections are accepted and end at once.
    Drop,
    /// Connections stay, and nothing comes through.
    BlackHole,
    /// So many bytes a second, for each connection in each direction.
    Slow(usize),
    /// Connections end when so many bytes have gone to the service.
    CutUp(usize),
    /// Connections end when so many bytes have come from the service.
    CutDown(usize),
}

/// One direction of a connection under the mode of the proxy.
pub(super) struct Flow {
    to: OwnedWriteHalf,
    mode: watch::Receiver<Mode>,
    up: bool,
    /// Bytes that have passed since cutting began.
    passed: usize,
}

impl Flow {
    pub fn new(to: OwnedWriteHalf, mode: watch::Receiver<Mode>, up: bool) -> Self {
        Self { to, mode, up, passed: 0 }
    }

    /// Writes as the mode allows; says whether the connection goes on.
    pub async fn write(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let mode = *self.mode.borrow_and_update();
            let now = match mode {
                Mode::BlackHole => {
                    let _ = self.mode.changed().await;
                    continue;
                }
                Mode::Slow(rate) => {
                    let now = bytes.len().min((rate / 20).max(1));
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    now
                }
                Mode::CutUp(after) if self.up => bytes.len().min(after.saturating_sub(self.passed)),
                Mode::CutDown(after) if !self.up => bytes.len().min(after.saturating_sub(self.passed)),
                _ => bytes.len(),
            };
            self.passed = if mode == Mode::Pass { 0 } else { self.passed + now };
            if now == 0 || self.to.write_all(&bytes[..now]).await.is_err() {
                return false;
            }
            bytes = &bytes[now..];
        }
        true
    }
}
