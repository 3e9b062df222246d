//! Writes a container image with one layer, as a tar archive of an OCI image layout.
//!
//! ```text
//! image.tar
//! |-- blobs/sha256/         layer, config, manifest
//! |-- oci-layout
//! `-- index.json            the image's full name and its manifest
//! ```
//!
//! The layer is not compressed, since the archive stays on this host and is read once. Times and order are fixed, so equal
//! inputs give equal bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use parbake_artifact::HashingStream;
use parbake_artifact::images::{Layout, SingleLayerImage};
use parbake_machine::fs::files::failed;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use self::layer::Layer;
use super::error::Error;

mod layer;
#[cfg(test)]
mod tests;

const SEARCH_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The parts of an image. Paths in the image are absolute.
pub(super) struct Image<'a> {
    /// Full name.
    pub(super) reference: &'a str,
    /// Go's (and Debian's) name for the architecture.
    pub(super) architecture: &'a str,
    /// A directory tree copied into the image.
    pub(super) tree: &'a Path,
    /// Files to add by their path in the image, owned by root and executable.
    pub(super) files: &'a BTreeMap<String, PathBuf>,
    /// Those of `files` that run as their owner.
    pub(super) setuid: &'a [String],
    /// Symbolic links to add: path in the image and target.
    pub(super) links: &'a BTreeMap<String, String>,
    /// Empty, world-writable directories to add.
    pub(super) directories: &'a [String],
    pub(super) entrypoint: &'a [String],
    pub(super) arguments: &'a [String],
    /// Root if empty.
    pub(super) user: &'a str,
}

/// Writes the archive of `image` to the new file `to`.
pub(super) fn write(image: &Image<'_>, to: &Path) -> Result<(), Error> {
    Ok(write_archive(image, to).map_err(failed("write the image archive", to))?)
}

fn write_archive(image: &Image<'_>, to: &Path) -> io::Result<()> {
    let mut layer = tempfile::tempfile_in(to.parent().unwrap_or(to))?;
    let mut hashing = HashingStream::new(&mut layer);
    Layer::collect(image)?.write(&mut hashing)?;
    let (_, digest, size) = hashing.finish();
    let layout = Layout::of_single_layer(&SingleLayerImage {
        name: Some(image.reference),
        architecture: image.architecture,
        process: &process(image),
        created_by: "parbake",
        layer: &digest,
        size,
    });
    let mut archive = Builder::new(File::create(to)?);
    layer.rewind()?;
    let mut header = header(EntryType::Regular, 0o644);
    header.set_size(size);
    archive.append_data(&mut header, format!("blobs/sha256/{}", digest.hex()), layer)?;
    layout.append_to(&mut archive)?;
    archive.into_inner()?.flush()
}

/// `config` of an OCI image config.
fn process(image: &Image<'_>) -> Value {
    let mut process = json!({"Env": [SEARCH_PATH], "WorkingDir": "/"});
    if !image.entrypoint.is_empty() {
        process["Entrypoint"] = json!(image.entrypoint);
    }
    if !image.arguments.is_empty() {
        process["Cmd"] = json!(image.arguments);
    }
    if !image.user.is_empty() {
        process["User"] = json!(image.user);
    }
    process
}

/// A header of root's with a fixed time.
fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}
