//! What a report says of the host: what the figures depend on, and nothing that tells which host it was.

use std::fs;
use std::path::Path;

use parbake_machine::host::{CgroupLayout, Host};
use serde::Serialize;

use crate::output::{count, size};

/// Facts that figures depend on.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Facts {
    /// How many processors this process may use.
    pub(super) cpus: usize,
    /// What kind they are, if the kernel says so.
    pub(super) cpu: Option<String>,
    /// Bytes of main memory.
    pub(super) memory: u64,
    /// The kernel's release.
    pub(super) kernel: String,
    pub(super) cgroups: CgroupLayout,
    /// Whether systemd is process 1.
    pub(super) systemd: bool,
    /// The version of the program that runs the machines.
    pub(super) nspawn: Option<String>,
    pub(super) parbake: &'static str,
    /// Whether parbake was built without optimization.
    pub(super) debug: bool,
}

impl Facts {
    /// Looks at the host; `dir` is where parbake's state is.
    pub(super) fn look(dir: &Path) -> Self {
        let host = Host::look(dir);
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

    /// In one line.
    pub(super) fn line(&self) -> String {
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

/// What `/proc/cpuinfo` calls the first processor (proc_cpuinfo(5)); not every architecture has such a line.
fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    let name = line.split_once(':')?.1.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::model;

    #[test]
    fn the_kind_of_processor_is_told_where_the_kernel_does() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\n\nprocessor\t: 1\n";
        assert_eq!(model(text).as_deref(), Some("Some CPU @ 2.00GHz"));
        assert_eq!(model("processor\t: 0\nBogoMIPS\t: 50\n"), None);
    }
}
