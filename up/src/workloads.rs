//! Images and manifests of the configuration, deployed once the cluster is ready for the first time.

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
use status::{not_ready, pod_problem};

/// How long to retry manifests that depend on objects which other manifests create: kinds, namespaces, service accounts,
/// webhooks.
const DEPENDENCY_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// What kubectl reports in that case.
const MISSING_DEPENDENCY: [&str; 4] = [
    "no matches for kind",
    "not found",
    "failed calling webhook",
    "the server could not find",
];

/// A running cluster to deploy to.
#[derive(Debug)]
pub(crate) struct Workloads<'a> {
    /// The state directory.
    pub(crate) state: &'a Path,
    /// The layers of the cluster's artifact, one of which contains kubectl.
    pub(crate) layers: &'a [Digest],
    /// The administrator's kubeconfig.
    pub(crate) kubeconfig: PathBuf,
    pub(crate) cluster: &'a Description,
    pub(crate) running: &'a Running,
    pub(crate) deadline: Instant,
}

impl Workloads<'_> {
    /// Loads the images, applies the manifests and waits until their objects are ready.
    pub(crate) async fn deploy(&self, config: &Config) -> Result<(), Error> {
        for image in &config.images {
            let (running, path) = (self.running.clone(), image.clone());
            let runtime = self.cluster.runtime();
            joined(spawn_blocking(move || images::load_into_machines(&running, runtime, &path, None)).await)?;
        }
        if config.manifests.is_empty() {
            return Ok(());
        }
        for manifests in &config.manifests {
            let what = format!("apply `{}`", manifests.display());
            let step = tracing::info_span!("step", what);
            self.apply(manifests).instrument(step).await?;
        }
        let what = "wait until the objects of the manifests are ready";
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

    /// Applies server-side, which can be repeated.
    async fn apply(&self, manifests: &Path) -> Result<(), Error> {
        let words = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=parbake",
        ];
        let cmd = self.kubectl(&words, &[manifests.to_owned()])?;
        let until = self.deadline.min(Instant::now() + DEPENDENCY_TIMEOUT);
        loop {
            let command = cmd.clone();
            match joined(spawn_blocking(move || command.run()).await) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() + POLL_INTERVAL < until && has_missing_dependency(&error) => {
                    sleep(POLL_INTERVAL).await
                }
                Err(source) => {
                    let path = manifests.to_owned();
                    return Err(ConfigError::Apply { path, source }.into());
                }
            }
        }
    }

    /// Why pods are not ready, one line for each. The cluster is removed before a user could find out.
    fn pod_problems(&self) -> Vec<String> {
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
        pods.iter().flatten().filter_map(pod_problem).collect()
    }

    async fn wait(&self, manifests: &[PathBuf]) -> Result<(), Error> {
        let cmd = self.kubectl(&["get", "--output=json"], manifests)?;
        let left = self.deadline.saturating_duration_since(Instant::now());
        let wait = Wait::new("the objects of the manifests to be ready", left).interval(POLL_INTERVAL);
        let ready = wait.attempt_timeout(Duration::from_secs(30)).until(|| async {
            let command = cmd.clone();
            match joined(spawn_blocking(move || command.run()).await) {
                Ok(output) => check(&output.stdout),
                Err(error) => Poll::Pending(error.to_string()),
            }
        });
        ready.await.map_err(|mut timed_out| {
            for line in self.pod_problems() {
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

fn has_missing_dependency(error: &parbake_machine::Error) -> bool {
    let text = error.to_string();
    MISSING_DEPENDENCY.iter().any(|reason| text.contains(reason))
}

/// Checks an object, or a list of objects, as JSON.
fn check(text: &str) -> Poll<()> {
    let Some(objects) = objects(text) else {
        return Poll::Pending("kubectl printed no JSON".to_owned());
    };
    let pending: Vec<String> = objects.iter().filter_map(not_ready).collect();
    if pending.is_empty() {
        Poll::Ready(())
    } else {
        Poll::Pending(pending.join(", "))
    }
}

fn joined<T>(outcome: Result<T, tokio::task::JoinError>) -> T {
    match outcome {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
