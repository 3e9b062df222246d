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
//! [`Changes`](crate::nodes::Changes), so what fails, or is killed, is put back: by the command itself, or by the next one
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

mod error;
mod find;
mod image;
mod node;
mod undo;
mod version;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parbake_artifact::Digest;
use parbake_cluster::readiness::{Vantage, wait_until_api, wait_until_dns};
use parbake_cluster::swap::{set_image, wait_until_static_pod};
use parbake_cluster::{Client, NodeName};
use parbake_machine::executable::{ARCHITECTURE, Executable, GivenBinary};
use parbake_machine::running::Running;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tracing::Instrument;

use crate::events::{Log, What};
use crate::nodes::{Held, tidy};
use crate::state::{Claim, Record, files};
use crate::thaw::interrupted;
use crate::{ClusterName, Diagnosis, Error, images};
pub use error::SwapError;
use find::Place;
pub(crate) use undo::put_back;
use undo::rolled_out;
pub use undo::{After, Undo};

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

/// A program that is not the one that was baked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Swapped {
    /// Its name.
    pub program: String,
    /// What it says its version is; nothing where it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The SHA-256 of its file.
    pub digest: Digest,
    /// The image that it is in, if it is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The nodes that have it.
    pub nodes: Vec<NodeName>,
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
    let Held {
        claim,
        mut record,
        running,
        client,
    } = Held::find(&options.dir, &options.name).await?;
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
        match tidy(&claim, &mut record, running.clone(), &client).await {
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
        Log::of(&options.dir, &options.name).tell(What::Swapped {
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
    let (mut file, mut hasher) = (fs::File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    format!("sha256:{}", hex::encode(hasher.finalize()))
        .parse()
        .map_err(io::Error::other)
}

/// A swap at work.
struct Work<'a> {
    options: &'a SwapOptions,
    claim: &'a Claim,
    running: &'a Running,
    client: &'a Client,
    deadline: Instant,
    unchanged: Vec<String>,
}

/// A program that is ready to be put where it belongs.
struct Ready<'p> {
    program: &'p Program,
    place: Place,
    version: Option<String>,
}

impl Work<'_> {
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Where images are put together.
    fn scratch(&self) -> PathBuf {
        self.claim.dir().join("swap")
    }

    async fn run(&mut self, record: &mut Record, programs: &[Program]) -> Result<Vec<Swapped>, Error> {
        let nodes = find::chosen(&record.cluster, &self.options.nodes)?;
        for node in &nodes {
            // What a command that was killed had not changed anything with.
            node::clear(self.running, node)?;
        }
        let mut ready = Vec::new();
        for program in programs {
            ready.extend(self.check(record, program, &nodes).await?);
        }
        let mut swapped = Vec::new();
        for one in ready {
            let step = tracing::info_span!("step", what = format!("swap {}", one.program.name));
            swapped.push(self.change(record, one).instrument(step).await?);
        }
        if !swapped.is_empty() {
            self.settled(record).await?;
        }
        let stale = undo::stale(&record.swapped, &swapped);
        record.changes.swapping.clear();
        record.swapped = merged(&record.swapped, &swapped);
        self.claim.sync()?;
        self.claim.write(record)?;
        for image in stale {
            node::forget_image(self.running, &image);
        }
        Ok(swapped)
    }

    /// Finds out where the program belongs, and that it runs there; nothing where it is there already.
    async fn check<'p>(
        &mut self,
        record: &Record,
        program: &'p Program,
        nodes: &[NodeName],
    ) -> Result<Option<Ready<'p>>, Error> {
        let what = format!("check `{}`", program.path.display());
        let _step = tracing::info_span!("step", what).entered();
        let narrowed = !self.options.nodes.is_empty();
        let place = find::place(
            self.running,
            self.client,
            &record.cluster,
            program,
            nodes,
            narrowed,
        );
        let Some(place) = place.await? else {
            tracing::info!("{} is this one already", program.name);
            self.unchanged.push(program.name.clone());
            return Ok(None);
        };
        let trial = match &place {
            Place::Node { nodes, .. } => nodes.clone(),
            // That its image has what it needs is seen when that is made.
            Place::Pods { .. } | Place::Workloads { .. } => nodes[..1].to_vec(),
        };
        let mut version = None;
        for node in &trial {
            node::stage(self.running, node, program)?;
            let needs = program.loader.as_deref();
            if needs.is_none() || matches!(place, Place::Node { .. }) {
                version = version::ask(self.running, node, program)?;
            }
        }
        Ok(Some(Ready {
            program,
            place,
            version,
        }))
    }

    async fn change(&self, record: &mut Record, ready: Ready<'_>) -> Result<Swapped, Error> {
        let Ready {
            program,
            place,
            version,
        } = ready;
        let mut swapped = Swapped {
            program: program.name.clone(),
            version,
            digest: program.digest.clone(),
            image: None,
            nodes: Vec::new(),
        };
        match place {
            Place::Node { nodes, path, unit } => {
                for node in &nodes {
                    let after = unit.clone().map_or(After::Nothing, After::Unit);
                    self.note(record, Undo::file(node, &path, after))?;
                    let since = Timestamp::now();
                    node::replace(self.running, node, &program.name, &path)?;
                    let unit = unit.as_deref();
                    let asked = swapped.version.as_deref();
                    let work =
                        node::restart(self.running, self.client, node, unit, since, asked, self.left());
                    self.judged(record, work.await)?;
                }
                swapped.nodes = nodes;
            }
            Place::Pods { nodes, manifests } => {
                for (node, manifest) in nodes.iter().zip(manifests) {
                    let image =
                        self.image(record, program, node, &manifest.image, std::slice::from_ref(node))?;
                    let path = manifest.path();
                    let after = After::Pod {
                        name: program.name.clone(),
                        image: manifest.image.clone(),
                    };
                    self.note(record, Undo::file(node, &path, after))?;
                    let since = Timestamp::now();
                    let name = format!("{}.yaml", program.name);
                    node::stage_text(self.running, node, &name, &manifest.with(&image)?)?;
                    node::replace(self.running, node, &name, &path)?;
                    let left = self.left();
                    let runs = wait_until_static_pod(self.client, node, &program.name, &image, since, left);
                    self.judged(record, runs.await.map_err(Into::into))?;
                    swapped.image = Some(image);
                }
                swapped.nodes = nodes;
            }
            Place::Workloads { runs } => {
                let nodes: Vec<NodeName> = record
                    .cluster
                    .nodes()
                    .iter()
                    .map(|node| node.name.clone())
                    .collect();
                for run in &runs {
                    let image = self.image(record, program, &nodes[0], &run.image, &nodes)?;
                    self.note(record, Undo::image(run))?;
                    set_image(self.client, &run.workload, &run.container, &image).await?;
                    let rolled = rolled_out(self.client, &run.workload, self.left()).await;
                    self.judged(record, rolled)?;
                    swapped.image = Some(image);
                }
                swapped.nodes = nodes;
            }
        }
        Ok(swapped)
    }

    /// Makes the image that takes the place of `old`, and loads it into `nodes`; gives its name.
    fn image(
        &self,
        record: &mut Record,
        program: &Program,
        node: &NodeName,
        old: &str,
        nodes: &[NodeName],
    ) -> Result<String, Error> {
        let new = image::name(old, &program.digest)?;
        let scratch = self.scratch();
        let layer = {
            let _step = tracing::info_span!("step", what = format!("make the image {new}")).entered();
            image::make(self.running, node, old, program, &scratch)?
        };
        self.note(
            record,
            Undo::Loaded {
                image: new.to_string(),
            },
        )?;
        let names: Vec<String> = nodes.iter().map(NodeName::to_string).collect();
        images::load_into_nodes(self.running, &names, &scratch, Some(&new))?;
        for node in &names {
            node::forget_packed(self.running, node, &layer);
        }
        remove(&scratch)?;
        Ok(new.to_string())
    }

    /// Writes down what is about to change, before it does.
    fn note(&self, record: &mut Record, undo: Undo) -> Result<(), Error> {
        record.changes.swapping.push(undo);
        self.claim.write(record)
    }

    fn judged(&self, record: &Record, outcome: Result<(), undo::Unready>) -> Result<(), Error> {
        outcome.map_err(|unready| match unready {
            undo::Unready::TimedOut(timed_out) => {
                let diagnosis = Diagnosis::take(self.running, &record.cluster, self.claim.dir());
                SwapError::NotReady { timed_out, diagnosis }.into()
            }
            undo::Unready::Other(error) => *error,
        })
    }

    /// Whatever was replaced, the cluster is of use.
    async fn settled(&self, record: &Record) -> Result<(), Error> {
        let work = async {
            wait_until_api(self.client, self.left()).await?;
            let vantages = Vantage::of_machines(self.running, &record.cluster)?;
            wait_until_dns(&record.cluster, vantages, self.left()).await?;
            Ok(())
        };
        let step = tracing::info_span!("step", what = "wait until the API and DNS answer");
        let outcome = work.instrument(step).await;
        self.judged(record, outcome)
    }

    /// Removes what is of no more use, whatever became of the swap. What is left goes with the next one.
    fn clear(&self, record: &Record) {
        if let Err(error) = remove(&self.scratch()) {
            tracing::warn!(%error, "could not remove what an image was made from");
        }
        if record.changes.swapping.is_empty() {
            for node in record.cluster.nodes() {
                if let Err(error) = node::clear(self.running, &node.name) {
                    tracing::warn!(%error, "could not remove what a swap left on `{}`", node.name);
                }
            }
        }
    }
}

fn remove(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(files("remove", dir)(error)),
        _ => Ok(()),
    }
}

/// What is known to be swapped after `new` was, too: a node has one program of a name.
fn merged(old: &[Swapped], new: &[Swapped]) -> Vec<Swapped> {
    let mut all = old.to_vec();
    for one in new {
        for other in all.iter_mut().filter(|other| other.program == one.program) {
            other.nodes.retain(|node| !one.nodes.contains(node));
        }
        all.retain(|other| !other.nodes.is_empty());
        all.push(one.clone());
    }
    all
}

#[cfg(test)]
mod tests {
    use std::fs;

    use parbake_artifact::Digest;
    use parbake_cluster::NodeName;
    use parbake_machine::executable::GivenBinary;

    use super::{Swapped, merged, programs};

    fn swapped(program: &str, version: &str, nodes: &[usize]) -> Swapped {
        Swapped {
            program: program.to_owned(),
            version: Some(version.to_owned()),
            digest: Digest::of(version.as_bytes()),
            image: None,
            nodes: nodes.iter().map(|node| NodeName::numbered(*node)).collect(),
        }
    }

    #[test]
    fn a_node_has_one_program_of_a_name() {
        let first = [swapped("kubelet", "v1", &[1, 2]), swapped("etcd", "v1", &[1])];
        let second = merged(&first, &[swapped("kubelet", "v2", &[2])]);
        assert_eq!(
            second,
            [
                swapped("kubelet", "v1", &[1]),
                swapped("etcd", "v1", &[1]),
                swapped("kubelet", "v2", &[2])
            ]
        );
        let third = merged(&second, &[swapped("kubelet", "v3", &[1, 2])]);
        assert_eq!(
            third,
            [swapped("etcd", "v1", &[1]), swapped("kubelet", "v3", &[1, 2])]
        );
    }

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
