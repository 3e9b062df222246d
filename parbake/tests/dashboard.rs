//! The dashboard in a pseudo-terminal, without a cluster.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parbake_test_support::pseudo_terminal::PseudoTerminal;

const TIMEOUT: Duration = Duration::from_secs(20);

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parbake"));
    command
        .arg("dashboard")
        .env("PARBAKE_DIR", dir)
        .env_remove("NO_COLOR");
    command
}

fn start(command: &Command) -> PseudoTerminal {
    let mut terminal = PseudoTerminal::start(command).expect("could not start a pseudo-terminal");
    let shown = terminal.wait_for("no clusters: start one with", TIMEOUT);
    shown.expect("the dashboard is not shown");
    terminal
}

#[test]
fn quit_key_restores_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let mut terminal = start(&command(dir.path()));
    terminal.keys("?").unwrap();
    terminal.wait_for("after confirmation", TIMEOUT).unwrap();
    // The first key closes the help.
    terminal.keys("qq").unwrap();
    assert_eq!(terminal.ended(TIMEOUT).unwrap().code(), Some(0));
    assert!(
        terminal.is_restored().unwrap(),
        "{:?}",
        terminal.written().unwrap()
    );
    assert!(
        terminal.written().unwrap().contains("\x1b[38;5;6"),
        "{:?}",
        terminal.written().unwrap()
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn signals_restore_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut terminal = start(&command(dir.path()));
        let pid = Pid::from_raw(i32::try_from(terminal.pid()).unwrap());
        kill(pid, signal).unwrap();
        let status = terminal.ended(TIMEOUT).unwrap();
        assert_eq!(
            (status.code(), status.signal()),
            (Some(128 + signal as i32), None)
        );
        assert!(
            terminal.is_restored().unwrap(),
            "{signal}: {:?}",
            terminal.written().unwrap()
        );
    }
}

#[test]
fn no_color_disables_colours() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(dir.path());
    command.env("NO_COLOR", "1");
    let mut terminal = start(&command);
    terminal.keys("q").unwrap();
    assert_eq!(terminal.ended(TIMEOUT).unwrap().code(), Some(0));
    let shown = terminal.written().unwrap();
    // Select graphic rendition (ECMA-48 8.3.117): 30 to 38 and 40 to 48 are colours, 39 and 49 the terminal's own.
    let colour = regex::Regex::new(r"\x1b\[(?:[0-9;]*;)?[34][0-8](?:;[0-9;]*)?m").unwrap();
    assert!(!colour.is_match(&shown), "{shown:?}");
}

#[test]
fn missing_terminal_is_an_error_with_alternatives() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(dir.path());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(1), &b""[..])
    );
    assert!(
        error.starts_with("error: ") && error.lines().count() == 2,
        "{error}"
    );
    for alternative in [
        "`parbake list --watch`",
        "`parbake status --watch`",
        "`parbake events --follow`",
    ] {
        assert!(error.contains(alternative), "{error}");
    }
}
