//! Preparing the host's kernel before machines boot.

use std::fs;

use crate::error::{Error, failed};
use crate::plan::{HostSettings, KernelLimit};
use crate::process::Cmd;

impl HostSettings {
    /// Loads missing kernel modules and raises limits that are too low. Both affect the whole host and remain.
    ///
    /// # Errors
    /// The first module or limit that failed.
    pub(crate) fn apply(&self) -> Result<(), Error> {
        for module in &self.modules {
            let loaded = Cmd::new("modprobe").arg(module).run();
            loaded.map_err(failed(format!("load the kernel module `{module}`")))?;
            tracing::info!("loaded the kernel module `{module}`");
        }
        for limit in &self.limits {
            let KernelLimit { name, at_least } = limit;
            let raised = fs::write(limit.path(), at_least.to_string());
            raised.map_err(failed(format!(
                "raise the kernel limit `{name}` to {at_least}; run `sysctl -w {name}={at_least}` on the host"
            )))?;
            tracing::info!("raised the kernel limit `{name}` to {at_least}");
        }
        Ok(())
    }
}
