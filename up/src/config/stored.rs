//! `cluster.toml` in a cluster's own directory: the effective configuration, which applies at every start.

use std::path::Path;

use parbake_cluster::Description;
use parbake_machine::fs::files::replace;

use super::request::ValidationContext;
use super::{Config, ConfigError, ConfigFile, to_toml};

const FILE: &str = "cluster.toml";
const HEADER: &str = "\
# The configuration of this cluster, from the flags and the file given to `parbake up` or `parbake create`. It applies at
# every start; images and manifests only at the first. See `parbake config show` and `parbake config schema`.
";

/// Writes the configuration of the cluster in `dir` atomically.
pub(crate) fn store(dir: &Path, config: &Config) -> Result<(), ConfigError> {
    let path = dir.join(FILE);
    let failed = |source| ConfigError::Write {
        path: path.clone(),
        source,
    };
    let text = to_toml(config).map_err(|error| failed(error.into()))?;
    replace(&path, format!("{HEADER}{text}").as_bytes(), 0o644).map_err(|error| failed(error.into()))
}

/// The configuration of the cluster in `dir`, which runs the nodes of `cluster`; empty for a cluster without a file.
/// `first_start` says that the cluster was never ready.
///
/// # Errors
/// The file was changed and is invalid now, or this host lacks something that it names.
pub(crate) fn load(dir: &Path, cluster: &Description, first_start: bool) -> Result<Config, ConfigError> {
    let context = ValidationContext {
        baked: cluster,
        count: u16::try_from(cluster.nodes().len()).ok(),
        first_start,
    };
    match stored_file(dir)? {
        Some(file) => file.config(Some(context)),
        None => Ok(Config::default()),
    }
}

/// The file of the cluster in `dir`; clusters of older versions have none.
pub(super) fn stored_file(dir: &Path) -> Result<Option<ConfigFile>, ConfigError> {
    let path = dir.join(FILE);
    path.exists().then(|| ConfigFile::read(&path)).transpose()
}
