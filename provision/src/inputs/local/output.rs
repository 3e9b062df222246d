//! Build outputs of Kubernetes: of `make`, of `make quick-release`, and unpacked releases.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Local, LocalError};
use crate::provider::Provider;

/// The folder of modules that builds Kubernetes' own binaries.
const KUBERNETES: &str = "kubernetes";

/// Folders of binaries below the root; `ARCH` is the architecture.
const BINARIES: [&str; 9] = [
    "",
    "bin",
    "local/bin/linux/ARCH",
    "dockerized/bin/linux/ARCH",
    "release-stage/server/linux-ARCH/kubernetes/server/bin",
    "release-stage/node/linux-ARCH/kubernetes/node/bin",
    "release-stage/client/linux-ARCH/kubernetes/client/bin",
    "server/bin",
    "kubernetes/server/bin",
];
/// Folders of image archives.
const IMAGES: [&str; 4] = [
    "release-images/ARCH",
    "release-stage/server/linux-ARCH/kubernetes/server/bin",
    "server/bin",
    "kubernetes/server/bin",
];
/// Possible roots below the given folder.
const ROOTS: [&str; 2] = ["_output", ""];

/// Finds the binaries and images in `dir`, preferring the newest of each.
pub(super) fn find(dir: &Path, provider: &Provider, architecture: &str) -> Result<Local, LocalError> {
    fs::read_dir(dir).map_err(|source| LocalError::Read {
        path: dir.to_owned(),
        source,
    })?;
    let mut local = Local::default();
    let modules = provider.recipe.modules.get(KUBERNETES);
    for name in modules.into_iter().flat_map(|modules| modules.binaries()) {
        if let Some((path, _)) = newest(dir, &BINARIES, name, architecture) {
            local.binaries.insert(name.clone(), path);
        }
    }
    for (name, image) in &provider.recipe.images {
        let archive = newest(dir, &IMAGES, &format!("{name}.tar"), architecture);
        let Some((path, made)) = archive else { continue };
        let binaries = image
            .files
            .values()
            .filter_map(|binary| local.binaries.get(binary));
        // An image that is older than its binaries is from another build.
        if binaries
            .filter_map(|binary| modified(binary))
            .all(|built| built <= made)
        {
            local.images.insert(name.clone(), path);
        }
    }
    if local.binaries.is_empty() && local.images.is_empty() {
        return Err(LocalError::Nothing {
            dir: dir.to_owned(),
            architecture: architecture.to_owned(),
        });
    }
    for path in local.binaries.values().chain(local.images.values()) {
        tracing::info!("using `{}`", path.display());
    }
    Ok(local)
}

fn newest(dir: &Path, places: &[&str], name: &str, architecture: &str) -> Option<(PathBuf, SystemTime)> {
    let folders = ROOTS
        .iter()
        .flat_map(|root| places.iter().map(move |place| (root, place)));
    let files = folders.map(|(root, place)| {
        let place = place.replace("ARCH", architecture);
        dir.join(root).join(place).join(name)
    });
    let found = files.filter_map(|file| modified(&file).map(|modified| (file, modified)));
    found.max_by_key(|(_, modified)| *modified)
}

/// The modification time of a regular file.
fn modified(path: &Path) -> Option<SystemTime> {
    let metadata = fs::metadata(path).ok()?;
    metadata.is_file().then(|| metadata.modified().ok()).flatten()
}
