//! Checks whether a host is supported, with a remedy for each problem.

mod internet;
mod network;
mod program;
mod resources;
mod system;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Host;
use super::tool::{Need, REQUIREMENTS};
use super::trial::ProbeResult;
use crate::Error;

/// What a host is checked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Running clusters.
    Up,
    /// Baking clusters, which runs machines too.
    Provision,
    /// Both: what only a bake needs is a warning.
    All,
    /// What a cluster with internet access needs in addition to [`Purpose::Up`].
    Internet,
}

impl FromStr for Purpose {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "up" => Ok(Self::Up),
            "provision" => Ok(Self::Provision),
            "all" => Ok(Self::All),
            _ => Err(Error::message(format!(
                "`{text}` is not a purpose; use `up`, `provision` or `all`"
            ))),
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Provision => "provision",
            Self::All => "all",
            Self::Internet => "up --internet",
        })
    }
}

/// The outcome of one check, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// It works with restrictions.
    Warning,
    Failed,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// One or two words.
    pub name: String,
    pub status: Status,
    /// What was found, and what that means.
    pub found: String,
    /// How to fix it; `None` if it is ok.
    pub remedy: Option<String>,
}

impl Check {
    fn ok(name: &str, found: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            status: Status::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    fn warning(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            status: Status::Warning,
            remedy: Some(remedy.into()),
            ..Self::ok(name, found)
        }
    }

    fn failed(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            status: Status::Failed,
            ..Self::warning(name, found, remedy)
        }
    }
}

fn listed(failed: &[Check]) -> String {
    let line = |check: &Check| {
        let remedy = check.remedy.as_deref().unwrap_or_default();
        format!("\n  {}: {}; {remedy}", check.name, check.found)
    };
    failed.iter().map(line).collect()
}

impl Host {
    /// Returns the host if it supports `purpose`.
    ///
    /// # Errors
    /// All checks that failed, each with its remedy.
    pub fn require(self, purpose: Purpose) -> Result<Self, Error> {
        let mut failed = checks(&self, purpose);
        failed.retain(|check| check.status == Status::Failed);
        if failed.is_empty() {
            Ok(self)
        } else {
            Err(Error::message(format!(
                "this host is not ready for `parbake {purpose}`:{}",
                listed(&failed)
            )))
        }
    }
}

/// Checks the host, in the order in which problems should be fixed.
pub fn checks(host: &Host, purpose: Purpose) -> Vec<Check> {
    if purpose == Purpose::Internet {
        return internet::checks(host);
    }
    let mut checks = vec![
        system::user(host),
        system::architecture(host),
        system::kernel(host),
        system::init(host),
    ];
    checks.extend([
        system::capabilities(host),
        system::cgroup_layout(host),
        system::cgroup_controllers(host),
        system::namespaces(host),
    ]);
    checks.extend([
        system::overlay(host),
        network::conntrack(host),
        network::bridge_netfilter(host),
        network::bridge(host),
        network::iptables(host),
    ]);
    checks.extend([
        network::nftables(host),
        system::modules(host),
        resources::inotify(host),
        resources::keyrings(host),
        resources::process_limits(host),
        system::selinux(host),
        resources::memory(host),
    ]);
    checks.push(resources::disk(host, purpose));
    checks.extend(
        REQUIREMENTS
            .iter()
            .filter_map(|required| match (required.need, purpose) {
                (Need::Machine, _) | (Need::Provision, Purpose::Provision) => {
                    Some(program::program(host, required))
                }
                (Need::Build, Purpose::Provision | Purpose::All) => Some(only_for(
                    "provision --source modules",
                    program::program(host, required),
                )),
                (Need::Provision, Purpose::All) => {
                    Some(only_for("provision", program::program(host, required)))
                }
                _ => None,
            }),
    );
    if purpose == Purpose::All {
        let internet = internet::checks(host).into_iter();
        checks.extend(internet.map(|check| only_for("up --internet", check)));
    }
    checks
}

fn outcome(name: &str, works: &str, trial: &ProbeResult, remedy: &str) -> Check {
    match trial {
        ProbeResult::Works => Check::ok(name, works),
        ProbeResult::Failed(reason) => Check::failed(name, reason, remedy),
        ProbeResult::NotTried(reason) => {
            Check::warning(name, format!("not tried: {reason}"), "run parbake as root")
        }
    }
}

/// A failure that affects only `command` becomes a warning.
fn only_for(command: &str, check: Check) -> Check {
    if check.status == Status::Failed {
        let found = format!("{} (only `parbake {command}` needs it)", check.found);
        Check {
            status: Status::Warning,
            found,
            ..check
        }
    } else {
        check
    }
}
