//! Options of etcd and the API server that take more than an argument.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::error::InvalidValue;

/// How etcd stores the cluster's data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Etcd {
    /// Makes etcd wait until its writes are on disk (the default). Without it, a slow disk does not slow the cluster
    /// down, but the cluster may be lost if the host loses power while it runs. The flag `--no-fsync`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fsync: Option<bool>,
    /// Keeps the data in memory while the cluster runs, at most 4 GiB, and writes it to disk when the cluster stops. If the
    /// cluster's supervisor is killed or the host loses power, the data is as it was at the last start. The flag
    /// `--etcd-in-memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_memory: Option<bool>,
}

/// Audit log and pod security of the API server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ApiServer {
    /// Writes requests to an audit log on each control plane: `true`, or a file with an audit policy (audit.k8s.io/v1),
    /// relative to the configuration's directory. The file must exist at every start. The flag `--audit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    /// The pod security standard of namespaces that do not set one. The flag `--pod-security`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security: Option<PodSecurity>,
}

/// Which requests are logged.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", inline, extend("type" = ["boolean", "string"]))]
pub enum Audit {
    Off,
    /// Metadata of requests and responses, without the routine requests of the cluster itself.
    Default,
    /// According to the policy in a file.
    Policy(PathBuf),
}

/// A pod security standard (Kubernetes documentation, 'Pod Security Standards').
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum PodSecurity {
    Privileged,
    Baseline,
    Restricted,
}

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
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Privileged, Self::Baseline, Self::Restricted];
        let known = all.into_iter().find(|standard| standard.as_str() == text);
        known.ok_or_else(|| {
            InvalidValue(format!(
                "`{text}` is not a pod security standard; use `privileged`, `baseline` or `restricted`"
            ))
        })
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
        from.deserialize_any(AuditVisitor)
    }
}

struct AuditVisitor;

impl Visitor<'_> for AuditVisitor {
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
    fn audit_is_a_boolean_or_a_policy_file() {
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
    fn pod_security_standards_are_parsed_by_name() {
        for name in ["privileged", "baseline", "restricted"] {
            assert_eq!(name.parse::<PodSecurity>().unwrap().as_str(), name);
            let config = Config::parse(&format!("[api-server]\npod-security = '{name}'\n")).unwrap();
            assert_eq!(config.api_server.pod_security, name.parse().ok());
        }
        let error = "strict".parse::<PodSecurity>().unwrap_err().to_string();
        assert!(error.contains("`baseline` or `restricted`"), "{error}");
    }
}
