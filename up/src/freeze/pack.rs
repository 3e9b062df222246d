//! The layers of the frozen machines, and the artifact.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use parbake_artifact::{Artifact, Layer, MACHINE_LAYER, MachineLayers, NewArtifact, PackOptions, Tag};
use parbake_cluster::model::machine_plan;
use parbake_cluster::{ContainerRuntime, Description, Node};
use parbake_machine::fs::Dirs;
use parbake_machine::fs::files::failed;
use walkdir::{DirEntry, WalkDir};

use crate::error::Error;
use crate::launch::Launcher;
use crate::layer_stacks::layers_of;
use crate::state::ClusterLock;

/// Sockets here belong to the kubelet, which creates them whenever it starts.
const KUBELET: &str = "var/lib/kubelet";
/// The number of files that a warning lists.
const MAX_LISTED: usize = 5;

/// Packs what each machine has written into a layer above those that it has. Returns the artifact and the compressed size of
/// its new layers.
pub(super) fn pack(
    tag: &Tag,
    launcher: &Launcher,
    cluster: &Description,
    scratch: &ClusterLock,
    secrets: u64,
) -> Result<(Artifact, u64), Error> {
    let _step = tracing::info_span!("step", what = "pack the files of the nodes").entered();
    let Launcher {
        artifact: parent,
        baked,
        ..
    } = launcher;
    let mut layers: Vec<Layer> = Vec::new();
    let mut own_layers = Vec::new();
    let mut machines = Vec::new();
    for node in cluster.nodes() {
        let name = node.name.as_str();
        let below = layers_of(parent, baked, node)?;
        let upper = layer_dir(baked.runtime(), node, scratch)?;
        for warning in Unpacked::find(&upper).warnings(name) {
            tracing::warn!("{warning}");
        }
        let own = launcher
            .store
            .adopt_layer(&title(parent, name), &upper, &PackOptions::default())?;
        let stack = below.iter().map(|layer| layer.digest.clone());
        machines.push(MachineLayers {
            name: name.to_owned(),
            layers: stack.chain([own.digest.clone()]).collect(),
        });
        for layer in below {
            if !layers.contains(layer) {
                layers.push(layer.clone());
            }
        }
        own_layers.push(own);
    }
    let own_bytes = own_layers.iter().map(|layer| layer.size).sum();
    layers.extend(own_layers);
    let artifact = NewArtifact {
        created: Timestamp::now(),
        provider: parent.config.provider.clone(),
        machines,
        cluster: serde_json::to_value(cluster).expect("names, numbers and addresses are JSON"),
        layers,
        secrets: Some(secrets),
    };
    Ok((launcher.store.put(tag, artifact)?, own_bytes))
}

/// `machine/node01` for a node that joined, `machine/node01.2` above it, and so on.
fn title(parent: &Artifact, node: &str) -> String {
    let taken = |title: &String| parent.layers.iter().any(|layer| layer.title == *title);
    let first = format!("{MACHINE_LAYER}{node}");
    let more = (2_u32..).map(|number| format!("{MACHINE_LAYER}{node}.{number}"));
    std::iter::once(first)
        .chain(more)
        .find(|title| !taken(title))
        .expect("an artifact has fewer layers than there are numbers")
}

/// The directory with everything that goes into the layer of `node`. The state of the container runtime is not part of the
/// overlay: a machine starts with that of its topmost layer, so the layer contains all of it.
fn layer_dir(runtime: ContainerRuntime, node: &Node, scratch: &ClusterLock) -> Result<PathBuf, Error> {
    let dir = machine_plan::machine_dir(scratch.dir(), node);
    let dirs = Dirs(&dir);
    let upper = dirs.upper();
    let state = runtime.profile().dir;
    let (plain, target) = (dirs.plain(state.as_ref()), upper.join(state));
    if target.exists() {
        fs::remove_dir_all(&target).map_err(failed("remove", &target))?;
    }
    let parent = target.parent().unwrap_or(&upper);
    fs::create_dir_all(parent).map_err(failed("create", parent))?;
    fs::rename(&plain, &target).map_err(failed("move", &plain))?;
    Ok(upper)
}

/// Files that a layer cannot store, as absolute paths on the node.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unpacked {
    devices: Vec<PathBuf>,
    sockets: Vec<PathBuf>,
}

impl Unpacked {
    /// Finds them in the upper directory of a machine.
    fn find(upper: &Path) -> Self {
        let mut found = Self::default();
        let entries = WalkDir::new(upper).sort_by_file_name().into_iter().flatten();
        for entry in entries {
            let below = entry.path().strip_prefix(upper).unwrap_or(entry.path());
            let kind = entry.file_type();
            if kind.is_socket() && !below.starts_with(KUBELET) {
                found.sockets.push(Path::new("/").join(below));
            } else if kind.is_block_device() || kind.is_char_device() && !is_whiteout(&entry) {
                found.devices.push(Path::new("/").join(below));
            }
        }
        found
    }

    /// A warning for each kind of file that there is.
    fn warnings(&self, node: &str) -> Vec<String> {
        [
            (&self.devices, "device node", "create them where they are used"),
            (
                &self.sockets,
                "socket",
                "their programs have to create them again",
            ),
        ]
        .into_iter()
        .filter(|(paths, ..)| !paths.is_empty())
        .map(|(paths, kind, remedy)| {
            let plural = if paths.len() == 1 { "" } else { "s" };
            let listed = paths.iter().take(MAX_LISTED);
            let mut listed: Vec<String> = listed.map(|path| format!("`{}`", path.display())).collect();
            if paths.len() > MAX_LISTED {
                listed.push(format!("{} more", paths.len() - MAX_LISTED));
            }
            let listed = listed.join(", ");
            format!(
                "left out {} {kind}{plural} of {node}: {listed}; {remedy}",
                paths.len()
            )
        })
        .collect()
    }
}

/// True for the form in which overlayfs stores a deletion.
fn is_whiteout(entry: &DirEntry) -> bool {
    entry.metadata().is_ok_and(|metadata| metadata.rdev() == 0)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::Unpacked;

    #[test]
    fn sockets_are_found_except_those_of_the_kubelet() {
        let upper = tempfile::tempdir().unwrap();
        let at = |path: &str| {
            let path = upper.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        fs::write(at("srv/file"), "").unwrap();
        UnixListener::bind(at("srv/app.sock")).unwrap();
        UnixListener::bind(at("var/lib/kubelet/pod-resources/kubelet.sock")).unwrap();
        let found = Unpacked::find(upper.path());
        let expected = Unpacked {
            devices: Vec::new(),
            sockets: vec!["/srv/app.sock".into()],
        };
        assert_eq!(found, expected);
        assert_eq!(
            found.warnings("node01"),
            ["left out 1 socket of node01: `/srv/app.sock`; their programs have to create them again"]
        );
    }

    #[test]
    fn warning_lists_a_few_files_of_each_kind() {
        let paths = |name: &str, count: usize| {
            (0..count)
                .map(|number| PathBuf::from(format!("/{name}{number}")))
                .collect()
        };
        assert!(Unpacked::default().warnings("node01").is_empty());
        let unpacked = Unpacked {
            devices: paths("dev", 7),
            sockets: paths("sock", 2),
        };
        assert_eq!(
            unpacked.warnings("node01"),
            [
                "left out 7 device nodes of node01: `/dev0`, `/dev1`, `/dev2`, `/dev3`, `/dev4`, 2 more; create them where \
                 they are used",
                "left out 2 sockets of node01: `/sock0`, `/sock1`; their programs have to create them again",
            ]
        );
    }
}
