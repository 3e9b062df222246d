//! What a cgroup and all below it may take at most: the same limits in either version's files.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Cgroup, Error, failed};

/// The time in which a quota of processor time may be used up, in microseconds: the kernel's own default.
const PERIOD: u64 = 100_000;

/// What a machine may take at most; as much as the host has where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Processor time, in thousandths of one processor. At least 10, which is the least that the kernel knows.
    pub millicpus: Option<u32>,
    /// Bytes of memory, page cache included. What is in use beyond that is reclaimed, or a process is killed.
    pub memory: Option<u64>,
    /// Whether memory may be swapped out instead, as far as the host has room for it.
    #[serde(default)]
    pub swap: bool,
}

/// A file and what is written into it. The first of a list that a hierarchy has is meant.
type Setting = (&'static str, String);

impl Cgroup {
    /// Limits the cgroup and all below it.
    ///
    /// # Errors
    /// The file that could not be written, or [`std::io::ErrorKind::Unsupported`] where the host cannot limit that.
    pub fn limit(&self, limits: &Limits) -> Result<(), Error> {
        if let Some(bytes) = limits.memory {
            let (needed, beside) = memory(bytes);
            self.set("limit the memory of", &needed)?;
            let beside = beside.iter().filter(|_| !limits.swap);
            for (file, value) in beside {
                for dir in &self.dirs {
                    write(dir, file, value).map_err(failed("limit the swap space of", dir))?;
                }
            }
        }
        if let Some(millicpus) = limits.millicpus {
            self.set("limit the processor time of", &cpu(millicpus))?;
        }
        Ok(())
    }

    /// Writes whichever of `settings` there is, in every hierarchy; at least one must be there.
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

/// Says whether the file is there.
fn write(dir: &Path, file: &str, value: &str) -> std::io::Result<bool> {
    let path = dir.join(file);
    if !path.exists() {
        return Ok(false);
    }
    fs::write(path, value).map(|()| true)
}

/// What limits memory, and what keeps from swapping where the kernel counts that.
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
    fn both_versions_are_told_in_their_own_words() {
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
    fn a_machine_that_may_swap_is_not_kept_from_it() {
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
    fn a_host_that_cannot_limit_says_so() {
        let root = tempfile::tempdir().unwrap();
        let cgroup = Cgroup {
            dirs: vec![root.path().to_owned()],
        };
        cgroup.limit(&Limits::default()).unwrap();
        let error = cgroup.limit(&LIMITS).unwrap_err().to_string();
        assert!(error.starts_with("could not limit the memory of"), "{error}");
    }
}
