//! Airlock: an upload quarantine and scanning worker.

// Domain: std, serde and thiserror; no async, no I/O.
pub mod event;
pub mod fault;
pub mod media;
pub mod object;
pub mod policy;
pub mod route;
pub mod settlement;
pub mod text;
pub mod verdict;

// Settings.
pub mod config;

// Pipeline parts.
pub mod image;
