//! Makes text from outside safe for a terminal.

use std::fmt;

/// Escapes characters that control a terminal, or hide or reorder other text, as `\u{...}`.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_printable(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_unicode());
        }
    }
    shown
}

/// False for control characters (Unicode category Cc), for invisible ones that change the text around them (of category
/// Cf: joiners, direction marks, tags), and for line separators.
pub(crate) fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A serde error about JSON from outside, which it quotes; its text is made printable.
#[derive(Debug)]
pub struct JsonError(serde_json::Error);

impl From<serde_json::Error> for JsonError {
    fn from(error: serde_json::Error) -> Self {
        Self(error)
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0.to_string()))
    }
}

impl std::error::Error for JsonError {}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn unprintable_characters_are_escaped() {
        assert_eq!(printable("k8s-1.34 `ä` 日本"), "k8s-1.34 `ä` 日本");
        assert_eq!(printable("a\u{1b}[2Jb\r\n\0"), "a\\u{1b}[2Jb\\u{d}\\u{a}\\u{0}");
        assert_eq!(
            printable("\u{9b}\u{202e}txt\u{200b}"),
            "\\u{9b}\\u{202e}txt\\u{200b}"
        );
    }
}
