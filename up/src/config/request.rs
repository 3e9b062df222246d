//! From a configuration file and flags to the configuration of one cluster.

use std::path::{Path, PathBuf};

use parbake_cluster::Description;
use parbake_cluster::diagnostics::Problems;
use parbake_cluster::toml_document::{Document, Finding, ValuePath};
use parbake_machine::host::NoSwap;

use super::compat::unavailable_swap;
use super::files::{absolute, mount_sources, workloads};
use super::host::{HostSize, rejected_sysctls};
use super::merge::merge;
use super::validate::{host_limits, validate, validate_for_cluster};
use super::{Config, ConfigError, VERSION, audit};

/// The text of a configuration file.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    text: String,
}

/// The configuration that a user asks for: a file, and flags, which take precedence.
#[derive(Debug, Default)]
pub struct ConfigRequest {
    pub file: Option<ConfigFile>,
    pub flags: Config,
}

/// The cluster that a configuration is validated for.
#[derive(Debug, Clone, Copy)]
pub(super) struct ValidationContext<'a> {
    /// The cluster with all nodes that it can have.
    pub(super) baked: &'a Description,
    /// How many of them run, whatever the configuration says.
    pub(super) count: Option<u16>,
    /// True if images and manifests are still to be loaded.
    pub(super) first_start: bool,
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

    /// The validated configuration, with absolute paths. Without a `context`, only the file itself is checked.
    pub(super) fn config(&self, context: Option<ValidationContext<'_>>) -> Result<Config, ConfigError> {
        let invalid = |problems: Problems| ConfigError::File {
            path: self.path.clone(),
            problems,
        };
        let mut document = Document::parse(&self.text).map_err(invalid)?;
        let config = absolute(document.deserialize().unwrap_or_default(), self.dir());
        document.report_all(validate(&config));
        if let Some(context) = context {
            document.report_all(validate_in(&config, context)?);
        }
        document.finish(Some(config)).map_err(invalid)
    }
}

impl ConfigRequest {
    /// Asks for the first `count` of the baked nodes, or for all of them.
    #[must_use]
    pub fn nodes(count: Option<usize>) -> Self {
        let flags = Config {
            count: count.map(|count| u16::try_from(count).unwrap_or(u16::MAX)),
            ..Config::default()
        };
        Self { file: None, flags }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.file.is_none() && self.flags == Config::default()
    }

    /// File and flags merged, checked as far as that is possible without a cluster.
    ///
    /// # Errors
    /// All problems that were found.
    pub fn preview(&self) -> Result<Config, ConfigError> {
        self.merged(None)
    }

    /// The configuration of a new cluster made from `baked`, and the cluster itself, with the nodes that will run.
    ///
    /// # Errors
    /// All problems of the file, each with its line, or else all conflicts between flags and file.
    pub(crate) fn resolve(&self, baked: &Description) -> Result<(Config, Description), ConfigError> {
        let count = self.flags.count;
        // The flag takes precedence, so it is checked before the file.
        if let Some(count) = count {
            baked.scaled_to(count.into())?;
        }
        let config = self.merged(Some(ValidationContext {
            baked,
            count,
            first_start: true,
        }))?;
        let cluster = match config.count {
            Some(count) => baked.scaled_to(count.into())?,
            None => baked.clone(),
        };
        Ok((config, cluster))
    }

    fn merged(&self, context: Option<ValidationContext<'_>>) -> Result<Config, ConfigError> {
        let file = self.file.as_ref().map(|file| file.config(context));
        let config = merge(file.transpose()?.unwrap_or_default(), self.flags.clone());
        let mut findings = validate(&config);
        if let Some(context) = context {
            findings.extend(validate_in(&config, context)?);
        }
        if !findings.is_empty() {
            return Err(ConfigError::Conflict(findings));
        }
        Ok(Config {
            version: Some(VERSION),
            ..config
        })
    }
}

/// Checks a configuration against the cluster and this host.
fn validate_in(config: &Config, context: ValidationContext<'_>) -> Result<Vec<Finding>, ConfigError> {
    let mut findings = Vec::new();
    let count = context.count.or(config.count);
    let cluster = match count.map(|count| context.baked.scaled_to(count.into())) {
        None => context.baked.clone(),
        Some(Ok(cluster)) => cluster,
        Some(Err(error)) => {
            findings.push(Finding::new(ValuePath::of(["count"]), error.to_string()));
            context.baked.clone()
        }
    };
    findings.extend(validate_for_cluster(config, context.baked, &cluster));
    let mut nodes = config.nodes.values().chain([&config.all_nodes]);
    if nodes.any(|node| node.cpus.is_some() || node.memory.is_some()) {
        findings.extend(host_limits(config, &HostSize::of(Path::new("/"))?));
    }
    findings.extend(unavailable_swap(config, NoSwap::detect));
    findings.extend(rejected_sysctls(config)?);
    findings.extend(audit::validate(config));
    findings.extend(mount_sources(config));
    if context.first_start {
        findings.extend(workloads(config));
    }
    Ok(findings)
}
