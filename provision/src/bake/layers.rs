//! The layers that all machines share: node OS, each binary, the node's own files, each image, the runtime.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net};
use parbake_artifact::{Digest, Layer, Pack, Store};
use parbake_cluster::machines::{RUNTIME_DIR, public_file};
use parbake_cluster::runtime;
use parbake_machine::cgroup::Limits;
use parbake_machine::host::Host;
use parbake_machine::network::Endpoint;
use parbake_machine::plan::{MachinePlan, Plan};

use super::work::{Work, step};
use super::{Error, Options, RECIPE, images};
use crate::inputs::Inputs;
use crate::node;

/// The short name of the image that holds a pod's namespaces.
const PAUSE: &str = "pause";
/// The time of every file that the bake itself writes, so that equal inputs give equal layers.
const EPOCH: i64 = 0;

/// Makes the shared layers, bottom first, each once and unpacked in the store.
pub(super) fn shared(
    options: &Options,
    store: &Store,
    inputs: &Inputs,
    work: &Work,
    host: &Host,
) -> Result<Vec<Layer>, Error> {
    let dir = &options.dir;
    let mut layers = step(dir, store, &key(&["os", &inputs.os.key]), || {
        Ok(vec![store.add_layer("os", &inputs.os.path, &pack())?])
    })?;
    for (name, binary) in &inputs.binaries {
        layers.extend(step(dir, store, &key(&["binary", name, &binary.sha256]), || {
            let tree = work.dir("binary").join(name);
            install(&binary.path, &tree.join("usr/bin").join(name)).map_err(|source| Error::Files {
                act: "copy",
                path: binary.path.clone(),
                source,
            })?;
            Ok(vec![store.add_layer(name, &tree, &pack())?])
        })?);
    }
    let pause = inputs.images.iter().find(|image| image.short_name == PAUSE);
    let pause = pause.map(|image| image.reference.as_str()).unwrap_or_default();
    layers.extend(step(
        dir,
        store,
        &key(&["node", pause, &node::fingerprint(&inputs.containerd)]),
        || {
            let tree = work.dir("node");
            node::write(&tree, &inputs.containerd, pause).map_err(|source| Error::Files {
                act: "write",
                path: tree.clone(),
                source,
            })?;
            Ok(vec![store.add_layer("node", &tree, &pack())?])
        },
    )?);
    let below: Vec<&str> = layers.iter().map(|layer| layer.digest.hex()).collect();
    let images: Vec<&str> = inputs.images.iter().map(|image| image.key.as_str()).collect();
    let key = key(&["images", &below.join(","), &images.join(",")]);
    let unpacked = unpacked(store, &layers)?;
    layers.extend(step(dir, store, &key, || {
        let plan = importer(&work.dir("importer"), unpacked, host)?;
        images::layers(
            store,
            &plan,
            &options.supervise,
            &inputs.images,
            &work.dir("images"),
        )
    })?);
    Ok(layers)
}

/// The directories of `layers` in the store.
pub(super) fn unpacked(store: &Store, layers: &[Layer]) -> Result<Vec<PathBuf>, Error> {
    layers.iter().map(|layer| Ok(store.unpacked(layer)?)).collect()
}

/// How layers are packed that every bake from the same inputs makes the same.
pub(super) fn pack() -> Pack {
    Pack {
        mtime_clamp: Some(EPOCH),
        ..Pack::default()
    }
}

fn key(parts: &[&str]) -> Digest {
    Digest::of([&[RECIPE], parts].concat().join("\0").as_bytes())
}

fn install(from: &Path, to: &Path) -> io::Result<()> {
    to.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::copy(from, to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))
}

/// One machine with nothing but the runtime.
fn importer(dir: &Path, layers: Vec<PathBuf>, host: &Host) -> Result<Plan, Error> {
    let decisions = host.decide();
    // Nobody's addresses (RFC 5737): it has no other machine to talk to.
    let network = |host| IpNet::from(Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, host), 24));
    let mut files = vec![public_file("etc/hostname", "importer\n")];
    files.extend(runtime::config(&layers, &decisions).map_err(parbake_cluster::machines::Error::from)?);
    Ok(Plan {
        id: format!("importer-{}", std::process::id()),
        dir: dir.to_owned(),
        gateway: network(1),
        second_gateway: None,
        machines: vec![MachinePlan {
            endpoint: Endpoint {
                name: "importer".into(),
                address: network(2),
                second: None,
                behind: Vec::new(),
            },
            layers,
            dir: dir.join("machine"),
            binds: Vec::new(),
            plain: vec![RUNTIME_DIR.into()],
            files,
            cpu_weight: 100,
            limits: Limits::default(),
            sysctls: BTreeMap::new(),
            hold: None,
        }],
        forwards: Vec::new(),
        internet: false,
        balancers: Vec::new(),
        host: decisions,
        end_with_parent: true,
        farewell: Vec::new(),
    })
}
