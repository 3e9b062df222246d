//! Preparing the host's kernel before machines boot.

use std::fs;
use std::path::Path;

use crate::error::{Error, failed};
use crate::plan::{HostSettings, KernelLimit};
use crate::process::Cmd;

impl HostSettings {
    /// Loads missing kernel modules and raises limits that are too low. Both affect the whole host and remain. Limits that
    /// cannot be raised, as in many containers, are logged: a single cluster may still run.
    ///
    /// # Errors
    /// A module could not be loaded.
    pub(crate) fn apply(&self) -> Result<(), Error> {
        for module in &self.modules {
            let loaded = Cmd::new("modprobe").arg(module).run();
            loaded.map_err(failed(format!("load the kernel module `{module}`")))?;
            tracing::info!("loaded the kernel module `{module}`");
        }
        for limit in &self.limits {
            match raise(limit, &limit.path()) {
                Ok(true) => tracing::info!("raised the kernel limit `{}` to {}", limit.name, limit.at_least),
                Ok(false) => {}
                Err(problem) => tracing::warn!("{problem}"),
            }
        }
        Ok(())
    }
}

/// Raises the limit in the file `path`. Returns false if it is high enough.
fn raise(KernelLimit { name, at_least }: &KernelLimit, path: &Path) -> Result<bool, String> {
    let current = fs::read_to_string(path).ok();
    let current: Option<u64> = current.and_then(|text| text.trim().parse().ok());
    if current.is_some_and(|current| current >= *at_least) {
        return Ok(false);
    }
    fs::write(path, at_least.to_string()).map(|()| true).map_err(|error| {
        let current = current.map_or_else(|| "unknown".to_owned(), |current| current.to_string());
        format!(
            "could not raise the kernel limit `{name}` from {current} to {at_least}: {error}; run `sysctl -w \
             {name}={at_least}` on the host"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::raise;
    use crate::plan::KernelLimit;

    #[test]
    fn limit_is_written_only_if_it_is_too_low() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("limit");
        let limit = KernelLimit {
            name: "fs.inotify.max_user_instances".to_owned(),
            at_least: 512,
        };
        for (current, raised, after) in [("128\n", true, "512"), ("1024\n", false, "1024\n")] {
            fs::write(&path, current).unwrap();
            assert_eq!(raise(&limit, &path), Ok(raised));
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
        let error = raise(&limit, dir.path()).unwrap_err();
        assert!(
            error.contains("`fs.inotify.max_user_instances` from unknown to 512")
                && error.contains("`sysctl -w fs.inotify.max_user_instances=512`"),
            "{error}"
        );
    }
}
