//! Registries that fail in every way: distribution's own behind a proxy that makes it fail, and small artifacts.
//!
//! After each fault the store holds the artifact whole, or nothing of it under a name; and once the fault is gone the
//! next pull or publish succeeds.

#![allow(clippy::unwrap_used, reason = "a test: whatever fails, fails it")]

mod child;
mod cuts;
mod deltas;
mod full_disk;
mod images;
mod killed;
mod mirrors;
mod mounts;
mod proxy;
mod server;
mod silence;
mod small;
mod statuses;
mod tls;
mod tokens;
mod wrong;
