//! Progress on standard error: bars on a terminal, plain lines elsewhere.
//!
//! A step is a span called `step` with a field `what`. When it ends, it becomes a line; on a terminal it is a spinner
//! until then:
//!
//! ```text
//! ✓ build the node OS (16.4 s)
//! ```
//!
//! Steps that a user wants to see have the level INFO, details have DEBUG, which `--verbose` shows. With `--verbose` the
//! start of a step is a line too, and steps are indented below the step that they belong to:
//!
//! ```text
//! ==> build the node OS
//!   ==> unpack layer `os`
//!   ✓ unpack layer `os` (1.2 s)
//! ✓ build the node OS (16.4 s)
//! ```
//!
//! A step that moves bytes also has the field `total_bytes`, and records `done_bytes`: a bar with a rate on a terminal,
//! `✓ pull it: 302.20 MB (4.1 s)` elsewhere.
//!
//! A span does not know whether it succeeded, so the line of a step that ended is held back. Anything that is reported
//! afterwards means success; an event of level ERROR, or the failure of the command, means failure (`✗`). Code that
//! handles an error and starts another step must therefore report the error first.

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

use crate::output::{self, size};

const STEP: &str = "step";
const WHAT: &str = "what";
const TOTAL_BYTES: &str = "total_bytes";
const DONE_BYTES: &str = "done_bytes";
/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// Starts to report progress; `verbose` adds details.
pub(crate) fn start(verbose: bool) -> Progress {
    let target = if io::stderr().is_terminal() {
        Target::terminal()
    } else {
        Target::Lines(output::message)
    };
    let progress = Progress::new(target, verbose);
    let level = if verbose {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    };
    let filter = Targets::new()
        .with_target("parbake", level)
        // It reports every refused connection, which is normal while an API server starts.
        .with_target("kube_client", LevelFilter::OFF)
        .with_default(LevelFilter::WARN);
    // This fails only if there is a subscriber already.
    let _ = tracing_subscriber::registry()
        .with(progress.clone().with_filter(filter))
        .try_init();
    progress
}

/// The progress report of a command.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<State>>);

struct State {
    target: Target,
    verbose: bool,
    /// Lines of steps that ended, not yet known whether successfully.
    ended: Vec<EndedStep>,
}

struct EndedStep {
    indent: String,
    text: String,
}

enum Target {
    Terminal {
        bars: MultiProgress,
        styles: Box<Styles>,
    },
    Lines(fn(&str)),
}

struct Styles {
    spinner: ProgressStyle,
    /// For steps that move bytes.
    bytes: ProgressStyle,
}

/// A step that has not ended.
struct Step {
    what: String,
    depth: usize,
    started: Instant,
    bar: Option<ProgressBar>,
    done_bytes: Option<u64>,
}

impl Target {
    fn terminal() -> Self {
        let spinner = ProgressStyle::with_template("{prefix}{spinner} {msg} ({elapsed})");
        let bytes = ProgressStyle::with_template(
            "{prefix}{spinner} {msg}: {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec} ({elapsed})",
        );
        Self::Terminal {
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            styles: Box::new(Styles {
                spinner: spinner.unwrap_or_else(|_| ProgressStyle::default_spinner()),
                bytes: bytes.unwrap_or_else(|_| ProgressStyle::default_bar()),
            }),
        }
    }

    fn line(&self, line: &str) {
        match self {
            // The terminal may be gone; the work continues.
            Self::Terminal { bars, .. } => drop(bars.println(line)),
            Self::Lines(print) => print(line),
        }
    }

    fn bar(&self, what: &str, total: Option<u64>, depth: usize) -> Option<ProgressBar> {
        let Self::Terminal { bars, styles } = self else {
            return None;
        };
        let bar = match total {
            Some(total) => ProgressBar::new(total).with_style(styles.bytes.clone()),
            None => ProgressBar::new_spinner().with_style(styles.spinner.clone()),
        };
        let bar = bars.add(bar);
        bar.set_prefix(indent(depth));
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(TICK);
        Some(bar)
    }
}

impl State {
    /// Prints the lines that were held back.
    fn flush_ended(&mut self, succeeded: bool) {
        let mark = if succeeded { "✓" } else { "✗" };
        for EndedStep { indent, text } in std::mem::take(&mut self.ended) {
            self.target.line(&format!("{indent}{mark} {text}"));
        }
    }

    fn begin(&mut self, what: &str, total: Option<u64>, depth: usize) -> Option<ProgressBar> {
        self.flush_ended(true);
        let bar = self.target.bar(what, total, depth);
        if self.verbose && bar.is_none() {
            self.target.line(&format!("{}==> {what}", indent(depth)));
        }
        bar
    }

    fn end(&mut self, step: &Step) {
        let seconds = step.started.elapsed().as_secs_f64();
        let amount = step.done_bytes.map(|bytes| format!(": {}", size(bytes)));
        self.ended.push(EndedStep {
            // Without the lines of their starts, steps are listed in the order in which they end.
            indent: indent(if self.verbose { step.depth } else { 0 }),
            text: format!("{}{} ({seconds:.1} s)", step.what, amount.unwrap_or_default()),
        });
    }
}

impl Progress {
    fn new(target: Target, verbose: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            target,
            verbose,
            ended: Vec::new(),
        })))
    }

    /// Ends the report. The steps that ended last have the result of the command.
    pub(crate) fn finish(&self, succeeded: bool) {
        let mut state = self.state();
        state.flush_ended(succeeded);
        if let Target::Terminal { bars, .. } = &state.target {
            drop(bars.clear());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is valid even if a thread panicked while it printed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Progress {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id).filter(|span| span.name() == STEP) else {
            return;
        };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let depth = span
            .scope()
            .skip(1)
            .filter(|parent| parent.name() == STEP)
            .count();
        let bar = self.state().begin(&fields.what, fields.total_bytes, depth);
        span.extensions_mut().insert(Step {
            what: fields.what,
            depth,
            started: Instant::now(),
            bar,
            done_bytes: fields.total_bytes.map(|_| 0),
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        let (Some(span), Some(done)) = (context.span(id), fields.done_bytes) else {
            return;
        };
        let mut extensions = span.extensions_mut();
        if let Some(step) = extensions.get_mut::<Step>() {
            step.done_bytes = Some(done);
            if let Some(bar) = &step.bar {
                bar.set_position(done);
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        let mut state = self.state();
        state.flush_ended(level != Level::ERROR);
        let prefix = match level {
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            Level::INFO => "",
            _ => "debug: ",
        };
        state
            .target
            .line(&format!("{prefix}{}{}", fields.message, fields.others));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id);
        let Some(step) = span.and_then(|span| span.extensions_mut().remove::<Step>()) else {
            return;
        };
        if let Some(bar) = &step.bar {
            bar.finish_and_clear();
        }
        self.state().end(&step);
    }
}

fn indent(depth: usize) -> String {
    "  ".repeat(depth)
}

/// The fields of a span or an event.
#[derive(Default)]
struct Fields {
    what: String,
    message: String,
    /// ` name=value` for each other field.
    others: String,
    total_bytes: Option<u64>,
    done_bytes: Option<u64>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            WHAT => self.what.write_fmt(value),
            "message" => self.message.write_fmt(value),
            name => self.others.write_fmt(format_args!(" {name}={value}")),
        };
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            TOTAL_BYTES => self.total_bytes = Some(value),
            DONE_BYTES => self.done_bytes = Some(value),
            _ => self.add(field, format_args!("{value}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests;
