//! A copy of a running cluster's files, at one moment.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use parbake_cluster::{Node, machine_plan};
use parbake_machine::dirs::Dirs;
use parbake_machine::files::failed;
use parbake_machine::handle::Running;
use parbake_machine::process::Cmd;
use parbake_machine::tmpfs;

use crate::state::Claim;
use crate::{Cluster, ClusterName, Error};

/// Where freezes work, below the state directory.
const DIR: &str = "freeze";

/// Claims the directory of the freeze of `name`, empty.
pub(super) fn claim(state: &Path, name: &ClusterName) -> Result<Claim, Error> {
    let dir = state.join(DIR).join(name.as_str());
    Claim::at(dir)?.ok_or_else(|| Error::Busy { name: name.clone() })
}

/// Removes what freezes that were killed have left.
///
/// # Errors
/// Something could not be ended or removed.
pub(crate) fn sweep(state: &Path) -> Result<(), Error> {
    let Ok(entries) = fs::read_dir(state.join(DIR)) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        // One that is held belongs to a freeze at work.
        if let Some(left) = Claim::at(entry.path())? {
            left.remove()?;
        }
    }
    Ok(())
}

/// Copies what the machines own while they stand still; gives for how long they did.
pub(super) fn copy(cluster: &Cluster, from: &Claim, to: &Claim, supervise: &Cmd) -> Result<Duration, Error> {
    let _step = tracing::info_span!("step", what = "pause the cluster and copy its files").entered();
    let nodes = cluster.record().cluster.nodes();
    for node in nodes {
        let dir = machine_plan::machine_dir(to.dir(), node);
        fs::create_dir_all(&dir).map_err(failed("make", &dir))?;
    }
    let paused = cluster.running().pause_scoped(supervise)?;
    let copied = thread::scope(|scope| {
        let copies = nodes
            .iter()
            .map(|node| scope.spawn(move || copy_machine(cluster.running(), node, from.dir(), to.dir())));
        let copies: Vec<_> = copies.collect();
        let outcomes = copies.into_iter().map(|copy| match copy.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        outcomes.collect::<Result<Vec<()>, Error>>()
    });
    let after = paused.end();
    copied?;
    Ok(after?)
}

/// What is not on disk yet is in the page cache, where a copy finds it.
fn copy_machine(running: &Running, node: &Node, from: &Path, to: &Path) -> Result<(), Error> {
    let [from, to] = [from, to].map(|dir| machine_plan::machine_dir(dir, node));
    let parts = [Dirs(&from).upper(), Dirs(&from).plain(Path::new(""))];
    // Owners, links, times and overlayfs' attributes are part of it, and a file system may share the blocks. etcd's log
    // is mostly room that it has reserved.
    Cmd::new("cp")
        .args(["-a", "--reflink=auto", "--sparse=always", "--"])
        .args(parts)
        .arg(&to)
        .run()?;
    for (path, memory) in running.in_memory(node.name.as_str(), &Dirs(&from)) {
        tmpfs::copy(&memory, &Dirs(&to), &path)?;
    }
    Ok(())
}
