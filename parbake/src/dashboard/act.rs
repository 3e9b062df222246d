//! Commands that the user asks for: parbake itself, as a child, since it takes a while and tells its progress.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::thread;

use anyhow::Context;
use parbake_machine::process::{Cmd, Error};
use tracing::subscriber::{NoSubscriber, with_default};

use super::model::Job;
use super::update::Message;

/// What runs commands.
pub(super) struct Actor {
    program: PathBuf,
    dir: PathBuf,
    sender: Sender<Message>,
}

impl Actor {
    /// Prepares commands on what is below the state directory `dir`.
    pub(super) fn new(dir: &Path, sender: Sender<Message>) -> anyhow::Result<Self> {
        Ok(Self {
            program: env::current_exe().context("could not find parbake itself")?,
            dir: dir.to_owned(),
            sender,
        })
    }

    /// Starts a command; its end becomes a message. It is cut off when the dashboard ends before it does.
    pub(super) fn run(&self, job: Job) {
        let command = self.command(&job);
        let sender = self.sender.clone();
        thread::spawn(move || {
            let outcome = with_default(NoSubscriber::new(), || command.run());
            // Nobody may want to know any more.
            let _ = sender.send(Message::Done(
                job,
                outcome.map(drop).map_err(|error| reason(&error)),
            ));
        });
    }

    fn command(&self, job: &Job) -> Cmd {
        Cmd::new(&self.program)
            .arg(job.verb.word())
            .args(["--name", job.name.as_str(), "--dir"])
            .arg(&self.dir)
    }
}

/// What the command itself gave as its reason.
fn reason(error: &Error) -> String {
    let text = match error {
        Error::Failed { tail, .. } => tail.as_str(),
        _ => "",
    };
    let said = text.lines().find_map(|line| line.strip_prefix("error: "));
    said.map_or_else(|| error.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;

    use parbake_machine::process::Cmd;

    use super::{Actor, reason};
    use crate::dashboard::model::{Job, Verb};

    #[test]
    fn a_command_is_about_the_cluster_and_its_place() {
        let actor = Actor {
            program: "parbake".into(),
            ..Actor::new(Path::new("/state"), mpsc::channel().0).unwrap()
        };
        let name = "ci".parse().unwrap();
        let command = actor.command(&Job {
            verb: Verb::Start,
            name,
        });
        assert_eq!(command.display(), "parbake start --name ci --dir /state");
    }

    #[test]
    fn the_reason_is_what_the_command_said() {
        let cases = [
            (
                "echo '==> boot'; echo 'error: it is busy' >&2; exit 1",
                "it is busy",
            ),
            ("echo odd >&2; exit 3", "failed (exit status: 3)"),
        ];
        for (script, said) in cases {
            let error = Cmd::new("sh").args(["-c", script]).run().unwrap_err();
            let reason = reason(&error);
            assert!(
                reason.contains(said) && reason.starts_with(&said[..2]) == said.starts_with("it"),
                "{reason}"
            );
        }
    }
}
