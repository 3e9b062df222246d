//! The dashboard on a real cluster.

use std::time::Duration;

use parbake_test_support::place::{Outcome, Place, check};
use parbake_test_support::pseudo_terminal::PseudoTerminal;

/// Time limits of a start and of everything else.
const START: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_secs(15);

/// Starts the stopped cluster `name` with a key, waits until it runs, and quits with another key.
pub(crate) fn start(place: &Place, name: &str) -> Outcome {
    let command = place.command(&["dashboard", "--name", name]);
    let mut terminal = PseudoTerminal::start(&command)?;
    terminal.wait_for(&format!("nodes of {name}"), LOOK)?;
    terminal.keys("s")?;
    terminal.wait_for(" starting, ", LOOK)?;
    // An earlier `ready` may be on the page too.
    terminal.wait_for(&format!("`start` of `{name}` is done"), START)?;
    terminal.wait_for(" ready after ", LOOK)?;
    terminal.wait_for(&format!(" pods of {name}, "), LOOK)?;
    let shown = terminal.shown()?;
    for part in ["API answers", "all ready", "node01", "Ready", "API :", "running"] {
        check(shown.contains(part), || format!("`{part}` is not in:\n{shown}"))?;
    }
    terminal.keys("q")?;
    let status = terminal.ended(LOOK)?;
    check(status.code() == Some(0), || format!("it ended with {status}"))?;
    check(terminal.is_restored()?, || {
        "the terminal is not as it was".to_owned()
    })
}
