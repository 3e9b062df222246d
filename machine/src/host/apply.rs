//! What the host's kernel must be told before machines boot.

use std::fs;
use std::io;

use super::decide::HostSettings;
use crate::process::{self, Cmd};

/// A preparation of the host that failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A kernel module could not be loaded.
    #[error("could not load the kernel module `{module}`")]
    Module {
        /// The module.
        module: String,
        /// Why.
        #[source]
        source: process::Error,
    },
    /// A limit of the kernel could not be raised.
    #[error("could not raise the kernel's limit `{name}` to {value}; ask the host's administrator to")]
    Limit {
        /// Its name for sysctl(8).
        name: String,
        /// What it should be.
        value: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl HostSettings {
    /// Loads the kernel modules that are missing and raises the limits that are too low, and says so. Both are the whole
    /// host's and stay: machines could not do without, and nobody is worse off.
    ///
    /// # Errors
    /// The first that could not be done.
    pub(crate) fn apply(&self) -> Result<(), ApplyError> {
        for module in &self.modules {
            let loaded = Cmd::new("modprobe").arg(module).run();
            loaded.map_err(|source| ApplyError::Module {
                module: module.clone(),
                source,
            })?;
            tracing::info!("loaded the kernel module `{module}`");
        }
        for limit in &self.limits {
            let raised = fs::write(limit.path(), limit.at_least.to_string());
            raised.map_err(|source| ApplyError::Limit {
                name: limit.name.clone(),
                value: limit.at_least,
                source,
            })?;
            tracing::info!("raised the kernel's limit `{}` to {}", limit.name, limit.at_least);
        }
        Ok(())
    }
}
