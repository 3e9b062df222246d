//! Checks of the event log.

use crate::place::{Outcome, Place, check};

/// The last events of the cluster `name` are `last`, not counting milestones.
pub fn ends_with_events(place: &Place, name: &str, last: &[&str]) -> Outcome {
    let events = place.json(&["events", "--name", name])?;
    let events = events.as_array().ok_or("events are no list")?;
    let words = events.iter().filter_map(|event| event["event"].as_str());
    let words: Vec<&str> = words.filter(|word| *word != "passed").collect();
    check(words.ends_with(last), || {
        format!("the events are {words:?}, not {last:?} in the end")
    })
}

/// Each milestone of the last start of the cluster `name` is recorded once and no later than the end of the start.
pub fn milestones_are_recorded(place: &Place, name: &str) -> Outcome {
    let events = place.json(&["events", "--name", name])?;
    let events = events.as_array().ok_or("events are no list")?;
    let start = events.iter().rposition(|event| event["event"] == "starting");
    let since = &events[start.unwrap_or(0)..];
    let passed = since.iter().filter(|event| event["event"] == "passed");
    let mut names: Vec<&str> = passed
        .clone()
        .filter_map(|event| event["milestone"].as_str())
        .collect();
    names.sort_unstable();
    let end = since.iter().find(|event| event["event"] == "ready");
    let end = end
        .and_then(|event| event["seconds"].as_f64())
        .ok_or("no end was told")?;
    let early = passed
        .clone()
        .all(|event| event["seconds"].as_f64().is_some_and(|seconds| seconds <= end));
    check(early && names == ["api", "dns", "nodes", "pods"], || {
        format!("{since:?}")
    })
}
