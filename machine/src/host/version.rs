//! Versions of the kernel and of programs.

use std::fmt;
use std::str::FromStr;

use crate::Error;
use serde::{Deserialize, Serialize};

/// A version such as `1.24.1`, compared number by number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(Vec<u32>);

impl Version {
    pub fn new(numbers: impl Into<Vec<u32>>) -> Self {
        Self(numbers.into())
    }

    /// The first version in the output of a program, such as 252 in `systemd 252 (252.39-1)` or 1.24.1 in
    /// `go version go1.24.1 linux/amd64`.
    pub fn find(text: &str) -> Option<Self> {
        let start = text.find(|c: char| c.is_ascii_digit())?;
        let end = text[start..].find(|c: char| !c.is_ascii_digit() && c != '.');
        let version = &text[start..end.map_or(text.len(), |end| start + end)];
        version.trim_end_matches('.').parse().ok()
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        numbers.map(Self).map_err(|_| {
            Error::message(format!(
                "`{text}` is not a version; expected numbers separated by dots, such as `1.24.1`"
            ))
        })
    }
}

impl TryFrom<String> for Version {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
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
    fn version_is_found_in_the_output_of_programs() {
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
    fn versions_are_compared_by_number() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("1.9") < version("1.21") && version("1.21") < version("1.21.1"));
        assert!(version("4.19.0") >= Version::new([4, 19]));
    }

    #[test]
    fn round_trips_through_json_and_rejects_invalid_text() {
        let version: Version = serde_json::from_str("\"1.24.1\"").unwrap();
        assert_eq!(serde_json::to_string(&version).unwrap(), "\"1.24.1\"");
        let error = serde_json::from_str::<Version>("\"1.x\"").unwrap_err();
        assert!(error.to_string().starts_with("`1.x` is not a version"), "{error}");
    }
}
