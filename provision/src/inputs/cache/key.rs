//! What a cached result is found by.

use std::fmt;

use sha2::{Digest, Sha256};

/// The digest of everything that determines a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key(String);

impl Key {
    /// The key as 64 hexadecimal digits.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Makes a [`Key`] from named fields, in their order.
#[derive(Debug)]
pub(crate) struct KeyBuilder(Sha256);

impl KeyBuilder {
    /// Begins a key for results of the kind `what`, made by the `recipe`th version of the code that makes them.
    pub(crate) fn new(what: &str, recipe: u32) -> Self {
        Self(Sha256::new()).field(what, recipe.to_string())
    }

    /// Adds a field that determines the result.
    #[must_use]
    pub(crate) fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        // With their lengths, or `ab`, `c` would be the same as `a`, `bc`.
        for part in [name.as_bytes(), value.as_ref()] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// The key.
    pub(crate) fn finish(self) -> Key {
        Key(hex::encode(self.0.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::KeyBuilder;

    #[test]
    fn everything_counts() {
        let key = |fields: &[(&str, &str)], recipe| {
            let begun = KeyBuilder::new("test", recipe);
            fields
                .iter()
                .fold(begun, |key, (name, value)| key.field(name, value))
                .finish()
        };
        let base = key(&[("ab", "c"), ("d", "e")], 1);
        assert_eq!(base.as_str().len(), 64);
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
}
