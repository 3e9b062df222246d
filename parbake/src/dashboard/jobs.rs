//! Runs the commands that the user starts, each in a child process.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::thread;

use anyhow::Context;
use parbake_machine::Error;
use parbake_machine::process::Cmd;
use tracing::subscriber::{NoSubscriber, with_default};

use super::model::Job;
use super::update::Message;

pub(super) struct JobRunner {
    program: PathBuf,
    dir: PathBuf,
    sender: Sender<Message>,
}

impl JobRunner {
    /// `dir` is the state directory.
    pub(super) fn new(dir: &Path, sender: Sender<Message>) -> anyhow::Result<Self> {
        Ok(Self {
            program: env::current_exe().context("could not find the program of this process")?,
            dir: dir.to_owned(),
            sender,
        })
    }

    /// Starts a command, and sends a message when it ends. The command is killed if the dashboard ends first.
    pub(super) fn run(&self, job: Job) {
        let command = self.command(&job);
        let sender = self.sender.clone();
        thread::spawn(move || {
            let result = with_default(NoSubscriber::new(), || command.run());
            // The dashboard may have ended.
            let _ = sender.send(Message::Done(
                job,
                result.map(drop).map_err(|error| reason(&error)),
            ));
        });
    }

    fn command(&self, job: &Job) -> Cmd {
        Cmd::new(&self.program)
            .arg(job.verb.command())
            .args(["--name", job.name.as_str(), "--dir"])
            .arg(&self.dir)
    }
}

/// The first line of the error that the command printed.
fn reason(error: &Error) -> String {
    let text = match error {
        Error::Failed { tail, .. } => tail.as_str(),
        _ => "",
    };
    let message = text.lines().find_map(|line| line.strip_prefix("error: "));
    message.map_or_else(|| error.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;

    use parbake_machine::process::Cmd;

    use super::{JobRunner, reason};
    use crate::dashboard::model::{Job, Verb};

    #[test]
    fn command_names_the_cluster_and_the_state_directory() {
        let jobs = JobRunner {
            program: "parbake".into(),
            ..JobRunner::new(Path::new("/state"), mpsc::channel().0).unwrap()
        };
        let name = "ci".parse().unwrap();
        let command = jobs.command(&Job {
            verb: Verb::Start,
            name,
        });
        assert_eq!(command.display(), "parbake start --name ci --dir /state");
    }

    #[test]
    fn reason_is_the_error_of_the_command() {
        let cases = [
            (
                "echo '==> boot'; echo 'error: it is busy' >&2; exit 1",
                "it is busy",
            ),
            ("echo odd >&2; exit 3", "failed (exit status: 3)"),
        ];
        for (script, expected) in cases {
            let error = Cmd::new("sh").args(["-c", script]).run().unwrap_err();
            let reason = reason(&error);
            assert!(
                reason.contains(expected) && reason.starts_with(&expected[..2]) == expected.starts_with("it"),
                "{reason}"
            );
        }
    }
}
