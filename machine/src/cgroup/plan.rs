//! Where the machines' cgroups are created.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupPlan {
    /// cgroup v1 and hybrid: one directory for each machine in *every* hierarchy, below these. A machine's process joins
    /// all of them before the `exec`, so that its cgroup namespace hides all other machines.
    EachHierarchy(Vec<PathBuf>),
    /// cgroup v2 without systemd as PID 1: one directory for each machine below `parent`.
    Unified {
        /// The directory to create.
        parent: PathBuf,
        /// The controllers to enable.
        controllers: Vec<String>,
        /// In a container the hierarchy's root may hold processes, and then the kernel does not enable controllers ('no
        /// internal processes'): they are moved to this leaf.
        leaf: PathBuf,
    },
    /// cgroup v2 with systemd as PID 1, which owns the hierarchy: the cluster's supervisor runs in a scope of its own
    /// (`systemd-run --scope --property=Delegate=yes`), below which the cgroups are created.
    DelegatedScope {
        /// The controllers to enable inside the scope.
        controllers: Vec<String>,
    },
}
