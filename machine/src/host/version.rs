//! Versions of the kernel and of programs: numbers with dots.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A version such as `1.24.1`, compared number by number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(Vec<u32>);

/// A text that holds no version.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no version: it must be numbers with dots between them, such as 1.24.1")]
pub struct VersionError(String);

impl Version {
    /// A version from its numbers.
    pub fn new(numbers: impl Into<Vec<u32>>) -> Self {
        Self(numbers.into())
    }

    /// The first version in what a program prints, such as 252 in `systemd 252 (252.39-1)` or 1.24.1 in
    /// `go version go1.24.1 linux/amd64`.
    pub fn find(text: &str) -> Option<Self> {
        let start = text.find(|c: char| c.is_ascii_digit())?;
        let end = text[start..].find(|c: char| !c.is_ascii_digit() && c != '.');
        let version = &text[start..end.map_or(text.len(), |end| start + end)];
        version.trim_end_matches('.').parse().ok()
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        numbers.map(Self).map_err(|_| VersionError(text.to_owned()))
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn is_found_in_what_programs_print() {
        let cases = [
            ("systemd 252 (252.39-1~deb12u2)\n+PAM", "252"),
            ("go version go1.24.1 linux/amd64", "1.24.1"),
            ("go version go1.26rc1 linux/amd64", "1.26"),
            ("6.18.44-fc-v669", "6.18.44"),
            ("nsenter from util-linux 2.38.", "2.38"),
        ];
        for (text, version) in cases {
            assert_eq!(
                Version::find(text).map(|found| found.to_string()).as_deref(),
                Some(version),
                "{text}"
            );
        }
        assert_eq!(Version::find("no digits"), None);
    }

    #[test]
    fn is_compared_by_number() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("1.9") < version("1.21") && version("1.21") < version("1.21.1"));
        assert!(version("4.19.0") >= Version::new([4, 19]));
    }

    #[test]
    fn survives_json_and_refuses_nonsense() {
        let version: Version = serde_json::from_str("\"1.24.1\"").unwrap();
        assert_eq!(serde_json::to_string(&version).unwrap(), "\"1.24.1\"");
        let error = serde_json::from_str::<Version>("\"1.x\"").unwrap_err();
        assert!(error.to_string().starts_with("`1.x` is no version"), "{error}");
    }
}
