//! `cluster.toml` in a cluster's own directory: the effective configuration, which every start obeys.

use std::path::Path;

use parbake_cluster::Description;
use parbake_machine::files::replace;

use super::request::ValidationContext;
use super::{Config, ConfigError, ConfigFile, to_toml};

/// The name of the file.
const FILE: &str = "cluster.toml";
const HEAD: &str = "\
# What this cluster is beyond what was baked, as its `parbake up` or `parbake create` was told. Every start obeys it;
# images and manifests are for the first. See `parbake config show`, `parbake config schema`.
";

/// Writes the configuration of the cluster in `dir`, whole or not at all.
pub(crate) fn store(dir: &Path, config: &Config) -> Result<(), ConfigError> {
    let path = dir.join(FILE);
    let failed = |source| ConfigError::Write {
        path: path.clone(),
        source,
    };
    let text = to_toml(config).map_err(|error| failed(error.into()))?;
    replace(&path, format!("{HEAD}{text}").as_bytes(), 0o644).map_err(|error| failed(error.into()))
}

/// The configuration of the cluster in `dir`, which runs the nodes of `cluster`; that of a cluster without one is empty.
/// `first` says that it was never ready.
///
/// # Errors
/// Somebody changed the file and all that is wrong with it now, or the host no longer has what it names.
pub(crate) fn load(dir: &Path, cluster: &Description, first: bool) -> Result<Config, ConfigError> {
    let against = ValidationContext {
        baked: cluster,
        count: u16::try_from(cluster.nodes().len()).ok(),
        first,
    };
    match source(dir)? {
        Some(source) => source.config(Some(against)),
        None => Ok(Config::default()),
    }
}

/// The file of the cluster in `dir`; older clusters have none.
pub(super) fn source(dir: &Path) -> Result<Option<ConfigFile>, ConfigError> {
    let path = dir.join(FILE);
    path.exists().then(|| ConfigFile::read(&path)).transpose()
}
