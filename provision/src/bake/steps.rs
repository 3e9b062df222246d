//! The steps of a bake: what each is made from, by name, so that it can be told why one has to be done.
//!
//! The same names and values make the keys that steps are found by, so what is told is what is done.

use std::collections::BTreeMap;

use parbake_artifact::Digest;
use parbake_cluster::Description;
use serde::{Deserialize, Serialize};

use super::{Options, RECIPE};
use crate::inputs::{Binary, CachedStep, ImageArchive, Inputs, OsTree, shown};
use crate::kubeadm::{self, Profile};
use crate::node;
use crate::provider::Addon;

/// The short name of the image that holds a pod's namespaces.
const PAUSE: &str = "pause";
/// Binaries that have to do with images. No other is beneath their import, so that another kubelet is no reason for one.
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

/// A step of a bake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// What it does.
    pub(super) name: String,
    /// What it is made from, by name.
    inputs: BTreeMap<String, String>,
}

/// A step that was done, for who asks afterwards why it has to be done again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StepRecord {
    pub(super) step: String,
    /// Values for people.
    pub(super) inputs: BTreeMap<String, String>,
}

impl Step {
    fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            inputs: BTreeMap::new(),
        }
        .with("how parbake bakes", RECIPE)
    }

    fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.inputs.insert(name.into(), value.into());
        self
    }

    fn with_images(self, images: &[ImageArchive]) -> Self {
        let with = |step: Self, (number, image): (usize, &ImageArchive)| {
            // The runtime numbers what it unpacks, so their order counts, too.
            step.with(
                format!("image {}", image.reference),
                format!("{number} {}", image.key),
            )
        };
        images.iter().enumerate().fold(self, with)
    }

    /// What its result is found by.
    pub(super) fn key(&self) -> Digest {
        let inputs = self.inputs.iter();
        let lines = inputs.map(|(name, value)| format!("{name}\0{}\0{value}\0", value.len()));
        Digest::of(format!("{}\0{}", self.name, lines.collect::<String>()).as_bytes())
    }

    /// What is kept of it.
    pub(super) fn done(&self) -> StepRecord {
        let shown = |(name, value): (&String, &String)| (name.clone(), for_people(value));
        StepRecord {
            step: self.name.clone(),
            inputs: self.inputs.iter().map(shown).collect(),
        }
    }
}

/// The place of an image in the order is told only where nothing else changed.
fn for_people(value: &str) -> String {
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

/// The layer of the node OS.
pub(super) fn os(os: &OsTree) -> Step {
    Step::new("pack the node OS").with("node OS", &os.key)
}

/// The layer of a binary.
pub(super) fn binary(name: &str, binary: &Binary) -> Step {
    Step::new(format!("pack {name}")).with(format!("binary {name}"), &binary.sha256)
}

/// The name of the image that holds a pod's namespaces.
pub(super) fn pause(inputs: &Inputs) -> &str {
    let pause = inputs.images.iter().find(|image| image.short_name == PAUSE);
    pause.map(|image| image.reference.as_str()).unwrap_or_default()
}

/// The layer of the node's own files.
pub(super) fn node(inputs: &Inputs) -> Step {
    Step::new("write the node's files")
        .with("name of the pause image", pause(inputs))
        .with("node's files", node::fingerprint(&inputs.runtime))
}

/// Whether the binary `name` is beneath the import of images.
pub(super) fn is_runtime(name: &str) -> bool {
    RUNTIME.contains(&name)
}

/// The layers of images, and the runtime's own: what is imported, and what imports it.
pub(super) fn images(inputs: &Inputs) -> Step {
    let runtime = inputs.binaries.iter().filter(|(name, _)| is_runtime(name));
    let step = Step::new("import the images")
        .with("node OS", &inputs.os.key)
        .with("name of the pause image", pause(inputs))
        .with("node's files", node::fingerprint(&inputs.runtime))
        .with_images(&inputs.images);
    runtime.fold(step, |step, (name, binary)| {
        step.with(format!("binary {name}"), &binary.sha256)
    })
}

/// Everything from the first boot to the artifact.
pub(super) fn cluster(options: &Options, cluster: &Description, inputs: &Inputs) -> Step {
    let told = cluster
        .nodes()
        .iter()
        .flat_map(|node| kubeadm::init_files(cluster, node, "", Profile::Tuned));
    let told = serde_json::to_string(&told.collect::<Vec<_>>()).unwrap_or_default();
    let description = serde_json::to_string(cluster).unwrap_or_default();
    let provider = &options.provider;
    let mut step = Step::new("form the cluster and freeze it")
        .with("provider", provider.name.as_str())
        .with("nodes and networks", description)
        .with("what kubeadm is told", told)
        .with("node OS", &inputs.os.key)
        .with("node's files", node::fingerprint(&inputs.runtime))
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

/// All steps of a bake that come after its inputs, in order.
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
    fn images_are_imported_anew_for_nothing_but_what_they_need() {
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
    fn a_key_has_no_two_meanings() {
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
    fn what_is_kept_is_short() {
        let done = images(&inputs()).done();
        assert_eq!(done.step, "import the images");
        assert_eq!(done.inputs["image example.org/pause:1"], "1 444444444444");
        assert_eq!(done.inputs["node OS"], "000000000000");
        assert_eq!(done.inputs["name of the pause image"], "example.org/pause:1");
        assert!(done.inputs.values().all(|value| value.len() <= 48));
    }
}
