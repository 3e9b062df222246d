//! Prints why a command failed, and returns its exit code.

use std::io;
use std::process::ExitCode;

use anyhow::anyhow;
use parbake_artifact::printable;

use crate::output;

/// The exit code for wrong usage.
const USAGE: u8 = 2;

/// Prints help to standard output (exit code 0), or a usage error to standard error (2).
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    match error.print() {
        // The reader of the help closed the pipe, or nobody can read the error.
        Err(problem) if !error.use_stderr() && problem.kind() != io::ErrorKind::BrokenPipe => {
            failure(&anyhow!(problem).context("could not write to standard output"))
        }
        _ if error.use_stderr() => ExitCode::from(USAGE),
        _ => ExitCode::SUCCESS,
    }
}

/// Prints an error with its causes to standard error; exit code 1.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    output::message(&chain(error));
    ExitCode::FAILURE
}

/// Prints an error like [`failure`]; the exit code is that of a process that `signal` ended, as in shells.
pub(crate) fn interrupted(error: &anyhow::Error, signal: i32) -> ExitCode {
    let code = u8::try_from(128 + signal).unwrap_or(1);
    failure(error);
    ExitCode::from(code)
}

/// The error and its causes. Lines after the first of a message, such as remedies, are indented.
fn chain(error: &anyhow::Error) -> String {
    let message = split_remedy(&error.to_string());
    let mut text = format!("error: {}", message.replace('\n', "\n  "));
    for cause in error.chain().skip(1) {
        let cause = split_remedy(&cause.to_string()).replace('\n', "\n    ");
        text.push_str(&format!("\n  caused by: {cause}"));
    }
    // Messages quote text from outside, which must not control the terminal.
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Puts a remedy, which is a clause with a command after a semicolon, on its own line.
fn split_remedy(message: &str) -> String {
    let command = message.find("`parbake ").unwrap_or_default();
    match message[..command].rfind("; ") {
        Some(end) => format!("{}\n{}", &message[..end], &message[end + 2..]),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::chain;

    #[test]
    fn control_characters_are_escaped() {
        let error = anyhow!("no `\u{1b}[2Jä`:\r\nnext");
        assert_eq!(chain(&error), "error: no `\\u{1b}[2Jä`:\\u{d}\n  next");
    }

    #[test]
    fn remedies_have_their_own_line() {
        let error = anyhow!("`a`; `b` is damaged; run `parbake pull`; it resumes");
        assert_eq!(
            chain(&error),
            "error: `a`; `b` is damaged\n  run `parbake pull`; it resumes"
        );
    }

    #[test]
    fn every_cause_is_printed_once_on_its_own_line() {
        let error = Err::<(), _>(anyhow!("no such file"))
            .context("could not read `x`:\nfirst")
            .context("could not start\nrun `parbake doctor`")
            .unwrap_err();
        assert_eq!(
            chain(&error),
            "error: could not start\n  run `parbake doctor`\n  caused by: could not read `x`:\n    first\n  \
             caused by: no such file"
        );
    }
}
