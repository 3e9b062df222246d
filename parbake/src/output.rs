//! Results on standard output: as text for people, as JSON for programs.

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use comfy_table::{Table, TableStyle};
use jiff::Timestamp;
use serde::Serialize;

/// The time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    // Not documentation, since that would make every command's help three times as long.
    // For people.
    #[default]
    Text,
    // For programs: one JSON value.
    Json,
}

/// Prints `value` as JSON, or what `text` makes of it.
pub(crate) fn print<T: Serialize>(
    format: Format,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> anyhow::Result<()> {
    let printed = match format {
        Format::Text => text(value),
        Format::Json => {
            serde_json::to_string_pretty(value).context("could not turn the result into JSON")? + "\n"
        }
    };
    raw(printed.as_bytes())
}

/// How often something is looked at.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Watch {
    /// Print it anew when it has changed, until interrupted; as JSON in one line
    #[arg(long)]
    watch: bool,
}

impl Watch {
    /// Prints what `look` sees, once or for ever.
    pub(crate) fn print<T: Serialize>(
        self,
        format: Format,
        look: impl Fn() -> anyhow::Result<T>,
        text: impl Fn(&T) -> String,
    ) -> anyhow::Result<()> {
        if !self.watch {
            return print(format, &look()?, text);
        }
        let mut last = String::new();
        loop {
            let seen = look()?;
            let now = match format {
                Format::Text => text(&seen),
                Format::Json => {
                    serde_json::to_string(&seen).context("could not turn the result into JSON")? + "\n"
                }
            };
            if now != last {
                // On a terminal in place of what was there (ECMA-48: CUP, ED).
                let first = format == Format::Json || last.is_empty();
                let between = match (io::stdout().is_terminal() && format == Format::Text, first) {
                    (true, _) => "\x1b[H\x1b[2J",
                    (false, true) => "",
                    (false, false) => "\n",
                };
                if !written(format!("{between}{now}").as_bytes())? {
                    return Ok(());
                }
                last = now;
            }
            thread::sleep(PAUSE);
        }
    }
}

/// Writes bytes to standard output.
pub(crate) fn raw(bytes: &[u8]) -> anyhow::Result<()> {
    written(bytes).map(drop)
}

/// Writes bytes to standard output; says whether anybody reads on.
pub(crate) fn written(bytes: &[u8]) -> anyhow::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        // The reader has seen enough, as in `parbake list | head -1`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        outcome => outcome
            .map(|()| true)
            .context("could not write to standard output"),
    }
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

/// A number of things for people, such as `1 node` or `3 nodes`.
pub(crate) fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// A size for people, such as `305.2 MB`; in powers of ten as registries and disks have it.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
}

/// How long ago something was, in its largest unit, such as `3 days ago`.
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
    fn columns_are_as_wide_as_they_must_be() {
        let rows = [
            ["a".to_owned(), "long one".to_owned()],
            ["wide".to_owned(), String::new()],
        ];
        assert_eq!(table(["NAME", "B"], rows), "NAME  B\na     long one\nwide\n");
        assert_eq!(table(["NAME", "B"], []), "NAME  B\n");
    }

    #[test]
    fn one_thing_is_not_many() {
        let texts = [0, 1, 3].map(|number| count(number, "node"));
        assert_eq!(texts, ["0 nodes", "1 node", "3 nodes"]);
    }

    #[test]
    fn times_are_as_coarse_as_they_may_be() {
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
