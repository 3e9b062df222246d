//! Archives as `docker save` writes them (Docker image specification 1.2, 'Combined Image JSON + Filesystem Changeset
//! Format').

use std::path::{Path, PathBuf};

use oci_spec::distribution::Reference;
use serde::{Deserialize, Serialize};

use super::archive::{Files, Index};
use super::error::ImageError;
use super::oci::{check_architecture, chosen};

/// The file that names the images.
pub(crate) const MANIFEST: &str = "manifest.json";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Paths of the layers of the first image, the lowest first, as the manifest has them.
pub(super) fn layers(files: &Files) -> Vec<PathBuf> {
    let text = files.texts.get(Path::new(MANIFEST)).map(Vec::as_slice);
    let images: Vec<Image> = serde_json::from_slice(text.unwrap_or_default()).unwrap_or_default();
    let first = images.into_iter().next();
    first
        .into_iter()
        .flat_map(|image| image.layers)
        .map(PathBuf::from)
        .collect()
}

/// Names of the images, and the manifest that says them.
///
/// # Errors
/// See [`ImageError`].
pub(super) fn read(
    path: &Path,
    files: &Files,
    name: Option<&Reference>,
) -> Result<(Vec<String>, Index), ImageError> {
    let no_archive = |why: serde_json::Error| ImageError::NoArchive {
        path: path.to_owned(),
        why: format!("its `{MANIFEST}` makes no sense: {why}"),
    };
    let damaged = |problem: String| ImageError::Damaged {
        path: path.to_owned(),
        problem,
    };
    let text = files.texts.get(Path::new(MANIFEST)).map(Vec::as_slice);
    let mut images: Vec<Image> = serde_json::from_slice(text.unwrap_or_default()).map_err(no_archive)?;
    if images.is_empty() {
        return Err(damaged(format!("its `{MANIFEST}` lists no image")));
    }
    let mut all = Vec::new();
    // A name that is given takes the place of all that the only image has.
    let single = images.len() == 1 && name.is_some();
    for image in &mut images {
        let tags = image.repo_tags.take().unwrap_or_default();
        let own = match tags.is_empty() || single {
            true => vec![None],
            false => tags.into_iter().map(Some).collect(),
        };
        let names = chosen(path, own, name.filter(|_| single))?;
        let mut parts = image.layers.iter().chain([&image.config]);
        if let Some(part) = parts.find(|part| !files.sizes.contains_key(Path::new(part))) {
            return Err(damaged(format!("`{}` lacks `{part}`", names[0])));
        }
        let config = files.texts.get(Path::new(&image.config)).map(Vec::as_slice);
        check_architecture(config.unwrap_or_default(), &names[0])?;
        image.repo_tags = Some(names.clone());
        all.extend(names);
    }
    if name.is_some() && !single {
        let path = path.to_owned();
        return Err(ImageError::Several { path, names: all });
    }
    let text = serde_json::to_vec(&images).unwrap_or_default();
    Ok((all, (MANIFEST, text)))
}
