//! A swap, step by step.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parbake_cluster::readiness::{DnsProbe, wait_until_api, wait_until_dns};
use parbake_cluster::swap::{set_image, wait_until_static_pod};
use parbake_cluster::{Client, NodeName};
use parbake_machine::handle::Running;
use tracing::Instrument;

use super::find::{self, Place};
use super::{Program, SwapError, SwapOptions, Swapped, image, remove, version};
use crate::recover::node_files as node;
use crate::recover::undo::{Unready, rolled_out};
use crate::state::{ClusterLock, FollowUp, Record, Undo};
use crate::static_pod_prestart;
use crate::{Diagnosis, Error, images};

/// A swap at work.
pub(super) struct Work<'a> {
    pub(super) options: &'a SwapOptions,
    pub(super) claim: &'a ClusterLock,
    pub(super) running: &'a Running,
    pub(super) client: &'a Client,
    /// When there is no more time.
    pub(super) deadline: Instant,
    /// The names of programs that are the same already.
    pub(super) unchanged: Vec<String>,
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

    /// Does all of it; gives what was replaced.
    pub(super) async fn run(
        &mut self,
        record: &mut Record,
        programs: &[Program],
    ) -> Result<Vec<Swapped>, Error> {
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
            static_pod_prestart::renew(self.running, &record.cluster);
        }
        let stale = Swapped::stale_images(&record.swapped, &swapped);
        self.claim.sync()?;
        let mut done = record.clone();
        done.changes.swapping.clear();
        done.swapped = Swapped::merge(&record.swapped, &swapped);
        self.claim.write(&done)?;
        *record = done;
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
            node::stage(self.running, node, &program.name, &program.path, &program.digest)?;
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
                    let after = unit.clone().map_or(FollowUp::Nothing, FollowUp::Unit);
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
                    let after = FollowUp::Pod {
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
        let runtime = record.cluster.runtime();
        let scratch = self.scratch();
        let layer = {
            let _step = tracing::info_span!("step", what = format!("make the image {new}")).entered();
            image::make(self.running, runtime, node, old, program, &scratch)?
        };
        self.note(
            record,
            Undo::Loaded {
                image: new.to_string(),
            },
        )?;
        let names: Vec<String> = nodes.iter().map(NodeName::to_string).collect();
        images::load_into_nodes(self.running, runtime, &names, &scratch, Some(&new))?;
        for node in &names {
            node::forget_packed(self.running, runtime, node, &layer);
        }
        remove(&scratch)?;
        Ok(new.to_string())
    }

    /// Writes down what is about to change, before it does.
    fn note(&self, record: &mut Record, undo: Undo) -> Result<(), Error> {
        record.changes.swapping.push(undo);
        self.claim.write(record)
    }

    fn judged(&self, record: &Record, outcome: Result<(), Unready>) -> Result<(), Error> {
        outcome.map_err(|unready| match unready {
            Unready::TimedOut(timed_out) => {
                let diagnosis = Diagnosis::collect(self.running, &record.cluster, self.claim.dir());
                SwapError::NotReady { timed_out, diagnosis }.into()
            }
            Unready::Other(error) => *error,
        })
    }

    /// Whatever was replaced, the cluster is of use.
    async fn settled(&self, record: &Record) -> Result<(), Error> {
        let work = async {
            wait_until_api(self.client, self.left()).await?;
            let vantages = DnsProbe::of_machines(self.running, &record.cluster)?;
            wait_until_dns(&record.cluster, vantages, self.left()).await?;
            Ok(())
        };
        let step = tracing::info_span!("step", what = "wait until the API and DNS answer");
        let outcome = work.instrument(step).await;
        self.judged(record, outcome)
    }

    /// Removes what is of no more use, whatever became of the swap. What is left goes with the next one.
    pub(super) fn clear(&self, record: &Record) {
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
