//! What can be wrong with a configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;

use parbake_cluster::diagnostics::Problems;
use parbake_cluster::{DescriptionError, labels_and_taints, pod_security};
use parbake_machine::process;

use super::check::Problem;
use super::read::shown;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file says what makes no sense.
    #[error("the configuration `{}` cannot be used: {problems}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// All that is wrong with it.
        problems: Problems,
    },
    /// Flags, or what they and a file say together, make no sense.
    #[error("what the flags and the configuration say cannot be: {}", listed(.0))]
    Together(Vec<String>),
    /// The cluster cannot run with so many nodes.
    #[error(transparent)]
    Count(#[from] DescriptionError),
    /// Kernel parameters could not be tried.
    #[error("could not make a network namespace to try kernel parameters in")]
    Rehearse(#[source] io::Error),
    /// The manifest of a component in the layers cannot be changed.
    #[error("could not change the arguments of {component} in `{}`", path.display())]
    Component {
        /// The component.
        component: &'static str,
        /// Its manifest.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The stored configuration could not be written.
    #[error("could not write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Labels and taints could not be set.
    #[error(transparent)]
    Marks(#[from] labels_and_taints::MarkError),
    /// What was baked could not be exempted from pod security.
    #[error(transparent)]
    Exempt(#[from] pod_security::ExemptError),
    /// A manifest was refused.
    #[error("could not apply the manifests `{}`", path.display())]
    Apply {
        /// The file or directory.
        path: PathBuf,
        /// What kubectl said.
        #[source]
        source: process::Error,
    },
}

impl ConfigError {
    /// Problems that have no line.
    pub(super) fn together(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        let texts = problems
            .into_iter()
            .map(|(place, message)| format!("`{}`: {message}", shown(&place)));
        Err(Self::Together(texts.collect()))
    }
}

fn listed(problems: &[String]) -> impl fmt::Display {
    match problems {
        [one] => one.clone(),
        many => format!("{} problems:\n  {}", many.len(), many.join("\n  ")),
    }
}
