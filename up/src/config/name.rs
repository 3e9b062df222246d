//! Names of components, their arguments, feature gates and kernel parameters.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use super::error::InvalidValue;

/// Implements the conversions of a text that the function `check` validates.
macro_rules! text_newtype {
    ($name:ident, $error:ty, $check:path) => {
        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(out)
            }
        }
    };
}
pub(super) use text_newtype;

/// A Kubernetes program with configurable arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Component {
    KubeApiserver,
    KubeControllerManager,
    KubeScheduler,
    Kubelet,
}

/// The name of a feature gate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", inline)]
pub struct FeatureGate(String);

/// The name of an argument, without the two dashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", inline)]
pub struct Argument(String);

/// The name of a kernel parameter below `net.`, for sysctl(8).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", inline)]
pub struct Sysctl(String);

text_newtype!(FeatureGate, InvalidValue, check_gate);
text_newtype!(Argument, InvalidValue, check_argument);
text_newtype!(Sysctl, InvalidValue, check_sysctl);

/// The value of an argument: a string, an integer or a boolean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(with = "String", inline, extend("type" = ["string", "integer", "boolean"]))]
pub struct ArgumentValue(String);

/// The value of a kernel parameter: a string or an integer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(with = "String", inline, extend("type" = ["string", "integer"]))]
pub struct SysctlValue(String);

impl ArgumentValue {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SysctlValue {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Component {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
        }
    }
}

fn valid(sound: bool, message: impl FnOnce() -> String) -> Result<(), InvalidValue> {
    match sound {
        true => Ok(()),
        false => Err(InvalidValue(message())),
    }
}

fn check_gate(text: &str) -> Result<(), InvalidValue> {
    let sound = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    valid(sound, || {
        format!("`{text}` is not a feature gate: use letters and digits, as in `InPlacePodVerticalScaling`")
    })
}

fn check_argument(text: &str) -> Result<(), InvalidValue> {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let sound = text.starts_with(|first: char| first.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(good);
    valid(sound, || {
        format!(
            "`{text}` is not an argument: use lower-case letters, digits and inner dashes, without the leading `--`"
        )
    })
}

fn check_sysctl(text: &str) -> Result<(), InvalidValue> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    let mut parts = text.split(['.', '/']);
    let sound = text.bytes().all(good)
        && parts.next() == Some("net")
        && parts.clone().count() > 1
        && parts.all(|part| !part.is_empty());
    valid(sound, || {
        format!(
            "`{text}` is not a kernel parameter that can differ between nodes: only those below `net.` can; set others on \
             the host with sysctl(8), for all nodes of all clusters"
        )
    })
}

/// Deserializes strings, integers and optionally booleans into a string.
struct Scalar {
    booleans: bool,
}

impl Visitor<'_> for Scalar {
    type Value = String;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.booleans {
            "a string, an integer or a boolean"
        } else {
            "a string or an integer"
        })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        if text.chars().any(char::is_control) {
            return Err(E::custom("a value must be a single line"));
        }
        Ok(text.to_owned())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<String, E> {
        if self.booleans {
            return Ok(value.to_string());
        }
        Err(E::invalid_type(de::Unexpected::Bool(value), &self))
    }
}

impl<'de> Deserialize<'de> for ArgumentValue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Scalar { booleans: true }).map(Self)
    }
}

impl<'de> Deserialize<'de> for SysctlValue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Scalar { booleans: false }).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::{Argument, FeatureGate, Sysctl};

    #[test]
    fn names_are_validated() {
        for (gate, good) in [
            ("AllAlpha", true),
            ("A1", true),
            ("", false),
            ("a b", false),
            ("1A", false),
        ] {
            assert_eq!(gate.parse::<FeatureGate>().is_ok(), good, "{gate}");
        }
        for (argument, good) in [
            ("max-pods", true),
            ("v", true),
            ("--v", false),
            ("v=1", false),
            ("a-", false),
        ] {
            assert_eq!(argument.parse::<Argument>().is_ok(), good, "{argument}");
        }
        for (name, good) in [
            ("net.core.somaxconn", true),
            ("net/ipv4/conf/eth0.1/forwarding", true),
            ("net.core", false),
            ("kernel.pid_max", false),
            ("net..core.x", false),
            ("net/../kernel/x", false),
            ("networks.core.x", false),
        ] {
            assert_eq!(name.parse::<Sysctl>().is_ok(), good, "{name}");
        }
    }
}
