//! Progress on standard error: spinners on a terminal, plain lines elsewhere.
//!
//! A step is a span called `step` with a field `what`. Its start and its end become lines:
//!
//! ```text
//! ==> build the node OS
//!   ==> unpack layer `os`
//!   ✓ unpack layer `os` (1.2 s)
//! ✓ build the node OS (16.4 s)
//! ```
//!
//! A span does not say whether it ended well: an error leaves it like a result. So the line of a step that ended is
//! held back until it is known. It ended well if anything else is reported after it, and badly (`✗`) if an event of
//! level ERROR is next or the command fails. What is on its way out of an error must therefore not start a step
//! without reporting the error first.

use std::fmt::{self, Write};
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// The name of the spans that are steps, and of the field that says what they do.
const STEP: &str = "step";
const WHAT: &str = "what";
/// How often a spinner moves.
const TICK: Duration = Duration::from_millis(100);

/// Starts to report progress; `verbose` adds what libraries say for their developers.
pub(crate) fn start(verbose: bool) -> Progress {
    let target = if io::stderr().is_terminal() {
        Target::terminal()
    } else {
        Target::Lines(|line| eprintln!("{line}"))
    };
    let progress = Progress(Arc::new(Mutex::new(State {
        target,
        ended: Vec::new(),
    })));
    let own = if verbose {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    };
    let filter = Targets::new()
        .with_target("parbake", own)
        // It reports every refused connection, which is what waiting for an API is made of.
        .with_target("kube_client", LevelFilter::OFF)
        .with_default(LevelFilter::WARN);
    // It can only fail when it was done before; then progress goes there.
    let _ = tracing_subscriber::registry()
        .with(progress.clone().with_filter(filter))
        .try_init();
    progress
}

/// The report of progress.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<State>>);

struct State {
    target: Target,
    /// Steps that ended, not yet known whether well.
    ended: Vec<String>,
}

enum Target {
    Terminal {
        bars: MultiProgress,
        style: ProgressStyle,
    },
    Lines(fn(&str)),
}

/// What is kept of a step while it lasts.
struct Step {
    what: String,
    depth: usize,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Target {
    fn terminal() -> Self {
        let style = ProgressStyle::with_template("{prefix}{spinner} {msg} ({elapsed})");
        Self::Terminal {
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            style: style.unwrap_or_else(|_| ProgressStyle::default_spinner()),
        }
    }

    fn line(&self, line: &str) {
        match self {
            // Standard error may be closed; the work goes on.
            Self::Terminal { bars, .. } => drop(bars.println(line)),
            Self::Lines(print) => print(line),
        }
    }

    fn begin(&self, what: &str, depth: usize) -> Option<ProgressBar> {
        match self {
            Self::Terminal { bars, style } => {
                let bar = bars.add(ProgressBar::new_spinner().with_style(style.clone()));
                bar.set_prefix(indent(depth));
                bar.set_message(what.to_owned());
                bar.enable_steady_tick(TICK);
                Some(bar)
            }
            Self::Lines(print) => {
                print(&format!("{}==> {what}", indent(depth)));
                None
            }
        }
    }
}

impl State {
    /// Prints what was held back.
    fn settle(&mut self, well: bool) {
        let mark = if well { "✓" } else { "✗" };
        for ended in std::mem::take(&mut self.ended) {
            let (indent, what) = ended.split_at(ended.len() - ended.trim_start().len());
            self.target.line(&format!("{indent}{mark} {what}"));
        }
    }
}

impl Progress {
    /// Ends the report: whether the command succeeded decides about the steps that ended last.
    pub(crate) fn finish(&self, well: bool) {
        let mut state = self.state();
        state.settle(well);
        if let Target::Terminal { bars, .. } = &state.target {
            drop(bars.clear());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked while it printed leaves nothing that could be wrong.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Progress {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id).filter(|span| span.name() == STEP) else {
            return;
        };
        let mut words = Words::default();
        attributes.record(&mut words);
        let depth = span
            .scope()
            .skip(1)
            .filter(|parent| parent.name() == STEP)
            .count();
        let mut state = self.state();
        state.settle(true);
        let bar = state.target.begin(&words.what, depth);
        span.extensions_mut().insert(Step {
            what: words.what,
            depth,
            started: Instant::now(),
            bar,
        });
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut words = Words::default();
        event.record(&mut words);
        let level = *event.metadata().level();
        let mut state = self.state();
        state.settle(level != Level::ERROR);
        let prefix = match level {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            Level::INFO => "",
            _ => "debug: ",
        };
        state
            .target
            .line(&format!("{prefix}{}{}", words.message, words.others));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(step) = context
            .span(&id)
            .and_then(|span| span.extensions_mut().remove::<Step>())
        else {
            return;
        };
        if let Some(bar) = step.bar {
            bar.finish_and_clear();
        }
        let seconds = step.started.elapsed().as_secs_f64();
        let line = format!("{}{} ({seconds:.1} s)", indent(step.depth), step.what);
        self.state().ended.push(line);
    }
}

fn indent(depth: usize) -> String {
    "  ".repeat(depth)
}

/// The fields of a span or event, in words.
#[derive(Default)]
struct Words {
    what: String,
    message: String,
    /// ` name=value` for each other field.
    others: String,
}

impl Words {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            WHAT => self.what.write_fmt(value),
            "message" => self.message.write_fmt(value),
            name => self.others.write_fmt(format_args!(" {name}={value}")),
        };
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
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
    fn other_spans_are_nobodys_business() {
        assert_eq!(
            lines(true, || drop(tracing::info_span!("query", what = "x").entered())),
            [""; 0]
        );
    }
}
