//! Container images, unpacked once by the runtime itself and then shared by all machines.
//!
//! One machine boots with nothing but the runtime and imports every image. Then its state is taken apart:
//!
//! ```text
//! /var/lib/containerd/…/snapshots/7/fs  ->  layer `image/coredns`: /var/lib/parbake/images/coredns/0
//! /var/lib/containerd/…/snapshots/7/fs      is now a symbolic link to it
//! /var/lib/containerd                   ->  layer `runtime`: a small directory that every machine gets a copy of
//! ```
//!
//! Other runtimes have other names for these directories ([`RuntimeProfile`]).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use parbake_artifact::{Layer, Store};
use parbake_cluster::RuntimeProfile;
use parbake_cluster::machine_plan::IMAGES_DIR;
use parbake_machine::fs::Dirs;
use parbake_machine::fs::files::failed;
use parbake_machine::plan::Plan;
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::Running;

use super::Error;
use super::node_command::{shell, wait_for_runtime};
use crate::inputs::ImageArchive;

/// Imports `images` on the one machine of `plan` and packs what came of it: a layer for each image, then the runtime's
/// own.
pub(super) fn layers(
    store: &Store,
    plan: &Plan,
    supervise: &Cmd,
    runtime: &RuntimeProfile,
    images: &[ImageArchive],
    workspace: &Path,
) -> Result<Vec<Layer>, Error> {
    let machine = &plan.machines[0];
    let state = Dirs(&machine.dir).plain(runtime.dir.as_ref());
    let imported = import(plan, supervise, runtime, &state, images)?;
    let mut layers = Vec::new();
    for (image, snapshots) in images.iter().zip(imported) {
        let _step =
            tracing::debug_span!("step", what = format!("pack the image {}", image.short_name)).entered();
        let tree = workspace.join("image").join(&image.short_name);
        take_out(runtime, &state, &snapshots, &image.short_name, &tree)
            .map_err(failed("take the layers of an image out of", &state))?;
        // The runtime makes the root directory of each when it unpacks it.
        layers.push(store.add_layer(
            &format!("image/{}", image.short_name),
            &tree,
            &super::layers::pack(),
        )?);
    }
    let tree = workspace.join("runtime");
    let target = tree.join(runtime.dir);
    let moved = target
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::rename(&state, &target));
    moved.map_err(failed("move", &state))?;
    layers.push(store.add_layer("runtime", &tree, &super::layers::pack())?);
    Ok(layers)
}

/// The ids of the snapshots that each image added.
fn import(
    plan: &Plan,
    supervise: &Cmd,
    runtime: &RuntimeProfile,
    state: &Path,
    images: &[ImageArchive],
) -> Result<Vec<BTreeSet<String>>, Error> {
    let _step = tracing::debug_span!("step", what = "unpack the images").entered();
    let running = Running::start(plan, supervise)?;
    let name = &plan.machines[0].endpoint.name;
    wait_for_runtime(&running, name)?;
    let mut known = BTreeSet::new();
    let mut imported = Vec::new();
    for image in images {
        running
            .command(name, ["sh", "-euc", runtime.import, "sh"])?
            .args(&image.names)
            .stdin_file(&image.path)
            .run()?;
        let now = snapshots(runtime, state).map_err(failed("list the snapshots in", state))?;
        imported.push(now.difference(&known).cloned().collect());
        known = now;
    }
    if let Some(forget) = runtime.forget_all_packed {
        // An offline cluster never needs packed layers again, and they double the runtime's size.
        shell(&running, name, forget)?;
    }
    let _stopped = running.stop()?;
    Ok(imported)
}

/// The layers that the runtime has unpacked, by the names of their directories.
fn snapshots(runtime: &RuntimeProfile, state: &Path) -> io::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(state.join(runtime.layers))? {
        let entry = entry?;
        if entry.path().join(runtime.files).is_dir() {
            found.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

/// Moves the directories of `snapshots` to where machines see shared images, leaving links.
fn take_out(
    runtime: &RuntimeProfile,
    state: &Path,
    snapshots: &BTreeSet<String>,
    image: &str,
    tree: &Path,
) -> io::Result<()> {
    let below = PathBuf::from(IMAGES_DIR).join(image);
    fs::create_dir_all(tree.join(&below))?;
    for (number, id) in snapshots.iter().enumerate() {
        let own = state.join(runtime.layers).join(id).join(runtime.files);
        let shared = below.join(number.to_string());
        fs::rename(&own, tree.join(&shared))?;
        symlink(Path::new("/").join(shared), own)?;
    }
    Ok(())
}
