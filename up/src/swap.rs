//! Replaces programs of a running cluster by a developer's build.
//!
//! ```text
//! locate     where each program runs from: installed on the nodes, in the image of a static pod, or of a workload
//! check      the files run on the nodes; nothing has changed so far
//! replace    node by node: the file is renamed into place and its unit restarted; for an image, a new one is made from the old
//!            one, loaded, and set in the manifest or the template
//! wait       after each replacement, until the new program works
//! ```
//!
//! A node keeps the old file until the swap is complete, and the record lists every replacement in
//! [`PendingChanges`](crate::state::PendingChanges). If the swap fails, it rolls them back itself; if it is killed, the next
//! command that changes the cluster does (`crate::recover`).
//!
//! ```text
//! /var/lib/parbake/swap/         on a node
//! ├── kubelet.new                the staged file
//! └── kubelet.old                the replaced file
//! ```
//!
//! Only the nodes' own files change, not the shared layers. So a swap survives `stop` and `start`, and `freeze` includes it,
//! but nodes that join later have the baked programs.

mod image;
mod locate;
mod steps;
mod version;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parbake_artifact::{Digest, HashingStream};
use parbake_cluster::NodeName;
use parbake_machine::executable::{ARCHITECTURE, BinaryOverride, Executable};

pub use crate::error::SwapError;
use crate::events::{EventKind, Log};
use crate::recover::{LockedCluster, recover};
use crate::signals::interrupted;
pub use crate::state::Swapped;
use crate::{ClusterName, Error};
use steps::Swap;

#[derive(Debug)]
pub struct SwapOptions {
    pub name: ClusterName,
    /// The programs, with distinct names.
    pub programs: Vec<BinaryOverride>,
    /// Limits the swap to these nodes, unless empty.
    pub nodes: Vec<NodeName>,
    /// The time limit until all new programs work.
    pub wait: Duration,
    /// The state directory.
    pub dir: PathBuf,
}

#[derive(Debug)]
pub struct Outcome {
    pub swapped: Vec<Swapped>,
    /// The names of programs that were up to date.
    pub unchanged: Vec<String>,
    /// The duration until all new programs worked.
    pub after: Duration,
}

/// A file to install, after its format was checked.
struct Program {
    name: String,
    path: PathBuf,
    digest: Digest,
    /// The dynamic loader that it needs.
    loader: Option<PathBuf>,
}

/// Replaces programs of a running cluster and waits until the new ones work.
///
/// # Errors
/// The first step that failed. The cluster then has the same programs as before.
pub async fn swap(options: &SwapOptions) -> Result<Outcome, Error> {
    let started = Instant::now();
    let programs = read_programs(&options.programs)?;
    let LockedCluster {
        lock,
        mut record,
        running,
        client,
    } = LockedCluster::find(&options.dir, &options.name).await?;
    let mut swap = Swap {
        options,
        lock: &lock,
        running: &running,
        client: &client,
        deadline: started + options.wait,
        unchanged: Vec::new(),
    };
    let outcome = tokio::select! {
        outcome = swap.run(&mut record, &programs) => outcome,
        () = interrupted() => Err(SwapError::Interrupted.into()),
    };
    if outcome.is_err() && !record.changes.is_empty() {
        match recover(&lock, &mut record, running.clone(), &client).await {
            Ok(_) => tracing::info!("the former programs are restored"),
            // The first error says why the swap failed. The next command tries to recover again.
            Err(error) => tracing::warn!(%error, "could not restore the former programs"),
        }
    }
    swap.clean_up(&record);
    let unchanged = swap.unchanged;
    let swapped = outcome?;
    let after = started.elapsed();
    for one in &swapped {
        Log::of(&options.dir, &options.name).record(EventKind::Swapped {
            program: one.program.clone(),
            version: one.version.clone(),
            nodes: one.nodes.clone(),
        });
    }
    Ok(Outcome {
        swapped,
        unchanged,
        after,
    })
}

/// Reads the files and checks that they are executables for this architecture.
fn read_programs(given: &[BinaryOverride]) -> Result<Vec<Program>, SwapError> {
    let mut programs: Vec<Program> = Vec::new();
    for BinaryOverride { name, path } in given {
        if programs.iter().any(|program| program.name == *name) {
            return Err(SwapError::Duplicate(name.clone()));
        }
        let unread = |source| SwapError::Read {
            path: path.clone(),
            source,
        };
        let executable = Executable::read(path, ARCHITECTURE).map_err(unread)?;
        let executable = executable.map_err(|why| SwapError::NotRunnable {
            path: path.clone(),
            why,
        })?;
        programs.push(Program {
            name: name.clone(),
            path: path.clone(),
            digest: digest(path).map_err(unread)?,
            loader: executable.loader,
        });
    }
    Ok(programs)
}

fn digest(path: &Path) -> io::Result<Digest> {
    let mut file = HashingStream::new(fs::File::open(path)?);
    io::copy(&mut file, &mut io::sink())?;
    Ok(file.finish().1)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use parbake_machine::executable::BinaryOverride;

    use super::read_programs;

    #[test]
    fn duplicate_and_unusable_programs_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let given = |name: &str, path: &str| BinaryOverride {
            name: name.to_owned(),
            path: dir.path().join(path),
        };
        fs::write(dir.path().join("script"), "#!/bin/sh").unwrap();
        let valid = BinaryOverride {
            name: "a".to_owned(),
            path: std::env::current_exe().unwrap(),
        };
        let message = |given: &[BinaryOverride]| {
            let error = read_programs(given).err();
            error.map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(message(std::slice::from_ref(&valid)), "");
        assert_eq!(message(&[valid.clone(), valid]), "the program `a` is given twice");
        assert!(message(&[given("a", "script")]).contains("script` cannot run on the nodes: it is no"));
        assert!(message(&[given("a", "none")]).starts_with("could not read"));
    }
}
