//! Stand-ins that run inside this process, so that `airlock demo` and fast tests need nothing installed.
//!
//! They speak the real protocols: the worker talks to them through the same adapters as in production and
//! cannot tell the difference. They are bounded like everything else here, but they keep nothing: what they
//! store is gone when they are dropped.

mod s3;

pub use s3::{Action, Created, Credentials, EmbeddedS3, Grant};
