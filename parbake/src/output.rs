//! Everything that is printed: results to standard output, messages to standard error.
//!
//! Neither stream may end a command halfway: a result is printed after the work is done, a pipe that was closed by its
//! reader is not an error, and messages that cannot be written are dropped.

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use jiff::Timestamp;
pub(crate) use parbake_bench::format::{count, size, table};
use serde::Serialize;

/// How often `--watch` looks for changes.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Moves the cursor to the upper left and erases the screen (ECMA-48 8.3.21 CUP, 8.3.39 ED).
const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";

/// The form of results.
// The variants have no doc comments: clap would print them in every help text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Text,
    Json,
}

/// Prints `value` as JSON, or as the text that `text` returns.
pub(crate) fn print<T: Serialize>(
    format: Format,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    let output = match format {
        Format::Text => text(value),
        Format::Json => serde_json::to_string_pretty(value).context(NOT_SERIALIZABLE)? + "\n",
    };
    write(output.as_bytes()).map(drop)
}

const NOT_SERIALIZABLE: &str = "could not serialize the result";

/// Prints the outcome of work that is done. That it cannot be written is a warning: the work did not fail.
pub(crate) fn report<T: Serialize>(
    format: Format,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    if let Err(error) = print(format, value, text) {
        tracing::warn!("done, but {error:#}");
    }
    Ok(())
}

/// Prints `value` as one line of JSON, or as the text that `text` returns; returns false if nobody reads any more.
pub(crate) fn print_line<T: Serialize>(
    format: Format,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> anyhow::Result<bool> {
    write(line(format, value, text)?.as_bytes())
}

fn line<T: Serialize>(format: Format, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<String> {
    Ok(match format {
        Format::Text => text(value),
        Format::Json => serde_json::to_string(value).context(NOT_SERIALIZABLE)? + "\n",
    })
}

/// Prints what `read` returns, and again whenever it has changed, until the reader or the user ends it.
pub(crate) fn watch<T: Serialize>(
    format: Format,
    read: impl Fn() -> anyhow::Result<T>,
    text: impl Fn(&T) -> String,
) -> anyhow::Result<()> {
    let mut last = String::new();
    loop {
        let now = line(format, &read()?, &text)?;
        if now != last {
            let separator = match format {
                Format::Text if io::stdout().is_terminal() => CLEAR_SCREEN,
                Format::Text if !last.is_empty() => "\n",
                _ => "",
            };
            if !write(format!("{separator}{now}").as_bytes())? {
                return Ok(());
            }
            last = now;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Writes bytes to standard output; returns false if the reader closed the pipe, as `head` does.
///
/// # Errors
/// Everything else that can go wrong, such as a full disk.
pub(crate) fn write(bytes: &[u8]) -> anyhow::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("could not write to standard output"),
    }
}

/// Writes a message to standard error, which may be closed or full: the work continues.
pub(crate) fn message(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The time since `time` in its largest unit, such as `3 days ago`.
pub(crate) fn ago(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(time).as_secs();
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    match units.into_iter().find(|(length, _)| seconds >= *length) {
        Some((length, unit)) => {
            let number = usize::try_from(seconds / length).unwrap_or(usize::MAX);
            format!("{} ago", count(number, unit))
        }
        None => "just now".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::ago;

    #[test]
    fn times_are_rounded_down_to_their_largest_unit() {
        let now = Timestamp::UNIX_EPOCH;
        let cases = [
            (-5, "just now"),
            (59, "just now"),
            (60, "1 minute ago"),
            (7_199, "1 hour ago"),
            (86_400 * 30, "30 days ago"),
        ];
        for (seconds, text) in cases {
            assert_eq!(ago(now - SignedDuration::from_secs(seconds), now), text);
        }
    }
}
