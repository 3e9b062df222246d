//! Container images in files: archives and layouts as `docker save`, skopeo and others write them, read in full before
//! anything is done with them.
//!
//! Dependencies, from the bottom: `document` and `name` parse; `files` lists an archive's files; `oci` and `docker` find
//! the `Image`s for this host; `archive` names and writes them as a `layout`; `extract` copies files out.

mod archive;
mod docker;
mod document;
mod error;
mod extract;
mod files;
mod image;
mod layout;
mod name;
mod oci;
#[cfg(test)]
mod tests;

pub use archive::Archive;
pub(crate) use docker::MANIFEST as DOCKER_MANIFEST;
pub(crate) use document::{CONTAINERD_NAME, Descriptor, Document, MANIFEST_MEDIA_TYPE, MAX_DEPTH};
pub use error::ImageError;
pub use extract::extract_files;
pub(crate) use files::{LAYOUT, open, walk_names};
pub use layout::{Layout, SingleLayerImage};
pub use name::{ImageName, ImageNameError, runtime_name};
