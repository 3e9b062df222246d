//! What the host has, as a kubelet on it finds out: what a node may not take of it is reserved.

use std::fs;
use std::io;
use std::path::Path;

use parbake_machine::sysctl;

use super::check::{Problem, sysctls};
use super::{Config, ConfigError};

/// The processors that run, such as `0-3,6` (Linux, admin-guide/cputopology).
const PROCESSORS: &str = "sys/devices/system/cpu/online";
const MEMORY: &str = "proc/meminfo";

/// The size of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Thousandths of a processor.
    pub(super) millicpus: u32,
    /// Bytes.
    pub(super) memory: u64,
}

impl Size {
    /// Looks below `root`.
    ///
    /// # Errors
    /// The file that cannot be read or understood.
    pub(super) fn of(root: &Path) -> Result<Self, ConfigError> {
        let read = |file: &str| {
            let path = root.join(file);
            let text = fs::read_to_string(&path);
            text.map_err(|source| ConfigError::Read { path, source })
        };
        let unclear = |file: &str| ConfigError::Read {
            path: root.join(file),
            source: io::ErrorKind::InvalidData.into(),
        };
        let processors = count(read(PROCESSORS)?.trim()).ok_or_else(|| unclear(PROCESSORS))?;
        let memory = total(&read(MEMORY)?).ok_or_else(|| unclear(MEMORY))?;
        Ok(Self {
            millicpus: processors * 1000,
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

/// Kernel parameters that this host lets no machine have.
///
/// # Errors
/// They could not be tried.
pub(super) fn refused(config: &Config) -> Result<Vec<Problem>, ConfigError> {
    let wanted = sysctls(config);
    let mut problems = Vec::new();
    for (place, name, value) in wanted {
        let one = [(name, value)].into();
        let refused = sysctl::rehearse(&one).map_err(ConfigError::Rehearse)?;
        problems.extend(
            refused
                .into_iter()
                .map(|error| (place.clone(), error.to_string())),
        );
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Size, count};

    #[test]
    fn processors_are_counted() {
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
    fn a_host_has_what_its_kernel_says() {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in [
            (super::PROCESSORS, "0-1\n"),
            (super::MEMORY, "MemTotal:       24678900 kB\nMemFree: 1 kB\n"),
        ] {
            fs::create_dir_all(root.path().join(file).parent().unwrap()).unwrap();
            fs::write(root.path().join(file), text).unwrap();
        }
        let size = Size::of(root.path()).unwrap();
        assert_eq!((size.millicpus, size.memory), (2000, 24_678_900 << 10));
        fs::write(root.path().join(super::MEMORY), "none\n").unwrap();
        let error = Size::of(root.path()).unwrap_err().to_string();
        assert!(error.starts_with("could not read `/"), "{error}");
    }
}
