//! A copy of the files of a running cluster, all from one moment.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use parbake_cluster::Node;
use parbake_cluster::model::machine_plan;
use parbake_machine::fs::Dirs;
use parbake_machine::fs::files::failed;
use parbake_machine::fs::tmpfs;
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::Running;

use crate::clusters::Cluster;
use crate::error::Error;
use crate::state::ClusterLock;

/// Pauses the machines and copies what they own. Returns how long they were paused.
pub(super) fn copy(
    cluster: &Cluster,
    from: &ClusterLock,
    to: &ClusterLock,
    supervise: &Cmd,
) -> Result<Duration, Error> {
    let _step = tracing::info_span!("step", what = "pause the cluster and copy its files").entered();
    let nodes = cluster.record().cluster.nodes();
    for node in nodes {
        let dir = machine_plan::machine_dir(to.dir(), node);
        fs::create_dir_all(&dir).map_err(failed("create", &dir))?;
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
    let after = paused.resume();
    copied?;
    Ok(after?)
}

/// Copies a machine's files. What is not on disk yet is in the page cache, where the copy finds it.
fn copy_machine(running: &Running, node: &Node, from: &Path, to: &Path) -> Result<(), Error> {
    let [from, to] = [from, to].map(|dir| machine_plan::machine_dir(dir, node));
    let parts = [Dirs(&from).upper(), Dirs(&from).plain(Path::new(""))];
    // Keeps owners, links, times and overlayfs' attributes, and shares blocks where the file system can. etcd preallocates its
    // log, so sparse files matter.
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
