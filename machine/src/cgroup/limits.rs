//! Limits of a cgroup, in the files of v1 and v2.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Cgroup, failed};
use crate::Error;

/// The period of a CPU quota in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;

/// The limits of a machine; `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// CPU time, in thousandths of a CPU. At least 10, the kernel's minimum.
    pub millicpus: Option<u32>,
    /// Bytes of memory, including the page cache. Beyond that memory is reclaimed, or a process is killed.
    pub memory: Option<u64>,
    /// Memory may be swapped out, as far as the host has swap space.
    #[serde(default)]
    pub swap: bool,
}

/// A file and its content.
type Setting = (&'static str, String);

impl Cgroup {
    /// Limits the cgroup with all below it.
    ///
    /// # Errors
    /// A file could not be written, or the host does not support the limit.
    pub fn limit(&self, limits: &Limits) -> Result<(), Error> {
        if let Some(bytes) = limits.memory {
            let (memory, swap) = memory(bytes);
            self.set("limit the memory of", &memory)?;
            for (file, value) in swap.iter().filter(|_| !limits.swap) {
                for dir in &self.dirs {
                    write(dir, file, value).map_err(failed("limit the swap space of", dir))?;
                }
            }
        }
        if let Some(millicpus) = limits.millicpus {
            self.set("limit the CPU time of", &cpu(millicpus))?;
        }
        Ok(())
    }

    /// Writes the `settings` whose files exist, in every hierarchy; at least one must exist.
    fn set(&self, act: &'static str, settings: &[Setting]) -> Result<(), Error> {
        let mut done = false;
        for dir in &self.dirs {
            for (file, value) in settings {
                done |= write(dir, file, value).map_err(failed(act, dir))?;
            }
        }
        let first = self.dirs.first().map_or(Path::new(""), |dir| dir.as_path());
        done.then_some(())
            .ok_or_else(|| failed(act, first)(std::io::ErrorKind::Unsupported.into()))
    }
}

/// Returns false if the file does not exist.
fn write(dir: &Path, file: &str, value: &str) -> std::io::Result<bool> {
    let path = dir.join(file);
    if !path.exists() {
        return Ok(false);
    }
    fs::write(path, value).map(|()| true)
}

/// The settings that limit memory, and those that prevent swapping where the kernel can.
fn memory(bytes: u64) -> ([Setting; 2], [Setting; 2]) {
    let limit = bytes.to_string();
    (
        [
            // Linux, admin-guide/cgroup-v2, 'Memory Interface Files'.
            ("memory.max", limit.clone()),
            // Linux, admin-guide/cgroup-v1/memory.
            ("memory.limit_in_bytes", limit.clone()),
        ],
        [
            ("memory.swap.max", "0".to_owned()),
            // Memory and swap together, which must not be less than memory alone.
            ("memory.memsw.limit_in_bytes", limit),
        ],
    )
}

fn cpu(millicpus: u32) -> [Setting; 3] {
    let quota = u64::from(millicpus) * PERIOD / 1000;
    [
        ("cpu.max", format!("{quota} {PERIOD}")),
        // Linux, scheduler/sched-bwc.
        ("cpu.cfs_period_us", PERIOD.to_string()),
        ("cpu.cfs_quota_us", quota.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Cgroup;
    use super::Limits;

    const LIMITS: Limits = Limits {
        millicpus: Some(1500),
        memory: Some(1 << 30),
        swap: false,
    };

    #[test]
    fn limits_are_written_to_the_files_of_both_versions() {
        let v1 = [
            ("memory/memory.limit_in_bytes", "1073741824"),
            ("memory/memory.memsw.limit_in_bytes", "1073741824"),
            ("cpu/cpu.cfs_period_us", "100000"),
            ("cpu/cpu.cfs_quota_us", "150000"),
        ];
        let v2 = [
            ("x/memory.max", "1073741824"),
            ("x/memory.swap.max", "0"),
            ("x/cpu.max", "150000 100000"),
        ];
        for files in [v1.as_slice(), v2.as_slice()] {
            let root = tempfile::tempdir().unwrap();
            let mut dirs = Vec::new();
            for (path, _) in files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, "").unwrap();
                dirs.push(path.parent().unwrap().to_owned());
            }
            Cgroup { dirs }.limit(&LIMITS).unwrap();
            for (path, value) in files {
                assert_eq!(
                    fs::read_to_string(root.path().join(path)).unwrap(),
                    *value,
                    "{path}"
                );
            }
        }
    }

    #[test]
    fn swap_is_not_limited_where_it_is_allowed() {
        let root = tempfile::tempdir().unwrap();
        let dirs = vec![root.path().to_owned()];
        for file in ["memory.max", "memory.swap.max"] {
            fs::write(root.path().join(file), "max").unwrap();
        }
        let limits = Limits {
            millicpus: None,
            swap: true,
            ..LIMITS
        };
        Cgroup { dirs }.limit(&limits).unwrap();
        let read = |file| fs::read_to_string(root.path().join(file)).unwrap();
        assert_eq!(
            (read("memory.max"), read("memory.swap.max")),
            ("1073741824".into(), "max".into())
        );
    }

    #[test]
    fn missing_controller_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let cgroup = Cgroup {
            dirs: vec![root.path().to_owned()],
        };
        cgroup.limit(&Limits::default()).unwrap();
        let error = cgroup.limit(&LIMITS).unwrap_err().to_string();
        assert!(error.starts_with("could not limit the memory of"), "{error}");
    }
}
