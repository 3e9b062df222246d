//! The `parbake` command line: parse, log, call, report.
// Comments on arguments are their help, where brackets are no links.
#![allow(rustdoc::broken_intra_doc_links)]

mod cli;
mod command;
mod dashboard;
mod output;
mod report;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use cli::Cli;

fn main() -> ExitCode {
    parbake_machine::malloc::give_large_blocks_back();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return report::usage(&error),
    };
    let progress = terminal::start(cli.global.verbose);
    let outcome = cli.run();
    progress.finish(outcome.is_ok());
    outcome.unwrap_or_else(|error| report::failure(&error))
}
