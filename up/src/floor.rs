//! The floor of a thaw: etcd and the API server alone on the data of the same artifact, no kubelet and no containers.
//! No thaw's API can answer sooner, however little its machines take to get there.
//!
//! The control plane's root is a thaw's: the same layers, a new identity. Its machine boots without kubelet and
//! runtime; then the two programs are started straight from the layers of their images, as their manifests have it,
//! and from then on the time counts.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use parbake_artifact::Store;
use parbake_cluster::machines::{self, IMAGES_DIR, Surroundings};
use parbake_cluster::readiness::wait_until_api;
use parbake_cluster::wait::{Look, TimedOut, Wait};
use parbake_cluster::{Description, Node, connect};
use parbake_machine::host::{Host, Purpose};
use parbake_machine::plan::{Forward, SeedContent, SeedFile};
use parbake_machine::process::{self, Cmd};
use parbake_machine::running::Running;
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::identity::{self, Identity};
use crate::state::{Claim, Record};
use crate::thaw::{allowed, claim, digests, id, stacks};
use crate::{Error, Options};

/// The programs, which are also the names of their pods and images.
const PROGRAMS: [&str; 2] = ["etcd", "kube-apiserver"];
/// Where the kubelet finds what it starts by itself.
const MANIFESTS: &str = "etc/kubernetes/manifests";
/// What does not start: `/etc/systemd/system/NAME` is a link to nowhere (systemd.unit(5), 'masked').
const MASKED: [&str; 4] = [
    "containerd.service",
    "kubelet.service",
    "parbake-head-start.service",
    "parbake-iptables.service",
];

/// A floor that could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    /// What a thaw does, too.
    #[error(transparent)]
    Thaw(#[from] Error),
    /// A program's manifest is missing or says nothing of it.
    #[error("could not read the manifest `{}`", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// One of the programs ended.
    #[error("`{program}` did not stay")]
    Ended {
        /// Which one.
        program: &'static str,
        /// What it said; nothing where it ended in peace.
        #[source]
        source: Option<process::Error>,
    },
    /// The machine did not come to rest, or the API did not answer.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
}

/// The time from the start of etcd and the API server until `/readyz` says ok; the boot of their machine is not in it.
/// Nothing is left afterwards. [`Options::nodes`] and [`Options::timings`] mean nothing here.
///
/// # Errors
/// The first step that failed.
pub async fn floor(options: &Options) -> Result<Duration, FloorError> {
    let claim = claim(options)?;
    let measured = measure(options, &claim).await;
    let removed = claim.remove();
    let measured = measured?;
    removed?;
    Ok(measured)
}

async fn measure(options: &Options, claim: &Claim) -> Result<Duration, FloorError> {
    let host = Host::look(&options.dir)
        .require(Purpose::Up)
        .map_err(Error::from)?
        .decide();
    let store = Store::open(&options.dir.join("store")).map_err(Error::from)?;
    let artifact = store.get(&options.tag).map_err(Error::from)?;
    allowed(options, &store, &artifact)?;
    let baked = Description::of_artifact(&artifact.config.cluster).map_err(Error::from)?;
    let cluster = baked.with_nodes(1).map_err(Error::from)?;
    let node = &cluster.nodes()[0];
    let layers: Vec<PathBuf> = stacks(&store, &artifact, &cluster)?
        .into_iter()
        .flat_map(|(_, layers)| layers)
        .collect();
    let containers = PROGRAMS.map(|program| container(&layers, program));
    claim.write(&Record::new(
        options.tag.clone(),
        artifact.digest.clone(),
        digests(&artifact),
        cluster.clone(),
    ))?;
    let identity = Identity::new(&cluster, &identity::Options::default()).map_err(Error::from)?;
    let surroundings = Surroundings {
        id: &id(options, claim.dir()),
        dir: claim.dir(),
        host: &host,
        forwards: vec![Forward {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            to: cluster.api_server().into(),
        }],
        end_with_parent: true,
    };
    let files = |node: &Node| identity.files(node).into_iter().chain(masks()).collect();
    let plan = machines::plan(&cluster, surroundings, |_| layers.clone(), files).map_err(Error::from)?;
    let running = Running::start(&plan, &options.supervise).map_err(Error::from)?;
    let name = node.name.as_str();
    come_to_rest(&running, name, options.wait).await?;
    let url = format!("https://{}", running.ports()[0]);
    let client = connect(&identity.super_admin_kubeconfig(&url))
        .await
        .map_err(Error::from)?;
    let [etcd, api_server] = containers;
    let commands = [etcd?.on(&running, name)?, api_server?.on(&running, name)?];
    let started = Instant::now();
    let ended = start(commands);
    tokio::select! {
        ready = wait_until_api(&client, options.wait) => ready?,
        error = ended => return Err(error),
    }
    Ok(started.elapsed())
}

/// Starts both commands; gives how the first of them ended.
async fn start(commands: [Cmd; 2]) -> FloorError {
    let watch = |(program, command): (&'static str, Cmd)| {
        let (sender, receiver) = oneshot::channel();
        // The thread ends with the command, which ends with the machine at the latest.
        thread::spawn(move || sender.send(command.run().err()));
        async move {
            let source = receiver.await.unwrap_or_default();
            FloorError::Ended { program, source }
        }
    };
    let [etcd, api_server] = commands;
    let [one, other] = [(PROGRAMS[0], etcd), (PROGRAMS[1], api_server)].map(watch);
    tokio::select! {
        error = one => error,
        error = other => error,
    }
}

fn masks() -> impl Iterator<Item = SeedFile> {
    MASKED.iter().map(|unit| SeedFile {
        path: Path::new("etc/systemd/system").join(unit),
        content: SeedContent::Link {
            target: "/dev/null".into(),
        },
    })
}

/// Waits until nothing of the boot is left to be done.
async fn come_to_rest(running: &Running, node: &str, limit: Duration) -> Result<(), FloorError> {
    let state = running
        .command(node, ["sh", "-c", "systemctl is-system-running || true"])
        .map_err(Error::from)?;
    let wait = Wait::new("the machine to come to rest", limit).pause(Duration::from_millis(200));
    wait.until(|| async {
        match state.run() {
            // systemctl(1): 'degraded' is the same with units that failed.
            Ok(output) if ["running", "degraded"].contains(&output.stdout.trim()) => Look::Seen(()),
            Ok(output) => Look::NotYet(output.stdout),
            Err(error) => Look::NotYet(error.to_string()),
        }
    })
    .await?;
    Ok(())
}

/// A pod, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Pod {
    spec: PodSpec,
}

#[derive(Debug, Deserialize)]
struct PodSpec {
    containers: Vec<Container>,
}

/// What runs in a pod.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Container {
    command: Vec<String>,
    #[serde(default)]
    env: Vec<Variable>,
}

/// An environment variable. One that comes from elsewhere has no value here.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Variable {
    name: String,
    value: Option<String>,
}

/// The container of `program`, from the topmost of `layers` that has its manifest.
fn container(layers: &[PathBuf], program: &str) -> Result<Container, FloorError> {
    let path = Path::new(MANIFESTS).join(format!("{program}.yaml"));
    let mut manifests = layers.iter().rev().map(|layer| layer.join(&path));
    let path = manifests.find(|path| path.is_file()).unwrap_or(path);
    let failed = |source| FloorError::Manifest {
        path: path.clone(),
        source,
    };
    let text = fs::read_to_string(&path).map_err(|error| failed(error.into()))?;
    parse(&text).map_err(failed)
}

fn parse(manifest: &str) -> Result<Container, Box<dyn std::error::Error + Send + Sync>> {
    let pod: Pod = serde_saphyr::from_str(manifest)?;
    let container = pod.spec.containers.into_iter().next();
    Ok(container
        .filter(|container| !container.command.is_empty())
        .ok_or("it names no command")?)
}

impl Container {
    /// The command that runs it on `node` without being in a container.
    fn on(&self, running: &Running, node: &str) -> Result<Cmd, FloorError> {
        let program = &self.command[0];
        let mut words: Vec<String> = vec!["env".to_owned()];
        let set = |variable: &Variable| Some(format!("{}={}", variable.name, variable.value.as_ref()?));
        words.extend(self.env.iter().filter_map(set));
        words.extend([
            "sh".to_owned(),
            "-c".to_owned(),
            format!("exec /{IMAGES_DIR}/{program}/*/usr/local/bin/{program} \"$@\""),
        ]);
        words.extend(self.command.iter().cloned());
        Ok(running.command(node, words).map_err(Error::from)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{container, parse};

    const MANIFEST: &str = "\
apiVersion: v1
kind: Pod
spec:
  containers:
  - command:
    - etcd
    - --name=node01
    env:
    - name: GOGC
      value: \"400\"
    image: example/etcd:1
  hostNetwork: true
";

    #[test]
    fn a_program_is_run_as_its_manifest_has_it() {
        let container = parse(MANIFEST).unwrap();
        assert_eq!(container.command, ["etcd", "--name=node01"]);
        assert_eq!(container.env[0].value.as_deref(), Some("400"));
        for text in [
            "",
            "spec: {containers: []}",
            "spec: {containers: [{command: []}]}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_manifest_is_the_topmost_layers() {
        let root = tempfile::tempdir().unwrap();
        let layers = ["bottom", "top"].map(|name| root.path().join(name));
        for layer in &layers {
            let dir = layer.join("etc/kubernetes/manifests");
            std::fs::create_dir_all(&dir).unwrap();
            let text = MANIFEST.replace("node01", layer.file_name().unwrap().to_str().unwrap());
            std::fs::write(dir.join("etcd.yaml"), text).unwrap();
        }
        assert_eq!(container(&layers, "etcd").unwrap().command[1], "--name=top");
        let error = container(&layers, "kube-apiserver").unwrap_err().to_string();
        assert_eq!(
            error,
            "could not read the manifest `etc/kubernetes/manifests/kube-apiserver.yaml`"
        );
    }
}
