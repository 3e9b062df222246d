//! Container images, unpacked once by the runtime itself and then shared by all machines.
//!
//! One machine boots with nothing but the runtime and imports every image. Then its state is taken apart:
//!
//! ```text
//! /var/lib/containerd/…/snapshots/7/fs  ->  layer `image/coredns`: /var/lib/parbake/images/coredns/0
//! /var/lib/containerd/…/snapshots/7/fs      is now a symbolic link to it
//! /var/lib/containerd                   ->  layer `runtime`: a small directory that every machine gets a copy of
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use parbake_artifact::{Layer, Store};
use parbake_cluster::machines::{IMAGES_DIR, RUNTIME_DIR};
use parbake_machine::dirs::Dirs;
use parbake_machine::plan::Plan;
use parbake_machine::process::Cmd;
use parbake_machine::running::Running;

use super::Error;
use super::boot::{ctr, wait_for_runtime};
use crate::inputs::ImageArchive;

/// Where containerd's overlayfs snapshotter keeps its layers, below its own directory.
const SNAPSHOTS: &str = "io.containerd.snapshotter.v1.overlayfs/snapshots";

/// Imports `images` on the one machine of `plan` and packs what came of it: a layer for each image, then the runtime's
/// own.
pub(super) fn layers(
    store: &Store,
    plan: &Plan,
    supervise: &Cmd,
    images: &[ImageArchive],
    work: &Path,
) -> Result<Vec<Layer>, Error> {
    let machine = &plan.machines[0];
    let state = Dirs(&machine.dir).plain(RUNTIME_DIR.as_ref());
    let imported = import(plan, supervise, &state, images)?;
    let mut layers = Vec::new();
    for (image, snapshots) in images.iter().zip(imported) {
        let _step =
            tracing::info_span!("step", what = format!("pack the image {}", image.short_name)).entered();
        let tree = work.join("image").join(&image.short_name);
        take_out(&state, &snapshots, &image.short_name, &tree).map_err(|source| Error::Files {
            act: "take the layers of an image out of",
            path: state.clone(),
            source,
        })?;
        // The runtime makes the root directory of each when it unpacks it.
        layers.push(store.add_layer(
            &format!("image/{}", image.short_name),
            &tree,
            &super::layers::pack(),
        )?);
    }
    let tree = work.join("runtime");
    let target = tree.join(RUNTIME_DIR);
    let moved = target
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::rename(&state, &target));
    moved.map_err(|source| Error::Files {
        act: "move",
        path: state,
        source,
    })?;
    layers.push(store.add_layer("runtime", &tree, &super::layers::pack())?);
    Ok(layers)
}

/// The ids of the snapshots that each image added.
fn import(
    plan: &Plan,
    supervise: &Cmd,
    state: &Path,
    images: &[ImageArchive],
) -> Result<Vec<BTreeSet<String>>, Error> {
    let _step = tracing::info_span!("step", what = "unpack the images").entered();
    let running = Running::start(plan, supervise)?;
    let name = &plan.machines[0].endpoint.name;
    wait_for_runtime(&running, name)?;
    let mut known = BTreeSet::new();
    let mut imported = Vec::new();
    for image in images {
        ctr(&running, name, &["images", "import", "-"])?
            .stdin_file(&image.path)
            .run()?;
        let now = snapshots(state).map_err(|source| Error::Files {
            act: "list the snapshots in",
            path: state.to_owned(),
            source,
        })?;
        imported.push(now.difference(&known).cloned().collect());
        known = now;
    }
    forget_packed(&running, name)?;
    let _stopped = running.stop()?;
    Ok(imported)
}

/// Removes the packed layers: an offline cluster never needs them again, and they double the runtime's size.
fn forget_packed(running: &Running, name: &str) -> Result<(), Error> {
    let listed = ctr(running, name, &["content", "ls"])?.run()?;
    // containerd marks with this label what it has unpacked (containerd, `labels.LabelUncompressed`).
    let packed = listed
        .stdout
        .lines()
        .filter(|line| line.contains("containerd.io/uncompressed"));
    let digests: Vec<&str> = packed.filter_map(|line| line.split_whitespace().next()).collect();
    if !digests.is_empty() {
        ctr(running, name, &[&["content", "rm"], digests.as_slice()].concat())?.run()?;
    }
    // The end of a lease is the one thing that containerd collects garbage for before it answers.
    ctr(running, name, &["leases", "create", "--id=parbake"])?.run()?;
    ctr(running, name, &["leases", "rm", "--sync", "parbake"])?.run()?;
    Ok(())
}

fn snapshots(state: &Path) -> io::Result<BTreeSet<String>> {
    fs::read_dir(state.join(SNAPSHOTS))?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .filter(|name| {
            name.as_ref()
                .map_or(true, |name| name.bytes().all(|byte| byte.is_ascii_digit()))
        })
        .collect()
}

/// Moves the directories of `snapshots` to where machines see shared images, leaving links.
fn take_out(state: &Path, snapshots: &BTreeSet<String>, image: &str, tree: &Path) -> io::Result<()> {
    let below = PathBuf::from(IMAGES_DIR).join(image);
    fs::create_dir_all(tree.join(&below))?;
    for (number, id) in snapshots.iter().enumerate() {
        let own = state.join(SNAPSHOTS).join(id).join("fs");
        let shared = below.join(number.to_string());
        fs::rename(&own, tree.join(&shared))?;
        symlink(Path::new("/").join(shared), own)?;
    }
    Ok(())
}
