//! Amounts of CPU time and memory.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::InvalidValue;

/// Minimum and maximum of a node, in thousandths of a CPU.
const MILLICPUS: (f64, f64) = (100.0, 1_024_000.0);
/// Minimum of a node in bytes: less than systemd, the container runtime and a kubelet need.
const MINIMUM: u64 = 256 << 20;
/// Units of memory: binary ones, then decimal ones, each from the largest.
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

/// A number of CPUs, such as 2 or 1.5; at least 0.1, with a precision of a thousandth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64", into = "f64")]
#[schemars(with = "f64", inline, extend("minimum" = 0.1, "maximum" = 1024))]
pub struct Cpus(u32);

/// Memory, such as "2GiB" or "512Mi"; at least 256 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", inline, extend("pattern" = r"^[0-9]+(\.[0-9]+)?(k|[KMGT]i|[MGT])B?$"))]
pub struct Memory(u64);

fn invalid_cpus(text: &str) -> InvalidValue {
    InvalidValue(format!(
        "`{text}` is not a number of CPUs from 0.1 to 1024, such as 2 or 1.5"
    ))
}

impl Cpus {
    /// In thousandths of a CPU.
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
    type Error = InvalidValue;

    fn try_from(cpus: f64) -> Result<Self, InvalidValue> {
        let millis = (cpus * 1000.0).round();
        let sound = (MILLICPUS.0..=MILLICPUS.1).contains(&millis);
        // The cast is exact in this range.
        sound
            .then_some(Self(millis as u32))
            .ok_or_else(|| invalid_cpus(&cpus.to_string()))
    }
}

impl From<Cpus> for f64 {
    fn from(cpus: Cpus) -> Self {
        Self::from(cpus.0) / 1000.0
    }
}

impl FromStr for Cpus {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let number = text.parse::<f64>();
        number.map_err(|_| invalid_cpus(text))?.try_into()
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        f64::from(*self).fmt(out)
    }
}

impl FromStr for Memory {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || {
            InvalidValue(format!(
                "`{text}` is not an amount of memory, such as 2GiB or 512MiB"
            ))
        };
        let amount = text.strip_suffix('B').unwrap_or(text);
        let unit = UNITS.iter().find(|(unit, _)| amount.ends_with(unit));
        let (unit, factor) = unit.ok_or_else(invalid)?;
        let number = amount.trim_end_matches(unit);
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !number.split('.').all(digits) {
            return Err(invalid());
        }
        let bytes = number.parse::<f64>().map_err(|_| invalid())? * *factor as f64;
        if bytes < MINIMUM as f64 {
            return Err(InvalidValue(format!(
                "`{text}` is too little memory: a node needs at least 256MiB"
            )));
        }
        // Doubles hold integers up to 2^53 exactly.
        (bytes <= (1_u64 << 53) as f64)
            .then_some(Self(bytes as u64))
            .ok_or_else(invalid)
    }
}

/// In the largest binary unit that divides it.
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
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
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
    fn cpus_are_numbers_in_range() {
        for (text, millis) in [("2", 2000), ("1.5", 1500), ("0.1", 100), ("0.1234", 123)] {
            assert_eq!(text.parse::<Cpus>().unwrap().millis(), millis, "{text}");
        }
        for text in ["", "0", "-1", "two", "NaN", "inf", "2000", "500m"] {
            assert!(text.parse::<Cpus>().is_err(), "{text}");
        }
    }

    #[test]
    fn memory_needs_a_unit_and_a_minimum() {
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
            ("2", "not an amount"),
            ("GiB", "not an amount"),
            ("-2GiB", "not an amount"),
            ("2..0GiB", "not an amount"),
            ("2GiBB", "not an amount"),
            ("2 GiB", "not an amount"),
            ("100000TiB", "not an amount"),
            ("255MiB", "too little"),
            ("0GiB", "too little"),
        ] {
            let error = text.parse::<Memory>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
