use std::fmt;
use std::io;
use std::path::PathBuf;

use parbake_cluster::DescriptionError;
use parbake_cluster::diagnostics::Problems;
use parbake_cluster::toml_document::Finding;

/// A configuration that is invalid or cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("could not read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is not a valid configuration: {problems}", path.display())]
    File { path: PathBuf, problems: Problems },
    /// The flags conflict with each other or with the file.
    #[error("flags and configuration conflict: {}", listed(.0))]
    Conflict(Vec<Finding>),
    /// The cluster cannot run that many nodes.
    #[error(transparent)]
    Count(#[from] DescriptionError),
    #[error("could not create a network namespace to test kernel parameters in")]
    TestSysctls(#[source] io::Error),
    /// A file in a node's layers that holds a component's arguments cannot be changed.
    #[error("could not change the arguments of {component} in `{}`", path.display())]
    Component {
        component: &'static str,
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("could not write `{}`", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(transparent)]
    Cluster(#[from] parbake_cluster::Error),
    #[error("could not apply the manifests `{}`", path.display())]
    Apply {
        path: PathBuf,
        #[source]
        source: parbake_machine::Error,
    },
}

/// A text that is not a valid value of its kind. The message names the text and what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub(super) String);

fn listed(findings: &[Finding]) -> impl fmt::Display {
    match findings {
        [one] => one.to_string(),
        many => {
            let lines: Vec<String> = many.iter().map(ToString::to_string).collect();
            format!("{} problems:\n  {}", many.len(), lines.join("\n  "))
        }
    }
}
