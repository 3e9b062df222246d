//! Transfers of small artifacts with distribution's registry, behind a proxy that injects faults.
//!
//! After each fault the store has the complete artifact or none, and once the fault is gone the next pull or publish
//! succeeds.

#![allow(clippy::unwrap_used, reason = "failures fail the test")]

mod child;
mod compatibility;
mod corruption;
mod deltas;
mod fixture;
mod full_disk;
mod images;
mod interruptions;
mod killed;
mod mirrors;
mod mounts;
mod proxies;
mod proxy;
mod server;
mod stalls;
mod statuses;
mod tls;
mod tokens;
