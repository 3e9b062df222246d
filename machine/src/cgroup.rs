//! A machine's cgroups: one in every hierarchy of the host, so that the cgroup namespace keeps kubelets apart.
//!
//! ```text
//! /sys/fs/cgroup/memory/parbake/default-1f3a9c/node01     cgroup v1 and hybrid: once in each hierarchy
//! /sys/fs/cgroup/parbake/default-1f3a9c/node01            cgroup v2
//! ```

mod freezer;
mod limits;
mod usage;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::host::CgroupPlan;
pub use limits::Limits;
pub use usage::Usage;

/// How long killed processes may take to leave.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// A cgroup that could not be made, entered, emptied or removed.
#[derive(Debug, thiserror::Error)]
#[error("could not {act} the cgroup `{}`", path.display())]
pub struct Error {
    act: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error { act, path, source }
}

/// The same cgroup in every hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    dirs: Vec<PathBuf>,
}

impl Cgroup {
    /// The cgroup of the cluster `id`, in every hierarchy of the plan. Under [`CgroupPlan::DelegatedScope`] it is below
    /// the calling process's own. Makes nothing.
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

    /// Makes way for cgroups with controllers on version 2, where a cgroup has either processes or children with
    /// controllers: the processes beside the cluster's cgroup move to a leaf first.
    ///
    /// # Errors
    /// The leaf that could not be made, or a process that could not be moved there.
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
        fs::create_dir_all(&leaf).map_err(failed("make", &leaf))?;
        for pid in pids_of(&from) {
            match fs::write(leaf.join("cgroup.procs"), pid.to_string()) {
                // ESRCH: it ended meanwhile.
                Err(error) if error.raw_os_error() != Some(nix::libc::ESRCH) => {
                    return Err(failed("move a process to", &leaf)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The cgroup `name` below this one. Makes nothing.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self {
            dirs: self.dirs.iter().map(|dir| dir.join(name)).collect(),
        }
    }

    /// Makes the cgroup, with its parents, and prepares it to hold processes: on cgroup v1 processors and memory nodes
    /// are handed down, on v2 the parent's controllers. Parents that were cut off while they were made are finished. Make a
    /// cluster's before those of its machines: the turns that clusters take are for their parent.
    ///
    /// # Errors
    /// The first directory or file that could not be made or written.
    pub fn create(&self) -> Result<(), Error> {
        let _turn = self.turn()?;
        for dir in &self.dirs {
            let mut missing: Vec<&Path> = dir.ancestors().take_while(|path| !is_prepared(path)).collect();
            missing.reverse();
            for path in missing {
                match fs::create_dir(path) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(failed("make", path)(error));
                    }
                    _ => enable_controllers(path).map_err(failed("prepare", path))?,
                }
            }
        }
        Ok(())
    }

    /// Waits for its turn: clusters that start and end at the same time make and remove the same parent. The turn ends with
    /// the file.
    fn turn(&self) -> Result<Option<File>, Error> {
        // Above what comes and goes.
        let mut above = self.dirs.iter().take(1).flat_map(|dir| dir.ancestors().skip(2));
        let Some(top) = above.find(|path| path.is_dir()) else {
            return Ok(None);
        };
        let file = File::open(top).map_err(failed("open", top))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| failed("lock", top)(error.into()))?;
        Ok(Some(file))
    }

    /// Says how much processor time the cgroup gets when there is not enough for it and those beside it: `cpu.weight` of
    /// cgroup v2, 1 to 10000 (default 100), or the same in `cpu.shares` of v1. Where the kernel cannot do that, all are
    /// alike.
    ///
    /// # Errors
    /// The file that could not be written.
    pub(crate) fn set_cpu_weight(&self, weight: u32) -> Result<(), Error> {
        for dir in &self.dirs {
            let (weights, shares) = (dir.join("cpu.weight"), dir.join("cpu.shares"));
            let (path, value) = if weights.exists() {
                (weights, weight)
            } else if shares.exists() {
                // 1024 is the default there.
                (shares, weight * 1024 / 100)
            } else {
                continue;
            };
            fs::write(&path, value.to_string()).map_err(failed("set the weight of", &path))?;
        }
        Ok(())
    }

    /// Opens what a process writes `0` to in order to move itself into the cgroup.
    ///
    /// # Errors
    /// The cgroup that is not there.
    pub(crate) fn doors(&self) -> Result<Vec<File>, Error> {
        let open = |dir: &PathBuf| {
            OpenOptions::new()
                .write(true)
                .open(dir.join("cgroup.procs"))
                .map_err(failed("open", dir))
        };
        self.dirs.iter().map(open).collect()
    }

    /// The cgroups, this one or below it, that process `pid` is in.
    #[must_use]
    pub fn of_process(&self, pid: u32) -> Self {
        let its = |dir: &PathBuf| tree(dir).into_iter().find(|dir| pids_of(dir).contains(&pid));
        Self {
            dirs: self.dirs.iter().filter_map(its).collect(),
        }
    }

    /// The processes in the cgroup and in all below it.
    pub fn processes(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = self
            .dirs
            .iter()
            .flat_map(|dir| tree(dir))
            .flat_map(|dir| pids_of(&dir))
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Kills every process in the cgroup and below, frozen ones too, and removes it, in every hierarchy. One that is not
    /// there counts as removed. The parent of all clusters goes too when this was the last.
    ///
    /// # Errors
    /// The cgroup that still had processes or could not be removed within ten seconds; all hierarchies are tried
    /// before.
    pub fn destroy(&self) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        let mut outcome = Ok(());
        self.thaw_all();
        for dir in &self.dirs {
            let destroyed = destroy(dir, deadline).map_err(failed("remove", dir));
            outcome = outcome.and(destroyed);
        }
        let turn = self.turn();
        for parent in self.dirs.iter().filter_map(|dir| dir.parent()) {
            // Not empty means that another cluster, or a scope's supervisor, is there.
            let _ = fs::remove_dir(parent);
        }
        outcome.and(turn.map(drop))
    }
}

/// The process's own cgroup on version 2.
fn own_unified() -> Result<PathBuf, Error> {
    let path = Path::new("/proc/self/cgroup");
    let text = fs::read_to_string(path).map_err(failed("look up", path))?;
    let own = text
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or_default();
    Ok(Path::new("/sys/fs/cgroup").join(own))
}

/// The files of a cpuset on v1 that are empty in the beginning, which keeps processes out (cpuset(7), `cpuset.mems`).
const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Whether the cgroup is there, and can hold processes.
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
        // On v2 an empty value means 'as the parent', and the file may not even be there.
        if is_unified(dir) || !dir.join(file).exists() {
            continue;
        }
        fs::write(dir.join(file), fs::read(parent.join(file))?)?;
    }
    let switch = parent.join("cgroup.subtree_control");
    if switch.exists() {
        for controller in fs::read_to_string(parent.join("cgroup.controllers"))?.split_whitespace() {
            fs::write(&switch, format!("+{controller}"))?;
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
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

fn kill_all(dir: &Path) -> io::Result<()> {
    let at_once = dir.join("cgroup.kill");
    if at_once.exists() {
        return fs::write(at_once, "1");
    }
    for pid in tree(dir).iter().flat_map(|dir| pids_of(dir)) {
        // Gone already is what was asked for.
        let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
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

/// `dir` and all cgroups below it, deepest first; nothing where it does not exist.
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

fn pids_of(dir: &Path) -> Vec<u32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
