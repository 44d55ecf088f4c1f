#![doc = include_str!("../docs/architecture.md")]

// Domain: std, serde and thiserror; no async, no I/O.
pub mod clock;
pub mod config;
pub mod event;
pub mod fault;
pub mod feature;
pub mod limits;
pub mod media;
pub mod object;
pub mod policy;
pub mod route;
pub mod settlement;
pub mod text;
pub mod trace;
pub mod verdict;

// Evidence: the bytes, and what has been proved about them.
pub mod image;
pub mod jail;
pub mod scanner;
pub mod snapshot;
pub mod stage;

// Ports.
pub mod ledger;
pub mod queue;
pub mod store;

pub mod pipeline;

// Embedded stand-ins for demo and tests.
pub mod embedded;

// Runtime.
pub mod circuit;
pub mod dlq;
pub mod ops;
pub mod pace;
pub mod reconcile;
pub mod shutdown;
pub mod telemetry;
pub mod worker;

// The command line and composition root.
pub mod cli;
