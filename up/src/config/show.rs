//! A configuration shown: as TOML, and what may stand in one as a JSON schema.

use std::path::Path;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::store::source;
use super::{Config, VERSION};
use crate::state::{dir_of, read};
use crate::{ClusterName, Error};

/// The effective configuration of a cluster.
///
/// # Errors
/// There is none of this name, or somebody changed its file and something is wrong with it now.
pub fn of_cluster(state: &Path, name: &ClusterName) -> Result<Config, Error> {
    let dir = dir_of(state, name);
    let record = read(&dir)?.ok_or_else(|| Error::NotFound { name: name.clone() })?;
    let config = match source(&dir)? {
        Some(source) => source.config(None)?,
        None => Config::default(),
    };
    Ok(Config {
        version: Some(VERSION),
        count: u16::try_from(record.cluster.nodes().len()).ok(),
        ..config
    })
}

/// The configuration as a file has it.
///
/// # Errors
/// A path in it is no UTF-8.
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
