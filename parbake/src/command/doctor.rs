//! `parbake doctor`

use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use parbake_machine::host::{Check, Host, HostSettings, Purpose, Status, checks};
use serde::Serialize;

use crate::cli::Global;
use crate::output;

const MORE: &str = "\
Every trial runs in namespaces of its own and leaves nothing behind.
Ends with exit code 1 when a check failed.";

/// Say whether this host will do, and what to do if not
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub(crate) struct Args {
    /// What the host is to do
    #[arg(long = "for", value_name = "PURPOSE", default_value = "all", value_parser = purposes())]
    purpose: Purpose,
}

fn purposes() -> impl TypedValueParser<Value = Purpose> {
    PossibleValuesParser::new(["up", "provision", "all"]).try_map(|text| text.parse())
}

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// What the host was checked for.
    purpose: Purpose,
    /// No check failed.
    ready: bool,
    checks: Vec<Check>,
    /// The facts behind the checks.
    host: Host,
    /// What parbake does because of them.
    decisions: HostSettings,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
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
    let count = |status| {
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
    let (failed, warnings) = (count(Status::Failed), count(Status::Warning));
    text.push_str(&format!(
        "\n{verdict}: {failed} failed, {warnings} with a warning\n"
    ));
    text
}
