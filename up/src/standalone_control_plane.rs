//! etcd and the API server of a control plane, without kubelet and containers.
//!
//! The two programs are started directly from the layers of their images, with the arguments in their static pod manifests.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use parbake_cluster::model::machine_plan::IMAGES_DIR;
use parbake_machine::plan::{SeedContent, SeedFile};
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::Running;
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::error::Error;

/// Units to mask so that nothing of Kubernetes starts by itself.
pub(crate) const KUBERNETES_UNITS: [&str; 4] = [
    "kubelet.service",
    "parbake-head-start.service",
    "parbake-iptables.service",
    "parbake-ip6tables.service",
];
/// The programs. Their pods and images have the same names.
const PROGRAMS: [&str; 2] = ["etcd", "kube-apiserver"];
/// Flags of the API server that select plugins. It does not start if both name the same.
const ADMISSION_FLAGS: [&str; 2] = ["--enable-admission-plugins=", "--disable-admission-plugins="];
/// The kubelet's directory of static pods.
const MANIFESTS: &str = "etc/kubernetes/manifests";
/// The directory of units with the highest precedence (systemd.unit(5), 'Unit File Load Path'). Masks here replace no file of
/// a user.
const MASKS: &str = "etc/systemd/system.control";
/// Stops the programs in order, the database last.
const STOP: &str = r#"
for program in kube-apiserver etcd; do
    pkill -TERM -x "$program" || true
    for _ in $(seq 300); do pgrep -x "$program" > /dev/null || break; sleep 0.1; done
    ! pgrep -x "$program"
done
"#;

/// The containers of etcd and of the API server.
#[derive(Debug)]
pub(crate) struct StandaloneControlPlane([Container; 2]);

impl StandaloneControlPlane {
    /// Reads the manifests from the topmost of `layers`, bottom first, that has them.
    pub(crate) fn read(layers: &[PathBuf]) -> Result<Self, Error> {
        let [etcd, api_server] = PROGRAMS.map(|program| container(layers, program));
        Ok(Self([etcd?, api_server?]))
    }

    /// Disables plugins of the API server's admission control. The cluster's own choice of plugins does not apply.
    pub(crate) fn without_admission(mut self, plugins: &[&str]) -> Self {
        let command = &mut self.0[1].command;
        command.retain(|word| !ADMISSION_FLAGS.iter().any(|flag| word.starts_with(flag)));
        command.push(format!("{}{}", ADMISSION_FLAGS[1], plugins.join(",")));
        self
    }

    pub(crate) fn with_etcd_flag(mut self, flag: &str) -> Self {
        self.0[0].command.push(flag.to_owned());
        self
    }

    /// Starts both on `node`. The future resolves when the first of them exits, with the error for that. It may be dropped.
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

/// Stops both on `node`, and closes the database by that.
pub(crate) fn stop(running: &Running, node: &str) -> Result<(), Error> {
    running.command(node, ["sh", "-euc", STOP])?.run()?;
    Ok(())
}

/// The files that mask `units`.
pub(crate) fn masks(units: &[&str]) -> impl Iterator<Item = SeedFile> {
    units.iter().map(|unit| SeedFile {
        path: Path::new(MASKS).join(unit),
        content: SeedContent::Link {
            target: "/dev/null".into(),
        },
    })
}

/// Removes those files from a machine's upper directory.
pub(crate) fn unmask(upper: &Path, units: &[&str]) -> io::Result<()> {
    let dir = upper.join(MASKS);
    for unit in units {
        match fs::remove_file(dir.join(unit)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    // Fails if a user has set properties of units.
    let _ = fs::remove_dir(dir);
    Ok(())
}

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
    let [etcd, api_server] = [(PROGRAMS[0], etcd), (PROGRAMS[1], api_server)].map(watch);
    async {
        tokio::select! {
            error = etcd => error,
            error = api_server => error,
        }
    }
}

/// A static pod.
#[derive(Debug, Deserialize)]
struct Pod {
    spec: PodSpec,
}

#[derive(Debug, Deserialize)]
struct PodSpec {
    containers: Vec<Container>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Container {
    command: Vec<String>,
    #[serde(default)]
    env: Vec<Variable>,
}

/// An environment variable. It has no value if it comes from elsewhere (`valueFrom`).
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
        .ok_or("it contains no command")?)
}

impl Container {
    /// The command that runs the program on `node` outside of a container.
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
    fn manifest_gives_command_and_environment() {
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
    fn choice_of_admission_plugins_is_replaced() {
        let plane = |words: &[&str]| {
            let container = |words: &[&str]| super::Container {
                command: words.iter().map(ToString::to_string).collect(),
                env: Vec::new(),
            };
            super::StandaloneControlPlane([container(&["etcd"]), container(words)])
        };
        let own = plane(&[
            "kube-apiserver",
            "--enable-admission-plugins=NodeRestriction,A",
            "--secure-port=6443",
            "--disable-admission-plugins=C",
        ]);
        let [_, api_server] = own.without_admission(&["A", "B"]).0;
        assert_eq!(
            api_server.command,
            [
                "kube-apiserver",
                "--secure-port=6443",
                "--disable-admission-plugins=A,B"
            ]
        );
    }

    #[test]
    fn topmost_layer_with_a_manifest_wins() {
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
