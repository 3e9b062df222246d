//! etcd and the API server alone on a control plane: no kubelet and no containers.
//!
//! The two programs are started straight from the layers of their images, as their manifests have it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use parbake_cluster::machine_plan::IMAGES_DIR;
use parbake_machine::plan::{SeedContent, SeedFile};
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::Running;
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::error::Error;

/// The programs, which are also the names of their pods and images.
const PROGRAMS: [&str; 2] = ["etcd", "kube-apiserver"];
/// Where the kubelet finds what it starts by itself.
const MANIFESTS: &str = "etc/kubernetes/manifests";
/// Units here come before all others of their names (systemd.unit(5), 'Unit File Load Path'), so that none that somebody
/// changed is lost.
const MASKS: &str = "etc/systemd/system.control";
/// Ends the programs in order, the database last.
const END: &str = r#"
for program in kube-apiserver etcd; do
    pkill -TERM -x "$program" || true
    for _ in $(seq 300); do pgrep -x "$program" > /dev/null || break; sleep 0.1; done
    ! pgrep -x "$program"
done
"#;

/// The two programs, as the manifests of a control plane have them.
#[derive(Debug)]
pub(crate) struct StandaloneControlPlane([Container; 2]);

impl StandaloneControlPlane {
    /// Reads the manifests in the topmost of `layers`, bottom first, that has them.
    pub(crate) fn read(layers: &[PathBuf]) -> Result<Self, Error> {
        let [etcd, api_server] = PROGRAMS.map(|program| container(layers, program));
        Ok(Self([etcd?, api_server?]))
    }

    /// The same with one more flag of the API server.
    pub(crate) fn with_api_server_flag(mut self, flag: &str) -> Self {
        self.0[1].command.push(flag.to_owned());
        self
    }

    /// The same with one more flag of etcd.
    pub(crate) fn with_etcd_flag(mut self, flag: &str) -> Self {
        self.0[0].command.push(flag.to_owned());
        self
    }

    /// Starts both on `node`; the future gives how the first of them ended, and need not be waited for.
    pub(crate) fn start(
        &self,
        running: &Running,
        node: &str,
    ) -> Result<impl Future<Output = Error> + use<>, Error> {
        let [etcd, api_server] = &self.0;
        let commands = [etcd.on(running, node)?, api_server.on(running, node)?];
        Ok(start(commands))
    }
}

/// Ends both on `node`; the database is closed then.
pub(crate) fn end(running: &Running, node: &str) -> Result<(), Error> {
    running.command(node, ["sh", "-euc", END])?.run()?;
    Ok(())
}

/// The files that keep `units` from starting.
pub(crate) fn masks(units: &[&str]) -> impl Iterator<Item = SeedFile> {
    units.iter().map(|unit| SeedFile {
        path: Path::new(MASKS).join(unit),
        content: SeedContent::Link {
            target: "/dev/null".into(),
        },
    })
}

/// Removes those files from a machine's upper directory again.
pub(crate) fn unmask(upper: &Path, units: &[&str]) -> io::Result<()> {
    let dir = upper.join(MASKS);
    for unit in units {
        match fs::remove_file(dir.join(unit)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    // Not empty means that somebody set a unit's properties.
    let _ = fs::remove_dir(dir);
    Ok(())
}

/// Starts both commands; the future gives how the first of them ended.
fn start(commands: [Cmd; 2]) -> impl Future<Output = Error> {
    let watch = |(program, command): (&'static str, Cmd)| {
        let (sender, receiver) = oneshot::channel();
        // The thread ends with the command, which ends with the machine at the latest.
        thread::spawn(move || sender.send(command.run().err()));
        async move {
            let source = receiver.await.unwrap_or_default();
            Error::ProgramExited { program, source }
        }
    };
    let [etcd, api_server] = commands;
    let [one, other] = [(PROGRAMS[0], etcd), (PROGRAMS[1], api_server)].map(watch);
    async {
        tokio::select! {
            error = one => error,
            error = other => error,
        }
    }
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
fn container(layers: &[PathBuf], program: &str) -> Result<Container, Error> {
    let path = Path::new(MANIFESTS).join(format!("{program}.yaml"));
    let mut manifests = layers.iter().rev().map(|layer| layer.join(&path));
    let path = manifests.find(|path| path.is_file()).unwrap_or(path);
    let failed = |source| Error::StaticPod {
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
    fn on(&self, running: &Running, node: &str) -> Result<Cmd, Error> {
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
        Ok(running.command(node, words)?)
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
            "could not read the static pod manifest `etc/kubernetes/manifests/kube-apiserver.yaml`"
        );
    }
}
