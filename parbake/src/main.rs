//! The `parbake` command line: parse, log, run, report.
// Doc comments on arguments are help texts, in which brackets are not links.
#![allow(rustdoc::broken_intra_doc_links)]
// All output goes through `output`, which survives closed and full streams.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod cli;
mod command;
mod dashboard;
mod error_report;
mod output;
mod progress;
mod reference;
mod runtime;

use std::process::ExitCode;

fn main() -> ExitCode {
    parbake_machine::process::reset_inherited_state();
    parbake_machine::malloc::return_freed_memory();
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(error) => return error_report::usage(&error),
    };
    let progress = progress::start(cli.global.verbose);
    let result = cli.run();
    progress.finish(result.is_ok());
    result.unwrap_or_else(|error| match parbake_up::signals::received() {
        Some(signal) => error_report::interrupted(&error, signal),
        None => error_report::failure(&error),
    })
}
