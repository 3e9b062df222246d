//! Programs of a running cluster, replaced by what a developer of Kubernetes has built.
//!
//! ```text
//! look      what each program is: one of a node's own, one in the image of a static pod, or of a workload
//! check     the files run where they are to; nothing has changed so far
//! change    node by node: the file is put in the place of the old one (rename) and its unit is restarted; for an image, a
//!           new one is made from the old one with the file in it, loaded, and named in the manifest or the template
//! wait      after each: what was replaced is honestly at work
//! ```
//!
//! On a node the old file stays beside the new one until all is well, and what was replaced stands in
//! [`PendingChanges`](crate::state::PendingChanges), so what fails, or is killed, is put back: by the command itself, or by the next one
//! that works on the cluster.
//!
//! ```text
//! /var/lib/parbake/swap/         of a node
//! ├── kubelet.new                what is to come
//! └── kubelet.old                what is put back
//! ```
//!
//! A node writes to its own files alone: what clusters share stays as it was baked. So `stop` and `start` keep what was
//! swapped, `freeze` freezes it, and nodes that join later have what was baked.

mod find;
mod image;
mod version;
mod work;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parbake_artifact::{Digest, HashingStream};
use parbake_cluster::NodeName;
use parbake_machine::executable::{ARCHITECTURE, Executable, GivenBinary};
use parbake_machine::files::failed;

pub use crate::error::SwapError;
use crate::events::{EventKind, Log};
use crate::recover::{LockedCluster, recover};
use crate::signals::interrupted;
pub use crate::state::Swapped;
use crate::{ClusterName, Error};
use work::Work;

/// What to swap, and where.
#[derive(Debug)]
pub struct SwapOptions {
    /// The cluster.
    pub name: ClusterName,
    /// The programs; no two have one name.
    pub programs: Vec<GivenBinary>,
    /// The nodes; all of them where none is named.
    pub nodes: Vec<NodeName>,
    /// How long it may take until all of it is at work.
    pub wait: Duration,
    /// Where parbake keeps its state.
    pub dir: PathBuf,
}

/// What a swap came to.
#[derive(Debug)]
pub struct Outcome {
    /// The programs that were replaced.
    pub swapped: Vec<Swapped>,
    /// The names of those that were the same already.
    pub unchanged: Vec<String>,
    /// How long it took until all of it was at work.
    pub after: Duration,
}

/// A file that was looked at.
struct Program {
    name: String,
    path: PathBuf,
    digest: Digest,
    loader: Option<PathBuf>,
}

/// Replaces programs of a running cluster and waits until the new ones are at work.
///
/// # Errors
/// The first step that failed; the cluster has the programs then that it had before.
pub async fn swap(options: &SwapOptions) -> Result<Outcome, Error> {
    let started = Instant::now();
    let programs = programs(&options.programs)?;
    let LockedCluster {
        lock: claim,
        mut record,
        running,
        client,
    } = LockedCluster::find(&options.dir, &options.name).await?;
    let mut work = Work {
        options,
        claim: &claim,
        running: &running,
        client: &client,
        deadline: started + options.wait,
        unchanged: Vec::new(),
    };
    let outcome = tokio::select! {
        outcome = work.run(&mut record, &programs) => outcome,
        () = interrupted() => Err(SwapError::Interrupted.into()),
    };
    if outcome.is_err() && !record.changes.is_empty() {
        match recover(&claim, &mut record, running.clone(), &client).await {
            Ok(_) => tracing::info!("what was there before is put back"),
            // What failed says why; what is in the way of undoing it comes second, and the next command tries again.
            Err(error) => tracing::warn!(%error, "could not put back what was swapped"),
        }
    }
    work.clear(&record);
    let unchanged = work.unchanged;
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

/// Looks at the files themselves.
fn programs(given: &[GivenBinary]) -> Result<Vec<Program>, SwapError> {
    let mut programs: Vec<Program> = Vec::new();
    for GivenBinary { name, path } in given {
        if programs.iter().any(|program| program.name == *name) {
            return Err(SwapError::Twice(name.clone()));
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

fn remove(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", dir)(error).into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use parbake_machine::executable::GivenBinary;

    use super::programs;

    #[test]
    fn files_are_looked_at_before_anything_else() {
        let dir = tempfile::tempdir().unwrap();
        let given = |name: &str, path: &str| GivenBinary {
            name: name.to_owned(),
            path: dir.path().join(path),
        };
        fs::write(dir.path().join("script"), "#!/bin/sh").unwrap();
        let own = GivenBinary {
            name: "a".to_owned(),
            path: std::env::current_exe().unwrap(),
        };
        let said = |given: &[GivenBinary]| {
            let error = programs(given).err();
            error.map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(said(std::slice::from_ref(&own)), "");
        assert_eq!(said(&[own.clone(), own]), "the program `a` is given twice");
        assert!(said(&[given("a", "script")]).ends_with("cannot run on the nodes: it is no executable"));
        assert!(said(&[given("a", "none")]).starts_with("could not read"));
    }
}
