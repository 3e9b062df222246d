//! An error in one line.

use std::error::Error;
use std::iter::successors;

use parbake_artifact::printable;

/// How long a line may be, in characters: the log is bounded, and people look at it in a table.
const LENGTH: usize = 300;

/// The first line of an error and of what caused it, fit for a terminal.
pub(super) fn line(error: &dyn Error) -> String {
    let causes = successors(Some(error), |error: &&dyn Error| (*error).source());
    let firsts = causes.filter_map(|cause| cause.to_string().lines().next().map(str::to_owned));
    let mut text = printable(&firsts.collect::<Vec<_>>().join(": "));
    if let Some((end, _)) = text.char_indices().nth(LENGTH) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::line;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Outer {
        text: String,
        #[source]
        source: Option<io::Error>,
    }

    #[test]
    fn every_cause_gives_its_first_line() {
        let long = "x".repeat(400);
        let cases = [
            (
                "could not start\nnode01: no",
                Some("no room"),
                "could not start: no room".to_owned(),
            ),
            ("a\u{1b}[2J", None, "a\\u{1b}[2J".to_owned()),
            (long.as_str(), None, format!("{}…", &long[..300])),
        ];
        for (text, source, expected) in cases {
            let text = text.to_owned();
            let source = source.map(io::Error::other);
            assert_eq!(line(&Outer { text, source }), expected);
        }
    }
}
