//! Tests of what is printed of steps.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

use tracing_subscriber::layer::SubscriberExt;

use super::{Progress, State, Target};

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What is printed for `act`, times left out.
fn lines(well: bool, act: impl FnOnce()) -> Vec<String> {
    let print = |line: &str| LINES.with_borrow_mut(|lines| lines.push(line.replace(" (0.0 s)", "")));
    let state = State {
        target: Target::Lines(print),
        ended: Vec::new(),
    };
    let progress = Progress(Arc::new(Mutex::new(state)));
    let subscriber = tracing_subscriber::registry().with(progress.clone());
    tracing::subscriber::with_default(subscriber, act);
    progress.finish(well);
    LINES.take()
}

fn step(what: &str) -> tracing::span::EnteredSpan {
    tracing::info_span!("step", what).entered()
}

#[test]
fn steps_are_announced_and_ended() {
    let printed = lines(true, || {
        let outer = step("outer");
        drop(step("inner"));
        tracing::info!(nodes = 3, "found them");
        drop(outer);
        drop(step("next"));
    });
    let expected = [
        "==> outer",
        "  ==> inner",
        "  ✓ inner",
        "found them nodes=3",
        "✓ outer",
        "==> next",
        "✓ next",
    ];
    assert_eq!(printed, expected);
}

#[test]
fn the_steps_that_an_error_leaves_are_marked() {
    let printed = lines(false, || {
        drop(step("first"));
        let outer = step("outer");
        drop(step("inner"));
        drop(outer);
    });
    assert_eq!(
        printed,
        [
            "==> first",
            "✓ first",
            "==> outer",
            "  ==> inner",
            "  ✗ inner",
            "✗ outer"
        ]
    );
}

#[test]
fn an_error_that_is_reported_marks_what_ended_before_it() {
    let printed = lines(true, || {
        drop(step("risky"));
        tracing::error!("it broke");
        drop(step("clean up"));
    });
    assert_eq!(
        printed,
        [
            "==> risky",
            "✗ risky",
            "error: it broke",
            "==> clean up",
            "✓ clean up"
        ]
    );
}

#[test]
fn bytes_are_counted() {
    let printed = lines(true, || {
        let step = tracing::info_span!(
            "step",
            what = "pull it",
            total_bytes = 3000_u64,
            done_bytes = tracing::field::Empty
        );
        step.record("done_bytes", 1000_u64);
        step.record("done_bytes", 2500_u64);
    });
    assert_eq!(printed, ["==> pull it", "✓ pull it: 2.50 kB"]);
}

#[test]
fn other_spans_are_nobodys_business() {
    assert_eq!(
        lines(true, || drop(tracing::info_span!("query", what = "x").entered())),
        [""; 0]
    );
}
