//! Keys of cached results.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest, Sha256};

/// The digest of everything that determines a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    hex: String,
    fields: BTreeMap<String, String>,
}

impl Key {
    /// The key as 64 hexadecimal digits.
    pub(crate) fn as_str(&self) -> &str {
        &self.hex
    }

    /// The fields for display: short values as they are, others as a short digest.
    pub(crate) fn fields(&self) -> &BTreeMap<String, String> {
        &self.fields
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex)
    }
}

/// Builds a [`Key`] from named fields; their order matters.
#[derive(Debug)]
pub(crate) struct KeyBuilder {
    hasher: Sha256,
    /// Values of fields with the same name are joined.
    fields: BTreeMap<String, Vec<u8>>,
}

impl KeyBuilder {
    /// A key for results of the kind `what`, made by version `recipe` of the code.
    pub(crate) fn new(what: &str, recipe: u32) -> Self {
        let mut new = Self {
            hasher: Sha256::new(),
            fields: BTreeMap::new(),
        };
        new.hash(what.as_bytes(), recipe.to_string().as_bytes());
        new.note("how parbake makes it", recipe.to_string().as_bytes());
        new
    }

    /// Adds a field that determines the result.
    #[must_use]
    pub(crate) fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.hash(name.as_bytes(), value.as_ref());
        self.note(name, value.as_ref());
        self
    }

    fn hash(&mut self, name: &[u8], value: &[u8]) {
        // Lengths distinguish `ab`, `c` from `a`, `bc`.
        for part in [name, value] {
            self.hasher.update((part.len() as u64).to_le_bytes());
            self.hasher.update(part);
        }
    }

    fn note(&mut self, name: &str, value: &[u8]) {
        let all = self.fields.entry(name.to_owned()).or_default();
        if !all.is_empty() {
            all.push(b' ');
        }
        all.extend_from_slice(value);
    }

    pub(crate) fn finish(self) -> Key {
        let fields = self.fields.into_iter();
        Key {
            hex: hex::encode(self.hasher.finalize()),
            fields: fields.map(|(name, value)| (name, shown(&value))).collect(),
        }
    }
}

/// Longest value in bytes that is shown as it is.
const SHORT: usize = 48;
/// Digits of a digest that are shown.
const DIGITS: usize = 12;

/// A value for display: as it is if it is short, otherwise the beginning of its SHA-256.
pub(crate) fn shown(value: &[u8]) -> String {
    let is_digest = |text: &&str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match std::str::from_utf8(value) {
        Ok(text) if is_digest(&text) => text[..DIGITS].to_owned(),
        Ok(text) if text.len() <= SHORT && !text.contains(char::is_control) => text.to_owned(),
        _ => hex::encode(Sha256::digest(value))[..DIGITS].to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyBuilder, shown};

    #[test]
    fn every_field_and_its_order_changes_the_key() {
        let key = |fields: &[(&str, &str)], recipe| {
            let begun = KeyBuilder::new("test", recipe);
            fields
                .iter()
                .fold(begun, |key, (name, value)| key.field(name, value))
                .finish()
                .as_str()
                .to_owned()
        };
        let base = key(&[("ab", "c"), ("d", "e")], 1);
        assert_eq!(base.len(), 64);
        assert_eq!(base, key(&[("ab", "c"), ("d", "e")], 1));
        for (fields, recipe) in [
            (vec![("ab", "c"), ("d", "e")], 2),
            (vec![("a", "bc"), ("d", "e")], 1),
            (vec![("d", "e"), ("ab", "c")], 1),
            (vec![("ab", "c")], 1),
            (vec![("ab", "c"), ("d", "")], 1),
        ] {
            assert_ne!(base, key(&fields, recipe), "{fields:?}");
        }
    }

    #[test]
    fn fields_are_kept_for_display() {
        let key = KeyBuilder::new("test", 3)
            .field("version", "1.34.4")
            .field("word", "a")
            .field("word", "b")
            .field("go.sum", "long\n".repeat(100))
            .finish();
        let fields: Vec<_> = key.fields().iter().collect();
        let shown = |name: &str| key.fields()[name].as_str();
        assert_eq!(fields.len(), 4);
        assert_eq!(shown("how parbake makes it"), "3");
        assert_eq!(shown("version"), "1.34.4");
        assert_eq!(shown("word"), "a b");
        assert_eq!(shown("go.sum").len(), 12);
    }

    #[test]
    fn long_values_are_shown_as_digests() {
        for (value, expected) in [
            ("v1.34.4", "v1.34.4"),
            ("", ""),
            (&"0123456789abcdef".repeat(4), "0123456789ab"),
        ] {
            assert_eq!(shown(value.as_bytes()), expected);
        }
        for value in ["two\nlines".to_owned(), "x".repeat(49)] {
            assert_eq!(shown(value.as_bytes()).len(), 12);
        }
        assert_eq!(shown(&[0xff]).len(), 12);
    }
}
