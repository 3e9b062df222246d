//! Audit policies: `audit.k8s.io/v1` (Kubernetes documentation, 'Auditing').

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::check::Problem;
use super::{Audit, Config, ConfigError};

/// The policy where the configuration names none.
const USUAL: &str = include_str!("audit-policy.yaml");
const API: &str = "audit.k8s.io/v1";

/// As much of a policy as tells it from something else.
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

/// How much is written down of a request.
#[derive(Deserialize)]
enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

/// The policy's text; nothing where there is no audit.
pub(super) fn policy(config: &Config) -> Result<Option<String>, ConfigError> {
    match &config.api_server.audit {
        None | Some(Audit::Off) => Ok(None),
        Some(Audit::Default) => Ok(Some(USUAL.to_owned())),
        Some(Audit::Policy(path)) => {
            let text = fs::read_to_string(path);
            text.map(Some).map_err(|source| ConfigError::Read {
                path: path.clone(),
                source,
            })
        }
    }
}

/// A policy that the API server would not start with.
pub(super) fn problem(config: &Config) -> Option<Problem> {
    let Some(Audit::Policy(path)) = &config.api_server.audit else {
        return None;
    };
    let wrong = check(path).err()?;
    let place = vec!["api-server".into(), "audit".into()];
    Some((place, format!("`{}`: {wrong}", path.display())))
}

fn check(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| super::files::said(&error))?;
    judge(&text)
}

fn judge(text: &str) -> Result<(), String> {
    let policy: Policy = serde_saphyr::from_str(text).map_err(|error| {
        let error = error.to_string();
        format!("is no audit policy: {}", error.lines().next().unwrap_or_default())
    })?;
    if policy.kind != "Policy" || policy.api_version != API {
        return Err(format!("is no audit policy: its kind must be Policy of {API}"));
    }
    let writes = |rule: &Rule| match rule.level {
        Level::None => false,
        Level::Metadata | Level::Request | Level::RequestResponse => true,
    };
    // The API server takes one that has rules and writes nothing, but nobody wants it.
    let some = policy.rules.iter().any(writes);
    some.then_some(())
        .ok_or_else(|| "is an audit policy by which nothing is written down".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{USUAL, judge};

    #[test]
    fn a_policy_is_one() {
        let policy = |rest: &str| format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rest}");
        for text in [
            USUAL.to_owned(),
            policy("rules: [{level: RequestResponse, verbs: [create]}]\n"),
        ] {
            assert_eq!(judge(&text), Ok(()), "{text}");
        }
        for (text, problem) in [
            (policy("rules: [{level: Everything}]\n"), "is no audit policy: "),
            (policy("rules: [{level: None}]\n"), "nothing is written down"),
            (policy(""), "nothing is written down"),
            ("kind: Policy\n".to_owned(), "is no audit policy: "),
            (
                policy("rules: [{level: None}]\n").replace("k8s.io/v1", "k8s.io/v1beta1"),
                "its kind must be Policy of audit.k8s.io/v1",
            ),
            ("- a\n".to_owned(), "is no audit policy"),
        ] {
            let found = judge(&text).unwrap_err();
            assert!(found.contains(problem), "{text}: {found}");
        }
    }
}
