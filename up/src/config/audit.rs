//! Audit policies: `audit.k8s.io/v1` (Kubernetes documentation, 'Auditing').

use std::fs;
use std::path::Path;

use super::{Audit, Config, ConfigError};
use parbake_cluster::toml_document::{Finding, ValuePath};
use serde::Deserialize;

/// The policy that applies unless the configuration names one.
const DEFAULT: &str = include_str!("audit-policy.yaml");
const API: &str = "audit.k8s.io/v1";

/// The fields of a policy that are validated.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    api_version: String,
    kind: String,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    level: Level,
}

#[derive(Deserialize)]
enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

/// The text of the policy; `None` if audit is off.
pub(super) fn policy(config: &Config) -> Result<Option<String>, ConfigError> {
    match &config.api_server.audit {
        None | Some(Audit::Off) => Ok(None),
        Some(Audit::Default) => Ok(Some(DEFAULT.to_owned())),
        Some(Audit::Policy(path)) => {
            let text = fs::read_to_string(path);
            text.map(Some).map_err(|source| ConfigError::Read {
                path: path.clone(),
                source,
            })
        }
    }
}

/// A policy with which the API server would not start, or would log nothing.
pub(super) fn validate(config: &Config) -> Option<Finding> {
    let Some(Audit::Policy(path)) = &config.api_server.audit else {
        return None;
    };
    let reason = check_file(path).err()?;
    let message = format!("`{}`: {reason}", path.display());
    Some(Finding::new(ValuePath::of(["api-server", "audit"]), message))
}

fn check_file(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| super::files::reason(&error))?;
    check(&text)
}

fn check(text: &str) -> Result<(), String> {
    let policy: Policy = serde_saphyr::from_str(text).map_err(|error| {
        let error = error.to_string();
        format!(
            "is not an audit policy: {}",
            error.lines().next().unwrap_or_default()
        )
    })?;
    if policy.kind != "Policy" || policy.api_version != API {
        return Err(format!(
            "is not an audit policy: its kind must be Policy of {API}"
        ));
    }
    let logs = |rule: &Rule| match rule.level {
        Level::None => false,
        Level::Metadata | Level::Request | Level::RequestResponse => true,
    };
    // The API server accepts a policy that logs nothing, but it is certainly a mistake.
    match policy.rules.iter().any(logs) {
        true => Ok(()),
        false => Err("is an audit policy that logs nothing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT, check};

    #[test]
    fn policies_without_effect_are_rejected() {
        let policy = |rest: &str| format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rest}");
        for text in [
            DEFAULT.to_owned(),
            policy("rules: [{level: RequestResponse, verbs: [create]}]\n"),
        ] {
            assert_eq!(check(&text), Ok(()), "{text}");
        }
        for (text, problem) in [
            (
                policy("rules: [{level: Everything}]\n"),
                "is not an audit policy: ",
            ),
            (policy("rules: [{level: None}]\n"), "logs nothing"),
            (policy(""), "logs nothing"),
            ("kind: Policy\n".to_owned(), "is not an audit policy: "),
            (
                policy("rules: [{level: None}]\n").replace("k8s.io/v1", "k8s.io/v1beta1"),
                "its kind must be Policy of audit.k8s.io/v1",
            ),
            ("- a\n".to_owned(), "is not an audit policy"),
        ] {
            let found = check(&text).unwrap_err();
            assert!(found.contains(problem), "{text}: {found}");
        }
    }
}
