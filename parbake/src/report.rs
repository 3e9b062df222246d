//! How a command that did not do what it was asked to ends: one message, one exit code.

use std::process::ExitCode;

use parbake_artifact::printable;

/// Prints what clap has to say: help on standard output (exit code 0), wrong usage on standard error (2).
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // There is nowhere left to complain to when this fails.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Prints an error with all that caused it (exit code 1).
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    eprintln!("{}", chain(error));
    ExitCode::FAILURE
}

fn chain(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        text.push_str(&format!(
            "\n  caused by: {}",
            cause.to_string().replace('\n', "\n    ")
        ));
    }
    // Much of what went wrong is quoted from outside.
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::chain;

    #[test]
    fn what_is_quoted_does_not_steer_the_terminal() {
        let error = anyhow!("no `\u{1b}[2Jä`:\r\nnext");
        assert_eq!(chain(&error), "error: no `\\u{1b}[2Jä`:\\u{d}\nnext");
    }

    #[test]
    fn every_cause_is_printed_once_in_a_line_of_its_own() {
        let error = Err::<(), _>(anyhow!("no such file"))
            .context("could not read `x`:\nfirst")
            .context("could not start")
            .unwrap_err();
        assert_eq!(
            chain(&error),
            "error: could not start\n  caused by: could not read `x`:\n    first\n  caused by: no such file"
        );
    }
}
