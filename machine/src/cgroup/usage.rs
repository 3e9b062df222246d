//! What the processes of a cgroup have used, as the kernel counts it: the same facts from either version's files.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::{Cgroup, Error, failed};

/// What a cgroup and all below it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of memory that are charged to it, the page cache that it filled first included.
    pub memory: u64,
    /// Bytes of memory that belong to its processes alone and are no file's: what it would take of a host whose page
    /// cache was warm before.
    pub anonymous: u64,
    /// Processor time since the cgroup was made, processes that have ended included.
    pub cpu: Duration,
}

/// How the files of a version say it.
struct Files {
    memory: &'static str,
    /// The line of `memory.stat` that counts all below, too.
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
    /// What the cgroup and all below it have used.
    ///
    /// # Errors
    /// There is no such cgroup, or the host counts no memory or no processor time.
    pub fn usage(&self) -> Result<Usage, Error> {
        let (memory, anonymous) = self.look("count the memory of", memory)?;
        let cpu = self.look("count the processor time of", cpu)?;
        Ok(Usage {
            memory,
            anonymous,
            cpu,
        })
    }

    /// What the first hierarchy says that has it.
    fn look<T>(&self, act: &'static str, read: impl Fn(&Path) -> io::Result<Option<T>>) -> Result<T, Error> {
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
    // Version 1 has a `cpu.stat` too, which tells other things.
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

/// The number of the line `NAME NUMBER`.
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

    /// A cgroup of made-up files, `HIERARCHY/FILE`.
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
    fn both_versions_say_the_same() {
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
    fn a_host_that_does_not_count_says_so() {
        let root = tempfile::tempdir().unwrap();
        let uncounted = cgroup(&root, &[("x/cpu.stat", "usage_usec 1\n")]);
        let error = uncounted.usage().unwrap_err().to_string();
        assert!(error.starts_with("could not count the memory of"), "{error}");
        let garbled = cgroup(&root, &[("y/memory.current", "1\n"), ("y/memory.stat", "\n")]);
        assert!(garbled.usage().is_err());
    }
}
