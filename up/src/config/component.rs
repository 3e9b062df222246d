//! Arguments of a control plane's static pods.
//!
//! The manifest is read from the topmost layer of the node that has it, changed, and written as JSON, which is valid YAML.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parbake_machine::plan::{SeedContent, SeedFile};
use serde_json::{Value, json};

use super::{Component, Config, ConfigError};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Changes to a static pod.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Arguments to set, without the leading `--`.
    pub(super) arguments: BTreeMap<String, String>,
    /// Arguments to remove.
    pub(super) removed: Vec<&'static str>,
    /// Directories of the node to mount.
    pub(super) mounts: Vec<HostDir>,
}

/// A directory of a node that is mounted in a pod at the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostDir {
    /// The name of the volume.
    pub(super) name: &'static str,
    /// The kubelet creates it if it is missing.
    pub(super) path: &'static str,
    pub(super) read_only: bool,
}

impl HostDir {
    pub(super) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }
}

impl Change {
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.arguments.insert(name.to_owned(), value.into());
    }
}

/// The changed manifest of the component `name` for a node whose layers are `stack`, bottom first; `None` if nothing
/// changes.
pub(super) fn manifest(
    name: &'static str,
    change: &Change,
    stack: &[PathBuf],
) -> Result<Option<SeedFile>, ConfigError> {
    let path = PathBuf::from(format!("etc/kubernetes/manifests/{name}.yaml"));
    let failed = |source| ConfigError::Component {
        component: name,
        path: path.clone(),
        source,
    };
    let text = topmost(stack, &path).map_err(|error| failed(error.into()))?;
    let text = text.ok_or_else(|| failed("no layer of the node contains it".into()))?;
    let changed = changed(&text, change).map_err(failed)?;
    Ok(changed.map(|text| SeedFile {
        path,
        content: SeedContent::File { mode: 0o600, text },
    }))
}

/// The configured arguments of a component, including feature gates.
pub(super) fn arguments(config: &Config, component: Component) -> BTreeMap<String, String> {
    let own = config.arguments.get(&component);
    let mut arguments: BTreeMap<String, String> = own
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.to_string(), value.as_str().to_owned()))
        .collect();
    if !config.feature_gates.is_empty() {
        let gates = config
            .feature_gates
            .iter()
            .map(|(gate, on)| format!("{gate}={on}"));
        arguments.insert(GATES.to_owned(), gates.collect::<Vec<_>>().join(","));
    }
    arguments
}

const GATES: &str = "feature-gates";

/// The text of the file at `path` in the topmost layer that has it; `None` if there is no such file or a layer above
/// removed it.
pub(super) fn topmost(stack: &[PathBuf], path: &Path) -> io::Result<Option<String>> {
    for layer in stack.iter().rev() {
        match fs::symlink_metadata(layer.join(path)) {
            Ok(found) if found.is_file() => return fs::read_to_string(layer.join(path)).map(Some),
            // A whiteout (overlayfs: a character device).
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The changed manifest; `None` if it stays the same.
fn changed(manifest: &str, change: &Change) -> Result<Option<String>, BoxError> {
    let before: Value = serde_saphyr::from_str(manifest)?;
    let mut pod = before.clone();
    let command = pod
        .pointer_mut("/spec/containers/0/command")
        .and_then(Value::as_array_mut)
        .ok_or("its first container has no command")?;
    let words: Option<Vec<String>> = command
        .iter()
        .map(|word| Some(word.as_str()?.to_owned()))
        .collect();
    let mut words = words.ok_or("its command does not consist of strings")?;
    words.retain(|word| !change.removed.contains(&name_of(word)));
    let words = set(words, &change.arguments);
    *command = words.into_iter().map(Value::String).collect();
    for dir in &change.mounts {
        mount(&mut pod, dir)?;
    }
    if pod == before {
        return Ok(None);
    }
    Ok(Some(serde_json::to_string_pretty(&pod)? + "\n"))
}

/// The name of an argument; empty for other words.
fn name_of(word: &str) -> &str {
    let word = word.strip_prefix("--").unwrap_or_default();
    word.split_once('=').map_or(word, |(name, _)| name)
}

/// Mounts a directory of the node in the pod's first container, or replaces the existing mount of that name.
fn mount(pod: &mut Value, dir: &HostDir) -> Result<(), BoxError> {
    let volume = json!({
        "name": dir.name, "hostPath": { "path": dir.path, "type": "DirectoryOrCreate" },
    });
    let place = json!({ "name": dir.name, "mountPath": dir.path, "readOnly": dir.read_only });
    for (list, one) in [
        ("/spec/containers/0/volumeMounts", place),
        ("/spec/volumes", volume),
    ] {
        let all = pod.pointer_mut(list).and_then(Value::as_array_mut);
        let all = all.ok_or_else(|| format!("it has no list `{list}`"))?;
        match all.iter_mut().find(|other| other["name"] == dir.name) {
            Some(existing) => *existing = one,
            None => all.push(one),
        }
    }
    Ok(())
}

/// A command line with the arguments `new`, which replace those of the same name; feature gates are merged.
pub(super) fn set(words: Vec<String>, new: &BTreeMap<String, String>) -> Vec<String> {
    let mut new = new.clone();
    let mut kept = Vec::new();
    for word in words {
        let argument = word
            .strip_prefix("--")
            .map(|word| word.split_once('=').unwrap_or((word, "")));
        match argument {
            Some((GATES, before)) if new.contains_key(GATES) => {
                let gates = new.get(GATES).map(|gates| merge_gates(before, gates));
                new.extend(gates.map(|gates| (GATES.to_owned(), gates)));
            }
            Some((name, _)) if new.contains_key(name) => {}
            _ => kept.push(word),
        }
    }
    kept.extend(new.into_iter().map(|(name, value)| format!("--{name}={value}")));
    kept
}

fn merge_gates(before: &str, new: &str) -> String {
    let all = before.split(',').chain(new.split(','));
    let all: BTreeMap<&str, &str> = all.filter_map(|gate| gate.split_once('=')).collect();
    let all: Vec<String> = all.into_iter().map(|(gate, on)| format!("{gate}={on}")).collect();
    all.join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use serde_json::{Value, json};

    use super::super::{Component, Config};
    use super::{Change, arguments, manifest, set, topmost};
    use parbake_machine::plan::SeedContent;

    const MANIFEST: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: kube-scheduler
spec:
  containers:
  - command:
    - kube-scheduler
    - --leader-elect=false
    - --v=1
    - --kubeconfig=/etc/kubernetes/scheduler.conf
    env:
    - name: NUMBER
      value: \"400\"
    livenessProbe:
      periodSeconds: 10
  hostNetwork: true
status: {}
";

    #[test]
    fn arguments_replace_those_of_the_same_name() {
        let root = tempfile::tempdir().unwrap();
        let layers = ["bottom", "top"].map(|name| root.path().join(name));
        let dir = layers[0].join("etc/kubernetes/manifests");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("kube-scheduler.yaml"), MANIFEST).unwrap();
        let text = "feature-gates = {A = true}\n[arguments.kube-scheduler]\nv = 4\nprofiling = false\n";
        let config = Config::parse(text).unwrap();
        let change = Change {
            arguments: arguments(&config, Component::KubeScheduler),
            ..Change::default()
        };
        let seed = manifest("kube-scheduler", &change, &layers).unwrap().unwrap();
        let SeedContent::File { text, .. } = seed.content else {
            panic!("{seed:?}")
        };
        let pod: Value = serde_json::from_str(&text).unwrap();
        let container = &pod["spec"]["containers"][0];
        let expected = json!([
            "kube-scheduler",
            "--leader-elect=false",
            "--kubeconfig=/etc/kubernetes/scheduler.conf",
            "--feature-gates=A=true",
            "--profiling=false",
            "--v=4",
        ]);
        assert_eq!(container["command"], expected);
        // Strings stay strings, numbers stay numbers.
        assert_eq!(container["env"][0]["value"], "400");
        assert_eq!(container["livenessProbe"]["periodSeconds"], 10);
        assert_eq!(pod["spec"]["hostNetwork"], true);
        // A manifest that needs no change is not written.
        for (change, text) in [(Change::default(), MANIFEST), (change, &text)] {
            fs::write(dir.join("kube-scheduler.yaml"), text).unwrap();
            assert_eq!(manifest("kube-scheduler", &change, &layers).unwrap(), None);
        }
        let error = manifest("kube-apiserver", &Change::default(), &layers).unwrap_err();
        assert_eq!(
            error.to_string(),
            "could not change the arguments of kube-apiserver in `etc/kubernetes/manifests/kube-apiserver.yaml`"
        );
    }

    #[test]
    fn feature_gates_are_merged_and_setting_twice_changes_nothing() {
        let words = ["x", "--feature-gates=A=true,B=true", "--v", "file"].map(str::to_owned);
        let wanted = [("feature-gates", "B=false,C=true"), ("v", "2")];
        let wanted: BTreeMap<String, String> = wanted.map(|(name, value)| (name.into(), value.into())).into();
        let once = set(words.into(), &wanted);
        assert_eq!(
            once,
            ["x", "file", "--feature-gates=A=true,B=false,C=true", "--v=2"]
        );
        assert_eq!(set(once.clone(), &wanted), once);
    }

    #[test]
    fn a_removed_file_is_not_found() {
        let root = tempfile::tempdir().unwrap();
        let layers = ["bottom", "top"].map(|name| root.path().join(name));
        for layer in &layers {
            fs::create_dir_all(layer.join("etc")).unwrap();
        }
        fs::write(layers[0].join("etc/a"), "text").unwrap();
        assert_eq!(
            topmost(&layers, "etc/a".as_ref()).unwrap().as_deref(),
            Some("text")
        );
        // Anything but a regular file counts as a whiteout.
        fs::create_dir(layers[1].join("etc/a")).unwrap();
        assert_eq!(topmost(&layers, "etc/a".as_ref()).unwrap(), None);
        assert_eq!(topmost(&layers, "etc/b".as_ref()).unwrap(), None);
    }
}
