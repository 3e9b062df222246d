use std::cell::RefCell;

use tracing_subscriber::layer::SubscriberExt;

use super::{Progress, Target};

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Returns the lines printed for `act`, without times.
fn lines(verbose: bool, succeeded: bool, act: impl FnOnce()) -> Vec<String> {
    let print = |line: &str| LINES.with_borrow_mut(|lines| lines.push(line.replace(" (0.0 s)", "")));
    let progress = Progress::new(Target::Lines(print), verbose);
    let subscriber = tracing_subscriber::registry().with(progress.clone());
    tracing::subscriber::with_default(subscriber, act);
    progress.finish(succeeded);
    LINES.take()
}

fn step(what: &str) -> tracing::span::EnteredSpan {
    tracing::info_span!("step", what).entered()
}

fn nested_steps() {
    let outer = step("outer");
    drop(step("inner"));
    tracing::info!(nodes = 3, "found nodes");
    drop(outer);
    drop(step("next"));
}

#[test]
fn every_step_is_one_line() {
    let expected = ["✓ inner", "found nodes nodes=3", "✓ outer", "✓ next"];
    assert_eq!(lines(false, true, nested_steps), expected);
}

#[test]
fn verbose_steps_have_a_start_and_are_indented() {
    let expected = [
        "==> outer",
        "  ==> inner",
        "  ✓ inner",
        "found nodes nodes=3",
        "✓ outer",
        "==> next",
        "✓ next",
    ];
    assert_eq!(lines(true, true, nested_steps), expected);
}

#[test]
fn failed_command_marks_the_steps_that_ended_last() {
    let printed = lines(false, false, || {
        drop(step("first"));
        let outer = step("outer");
        drop(step("inner"));
        drop(outer);
    });
    assert_eq!(printed, ["✓ first", "✗ inner", "✗ outer"]);
}

#[test]
fn reported_error_marks_the_step_before_it() {
    let printed = lines(false, true, || {
        drop(step("risky"));
        tracing::error!("it broke");
        drop(step("clean up"));
    });
    assert_eq!(printed, ["✗ risky", "error: it broke", "✓ clean up"]);
}

#[test]
fn bytes_are_counted() {
    let printed = lines(false, true, || {
        let step = tracing::info_span!(
            "step",
            what = "pull it",
            total_bytes = 3000_u64,
            done_bytes = tracing::field::Empty
        );
        step.record("done_bytes", 1000_u64);
        step.record("done_bytes", 2500_u64);
    });
    assert_eq!(printed, ["✓ pull it: 2.50 kB"]);
}

#[test]
fn other_spans_are_ignored() {
    let printed = lines(true, true, || {
        drop(tracing::info_span!("query", what = "x").entered())
    });
    assert_eq!(printed, [""; 0]);
}
