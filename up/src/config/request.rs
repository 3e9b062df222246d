//! From a file and flags to the configuration of one cluster.

use std::path::{Path, PathBuf};

use parbake_cluster::Description;
use parbake_cluster::diagnostics::Problems;
use parbake_machine::host::NoSwap;

use super::check::{Problem, affordable, alone, fits};
use super::compat::swapping;
use super::files::{absolute, mounts, workloads};
use super::host::{Size, refused};
use super::merge::merge;
use super::read::Document;
use super::{Config, ConfigError, VERSION, audit};

/// A configuration file.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    text: String,
}

/// What a cluster is asked to be: the user's file, and flags, which win.
#[derive(Debug, Default)]
pub struct ConfigRequest {
    /// The file, if there is one.
    pub file: Option<ConfigFile>,
    /// The flags.
    pub flags: Config,
}

/// What a configuration is checked against.
#[derive(Debug, Clone, Copy)]
pub(super) struct ValidationContext<'a> {
    /// The cluster with all nodes that it could have.
    pub(super) baked: &'a Description,
    /// How many of them run whatever the configuration says.
    pub(super) count: Option<u16>,
    /// Whether images and manifests are still to be used.
    pub(super) first: bool,
}

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        Ok(Self {
            text: std::fs::read_to_string(path).map_err(failed)?,
            path: std::path::absolute(path).map_err(failed)?,
        })
    }

    fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// What it says, with absolute paths, if there is nothing wrong with it, by itself or with it and what it is
    /// `against`.
    pub(super) fn config(&self, against: Option<ValidationContext<'_>>) -> Result<Config, ConfigError> {
        let wrong = |problems: Problems| ConfigError::File {
            path: self.path.clone(),
            problems,
        };
        let mut document = Document::parse(&self.text).map_err(wrong)?;
        let config = absolute(document.config(), self.dir());
        let mut problems = alone(&config);
        if let Some(against) = against {
            problems.extend(surroundings(&config, against)?);
        }
        for (place, message) in problems {
            document.note(&place, message);
        }
        document.finish(config).map_err(wrong)
    }
}

impl ConfigRequest {
    /// The first nodes of those that were baked; all of them where nothing is given.
    #[must_use]
    pub fn nodes(count: Option<usize>) -> Self {
        let flags = Config {
            count: count.map(|count| u16::try_from(count).unwrap_or(u16::MAX)),
            ..Config::default()
        };
        Self { file: None, flags }
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.file.is_none() && self.flags == Config::default()
    }

    /// Both in one, as far as they make sense by themselves.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn preview(&self) -> Result<Config, ConfigError> {
        self.merged(None)
    }

    /// The configuration of a new cluster of `baked`, and the cluster itself, with those of its nodes that run.
    ///
    /// # Errors
    /// All that is wrong: with the file, each with its line, or else with what the flags and the file say together.
    pub(crate) fn resolve(&self, baked: &Description) -> Result<(Config, Description), ConfigError> {
        let count = self.flags.count;
        // Before a file is said not to fit: the flag wins.
        if let Some(count) = count {
            baked.sized(count.into())?;
        }
        let config = self.merged(Some(ValidationContext {
            baked,
            count,
            first: true,
        }))?;
        let cluster = match config.count {
            Some(count) => baked.sized(count.into())?,
            None => baked.clone(),
        };
        Ok((config, cluster))
    }

    fn merged(&self, against: Option<ValidationContext<'_>>) -> Result<Config, ConfigError> {
        let file = self.file.as_ref().map(|file| file.config(against));
        let config = merge(file.transpose()?.unwrap_or_default(), self.flags.clone());
        let mut problems = alone(&config);
        if let Some(against) = against {
            problems.extend(surroundings(&config, against)?);
        }
        ConfigError::together(problems)?;
        Ok(Config {
            version: Some(VERSION),
            ..config
        })
    }
}

/// What is wrong with a configuration for this cluster on this host.
fn surroundings(config: &Config, against: ValidationContext<'_>) -> Result<Vec<Problem>, ConfigError> {
    let mut problems = Vec::new();
    let count = against.count.or(config.count);
    let cluster = match count.map(|count| against.baked.sized(count.into())) {
        None => against.baked.clone(),
        Some(Ok(cluster)) => cluster,
        Some(Err(error)) => {
            problems.push((vec!["count".into()], error.to_string()));
            against.baked.clone()
        }
    };
    problems.extend(fits(config, against.baked, &cluster));
    let mut nodes = config.nodes.values().chain([&config.all_nodes]);
    if nodes.any(|node| node.cpus.is_some() || node.memory.is_some()) {
        problems.extend(affordable(config, &Size::of(Path::new("/"))?));
    }
    problems.extend(swapping(config, NoSwap::look));
    problems.extend(refused(config)?);
    problems.extend(audit::problem(config));
    problems.extend(mounts(config));
    if against.first {
        problems.extend(workloads(config));
    }
    Ok(problems)
}
