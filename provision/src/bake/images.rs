//! Unpacks container images once, with the runtime itself, into layers that all machines share.
//!
//! A machine boots with only the runtime and imports all images. Then its state is split:
//!
//! ```text
//! /var/lib/containerd/…/snapshots/7/fs  ->  layer `image/coredns`: /var/lib/parbake/images/coredns/0
//! /var/lib/containerd/…/snapshots/7/fs      is now a symbolic link to it
//! /var/lib/containerd                   ->  layer `runtime`: a small directory that is copied to every machine
//! ```
//!
//! Other runtimes use other directories ([`RuntimeProfile`]).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use parbake_artifact::{Layer, Store};
use parbake_cluster::RuntimeProfile;
use parbake_cluster::model::machine_plan::IMAGES_DIR;
use parbake_machine::fs::Dirs;
use parbake_machine::fs::files::failed;
use parbake_machine::plan::Plan;
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::Running;

use super::Error;
use super::node_command::{run_script, wait_for_runtime};
use crate::inputs::ImageArchive;

/// Imports `images` on the only machine of `plan`, and packs a layer for each image and one for the runtime's state.
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
        extract_snapshots(runtime, &state, &snapshots, &image.short_name, &tree)
            .map_err(failed("move the layers of an image out of", &state))?;
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

/// Imports the images, and returns the ids of the snapshots that each one added.
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
    let mut before = BTreeSet::new();
    let mut imported = Vec::new();
    for image in images {
        running
            .command(name, ["sh", "-euc", runtime.import, "sh"])?
            .args(&image.names)
            .stdin_file(&image.path)
            .run()?;
        let after = snapshots(runtime, state).map_err(failed("list the snapshots in", state))?;
        imported.push(after.difference(&before).cloned().collect());
        before = after;
    }
    if let Some(forget) = runtime.remove_all_blobs {
        // The compressed layers are not needed again, and would double the size.
        run_script(&running, name, forget)?;
    }
    let _stopped = running.stop()?;
    Ok(imported)
}

/// The ids of the layers that the runtime has unpacked.
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

/// Moves the directories of `snapshots` to the shared path of `image` below `tree`, and leaves symbolic links to it.
fn extract_snapshots(
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
