//! Artifacts that somebody made to do harm, taken in as a pull does: refused, and nothing outside of the store is
//! touched; as root.

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

/// Refused for this reason, and nothing is touched.
#[track_caller]
fn assert_refused(stream: Stream, why: &str) {
    let error = chain(&Site::new().unpack(stream).unwrap_err());
    assert!(error.contains(why), "refused for another reason: {error}");
    assert!(!error.chars().any(char::is_control), "{error:?}");
}
