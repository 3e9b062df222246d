//! The steps of a bake and their inputs by name.
//!
//! A step's key is the digest of its name and inputs, so that an explanation of what changed always agrees with what runs.

use std::collections::BTreeMap;

use parbake_artifact::Digest;
use parbake_cluster::Description;
use serde::{Deserialize, Serialize};

use super::{Options, RECIPE};
use crate::inputs::{Binary, CachedStep, ImageArchive, Inputs, OsTree, shown};
use crate::kubeadm::{self, Profile};
use crate::node;
use crate::provider::Addon;

/// Why the last step runs although its inputs are unchanged.
pub(super) const NO_ARTIFACT: &str = "the store has no artifact of this name from these inputs";
/// Why any other step runs although its inputs are unchanged.
pub(super) const NO_LAYERS: &str = "its layers are not in the store";

/// The short name of the pause image.
const PAUSE: &str = "pause";
/// The binaries that the import of images depends on. A new kubelet, for instance, needs no new import.
const RUNTIME: [&str; 11] = [
    "containerd",
    "containerd-shim",
    "containerd-shim-runc-v1",
    "containerd-shim-runc-v2",
    "copyimg",
    "cri-dockerd",
    "crictl",
    "crio",
    "ctr",
    "pinns",
    "runc",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: String,
    /// Values by name.
    inputs: BTreeMap<String, String>,
}

/// The record of a step that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StepRecord {
    pub(super) step: String,
    /// Abbreviated values by name.
    pub(super) inputs: BTreeMap<String, String>,
}

impl Step {
    fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            inputs: BTreeMap::new(),
        }
        .with("bake recipe", RECIPE)
    }

    fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.inputs.insert(name.into(), value.into());
        self
    }

    fn with_images(self, images: &[ImageArchive]) -> Self {
        let with = |step: Self, (number, image): (usize, &ImageArchive)| {
            // The runtime numbers the layers that it unpacks, so the order of images matters.
            step.with(
                format!("image {}", image.reference),
                format!("{number} {}", image.key),
            )
        };
        images.iter().enumerate().fold(self, with)
    }

    /// Identifies the step's result.
    pub(super) fn key(&self) -> Digest {
        let inputs = self.inputs.iter();
        let lines = inputs.map(|(name, value)| format!("{name}\0{}\0{value}\0", value.len()));
        Digest::of(format!("{}\0{}", self.name, lines.collect::<String>()).as_bytes())
    }

    pub(super) fn record(&self) -> StepRecord {
        let abbreviated = |(name, value): (&String, &String)| (name.clone(), abbreviate(value));
        StepRecord {
            step: self.name.clone(),
            inputs: self.inputs.iter().map(abbreviated).collect(),
        }
    }
}

/// Shortens digests, also after the number of an image.
fn abbreviate(value: &str) -> String {
    match value.split_once(' ') {
        Some((number, key)) if key.len() == 64 && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{number} {}", shown(key.as_bytes()))
        }
        _ => shown(value.as_bytes()),
    }
}

impl From<&CachedStep> for StepRecord {
    fn from(cached: &CachedStep) -> Self {
        Self {
            step: cached.step.clone(),
            inputs: cached.inputs.clone(),
        }
    }
}

pub(super) fn os(os: &OsTree) -> Step {
    Step::new("pack the node OS").with("node OS", &os.key)
}

pub(super) fn binary(name: &str, binary: &Binary) -> Step {
    Step::new(format!("pack {name}")).with(format!("binary {name}"), &binary.sha256)
}

/// The reference of the pause image.
pub(super) fn pause(inputs: &Inputs) -> &str {
    let pause = inputs.images.iter().find(|image| image.short_name == PAUSE);
    pause.map(|image| image.reference.as_str()).unwrap_or_default()
}

pub(super) fn node(inputs: &Inputs) -> Step {
    Step::new("write the node files")
        .with("pause image", pause(inputs))
        .with("node files", node::fingerprint(&inputs.runtime))
}

/// True if the import of images depends on the binary `name`.
pub(super) fn is_runtime(name: &str) -> bool {
    RUNTIME.contains(&name)
}

/// The layers of images and of the runtime's state.
pub(super) fn images(inputs: &Inputs) -> Step {
    let runtime = inputs.binaries.iter().filter(|(name, _)| is_runtime(name));
    let step = Step::new("import the images")
        .with("node OS", &inputs.os.key)
        .with("pause image", pause(inputs))
        .with("node files", node::fingerprint(&inputs.runtime))
        .with_images(&inputs.images);
    runtime.fold(step, |step, (name, binary)| {
        step.with(format!("binary {name}"), &binary.sha256)
    })
}

/// All from the first boot to the artifact.
pub(super) fn cluster(options: &Options, cluster: &Description, inputs: &Inputs) -> Step {
    let files = cluster
        .nodes()
        .iter()
        .flat_map(|node| kubeadm::init_files(cluster, node, "", Profile::Tuned));
    let files = serde_json::to_string(&files.collect::<Vec<_>>()).unwrap_or_default();
    let description = serde_json::to_string(cluster).unwrap_or_default();
    let provider = &options.provider;
    let mut step = Step::new("bootstrap and freeze the cluster")
        .with("provider", provider.name.as_str())
        .with("nodes and networks", description)
        .with("kubeadm configuration", files)
        .with("node OS", &inputs.os.key)
        .with("node files", node::fingerprint(&inputs.runtime))
        .with_images(&inputs.images);
    if let Some(variant) = &provider.variant {
        step = step.with("variant", variant.as_str());
    }
    for (name, binary) in &inputs.binaries {
        step = step.with(format!("binary {name}"), &binary.sha256);
    }
    for (number, addon) in provider.addons.iter().enumerate() {
        let fingerprint = Digest::of(Addon::fingerprint(addon).as_bytes());
        step = step.with(
            format!("add-on {}", addon.name),
            format!("{number} {}", fingerprint.hex()),
        );
    }
    step
}

/// All steps of a bake after its inputs, in order.
pub(super) fn all(options: &Options, description: &Description, inputs: &Inputs) -> Vec<Step> {
    let binaries = inputs.binaries.iter().map(|(name, one)| binary(name, one));
    [os(&inputs.os)]
        .into_iter()
        .chain(binaries)
        .chain([
            node(inputs),
            images(inputs),
            cluster(options, description, inputs),
        ])
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Step, binary, images, is_runtime, os};
    use crate::inputs::{Binary, ImageArchive, Inputs, Materials, OsTree};
    use crate::node::NodeRuntime;

    fn inputs() -> Inputs {
        let binary = |text: &str| Binary {
            path: text.into(),
            sha256: text.repeat(64),
        };
        let image = |name: &str, digit: &str| ImageArchive {
            short_name: name.to_owned(),
            reference: format!("example.org/{name}:1"),
            names: Vec::new(),
            path: name.into(),
            key: digit.repeat(64),
        };
        Inputs {
            os: OsTree {
                key: "0".repeat(64),
                path: "os".into(),
                custom: None,
            },
            binaries: BTreeMap::from([
                ("kubelet".to_owned(), binary("1")),
                ("crictl".to_owned(), binary("2")),
            ]),
            images: vec![image("etcd", "3"), image("pause", "4")],
            runtime: NodeRuntime::packaged("1.6.20"),
            materials: Materials::default(),
            key: String::new(),
            steps: Vec::new(),
        }
    }

    #[test]
    fn image_import_depends_only_on_its_own_inputs() {
        let base = images(&inputs()).key();
        let changed = |change: &dyn Fn(&mut Inputs)| {
            let mut inputs = inputs();
            change(&mut inputs);
            images(&inputs).key() != base
        };
        assert!(!changed(&|_| {}));
        assert!(!changed(&|inputs| inputs
            .binaries
            .get_mut("kubelet")
            .unwrap()
            .sha256 = "9".repeat(64)));
        assert!(!changed(&|inputs| drop(inputs.binaries.remove("kubelet"))));
        assert!(changed(&|inputs| inputs
            .binaries
            .get_mut("crictl")
            .unwrap()
            .sha256 = "9".repeat(64)));
        assert!(changed(&|inputs| inputs.os.key = "9".repeat(64)));
        assert!(changed(&|inputs| inputs.images[0].key = "9".repeat(64)));
        assert!(changed(&|inputs| inputs.images.swap(0, 1)));
        assert!(changed(&|inputs| drop(inputs.images.pop())));
        assert!(is_runtime("containerd") && !is_runtime("kubeadm"));
    }

    #[test]
    fn different_steps_have_different_keys() {
        let key = |name: &str, inputs: &[(&str, &str)]| {
            let step = Step::new(name);
            let step = inputs
                .iter()
                .fold(step, |step, (name, value)| step.with(*name, *value));
            step.key()
        };
        let base = key("a", &[("b", "c"), ("d", "e")]);
        assert_eq!(base, key("a", &[("d", "e"), ("b", "c")]));
        for (name, inputs) in [
            ("b", vec![("b", "c"), ("d", "e")]),
            ("a", vec![("b", "c")]),
            ("a", vec![("b", "c"), ("d", "f")]),
            ("a", vec![("b", "c\0d\0e")]),
        ] {
            assert_ne!(base, key(name, &inputs));
        }
        let inputs = inputs();
        assert_ne!(
            os(&inputs.os).key(),
            binary("kubelet", &inputs.binaries["kubelet"]).key()
        );
    }

    #[test]
    fn records_have_abbreviated_values() {
        let record = images(&inputs()).record();
        assert_eq!(record.step, "import the images");
        assert_eq!(record.inputs["image example.org/pause:1"], "1 444444444444");
        assert_eq!(record.inputs["node OS"], "000000000000");
        assert_eq!(record.inputs["pause image"], "example.org/pause:1");
        assert!(record.inputs.values().all(|value| value.len() <= 48));
    }
}
