//! Amounts of processor time and memory.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The least and the most processor time of a node, in thousandths of a processor.
const MILLICPUS: (f64, f64) = (100.0, 1_024_000.0);
/// The least memory of a node: less than systemd, the runtime and a kubelet take.
const LEAST: u64 = 256 << 20;
/// Units of memory, largest first of each kind.
const UNITS: [(&str, u64); 8] = [
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

/// Processor time in processors, such as 2 or 1.5; at least 0.1, kept to the thousandth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(with = "f64", inline, extend("minimum" = 0.1, "maximum" = 1024))]
pub struct Cpus(u32);

/// Memory, such as "2GiB" or "512Mi"; at least 256 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", inline, extend("pattern" = r"^[0-9]+(\.[0-9]+)?(k|[KMGT]i|[MGT])B?$"))]
pub struct Memory(u64);

/// A text that is no amount, or not one for a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuantity {
    /// No processor time.
    #[error("`{0}` is no number of processors from 0.1 to 1024, such as 2 or 1.5")]
    Cpus(String),
    /// No memory.
    #[error("`{0}` is no amount of memory such as 2GiB or 512MiB")]
    Memory(String),
    /// Too little memory.
    #[error("`{0}` is too little memory for a node, which needs at least 256MiB")]
    TooLittle(String),
}

impl Cpus {
    /// In thousandths of a processor.
    #[must_use]
    pub fn millis(self) -> u32 {
        self.0
    }
}

impl Memory {
    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl TryFrom<f64> for Cpus {
    type Error = InvalidQuantity;

    fn try_from(cpus: f64) -> Result<Self, InvalidQuantity> {
        let millis = (cpus * 1000.0).round();
        let sound = (MILLICPUS.0..=MILLICPUS.1).contains(&millis);
        // In that range nothing is lost.
        sound
            .then_some(Self(millis as u32))
            .ok_or_else(|| InvalidQuantity::Cpus(cpus.to_string()))
    }
}

impl From<Cpus> for f64 {
    fn from(cpus: Cpus) -> Self {
        Self::from(cpus.0) / 1000.0
    }
}

impl FromStr for Cpus {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let number = text.parse::<f64>();
        number
            .map_err(|_| InvalidQuantity::Cpus(text.to_owned()))?
            .try_into()
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        f64::from(*self).fmt(out)
    }
}

impl FromStr for Memory {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let wrong = || InvalidQuantity::Memory(text.to_owned());
        let amount = text.strip_suffix('B').unwrap_or(text);
        let unit = UNITS.iter().find(|(unit, _)| amount.ends_with(unit));
        let (unit, factor) = unit.ok_or_else(wrong)?;
        let number = amount.trim_end_matches(unit);
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !number.split('.').all(digits) {
            return Err(wrong());
        }
        let bytes = number.parse::<f64>().map_err(|_| wrong())? * *factor as f64;
        if bytes < LEAST as f64 {
            return Err(InvalidQuantity::TooLittle(text.to_owned()));
        }
        // Whole bytes up to what a double holds exactly.
        (bytes <= (1_u64 << 53) as f64)
            .then_some(Self(bytes as u64))
            .ok_or_else(wrong)
    }
}

/// In the largest unit of 1024 that leaves nothing over.
impl fmt::Display for Memory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = UNITS.iter().filter(|(unit, _)| unit.ends_with('i'));
        match binary.clone().find(|(_, factor)| self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(out, "{}{unit}B", self.0 / factor),
            None => {
                let (unit, factor) = ("k", 1000);
                write!(out, "{}.{:03}{unit}B", self.0 / factor, self.0 % factor)
            }
        }
    }
}

impl TryFrom<String> for Memory {
    type Error = InvalidQuantity;

    fn try_from(text: String) -> Result<Self, InvalidQuantity> {
        text.parse()
    }
}

impl From<Memory> for String {
    fn from(memory: Memory) -> Self {
        memory.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{Cpus, Memory};

    #[test]
    fn processors_are_numbers() {
        for (text, millis) in [("2", 2000), ("1.5", 1500), ("0.1", 100), ("0.1234", 123)] {
            assert_eq!(text.parse::<Cpus>().unwrap().millis(), millis, "{text}");
        }
        for text in ["", "0", "-1", "two", "NaN", "inf", "2000", "500m"] {
            assert!(text.parse::<Cpus>().is_err(), "{text}");
        }
    }

    #[test]
    fn memory_has_a_unit() {
        for (text, bytes) in [
            ("2GiB", 2 << 30),
            ("2Gi", 2 << 30),
            ("1.5GiB", 3 << 29),
            ("512M", 512_000_000),
            ("262144KiB", 256 << 20),
            ("300000kB", 300_000_000),
        ] {
            let memory = text.parse::<Memory>().unwrap();
            assert_eq!(memory.bytes(), bytes, "{text}");
            assert_eq!(memory.to_string().parse::<Memory>(), Ok(memory), "{text}");
        }
        for (text, problem) in [
            ("2", "no amount"),
            ("GiB", "no amount"),
            ("-2GiB", "no amount"),
            ("2..0GiB", "no amount"),
            ("2GiBB", "no amount"),
            ("2 GiB", "no amount"),
            ("100000TiB", "no amount"),
            ("255MiB", "too little"),
            ("0GiB", "too little"),
        ] {
            let error = text.parse::<Memory>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
