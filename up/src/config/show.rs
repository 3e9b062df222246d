//! The effective configuration as TOML, and the JSON schema of the format.

use std::path::Path;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::stored::stored_file;
use super::{Config, ConfigError, VERSION};

/// The effective configuration of the cluster in `dir`, which has `nodes` nodes.
///
/// # Errors
/// The cluster's configuration file is invalid.
pub(crate) fn effective(dir: &Path, nodes: usize) -> Result<Config, ConfigError> {
    let config = match stored_file(dir)? {
        Some(file) => file.config(None)?,
        None => Config::default(),
    };
    Ok(Config {
        version: Some(VERSION),
        count: u16::try_from(nodes).ok(),
        ..config
    })
}

/// The text of a `cluster.toml` with this configuration.
///
/// # Errors
/// A path in it is not UTF-8.
pub fn to_toml(config: &Config) -> Result<String, toml::ser::Error> {
    toml::to_string_pretty(config)
}

/// The JSON schema (draft 2020-12) of `cluster.toml`, for editors.
#[must_use]
pub fn schema() -> Value {
    SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Config>()
        .to_value()
}
