//! The resource usage of a cgroup, from the files of v1 and v2.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::{Cgroup, failed};
use crate::Error;

/// The resource usage of a cgroup with all below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of memory that are charged to it, including page cache that it was the first to fill.
    pub memory: u64,
    /// Bytes of anonymous memory: what it would take of a host with a warm page cache.
    pub anonymous: u64,
    /// CPU time since the cgroup was created, including that of processes that have ended.
    pub cpu: Duration,
}

/// The memory files of a cgroup version.
struct Files {
    memory: &'static str,
    /// The line of `memory.stat` that includes all cgroups below.
    anonymous: &'static str,
}

const MEMORY: [Files; 2] = [
    // Linux, admin-guide/cgroup-v2, 'Memory Interface Files'.
    Files {
        memory: "memory.current",
        anonymous: "anon",
    },
    // Linux, admin-guide/cgroup-v1/memory, 'stat file'.
    Files {
        memory: "memory.usage_in_bytes",
        anonymous: "total_rss",
    },
];

impl Cgroup {
    /// # Errors
    /// The cgroup does not exist, or the host does not account memory or CPU time.
    pub fn usage(&self) -> Result<Usage, Error> {
        let (memory, anonymous) = self.first("read the memory usage of", memory)?;
        let cpu = self.first("read the CPU time of", cpu)?;
        Ok(Usage {
            memory,
            anonymous,
            cpu,
        })
    }

    /// The value of the first hierarchy that has it.
    fn first<T>(&self, act: &'static str, read: impl Fn(&Path) -> io::Result<Option<T>>) -> Result<T, Error> {
        for dir in &self.dirs {
            if let Some(found) = read(dir).map_err(failed(act, dir))? {
                return Ok(found);
            }
        }
        let first = self.dirs.first().map_or(Path::new(""), |dir| dir.as_path());
        Err(failed(act, first)(io::ErrorKind::NotFound.into()))
    }
}

fn memory(dir: &Path) -> io::Result<Option<(u64, u64)>> {
    for files in MEMORY {
        let Some(text) = read(&dir.join(files.memory))? else {
            continue;
        };
        let stat = fs::read_to_string(dir.join("memory.stat"))?;
        let found = text.trim().parse().ok().zip(field(&stat, files.anonymous));
        return found.map(Some).ok_or_else(unreadable);
    }
    Ok(None)
}

fn cpu(dir: &Path) -> io::Result<Option<Duration>> {
    // v1 has a `cpu.stat` too, with other content.
    if let Some(text) = read(&dir.join("cpuacct.usage"))? {
        let nanos = text.trim().parse().map_err(|_| unreadable())?;
        return Ok(Some(Duration::from_nanos(nanos)));
    }
    let stat = read(&dir.join("cpu.stat"))?;
    let micros = stat.and_then(|stat| field(&stat, "usage_usec"));
    Ok(micros.map(Duration::from_micros))
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        text => text.map(Some),
    }
}

/// The number in the line `NAME NUMBER`.
fn field(stat: &str, name: &str) -> Option<u64> {
    stat.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn unreadable() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::super::Cgroup;
    use super::Usage;

    const EXPECTED: Usage = Usage {
        memory: 4096,
        anonymous: 1024,
        cpu: Duration::from_millis(1500),
    };

    /// A cgroup of test files, `HIERARCHY/FILE`.
    fn cgroup(root: &tempfile::TempDir, files: &[(&str, &str)]) -> Cgroup {
        let mut dirs: Vec<PathBuf> = Vec::new();
        for (path, text) in files {
            let path = root.path().join(path);
            let dir = path.parent().unwrap().to_owned();
            fs::create_dir_all(&dir).unwrap();
            fs::write(path, text).unwrap();
            if !dirs.contains(&dir) {
                dirs.push(dir);
            }
        }
        Cgroup { dirs }
    }

    #[test]
    fn usage_is_read_from_the_files_of_both_versions() {
        let v1 = [
            ("systemd/cgroup.procs", ""),
            ("cpu/cpu.stat", "nr_periods 7\nnr_throttled 0\n"),
            ("cpuacct/cpuacct.usage", "1500000000\n"),
            ("memory/memory.usage_in_bytes", "4096\n"),
            (
                "memory/memory.stat",
                "cache 9\nrss 1\ntotal_rss_huge 5\ntotal_rss 1024\n",
            ),
        ];
        let v2 = [
            ("x/cpu.stat", "usage_usec 1500000\nuser_usec 1\n"),
            ("x/memory.current", "4096\n"),
            ("x/memory.stat", "anon_thp 5\nanon 1024\nfile 9\n"),
        ];
        for files in [v1.as_slice(), v2.as_slice()] {
            let root = tempfile::tempdir().unwrap();
            assert_eq!(cgroup(&root, files).usage().unwrap(), EXPECTED);
        }
    }

    #[test]
    fn missing_controller_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let unaccounted = cgroup(&root, &[("x/cpu.stat", "usage_usec 1\n")]);
        let error = unaccounted.usage().unwrap_err().to_string();
        assert!(error.starts_with("could not read the memory usage of"), "{error}");
        let garbled = cgroup(&root, &[("y/memory.current", "1\n"), ("y/memory.stat", "\n")]);
        assert!(garbled.usage().is_err());
    }
}
