//! Logs as they are, line by line.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use parbake_machine::process::{self, Cmd};

use crate::error::LogsError;
use crate::{Cluster, Error};

/// How many lines may wait to be taken.
const QUEUE: usize = 1000;
/// What is longer is passed on as several lines, in bytes.
const LONGEST: u64 = 1 << 20;

/// What is to be shown.
#[derive(Debug, Clone, Default)]
pub struct ShowOptions {
    /// One node, or all of them.
    pub node: Option<String>,
    /// The containers' logs instead of the nodes' journals.
    pub containers: bool,
    /// How many lines at most that are there already; of each container, where those are asked for.
    pub lines: Option<usize>,
    /// Whether to go on with what comes.
    pub follow: bool,
}

/// What a thread has to say: a line, or how its node's command ended.
enum Said {
    Line(usize, Vec<u8>),
    Ended(Result<(), process::Error>),
}

/// Hands each line to `take`, with its node's name and with its end: node by node, or as they come if they are followed.
/// Ends when all nodes' logs do, or when `take` fails.
///
/// # Errors
/// There is no such node, its logs cannot be read, or what `take` says.
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
        .map(|node| Ok(cluster.running().command(node, words(show))?))
        .collect::<Result<Vec<Cmd>, Error>>()?;
    // Those that are followed never end, so all of them run at once.
    let together = if show.follow { commands.len() } else { 1 };
    let mut numbered = commands.into_iter().enumerate().peekable();
    while numbered.peek().is_some() {
        let (sender, receiver) = sync_channel(QUEUE);
        for (number, command) in numbered.by_ref().take(together) {
            let sender = sender.clone();
            // Not joined when nobody listens any more: children end with their threads, and those with the process.
            thread::spawn(move || read(number, &command, &sender));
        }
        drop(sender);
        for said in receiver {
            match said {
                Said::Line(number, line) => take(&nodes[number], &line).map_err(LogsError::Output)?,
                Said::Ended(ended) => ended?,
            }
        }
    }
    Ok(())
}

fn read(number: usize, command: &Cmd, sender: &SyncSender<Said>) {
    let ended = command.drain(|output| {
        let mut output = BufReader::new(output);
        loop {
            let mut line = Vec::new();
            if (&mut output).take(LONGEST).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            sender.send(Said::Line(number, line)).map_err(gone)?;
        }
    });
    let _ = sender.send(Said::Ended(ended));
}

fn words(show: &ShowOptions) -> Vec<String> {
    let lines = match (show.lines, show.containers) {
        (Some(lines), _) => lines.to_string(),
        (None, true) => "+1".to_owned(),
        (None, false) => "all".to_owned(),
    };
    if show.containers {
        let follow = if show.follow { "--follow=name --retry " } else { "" };
        // Without a container there is no file, and nothing to be shown.
        let script = format!(
            "cd /var/log/containers && set -- *.log && {{ [ -e \"$1\" ] || exit 0; }} && exec tail {follow}--lines={lines} -- \"$@\""
        );
        return ["sh", "-euc", &script].map(str::to_owned).to_vec();
    }
    let mut words = ["journalctl", "--boot", "--no-pager", "--output=short-iso"]
        .map(str::to_owned)
        .to_vec();
    words.push(format!("--lines={lines}"));
    words.extend(show.follow.then(|| "--follow".to_owned()));
    words
}

#[cfg(test)]
mod tests {
    use super::{ShowOptions, words};

    #[test]
    fn what_is_asked_for_becomes_a_command() {
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
            assert_eq!(words(&show).join(" "), expected);
        }
    }
}
