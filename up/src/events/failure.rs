//! Errors as one line of text.

use std::error::Error;
use std::iter::successors;

use parbake_artifact::printable;

/// Maximum length in characters. The log is bounded, and readers show it in a table.
const MAX_LENGTH: usize = 300;

/// The first lines of an error and of its causes, without control characters.
pub(super) fn one_line(error: &dyn Error) -> String {
    let causes = successors(Some(error), |error: &&dyn Error| (*error).source());
    let lines = causes.filter_map(|cause| cause.to_string().lines().next().map(str::to_owned));
    let mut text = printable(&lines.collect::<Vec<_>>().join(": "));
    if let Some((end, _)) = text.char_indices().nth(MAX_LENGTH) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::one_line;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Outer {
        text: String,
        #[source]
        source: Option<io::Error>,
    }

    #[test]
    fn line_has_the_first_line_of_every_cause() {
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
            assert_eq!(one_line(&Outer { text, source }), expected);
        }
    }
}
