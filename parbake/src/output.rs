//! Everything that is printed: results to standard output, messages to standard error.
//!
//! Neither stream may end a command halfway: a result is printed after the work is done, a pipe that was closed by its
//! reader is not an error, and messages that cannot be written are dropped.

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use comfy_table::{Table, TableStyle};
use jiff::Timestamp;
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

/// A table of left-aligned columns without lines.
pub(crate) fn table<const COLUMNS: usize>(
    header: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(TableStyle::new())
        .set_header(header)
        .add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// A number with its noun, such as `1 node` or `3 nodes`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let stem = noun
        .strip_suffix('y')
        .filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match (number, stem) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        _ => format!("{number} {noun}s"),
    }
}

/// A size in powers of ten, such as `305.20 MB`.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
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

    use super::{ago, count, size, table};

    #[test]
    fn columns_fit_their_widest_cell() {
        let rows = [
            ["a".to_owned(), "long one".to_owned()],
            ["wide".to_owned(), String::new()],
        ];
        assert_eq!(table(["NAME", "B"], rows), "NAME  B\na     long one\nwide\n");
        assert_eq!(table(["NAME", "B"], []), "NAME  B\n");
    }

    #[test]
    fn nouns_agree_with_their_number() {
        let nodes = [0, 1, 3].map(|number| count(number, "node"));
        assert_eq!(nodes, ["0 nodes", "1 node", "3 nodes"]);
        let entries = [1, 2].map(|number| count(number, "entry"));
        assert_eq!(entries, ["1 entry", "2 entries"]);
    }

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

    #[test]
    fn sizes_are_decimal() {
        assert_eq!(
            (size(305_200_000), size(999)),
            ("305.20 MB".to_owned(), "999 B".to_owned())
        );
    }
}
