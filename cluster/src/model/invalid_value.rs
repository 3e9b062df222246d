//! The error of every text that is parsed into a value.

/// Text that is not a valid value of its type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct InvalidValue {
    text: String,
    expected: String,
}

impl InvalidValue {
    /// `expected` completes the sentence "`text` is not ...".
    pub(crate) fn new(text: &str, expected: impl Into<String>) -> Self {
        Self {
            text: text.to_owned(),
            expected: expected.into(),
        }
    }
}
