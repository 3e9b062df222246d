//! The size of the host as a kubelet on it sees it, and the kernel parameters that it accepts.

use std::fs;
use std::io;
use std::path::Path;

use parbake_cluster::toml_document::Finding;
use parbake_machine::net::sysctl;

use super::validate::sysctls;
use super::{Config, ConfigError};

/// The CPUs that are online, such as `0-3,6` (Linux, admin-guide/cputopology).
const CPUS: &str = "sys/devices/system/cpu/online";
const MEMORY: &str = "proc/meminfo";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostSize {
    /// Thousandths of a CPU.
    pub(super) millicpus: u32,
    /// Bytes.
    pub(super) memory: u64,
}

impl HostSize {
    /// The size according to the files below `root`.
    ///
    /// # Errors
    /// A file cannot be read or parsed.
    pub(super) fn of(root: &Path) -> Result<Self, ConfigError> {
        let read = |file: &str| {
            let path = root.join(file);
            let text = fs::read_to_string(&path);
            text.map_err(|source| ConfigError::Read { path, source })
        };
        let invalid = |file: &str| ConfigError::Read {
            path: root.join(file),
            source: io::ErrorKind::InvalidData.into(),
        };
        let cpus = count(read(CPUS)?.trim()).ok_or_else(|| invalid(CPUS))?;
        let memory = total(&read(MEMORY)?).ok_or_else(|| invalid(MEMORY))?;
        Ok(Self {
            millicpus: cpus * 1000,
            memory,
        })
    }
}

fn count(list: &str) -> Option<u32> {
    let ranges = list.split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        last.parse::<u32>()
            .ok()?
            .checked_sub(first.parse().ok()?)?
            .checked_add(1)
    });
    ranges.sum()
}

fn total(meminfo: &str) -> Option<u64> {
    let rest = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

/// Kernel parameters that this host does not accept for a machine.
///
/// # Errors
/// They could not be tested.
pub(super) fn rejected_sysctls(config: &Config) -> Result<Vec<Finding>, ConfigError> {
    let mut findings = Vec::new();
    for (path, name, value) in sysctls(config) {
        let one = [(name, value)].into();
        let rejected = sysctl::check(&one).map_err(ConfigError::TestSysctls)?;
        let rejected = rejected.into_iter();
        findings.extend(rejected.map(|error| Finding::new(path.clone(), error.to_string())));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{HostSize, count};

    #[test]
    fn cpu_lists_are_counted() {
        for (list, number) in [
            ("0", Some(1)),
            ("0-3", Some(4)),
            ("0-1,4,6-7", Some(5)),
            ("", None),
            ("3-1", None),
        ] {
            assert_eq!(count(list), number, "{list}");
        }
    }

    #[test]
    fn size_is_read_from_sysfs_and_procfs() {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in [
            (super::CPUS, "0-1\n"),
            (super::MEMORY, "MemTotal:       24678900 kB\nMemFree: 1 kB\n"),
        ] {
            fs::create_dir_all(root.path().join(file).parent().unwrap()).unwrap();
            fs::write(root.path().join(file), text).unwrap();
        }
        let size = HostSize::of(root.path()).unwrap();
        assert_eq!((size.millicpus, size.memory), (2000, 24_678_900 << 10));
        fs::write(root.path().join(super::MEMORY), "none\n").unwrap();
        let error = HostSize::of(root.path()).unwrap_err().to_string();
        assert!(error.starts_with("could not read `/"), "{error}");
    }
}
