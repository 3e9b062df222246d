//! Reads archives as `docker save` writes them (Docker image specification 1.2, "Combined Image JSON + Filesystem Changeset
//! Format").

use std::path::Path;

use serde::Deserialize;

use super::document::{Platform, or_default};
use super::error::ImageError;
use super::files::Files;
use super::image::{Blob, Image};
use super::name::ImageName;
use crate::config::host_architecture;

/// The file that lists the images.
pub(crate) const MANIFEST: &str = "manifest.json";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    config: String,
    #[serde(default, deserialize_with = "or_default")]
    repo_tags: Vec<String>,
    /// `null` for an image without files.
    #[serde(default, deserialize_with = "or_default")]
    layers: Vec<String>,
}

pub(super) fn images(files: &Files) -> Result<Vec<Image>, ImageError> {
    let listed: Vec<Listed> = serde_json::from_slice(files.text(MANIFEST)).map_err(|error| {
        ImageError::not_an_archive(files.path(), format!("`{MANIFEST}` is not valid: {error}"))
    })?;
    if listed.is_empty() {
        let problem = format!("`{MANIFEST}` lists no image");
        return Err(ImageError::damaged(files.path(), problem));
    }
    listed.into_iter().map(|listed| image(files, listed)).collect()
}

fn image(files: &Files, listed: Listed) -> Result<Image, ImageError> {
    // Unlike in a layout, a bare word is a repository.
    let full = |tag: String| tag.parse::<ImageName>().map_or(tag, |name| name.whole());
    let tags: Vec<String> = listed.repo_tags.into_iter().map(full).collect();
    let name = tags.first().unwrap_or(&listed.config).clone();
    let blob = |path: &String| {
        let file = files.file(Path::new(path));
        file.map(Blob::from)
            .ok_or_else(|| ImageError::damaged(files.path(), format!("`{path}` of `{name}` is missing")))
    };
    let layers = listed.layers.iter().map(blob).collect::<Result<Vec<_>, _>>()?;
    let config = blob(&listed.config)?;
    // A config that names no platform fits all.
    let platform: Option<Platform> = serde_json::from_slice(files.text(&listed.config)).ok();
    if let Some(platform) = platform.filter(|platform| !platform.is_unknown())
        && platform.rank_on_host().is_none()
    {
        return Err(ImageError::Architecture {
            name,
            found: platform.to_string(),
            wanted: host_architecture(),
        });
    }
    Ok(Image {
        tags,
        manifest: Image::manifest_of(&config, &layers),
        indexes: Vec::new(),
        config,
        layers,
    })
}
