//! A machine's cgroups: one in every hierarchy of the host, so that the cgroup namespace isolates kubelets.
//!
//! ```text
//! /sys/fs/cgroup/memory/parbake/default-1f3a9c/node01     cgroup v1 and hybrid: in each hierarchy
//! /sys/fs/cgroup/parbake/default-1f3a9c/node01            cgroup v2
//! ```

mod freezer;
mod limits;
mod plan;
mod remount;
mod usage;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::Error;
pub use limits::Limits;
pub use plan::CgroupPlan;
pub use remount::CgroupMount;
pub(crate) use remount::remount;
pub use usage::Usage;

/// How long processes may take to end or to freeze.
const TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The same cgroup in every hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    dirs: Vec<PathBuf>,
}

/// Makes an error of the reason why `act` failed at the cgroup `path`.
fn failed(act: &str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    crate::error::failed(format!("{act} the cgroup `{}`", path.display()))
}

impl Cgroup {
    /// The cgroup of the cluster `id`, in every hierarchy of the plan. Under [`CgroupPlan::DelegatedScope`] it is below
    /// that of the calling process. Nothing is created.
    ///
    /// # Errors
    /// `/proc/self/cgroup` cannot be read.
    pub fn of_cluster(plan: &CgroupPlan, id: &str) -> Result<Self, Error> {
        let parents = match plan {
            CgroupPlan::EachHierarchy(parents) => parents.clone(),
            CgroupPlan::Unified { parent, .. } => vec![parent.clone()],
            CgroupPlan::DelegatedScope { .. } => vec![own_unified()?],
        };
        Ok(Self {
            dirs: parents.iter().map(|parent| parent.join(id)).collect(),
        })
    }

    /// Allows cgroups with controllers on v2, where a cgroup has either processes or children with controllers: moves the
    /// processes beside the cluster's cgroup to a leaf.
    ///
    /// # Errors
    /// The leaf could not be created, or a process could not be moved there.
    pub(crate) fn evacuate(plan: &CgroupPlan) -> Result<(), Error> {
        let (from, leaf) = match plan {
            CgroupPlan::EachHierarchy(_) => return Ok(()),
            CgroupPlan::Unified { parent, leaf, .. } => {
                let root = parent.parent().unwrap_or(parent);
                if enable_controllers(parent).is_ok() {
                    return Ok(());
                }
                (root.to_owned(), leaf.clone())
            }
            CgroupPlan::DelegatedScope { .. } => {
                let own = own_unified()?;
                (own.clone(), own.join("supervisor"))
            }
        };
        fs::create_dir_all(&leaf).map_err(failed("create", &leaf))?;
        for pid in pids_in(&from) {
            match fs::write(leaf.join("cgroup.procs"), pid.to_string()) {
                // ESRCH: it has ended.
                Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                    return Err(failed("move a process to", &leaf)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The cgroup `name` below this one. Nothing is created.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self {
            dirs: self.dirs.iter().map(|dir| dir.join(name)).collect(),
        }
    }

    /// Creates the cgroup with its parents and prepares them to hold processes: on v1 by copying the parent's CPUs and
    /// memory nodes, on v2 by enabling the parent's controllers. Completes what was interrupted. To be called for a
    /// cluster before its machines, since the lock is that of the cluster's parent.
    ///
    /// # Errors
    /// A directory or file could not be created or written.
    pub fn create(&self) -> Result<(), Error> {
        let _lock = self.lock()?;
        for dir in &self.dirs {
            let mut missing: Vec<&Path> = dir.ancestors().take_while(|path| !is_prepared(path)).collect();
            missing.reverse();
            for path in missing {
                match fs::create_dir(path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(failed("create", path)(error));
                    }
                    _ => enable_controllers(path).map_err(failed("prepare", path))?,
                }
            }
        }
        Ok(())
    }

    /// Locks the directory above that of all clusters: clusters that start and end at the same time create and remove the
    /// same parent. The lock is released when the file is closed.
    fn lock(&self) -> Result<Option<File>, Error> {
        let mut above = self.dirs.iter().take(1).flat_map(|dir| dir.ancestors().skip(2));
        let Some(top) = above.find(|path| path.is_dir()) else {
            return Ok(None);
        };
        let file = File::open(top).map_err(failed("open", top))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| failed("lock", top)(error.into()))?;
        Ok(Some(file))
    }

    /// Sets the cgroup's share of CPU time when it competes with others: `cpu.weight` of v2, 1 to 10000 (default 100), or
    /// its equivalent in `cpu.shares` of v1. Does nothing where the kernel has neither.
    ///
    /// # Errors
    /// The file could not be written.
    pub(crate) fn set_cpu_weight(&self, weight: u32) -> Result<(), Error> {
        for dir in &self.dirs {
            let (weights, shares) = (dir.join("cpu.weight"), dir.join("cpu.shares"));
            let (path, value) = if weights.exists() {
                (weights, weight)
            } else if shares.exists() {
                // 1024 is the default of v1.
                (shares, weight * 1024 / 100)
            } else {
                continue;
            };
            fs::write(&path, value.to_string()).map_err(failed("set the weight of", &path))?;
        }
        Ok(())
    }

    /// Opens the `cgroup.procs` files. A process that writes `0` to them moves itself into the cgroup.
    ///
    /// # Errors
    /// The cgroup does not exist.
    pub(crate) fn open_procs(&self) -> Result<Vec<File>, Error> {
        let open = |dir: &PathBuf| {
            OpenOptions::new()
                .write(true)
                .open(dir.join("cgroup.procs"))
                .map_err(failed("open", dir))
        };
        self.dirs.iter().map(open).collect()
    }

    /// The cgroup, this one or one below it, that the process `pid` is in.
    #[must_use]
    pub fn of_process(&self, pid: u32) -> Self {
        let find = |dir: &PathBuf| tree(dir).into_iter().find(|dir| pids_in(dir).contains(&pid));
        Self {
            dirs: self.dirs.iter().filter_map(find).collect(),
        }
    }

    /// The processes in the cgroup and below it.
    pub fn processes(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = self
            .dirs
            .iter()
            .flat_map(|dir| tree(dir))
            .flat_map(|dir| pids_in(&dir))
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Kills every process in the cgroup and below it, even frozen ones, and removes it, in every hierarchy. Succeeds if it
    /// does not exist. Removes the parent of all clusters after the last one.
    ///
    /// # Errors
    /// The cgroup still had processes or could not be removed within ten seconds; all hierarchies are tried.
    pub fn destroy(&self) -> Result<(), Error> {
        let deadline = Instant::now() + TIMEOUT;
        let mut outcome = Ok(());
        self.thaw_all();
        for dir in &self.dirs {
            let destroyed = destroy(dir, deadline).map_err(failed("remove", dir));
            outcome = outcome.and(destroyed);
        }
        let lock = self.lock();
        for parent in self.dirs.iter().filter_map(|dir| dir.parent()) {
            // Fails if another cluster, or a scope's supervisor, is there.
            let _ = fs::remove_dir(parent);
        }
        outcome.and(lock.map(drop))
    }
}

/// The calling process's own cgroup on v2.
fn own_unified() -> Result<PathBuf, Error> {
    let path = Path::new("/proc/self/cgroup");
    let text = fs::read_to_string(path).map_err(crate::error::failed("read `/proc/self/cgroup`"))?;
    let own = text
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default();
    Ok(Path::new("/sys/fs/cgroup").join(own))
}

/// Files of a v1 cpuset that are empty at first, which keeps processes out (cpuset(7), `cpuset.mems`).
const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// True if the cgroup exists and can hold processes.
fn is_prepared(dir: &Path) -> bool {
    let is_empty = |file: &str| fs::read(dir.join(file)).is_ok_and(|text| text.trim_ascii().is_empty());
    dir.exists() && (is_unified(dir) || !CPUSET.into_iter().any(is_empty))
}

fn is_unified(dir: &Path) -> bool {
    dir.join("cgroup.controllers").exists()
}

fn enable_controllers(dir: &Path) -> io::Result<()> {
    let Some(parent) = dir.parent() else { return Ok(()) };
    for file in CPUSET {
        // On v2 an empty value means that of the parent, and the file may not exist.
        if is_unified(dir) || !dir.join(file).exists() {
            continue;
        }
        fs::write(dir.join(file), fs::read(parent.join(file))?)?;
    }
    let control = parent.join("cgroup.subtree_control");
    if control.exists() {
        for controller in fs::read_to_string(parent.join("cgroup.controllers"))?.split_whitespace() {
            fs::write(&control, format!("+{controller}"))?;
        }
    }
    Ok(())
}

fn destroy(dir: &Path, deadline: Instant) -> io::Result<()> {
    loop {
        let outcome = kill_all(dir).and_then(|()| remove(dir));
        match outcome {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(POLL_INTERVAL),
        }
    }
}

fn kill_all(dir: &Path) -> io::Result<()> {
    let kill = dir.join("cgroup.kill");
    if kill.exists() {
        return fs::write(kill, "1");
    }
    for pid in tree(dir).iter().flat_map(|dir| pids_in(dir)) {
        if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
            // It may have ended.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    Ok(())
}

fn remove(dir: &Path) -> io::Result<()> {
    for dir in tree(dir) {
        match fs::remove_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// `dir` and all cgroups below it, deepest first; empty if it does not exist.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let below = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut dirs: Vec<PathBuf> = below.flat_map(|entry| tree(&entry.path())).collect();
    dirs.push(dir.to_owned());
    dirs
}

fn pids_in(dir: &Path) -> Vec<u32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
