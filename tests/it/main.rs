//! One integration binary. `scripts/test` starts the services that it needs and tells it where they are; an absent
//! service fails the test that needs it. Every test has its own buckets and its own prefix in the broker, so they
//! run side by side.

mod bombs;
mod broker;
mod cases;
mod cli;
mod corpus;
mod crash;
mod demo;
mod deploy;
mod dlq;
mod docs;
mod fairness;
mod faults;
mod flow;
mod front;
mod fuzz;
mod gate;
mod interleave;
mod jail;
mod model;
mod notifications;
mod outages;
mod pipeline;
mod process;
mod proxy;
mod random;
mod reconcile;
mod requests;
mod samples;
mod scanner;
mod services;
mod settled;
mod signed;
mod stop;
mod suspects;
mod tidy;
mod topology;
mod traces;
mod trust;
mod world;
