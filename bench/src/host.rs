//! The facts about the host that figures depend on; nothing that identifies it.

use std::fs;
use std::path::Path;

use parbake_machine::host::{CgroupLayout, Host};
use serde::Serialize;

use crate::format::{count, size};

#[derive(Debug, Clone, Serialize)]
pub(crate) struct HostFacts {
    /// Processors available to this process.
    pub(crate) cpus: usize,
    /// The model name, if the kernel reports one.
    pub(crate) cpu: Option<String>,
    /// Bytes.
    pub(crate) memory: u64,
    pub(crate) kernel: String,
    pub(crate) cgroups: CgroupLayout,
    /// True if systemd is process 1.
    pub(crate) systemd: bool,
    /// The version of systemd-nspawn.
    pub(crate) nspawn: Option<String>,
    pub(crate) parbake: &'static str,
    /// True for a build without optimization.
    pub(crate) debug: bool,
}

impl HostFacts {
    /// Probes the host; `dir` is the state directory.
    pub(crate) fn read(dir: &Path) -> Self {
        let host = Host::detect(dir);
        let nspawn = host
            .tools
            .get("systemd-nspawn")
            .and_then(|tool| tool.version.as_ref());
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: fs::read_to_string("/proc/cpuinfo")
                .ok()
                .as_deref()
                .and_then(model),
            memory: host.memory.total_bytes,
            cgroups: host.cgroups.layout,
            systemd: host.systemd,
            nspawn: nspawn.map(ToString::to_string),
            kernel: host.kernel,
            parbake: env!("CARGO_PKG_VERSION"),
            debug: cfg!(debug_assertions),
        }
    }

    /// All facts in one line.
    pub(crate) fn line(&self) -> String {
        let cpu = self
            .cpu
            .as_ref()
            .map(|cpu| format!(" ({cpu})"))
            .unwrap_or_default();
        let nspawn = self.nspawn.as_deref().unwrap_or("unknown");
        format!(
            "parbake {}{}, {}{cpu}, {} of memory, Linux {}, cgroups {}, {} systemd as process 1, systemd-nspawn {nspawn}",
            self.parbake,
            if self.debug { " (debug build)" } else { "" },
            count(self.cpus, "CPU"),
            size(self.memory),
            self.kernel,
            match self.cgroups {
                CgroupLayout::Absent => "absent",
                CgroupLayout::V1 => "v1",
                CgroupLayout::Hybrid => "hybrid",
                CgroupLayout::V2 => "v2",
            },
            if self.systemd { "with" } else { "without" },
        )
    }
}

/// The first model name in `/proc/cpuinfo` (proc_cpuinfo(5)); some architectures have none.
fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    let name = line.split_once(':')?.1.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::model;

    #[test]
    fn model_is_read_from_cpuinfo_if_present() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\n\nprocessor\t: 1\n";
        assert_eq!(model(text).as_deref(), Some("Some CPU @ 2.00GHz"));
        assert_eq!(model("processor\t: 0\nBogoMIPS\t: 50\n"), None);
    }
}
