//! Shows logs line by line.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use parbake_machine::process::Cmd;

use crate::error::LogsError;
use crate::{Cluster, Error};

/// How many lines may be queued.
const QUEUE_LENGTH: usize = 1000;
/// Longer lines are split, in bytes.
const MAX_LINE: u64 = 1 << 20;

#[derive(Debug, Clone, Default)]
pub struct ShowOptions {
    /// Show one node only.
    pub node: Option<String>,
    /// Show the containers' logs instead of the nodes' journals.
    pub containers: bool,
    /// Limit the existing lines to the last `lines` of each journal or container.
    pub lines: Option<usize>,
    /// Wait for new lines.
    pub follow: bool,
}

/// A message of a reader thread. The line has the index of its node.
enum Message {
    Line(usize, Vec<u8>),
    Ended(Result<(), parbake_machine::Error>),
}

/// Passes each line, with its line break, and the name of its node to `take`: node by node, or as they come with `follow`.
/// Returns when the logs of all nodes end or `take` fails.
///
/// # Errors
/// There is no such node, its logs cannot be read, or `take` failed.
pub fn show(
    cluster: &Cluster,
    show: &ShowOptions,
    mut take: impl FnMut(&str, &[u8]) -> io::Result<()>,
) -> Result<(), Error> {
    let nodes: Vec<String> = match &show.node {
        Some(node) => vec![node.clone()],
        None => cluster.running().machines().keys().cloned().collect(),
    };
    let commands = nodes
        .iter()
        .map(|node| Ok(cluster.running().command(node, command_line(show))?))
        .collect::<Result<Vec<Cmd>, Error>>()?;
    // Followed logs never end, so all of them are read at once.
    let parallel = if show.follow { commands.len() } else { 1 };
    let mut commands = commands.into_iter().enumerate().peekable();
    while commands.peek().is_some() {
        let (sender, receiver) = sync_channel(QUEUE_LENGTH);
        for (index, command) in commands.by_ref().take(parallel) {
            let sender = sender.clone();
            // Not joined after an error: the command ends with its thread, and the thread with the process.
            thread::spawn(move || read(index, &command, &sender));
        }
        drop(sender);
        for message in receiver {
            match message {
                Message::Line(index, line) => take(&nodes[index], &line).map_err(LogsError::Output)?,
                Message::Ended(outcome) => outcome?,
            }
        }
    }
    Ok(())
}

fn read(index: usize, command: &Cmd, sender: &SyncSender<Message>) {
    let outcome = command.stream_output(|output| {
        let mut output = BufReader::new(output);
        loop {
            let mut line = Vec::new();
            if (&mut output).take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let disconnected = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            sender.send(Message::Line(index, line)).map_err(disconnected)?;
        }
    });
    let _ = sender.send(Message::Ended(outcome));
}

fn command_line(show: &ShowOptions) -> Vec<String> {
    let lines = match (show.lines, show.containers) {
        (Some(lines), _) => lines.to_string(),
        (None, true) => "+1".to_owned(),
        (None, false) => "all".to_owned(),
    };
    if show.containers {
        let follow = if show.follow { "--follow=name --retry " } else { "" };
        // The pattern stays unexpanded if there is no container.
        let script = format!(
            "cd /var/log/containers && set -- *.log && {{ [ -e \"$1\" ] || exit 0; }} && exec tail {follow}--lines={lines} -- \"$@\""
        );
        return ["sh", "-euc", &script].map(str::to_owned).to_vec();
    }
    let mut command_line = ["journalctl", "--boot", "--no-pager", "--output=short-iso"]
        .map(str::to_owned)
        .to_vec();
    command_line.push(format!("--lines={lines}"));
    command_line.extend(show.follow.then(|| "--follow".to_owned()));
    command_line
}

#[cfg(test)]
mod tests {
    use super::{ShowOptions, command_line};

    #[test]
    fn options_become_a_command() {
        let journal = "journalctl --boot --no-pager --output=short-iso --lines=";
        let containers = |tail: &str| {
            let before = "sh -euc cd /var/log/containers && set -- *.log && { [ -e \"$1\" ] || exit 0; } && exec tail ";
            format!("{before}{tail} -- \"$@\"")
        };
        let show = |containers, lines, follow| ShowOptions {
            containers,
            lines,
            follow,
            ..ShowOptions::default()
        };
        for (show, expected) in [
            (show(false, None, false), format!("{journal}all")),
            (show(false, Some(5), true), format!("{journal}5 --follow")),
            (show(true, None, false), containers("--lines=+1")),
            (
                show(true, Some(5), true),
                containers("--follow=name --retry --lines=5"),
            ),
        ] {
            assert_eq!(command_line(&show).join(" "), expected);
        }
    }
}
