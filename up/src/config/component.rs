//! Arguments of the programs that a kubelet runs from manifests in a directory (static pods): the API server and its
//! like. The manifest of the node's topmost layer that has one is read, and written anew as JSON, which is YAML too.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parbake_machine::plan::{SeedContent, SeedFile};
use serde_json::{Value, json};

use super::{Component, Config, ConfigError};

type Broken = Box<dyn std::error::Error + Send + Sync>;

/// What is to be changed of a static pod.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Arguments of its program, without the two dashes.
    pub(super) arguments: BTreeMap<String, String>,
    /// Arguments that it is not to have.
    pub(super) without: Vec<&'static str>,
    /// Directories of the node that it is to see beside its own.
    pub(super) mounts: Vec<HostDir>,
}

/// A directory of a node that a pod sees at the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostDir {
    /// What its volume is called.
    pub(super) name: &'static str,
    /// The directory, which is made where it is missing.
    pub(super) path: &'static str,
    /// Whether the pod can only read it.
    pub(super) read_only: bool,
}

impl HostDir {
    /// The path of a file in it.
    pub(super) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }
}

impl Change {
    /// Gives one more argument.
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.arguments.insert(name.to_owned(), value.into());
    }
}

/// The changed manifest of the program `name` for a node whose files are in `stack`, bottom first; nothing where it is as
/// it is to be.
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
    let text = text.ok_or_else(|| failed("no layer of the node has it".into()))?;
    let changed = changed(&text, change).map_err(failed)?;
    Ok(changed.map(|text| SeedFile {
        path,
        content: SeedContent::File { mode: 0o600, text },
    }))
}

/// What a component is to be told, feature gates included.
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

/// The text of the topmost of the layers' files at `path`; nothing where it is not there or was removed above.
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

/// The manifest with a change, where that makes another of it.
fn changed(manifest: &str, change: &Change) -> Result<Option<String>, Broken> {
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
    let mut words = words.ok_or("its command is not made of texts")?;
    words.retain(|word| !change.without.contains(&name_of(word)));
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

/// The name of an argument, or nothing.
fn name_of(word: &str) -> &str {
    let word = word.strip_prefix("--").unwrap_or_default();
    word.split_once('=').map_or(word, |(name, _)| name)
}

/// Shows a directory of the node to the pod's first container, unless it does already.
fn mount(pod: &mut Value, dir: &HostDir) -> Result<(), Broken> {
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
            Some(there) => *there = one,
            None => all.push(one),
        }
    }
    Ok(())
}

/// A program's words with the `wanted` arguments, in the place of those with the same name; gates are added to gates.
pub(super) fn set(words: Vec<String>, wanted: &BTreeMap<String, String>) -> Vec<String> {
    let mut wanted = wanted.clone();
    let mut kept = Vec::new();
    for word in words {
        let argument = word
            .strip_prefix("--")
            .map(|word| word.split_once('=').unwrap_or((word, "")));
        match argument {
            Some((GATES, before)) if wanted.contains_key(GATES) => {
                let now = wanted.get(GATES).map(|now| gates(before, now));
                wanted.extend(now.map(|now| (GATES.to_owned(), now)));
            }
            Some((name, _)) if wanted.contains_key(name) => {}
            _ => kept.push(word),
        }
    }
    kept.extend(
        wanted
            .into_iter()
            .map(|(name, value)| format!("--{name}={value}")),
    );
    kept
}

fn gates(before: &str, now: &str) -> String {
    let all = before.split(',').chain(now.split(','));
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
    fn an_argument_takes_the_place_of_its_like() {
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
        // Texts stay texts, numbers numbers.
        assert_eq!(container["env"][0]["value"], "400");
        assert_eq!(container["livenessProbe"]["periodSeconds"], 10);
        assert_eq!(pod["spec"]["hostNetwork"], true);
        // One that is as it is to be is left alone.
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
    fn gates_are_added_and_nothing_is_set_twice() {
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
    fn what_was_removed_is_not_there() {
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
        // As far as this is asked, what is no file is a whiteout.
        fs::create_dir(layers[1].join("etc/a")).unwrap();
        assert_eq!(topmost(&layers, "etc/a".as_ref()).unwrap(), None);
        assert_eq!(topmost(&layers, "etc/b".as_ref()).unwrap(), None);
    }
}
