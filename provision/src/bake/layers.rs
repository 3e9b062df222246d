//! The layers that all machines share: the node OS, each binary, the node files, each image and the runtime's state.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};
use parbake_artifact::{Layer, PackOptions, Store};
use parbake_cluster::RuntimeProfile;
use parbake_cluster::model::runtime_config;
use parbake_machine::cgroup::Limits;
use parbake_machine::fs::files::failed;
use parbake_machine::host::Host;
use parbake_machine::net::Endpoint;
use parbake_machine::plan::{MachinePlan, Plan, SeedFile};

use super::workspace::{BuildHistory, Workspace, step};
use super::{Error, Options, images, steps};
use crate::inputs::Inputs;
use crate::node;

/// The modification time of all files, so that equal inputs give equal layers.
const EPOCH: i64 = 0;

/// Makes or reuses the shared layers, bottom first, and unpacks them in the store.
pub(super) fn shared(
    options: &Options,
    store: &Store,
    history: &BuildHistory,
    inputs: &Inputs,
    workspace: &Workspace,
    host: &Host,
) -> Result<Vec<Layer>, Error> {
    let dir = &options.dir;
    let os = step(dir, store, history, &steps::os(&inputs.os), || {
        Ok(vec![store.add_layer("os", &inputs.os.path, &pack())?])
    })?;
    // The layers of the machine that imports the images.
    let mut import_layers = os.clone();
    let mut layers = os;
    for (name, binary) in &inputs.binaries {
        let packed = step(dir, store, history, &steps::binary(name, binary), || {
            let tree = workspace.dir("binary").join(name);
            install(&binary.path, &tree.join("usr/bin").join(name)).map_err(failed("copy", &binary.path))?;
            Ok(vec![store.add_layer(name, &tree, &pack())?])
        })?;
        if steps::is_runtime(name) {
            import_layers.extend(packed.clone());
        }
        layers.extend(packed);
    }
    let node = step(dir, store, history, &steps::node(inputs), || {
        let tree = workspace.dir("node");
        node::write(&tree, &inputs.runtime, steps::pause(inputs)).map_err(failed("write", &tree))?;
        Ok(vec![store.add_layer("node", &tree, &pack())?])
    })?;
    import_layers.extend(node.clone());
    layers.extend(node);
    let unpacked = unpacked(store, &import_layers)?;
    layers.extend(step(dir, store, history, &steps::images(inputs), || {
        let plan = importer(
            &workspace.dir("importer"),
            inputs.runtime.profile(),
            unpacked,
            host,
        )?;
        images::layers(
            store,
            &plan,
            &options.supervise,
            inputs.runtime.profile(),
            &inputs.images,
            &workspace.dir("images"),
        )
    })?);
    Ok(layers)
}

/// The unpacked directories of `layers` in the store.
pub(super) fn unpacked(store: &Store, layers: &[Layer]) -> Result<Vec<PathBuf>, Error> {
    layers.iter().map(|layer| Ok(store.unpacked(layer)?)).collect()
}

/// Packs layers reproducibly.
pub(super) fn pack() -> PackOptions {
    PackOptions {
        mtime_clamp: Some(EPOCH),
        ..PackOptions::default()
    }
}

fn install(from: &Path, to: &Path) -> io::Result<()> {
    to.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::copy(from, to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))
}

/// One machine that runs only the container runtime.
fn importer(dir: &Path, own: &RuntimeProfile, layers: Vec<PathBuf>, host: &Host) -> Result<Plan, Error> {
    let decisions = host.decide();
    // Documentation addresses (RFC 5737): the machine has no peers.
    let network = |host| IpNet::from(Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, host), 24));
    let mut files = vec![SeedFile::public("etc/hostname", "importer\n")];
    files.extend(runtime_config::containerd_config(&layers, &decisions)?);
    Ok(Plan {
        id: format!("importer-{}", std::process::id()),
        dir: dir.to_owned(),
        gateway: network(1),
        second_gateway: None,
        machines: vec![MachinePlan {
            endpoint: Endpoint {
                name: "importer".into(),
                address: network(2),
                second_address: None,
                pod_networks: Vec::new(),
            },
            layers,
            dir: dir.join("machine"),
            binds: Vec::new(),
            plain: vec![own.dir.into()],
            in_memory: Vec::new(),
            files,
            cpu_weight: 100,
            limits: Limits::default(),
            sysctls: BTreeMap::new(),
            early_port: None,
        }],
        forwards: Vec::new(),
        internet: false,
        balancers: Vec::new(),
        host: decisions,
        end_with_parent: true,
        shutdown_commands: Vec::new(),
    })
}
