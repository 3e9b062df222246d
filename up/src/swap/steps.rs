//! The steps of a swap.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parbake_cluster::api::rollout::wait_until_rolled_out;
use parbake_cluster::api::workload_images::{WorkloadContainer, set_image};
use parbake_cluster::readiness::wait_until_static_pod;
use parbake_cluster::readiness::{DnsProbe, wait_until_api, wait_until_dns};
use parbake_cluster::{Client, NodeName};
use parbake_machine::supervisor::Running;
use tracing::Instrument;

use super::locate::{self, Location, Manifest};
use super::{Program, SwapError, SwapOptions, Swapped, image, version};
use crate::recover::node_files;
use crate::state::{ClusterLock, FollowUp, Record, Undo, remove_dir};
use crate::static_pod_prestart;
use crate::{Diagnosis, Error, images};

pub(super) struct Swap<'a> {
    pub(super) options: &'a SwapOptions,
    pub(super) lock: &'a ClusterLock,
    pub(super) running: &'a Running,
    pub(super) client: &'a Client,
    pub(super) deadline: Instant,
    /// The names of programs that are up to date.
    pub(super) unchanged: Vec<String>,
}

/// A program that was located and checked.
struct Checked<'p> {
    program: &'p Program,
    location: Location,
    version: Option<String>,
}

impl Swap<'_> {
    fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The directory in which images are made.
    fn scratch(&self) -> PathBuf {
        self.lock.dir().join("swap")
    }

    /// Replaces `programs`, and returns those that were not up to date.
    pub(super) async fn run(
        &mut self,
        record: &mut Record,
        programs: &[Program],
    ) -> Result<Vec<Swapped>, Error> {
        let nodes = locate::select_nodes(&record.cluster, &self.options.nodes)?;
        for node in &nodes {
            // A killed swap may have left staged files.
            node_files::remove_staged(self.running, node)?;
        }
        let mut checked = Vec::new();
        for program in programs {
            checked.extend(self.check(record, program, &nodes).await?);
        }
        let mut swapped = Vec::new();
        for one in checked {
            let step = tracing::info_span!("step", what = format!("swap {}", one.program.name));
            swapped.push(self.replace(record, one).instrument(step).await?);
        }
        if !swapped.is_empty() {
            self.wait_until_working(record).await?;
            static_pod_prestart::renew(self.running, &record.cluster);
        }
        let stale = Swapped::stale_images(&record.swapped, &swapped);
        self.lock.sync()?;
        let mut updated = record.clone();
        updated.changes.swapping.clear();
        updated.swapped = Swapped::merge(&record.swapped, &swapped);
        self.lock.write(&updated)?;
        *record = updated;
        for image in stale {
            node_files::remove_image(self.running, &image);
        }
        Ok(swapped)
    }

    /// Locates the program and checks that it runs there. `None` if it is up to date.
    async fn check<'p>(
        &mut self,
        record: &Record,
        program: &'p Program,
        nodes: &[NodeName],
    ) -> Result<Option<Checked<'p>>, Error> {
        let what = format!("check `{}`", program.path.display());
        let _step = tracing::debug_span!("step", what).entered();
        let is_subset = !self.options.nodes.is_empty();
        let cluster = &record.cluster;
        let location = locate::locate(self.running, self.client, cluster, program, nodes, is_subset);
        let Some(location) = location.await? else {
            tracing::info!("`{}` is up to date", program.name);
            self.unchanged.push(program.name.clone());
            return Ok(None);
        };
        let is_installed = matches!(location, Location::Installed { .. });
        let trial_nodes = match &location {
            Location::Installed { nodes, .. } => nodes.clone(),
            // The making of the image checks for the loader.
            Location::StaticPods { .. } | Location::Workloads { .. } => nodes[..1].to_vec(),
        };
        let mut version = None;
        for node in &trial_nodes {
            node_files::stage(self.running, node, &program.name, &program.path, &program.digest)?;
            if program.loader.is_none() || is_installed {
                version = version::ask(self.running, node, program)?;
            }
        }
        Ok(Some(Checked {
            program,
            location,
            version,
        }))
    }

    async fn replace(&self, record: &mut Record, checked: Checked<'_>) -> Result<Swapped, Error> {
        let Checked {
            program,
            location,
            version,
        } = checked;
        let mut swapped = Swapped {
            program: program.name.clone(),
            version,
            digest: program.digest.clone(),
            image: None,
            nodes: Vec::new(),
        };
        match location {
            Location::Installed { nodes, path, unit } => {
                for node in &nodes {
                    let version = swapped.version.as_deref();
                    self.replace_installed(record, program, node, &path, unit.as_deref(), version)
                        .await?;
                }
                swapped.nodes = nodes;
            }
            Location::StaticPods { nodes, manifests } => {
                for (node, manifest) in nodes.iter().zip(manifests) {
                    swapped.image = Some(
                        self.replace_in_static_pod(record, program, node, &manifest)
                            .await?,
                    );
                }
                swapped.nodes = nodes;
            }
            Location::Workloads { runs } => {
                let nodes = record.cluster.nodes().iter();
                swapped.nodes = nodes.map(|node| node.name.clone()).collect();
                for run in &runs {
                    let nodes = &swapped.nodes;
                    swapped.image = Some(self.replace_in_workload(record, program, run, nodes).await?);
                }
            }
        }
        Ok(swapped)
    }

    async fn replace_installed(
        &self,
        record: &mut Record,
        program: &Program,
        node: &NodeName,
        path: &str,
        unit: Option<&str>,
        version: Option<&str>,
    ) -> Result<(), Error> {
        let after = unit.map_or(FollowUp::Nothing, |unit| FollowUp::Unit(unit.to_owned()));
        self.record_undo(record, Undo::file(node, path, after))?;
        let since = Timestamp::now();
        node_files::replace(self.running, node, &program.name, path)?;
        let timeout = self.time_left();
        let restarted = node_files::restart(self.running, self.client, node, unit, since, version, timeout);
        self.diagnose(record, restarted.await)
    }

    /// Returns the name of the new image.
    async fn replace_in_static_pod(
        &self,
        record: &mut Record,
        program: &Program,
        node: &NodeName,
        manifest: &Manifest,
    ) -> Result<String, Error> {
        let image = self.load_image(record, program, node, &manifest.image, std::slice::from_ref(node))?;
        let path = manifest.path();
        let after = FollowUp::Pod {
            name: program.name.clone(),
            image: manifest.image.clone(),
        };
        self.record_undo(record, Undo::file(node, &path, after))?;
        let since = Timestamp::now();
        let name = format!("{}.yaml", program.name);
        node_files::stage_text(self.running, node, &name, &manifest.with_image(&image)?)?;
        node_files::replace(self.running, node, &name, &path)?;
        let timeout = self.time_left();
        let runs = wait_until_static_pod(self.client, node, &program.name, &image, since, timeout);
        self.diagnose(record, runs.await.map_err(Error::from))?;
        Ok(image)
    }

    /// Returns the name of the new image.
    async fn replace_in_workload(
        &self,
        record: &mut Record,
        program: &Program,
        run: &WorkloadContainer,
        nodes: &[NodeName],
    ) -> Result<String, Error> {
        let image = self.load_image(record, program, &nodes[0], &run.image, nodes)?;
        self.record_undo(record, Undo::image(run))?;
        set_image(self.client, &run.workload, &run.container, &image).await?;
        let workload = std::slice::from_ref(&run.workload);
        let rolled_out = wait_until_rolled_out(self.client, workload, self.time_left());
        self.diagnose(record, rolled_out.await.map_err(Error::from))?;
        Ok(image)
    }

    /// Makes an image from `old`, which `node` has, loads it into `nodes` and returns its name.
    fn load_image(
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
        let loaded = Undo::Loaded {
            image: new.to_string(),
        };
        self.record_undo(record, loaded)?;
        let names: Vec<String> = nodes.iter().map(NodeName::to_string).collect();
        images::load_into_nodes(self.running, runtime, &names, &scratch, Some(&new))?;
        for node in &names {
            node_files::remove_compressed_layer(self.running, runtime, node, layer.as_str());
        }
        remove_dir(&scratch)?;
        Ok(new.to_string())
    }

    /// Records how to undo a change, before it is made.
    fn record_undo(&self, record: &mut Record, undo: Undo) -> Result<(), Error> {
        record.changes.swapping.push(undo);
        self.lock.write(record)
    }

    /// Adds a diagnosis to a timeout.
    fn diagnose(&self, record: &Record, outcome: Result<(), Error>) -> Result<(), Error> {
        outcome.map_err(|error| match error {
            Error::TimedOut(timed_out) => {
                let diagnosis = Diagnosis::collect(self.running, &record.cluster, self.lock.dir());
                SwapError::NotReady { timed_out, diagnosis }.into()
            }
            error => error,
        })
    }

    async fn wait_until_working(&self, record: &Record) -> Result<(), Error> {
        let wait = async {
            wait_until_api(self.client, self.time_left()).await?;
            let probes = DnsProbe::for_cluster(self.running, &record.cluster)?;
            wait_until_dns(&record.cluster, probes, self.time_left()).await?;
            Ok(())
        };
        let step = tracing::info_span!("step", what = "wait until the API and DNS answer");
        let outcome = wait.instrument(step).await;
        self.diagnose(record, outcome)
    }

    /// Removes temporary files, unless a failed rollback still needs them. The next swap removes what remains.
    pub(super) fn clean_up(&self, record: &Record) {
        if let Err(error) = remove_dir(&self.scratch()) {
            tracing::warn!(%error, "could not remove `{}`", self.scratch().display());
        }
        if record.changes.swapping.is_empty() {
            for node in record.cluster.nodes() {
                if let Err(error) = node_files::remove_staged(self.running, &node.name) {
                    tracing::warn!(%error, "could not remove the staged files on `{}`", node.name);
                }
            }
        }
    }
}
