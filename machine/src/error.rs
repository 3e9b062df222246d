//! The error of this crate.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// A failed operation on a host, a machine, a child process or a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `act` is a verb with its object: "mount an overlay at `/x`".
    #[error("could not {act}")]
    Act {
        act: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// `act` is a verb: "read".
    #[error("could not {act} `{}`", path.display())]
    File {
        act: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A program was not found or could not be executed. Commands are shown as they would be typed.
    #[error("could not start `{command}`")]
    Start {
        command: String,
        #[source]
        source: io::Error,
    },
    /// A program ended with a non-zero exit code or by a signal. `tail` holds the last lines of its standard error, or of
    /// its output where that is empty.
    #[error("`{command}` failed ({status}){}", shown(.tail))]
    Failed {
        command: String,
        status: ExitStatus,
        tail: String,
    },
    /// A program succeeded, but its output could not be parsed.
    #[error("`{command}` printed something unexpected: {problem}")]
    Parse { command: String, problem: String },
    /// The input or output of a running program could not be read or written.
    #[error("could not pass data to or from `{command}`")]
    Stream {
        command: String,
        #[source]
        source: io::Error,
    },
    /// The supervisor's error and its causes, outermost first.
    #[error("{}", .0.join(": "))]
    Supervisor(Vec<String>),
    /// No machine has this name.
    #[error("there is no node `{name}`; the nodes are {}", known.join(", "))]
    NoSuchMachine { name: String, known: Vec<String> },
    /// Everything that needs no further cause: the message is complete.
    #[error("{0}")]
    Message(String),
}

impl Error {
    pub(crate) fn message(text: impl Into<String>) -> Self {
        Self::Message(text.into())
    }

    /// The error and its causes, outermost first.
    pub(crate) fn chain(&self) -> Vec<String> {
        std::iter::successors(Some(self as &dyn std::error::Error), |error| error.source())
            .map(ToString::to_string)
            .collect()
    }
}

/// Makes an [`Error::Act`] of the reason why `act` failed.
pub(crate) fn failed<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    act: impl Into<String>,
) -> impl FnOnce(E) -> Error {
    let act = act.into();
    move |source| Error::Act {
        act,
        source: source.into(),
    }
}

fn shown(tail: &str) -> String {
    if tail.is_empty() {
        String::new()
    } else {
        format!("; its last output:\n{tail}")
    }
}
