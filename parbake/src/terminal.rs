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
//! A step that moves bytes has the field `total_bytes` too, and records `done_bytes` as it goes on: a bar with a rate on a
//! terminal, `✓ pull it: 302.20 MB (4.1 s)` elsewhere.
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
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::output::size;

/// The name of the spans that are steps, and of the field that says what they do.
const STEP: &str = "step";
const WHAT: &str = "what";
/// The fields of a step that moves bytes.
const TOTAL_BYTES: &str = "total_bytes";
const DONE_BYTES: &str = "done_bytes";
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
        styles: Box<Styles>,
    },
    Lines(fn(&str)),
}

struct Styles {
    steps: ProgressStyle,
    /// For steps that move bytes.
    bytes: ProgressStyle,
}

/// What is kept of a step while it lasts.
struct Step {
    what: String,
    depth: usize,
    started: Instant,
    bar: Option<ProgressBar>,
    /// Bytes moved, if it moves any.
    done: Option<u64>,
}

impl Target {
    fn terminal() -> Self {
        let steps = ProgressStyle::with_template("{prefix}{spinner} {msg} ({elapsed})");
        let bytes = ProgressStyle::with_template(
            "{prefix}{spinner} {msg}: {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec} ({elapsed})",
        );
        Self::Terminal {
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            styles: Box::new(Styles {
                steps: steps.unwrap_or_else(|_| ProgressStyle::default_spinner()),
                bytes: bytes.unwrap_or_else(|_| ProgressStyle::default_bar()),
            }),
        }
    }

    fn line(&self, line: &str) {
        match self {
            // Standard error may be closed; the work goes on.
            Self::Terminal { bars, .. } => drop(bars.println(line)),
            Self::Lines(print) => print(line),
        }
    }

    fn begin(&self, what: &str, total: Option<u64>, depth: usize) -> Option<ProgressBar> {
        match self {
            Self::Terminal { bars, styles } => {
                let bar = match total {
                    Some(total) => ProgressBar::new(total).with_style(styles.bytes.clone()),
                    None => ProgressBar::new_spinner().with_style(styles.steps.clone()),
                };
                let bar = bars.add(bar);
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
        let bar = state.target.begin(&words.what, words.total, depth);
        span.extensions_mut().insert(Step {
            what: words.what,
            depth,
            started: Instant::now(),
            bar,
            done: words.total.map(|_| 0),
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut words = Words::default();
        values.record(&mut words);
        let Some(span) = context.span(id).filter(|_| words.done.is_some()) else {
            return;
        };
        let mut extensions = span.extensions_mut();
        if let Some(step) = extensions.get_mut::<Step>() {
            step.done = words.done;
            if let (Some(bar), Some(done)) = (&step.bar, words.done) {
                bar.set_position(done);
            }
        }
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
        let amount = step
            .done
            .map(|bytes| format!(": {}", size(bytes)))
            .unwrap_or_default();
        let line = format!("{}{}{amount} ({seconds:.1} s)", indent(step.depth), step.what);
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
    total: Option<u64>,
    done: Option<u64>,
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

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            TOTAL_BYTES => self.total = Some(value),
            DONE_BYTES => self.done = Some(value),
            _ => self.add(field, format_args!("{value}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
#[path = "terminal_tests.rs"]
mod tests;
