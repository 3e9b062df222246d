//! Options of a control plane's programs that take more than an argument.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// How etcd keeps the cluster's data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Etcd {
    /// Whether etcd waits until what it writes is on the disk. Without it no slow disk slows a cluster down, which is
    /// lost when the host loses its power while it runs; whatever else ends it does it no harm. The flag `--no-fsync`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fsync: Option<bool>,
    /// Whether the data is in memory while the cluster runs, 4 GiB at most, and on the disk again when it has ended. What
    /// was written is lost when the cluster's supervisor is killed or the host loses its power: then the data is as it was
    /// at the start. The flag `--etcd-in-memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_memory: Option<bool>,
}

/// What the API server checks and writes down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ApiServer {
    /// Whether requests are written down in an audit log on each control plane; or a file with the policy that says which
    /// (audit.k8s.io/v1), relative to the configuration's directory. It must exist at every start. The flag `--audit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    /// The pod security standard of namespaces that say nothing of it. The flag `--pod-security`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security: Option<PodSecurity>,
}

/// Which requests are written down.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", inline, extend("type" = ["boolean", "string"]))]
pub enum Audit {
    /// None.
    Off,
    /// Who asked for what, and what came of it; not what the cluster itself does all the time.
    Default,
    /// What the policy in a file says.
    Policy(PathBuf),
}

/// A pod security standard (Kubernetes documentation, 'Pod Security Standards').
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum PodSecurity {
    /// Everything is allowed.
    Privileged,
    /// What is known to give pods more rights is refused.
    Baseline,
    /// Pods must give up what they do not need.
    Restricted,
}

/// A text that is no pod security standard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no pod security standard; take `privileged`, `baseline` or `restricted`")]
pub struct InvalidPodSecurity(String);

impl Etcd {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl ApiServer {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl PodSecurity {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

impl FromStr for PodSecurity {
    type Err = InvalidPodSecurity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Privileged, Self::Baseline, Self::Restricted];
        let known = all.into_iter().find(|standard| standard.as_str() == text);
        known.ok_or_else(|| InvalidPodSecurity(text.to_owned()))
    }
}

impl Serialize for Audit {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => to.serialize_bool(false),
            Self::Default => to.serialize_bool(true),
            Self::Policy(path) => path.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Audit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Choice)
    }
}

struct Choice;

impl Visitor<'_> for Choice {
    type Value = Audit;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("true, false or a file with an audit policy")
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<Audit, E> {
        Ok(if on { Audit::Default } else { Audit::Off })
    }

    fn visit_str<E: de::Error>(self, path: &str) -> Result<Audit, E> {
        if path.is_empty() {
            return Err(E::invalid_value(de::Unexpected::Str(path), &self));
        }
        Ok(Audit::Policy(path.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, to_toml};
    use super::{Audit, PodSecurity};

    #[test]
    fn an_audit_is_on_or_off_or_as_a_file_says() {
        for (text, audit) in [
            ("true", Audit::Default),
            ("false", Audit::Off),
            ("\"audit.yaml\"", Audit::Policy("audit.yaml".into())),
        ] {
            let text = format!("[api-server]\naudit = {text}\n");
            let config = Config::parse(&text).unwrap();
            assert_eq!(config.api_server.audit, Some(audit));
            assert_eq!(to_toml(&config).unwrap(), text);
        }
        for text in ["1", "\"\"", "[]"] {
            let problems = Config::parse(&format!("api-server = {{ audit = {text} }}")).unwrap_err();
            let expected = "expected true, false or a file with an audit policy";
            assert!(problems.to_string().contains(expected), "{problems}");
        }
    }

    #[test]
    fn standards_are_those_of_kubernetes() {
        for name in ["privileged", "baseline", "restricted"] {
            assert_eq!(name.parse::<PodSecurity>().unwrap().as_str(), name);
            let config = Config::parse(&format!("[api-server]\npod-security = '{name}'\n")).unwrap();
            assert_eq!(config.api_server.pod_security, name.parse().ok());
        }
        let error = "strict".parse::<PodSecurity>().unwrap_err().to_string();
        assert!(error.contains("`baseline` or `restricted`"), "{error}");
    }
}
