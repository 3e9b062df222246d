//! Resources of the host, as the kernel reports them.

use std::fs;

/// Figures of the whole host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resources {
    /// `MemAvailable` of proc_meminfo(5): memory that is available without swapping, in KiB.
    pub(crate) available: u64,
    /// `SUnreclaim` of proc_meminfo(5): kernel memory that cannot be reclaimed, in KiB.
    pub(crate) kernel: u64,
    /// Cgroups with the memory controller, including removed ones that still hold memory (/proc/cgroups).
    pub(crate) cgroups: u64,
    /// Mounts in this mount namespace.
    pub(crate) mounts: usize,
    /// Network interfaces in this network namespace.
    pub(crate) interfaces: usize,
}

impl Resources {
    pub(crate) fn look() -> Result<Self, String> {
        let memory = read("/proc/meminfo")?;
        Ok(Self {
            available: field(&memory, "MemAvailable:", 1)?,
            kernel: field(&memory, "SUnreclaim:", 1)?,
            cgroups: field(&read("/proc/cgroups")?, "memory", 2)?,
            mounts: read("/proc/self/mountinfo")?.lines().count(),
            interfaces: fs::read_dir("/sys/class/net")
                .map_err(|error| error.to_string())?
                .count(),
        })
    }
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

/// The word at `index` of the line that starts with `name`, as a number.
fn field(text: &str, name: &str, index: usize) -> Result<u64, String> {
    let mut lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|words| words.first() == Some(&name));
    let number = line.and_then(|words| words.get(index)?.parse().ok());
    number.ok_or_else(|| format!("there is no `{name}`"))
}
