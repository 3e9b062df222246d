//! Hostile artifacts, imported as a pull does: they are rejected, and nothing outside of the store changes. Needs root.

#![allow(clippy::unwrap_used, reason = "a test: whatever fails, fails it")]

mod documents;
mod entries;
mod paths;
mod registry;
mod site;
mod sizes;
mod stream;

use site::{Site, chain};
use stream::Stream;

/// Checks that a stream is rejected for this reason, and that nothing else changes.
#[track_caller]
fn assert_rejected(stream: Stream, why: &str) {
    let error = chain(&Site::new().unpack(stream).unwrap_err());
    assert!(error.contains(why), "rejected for another reason: {error}");
    assert!(!error.chars().any(char::is_control), "{error:?}");
}
