//! Images and manifests that a cluster gets when it is ready for the first time.

mod status;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parbake_artifact::Digest;
use parbake_cluster::Description;
use parbake_cluster::wait::{Poll, Wait};
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::Running;
use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::Instrument;

use crate::clusters::kubectl;
use crate::config::{Config, ConfigError};
use crate::diagnosis::Diagnosis;
use crate::error::Error;
use crate::images;
use status::{hindrance, missing};

/// How long manifests may be refused for the want of what other manifests make: kinds, namespaces, service accounts,
/// webhooks.
const ORDER: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(500);
/// What kubectl says then.
const WANTS: [&str; 4] = [
    "no matches for kind",
    "not found",
    "failed calling webhook",
    "the server could not find",
];

/// What images and manifests go into.
#[derive(Debug)]
pub(crate) struct Workloads<'a> {
    /// Where parbake keeps its state.
    pub(crate) state: &'a Path,
    /// The layers of the cluster's artifact, one of which holds a kubectl.
    pub(crate) layers: &'a [Digest],
    /// The administrator's way in.
    pub(crate) kubeconfig: PathBuf,
    /// The cluster, with those of its nodes that run.
    pub(crate) cluster: &'a Description,
    /// The machines.
    pub(crate) running: &'a Running,
    /// When there is no more time.
    pub(crate) deadline: Instant,
}

impl Workloads<'_> {
    /// Loads the images, applies the manifests, and waits until what they made is ready.
    ///
    /// # Errors
    /// The first that was refused, or what was not ready in time.
    pub(crate) async fn bring(&self, config: &Config) -> Result<(), Error> {
        for image in &config.images {
            let (running, path) = (self.running.clone(), image.clone());
            let runtime = self.cluster.runtime();
            done(spawn_blocking(move || images::load_into_machines(&running, runtime, &path, None)).await)?;
        }
        if config.manifests.is_empty() {
            return Ok(());
        }
        for manifests in &config.manifests {
            let what = format!("apply `{}`", manifests.display());
            let step = tracing::info_span!("step", what);
            self.apply(manifests).instrument(step).await?;
        }
        let what = "wait until what the manifests made is ready";
        let step = tracing::info_span!("step", what);
        self.wait(&config.manifests).instrument(step).await
    }

    fn kubectl(&self, words: &[&str], files: &[PathBuf]) -> Result<Cmd, Error> {
        let words = words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let mut cmd = kubectl(self.state, self.layers, self.kubeconfig.clone(), &words)?;
        for file in files {
            cmd = cmd.arg("--filename").arg(file);
        }
        Ok(cmd)
    }

    /// Server-side, so that it may be done again.
    async fn apply(&self, manifests: &Path) -> Result<(), Error> {
        let words = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=parbake",
        ];
        let cmd = self.kubectl(&words, &[manifests.to_owned()])?;
        let until = self.deadline.min(Instant::now() + ORDER);
        loop {
            let command = cmd.clone();
            match done(spawn_blocking(move || command.run()).await) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() + PAUSE < until && comes_later(&error) => sleep(PAUSE).await,
                Err(source) => {
                    let path = manifests.to_owned();
                    return Err(ConfigError::Apply { path, source }.into());
                }
            }
        }
    }

    /// What is in the way of pods, a line each: the cluster is gone before anyone could look.
    fn hindrances(&self) -> Vec<String> {
        let words = [
            "get",
            "pods",
            "--all-namespaces",
            "--output=json",
            "--request-timeout=5s",
        ];
        let listed = self.kubectl(&words, &[]).map(|cmd| cmd.run());
        let pods = match listed {
            Ok(Ok(output)) => objects(&output.stdout),
            _ => None,
        };
        pods.iter().flatten().filter_map(hindrance).collect()
    }

    async fn wait(&self, manifests: &[PathBuf]) -> Result<(), Error> {
        let cmd = self.kubectl(&["get", "--output=json"], manifests)?;
        let left = self.deadline.saturating_duration_since(Instant::now());
        let wait = Wait::new("what the manifests made to be ready", left).pause(PAUSE);
        let ready = wait.attempt(Duration::from_secs(30)).until(|| async {
            let command = cmd.clone();
            match done(spawn_blocking(move || command.run()).await) {
                Ok(output) => look(&output.stdout),
                Err(error) => Poll::Pending(error.to_string()),
            }
        });
        ready.await.map_err(|mut timed_out| {
            for line in self.hindrances() {
                timed_out.last.push_str("\n  ");
                timed_out.last.push_str(&line);
            }
            let dir = self.kubeconfig.parent().unwrap_or(self.state);
            let diagnosis = Diagnosis::collect(self.running, self.cluster, dir);
            Error::NotReady { timed_out, diagnosis }
        })
    }
}

fn objects(text: &str) -> Option<Vec<Value>> {
    let found: Value = serde_json::from_str(text).ok()?;
    Some(match found["items"].as_array() {
        Some(items) => items.clone(),
        None => vec![found],
    })
}

fn comes_later(error: &parbake_machine::Error) -> bool {
    let text = error.to_string();
    WANTS.iter().any(|want| text.contains(want))
}

/// What one object, or a list of them, still lacks.
fn look(text: &str) -> Poll<()> {
    let Some(objects) = objects(text) else {
        return Poll::Pending("an answer that is no JSON".to_owned());
    };
    let missing: Vec<String> = objects.iter().filter_map(missing).collect();
    if missing.is_empty() {
        Poll::Seen(())
    } else {
        Poll::Pending(missing.join(", "))
    }
}

fn done<T>(outcome: Result<T, tokio::task::JoinError>) -> T {
    match outcome {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
