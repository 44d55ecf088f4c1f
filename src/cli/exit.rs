//! Exit codes: part of the contract with scripts and probes.

use std::process::ExitCode;

/// How a command ended. A fault beats a negative finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    Ok,
    /// A negative finding: something was rejected, a worker is not ready.
    Negative,
    Fault,
    /// The command line cannot be carried out; nothing was done.
    Usage,
    /// A dependency does not answer; nothing was done.
    Unavailable,
    Configuration,
    Interrupted,
}

impl Exit {
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Negative => 1,
            Self::Fault => 2,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Configuration => 78,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
