//! `parbake doctor`

use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use parbake_machine::host::{Check, Host, HostSettings, Purpose, Status, checks};
use serde::Serialize;

use crate::args::GlobalArgs;
use crate::output::{self, count};

const DETAILS: &str = "\
Checks run in their own namespaces and leave nothing behind.
The exit code is 1 if a check failed.";

/// Check whether this host is supported, and how to fix it if not
#[derive(Debug, clap::Args)]
#[command(after_help = DETAILS)]
pub(crate) struct Args {
    /// Check only what this command needs
    #[arg(long = "for", value_name = "PURPOSE", default_value = "all", value_parser = purposes())]
    purpose: Purpose,
}

fn purposes() -> impl TypedValueParser<Value = Purpose> {
    PossibleValuesParser::new(["up", "provision", "all"]).try_map(|text| text.parse())
}

#[derive(Debug, Serialize)]
struct Report {
    purpose: Purpose,
    /// True if no check failed.
    ready: bool,
    checks: Vec<Check>,
    /// The facts that the checks are based on.
    host: Host,
    /// What parbake does on this host because of these facts.
    decisions: HostSettings,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<ExitCode> {
        let host = Host::probe(&global.dir);
        let checks = checks(&host, self.purpose);
        let ready = checks.iter().all(|check| check.status != Status::Failed);
        let decisions = host.decide();
        let report = Report {
            purpose: self.purpose,
            ready,
            checks,
            host,
            decisions,
        };
        output::print(global.output, &report, text)?;
        Ok(if ready {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for check in &report.checks {
        let status = match check.status {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Failed => "FAILED",
        };
        text.push_str(&format!("{status:<8} {:<16} {}\n", check.name, check.found));
        if let Some(remedy) = &check.remedy {
            text.push_str(&format!("{:<26}-> {remedy}\n", ""));
        }
    }
    let number = |status| {
        report
            .checks
            .iter()
            .filter(|check| check.status == status)
            .count()
    };
    let verdict = if report.ready {
        "this host is ready"
    } else {
        "this host is not ready"
    };
    let (failed, warnings) = (number(Status::Failed), count(number(Status::Warning), "warning"));
    text.push_str(&format!("\n{verdict}: {failed} failed, {warnings}\n"));
    text
}
