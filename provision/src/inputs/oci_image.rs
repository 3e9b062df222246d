//! A container image with one layer, as an archive of an OCI image layout.
//!
//! ```text
//! image.tar
//! |-- oci-layout
//! |-- index.json            names the manifest, by the image's full name
//! `-- blobs/sha256/         configuration, manifest, layer
//! ```
//!
//! The layer is not compressed: the archive never leaves this host, and it is read once. Times and order are fixed,
//! so equal inputs give equal bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use oci_spec::OciSpecError;
use oci_spec::image::{
    ANNOTATION_REF_NAME, ConfigBuilder, Descriptor, DescriptorBuilder, HistoryBuilder,
    ImageConfigurationBuilder, ImageIndexBuilder, ImageManifestBuilder, MediaType, OciLayoutBuilder,
    RootFsBuilder, Sha256Digest,
};
use parbake_artifact::{Digest, HashingStream};
use parbake_machine::fs::files::failed;
use serde_json::json;
use tar::{Builder, EntryType, Header};

use self::layer::Layer;
use super::error::Error;

mod layer;
#[cfg(test)]
mod tests;

/// The annotation by which containerd names an imported image, before all others.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Where commands are looked up in the image.
const SEARCH_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The beginning of 1970, RFC 3339.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// What an image consists of.
pub(super) struct Image<'a> {
    /// The image's full name.
    pub(super) reference: &'a str,
    /// Go's (and Debian's) name of the architecture.
    pub(super) architecture: &'a str,
    /// A directory tree that goes into the image as it is.
    pub(super) tree: &'a Path,
    /// Absolute path in the image and the file to put there, owned by root and executable.
    pub(super) files: &'a BTreeMap<String, PathBuf>,
    /// Paths of those files that run as their owner.
    pub(super) setuid: &'a [String],
    /// Absolute path in the image and target of the link there.
    pub(super) links: &'a BTreeMap<String, String>,
    /// Absolute paths of empty directories that everyone may write into.
    pub(super) directories: &'a [String],
    /// The entry point; may be empty.
    pub(super) entrypoint: &'a [String],
    /// The entry point's arguments; may be empty.
    pub(super) arguments: &'a [String],
    /// Who runs it; root where empty.
    pub(super) user: &'a str,
}

/// Writes the archive of `image` to the new file `to`.
pub(super) fn write(image: &Image<'_>, to: &Path) -> Result<(), Error> {
    let failed = || failed("write the image archive", to);
    let mut layer = tempfile::tempfile_in(to.parent().unwrap_or(to)).map_err(failed())?;
    let contents = Layer::collect(image).map_err(failed())?;
    let mut hashing = HashingStream::new(&mut layer);
    contents.write(&mut hashing).map_err(failed())?;
    let (_, digest, size) = hashing.finish();
    let described = describe(image, digest.hex(), size).map_err(|source| Error::ImageDescription {
        reference: image.reference.into(),
        source,
    })?;
    let archive = File::create(to).map_err(failed())?;
    Ok(write_archive(archive, described, digest.hex(), size, layer).map_err(failed())?)
}

/// The small files of an image layout.
struct Described {
    layout: Vec<u8>,
    index: Vec<u8>,
    blobs: BTreeMap<String, Vec<u8>>,
}

fn describe(image: &Image<'_>, layer_digest: &str, layer_size: u64) -> Result<Described, OciSpecError> {
    let mut process = ConfigBuilder::default()
        .env(vec![SEARCH_PATH.to_owned()])
        .working_dir("/");
    if !image.entrypoint.is_empty() {
        process = process.entrypoint(image.entrypoint.to_vec());
    }
    if !image.arguments.is_empty() {
        process = process.cmd(image.arguments.to_vec());
    }
    if !image.user.is_empty() {
        process = process.user(image.user);
    }
    let config = ImageConfigurationBuilder::default()
        .created(EPOCH)
        .architecture(image.architecture)
        .os("linux")
        .config(process.build()?)
        .rootfs(
            RootFsBuilder::default()
                .typ("layers")
                .diff_ids(vec![format!("sha256:{layer_digest}")])
                .build()?,
        )
        .history(vec![
            HistoryBuilder::default()
                .created(EPOCH)
                .created_by("parbake")
                .build()?,
        ])
        .build()?;
    let config = serde_json::to_vec(&config)?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(
            MediaType::ImageConfig,
            &sha256(&config),
            config.len() as u64,
        )?)
        .layers(vec![descriptor(MediaType::ImageLayer, layer_digest, layer_size)?])
        .build()?;
    let manifest = serde_json::to_vec(&manifest)?;
    let named = descriptor(
        MediaType::ImageManifest,
        &sha256(&manifest),
        manifest.len() as u64,
    )?;
    let index = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageIndex)
        .manifests(vec![named])
        .build()?;
    let mut index = serde_json::to_value(&index)?;
    // The library keeps annotations in a hash map, whose order would differ between runs.
    index["manifests"][0]["annotations"] =
        json!({ (CONTAINERD_NAME): image.reference, (ANNOTATION_REF_NAME): image.reference });
    Ok(Described {
        layout: serde_json::to_vec(
            &OciLayoutBuilder::default()
                .image_layout_version("1.0.0")
                .build()?,
        )?,
        index: serde_json::to_vec(&index)?,
        blobs: [config, manifest].map(|blob| (sha256(&blob), blob)).into(),
    })
}

fn descriptor(media_type: MediaType, digest: &str, size: u64) -> Result<Descriptor, OciSpecError> {
    let digest: Sha256Digest = digest.parse()?;
    DescriptorBuilder::default()
        .media_type(media_type)
        .digest(digest)
        .size(size)
        .build()
}

fn sha256(bytes: &[u8]) -> String {
    Digest::of(bytes).hex().to_owned()
}

fn write_archive(to: File, described: Described, digest: &str, size: u64, mut layer: File) -> io::Result<()> {
    let mut archive = Builder::new(to);
    append(
        &mut archive,
        "oci-layout",
        described.layout.len() as u64,
        described.layout.as_slice(),
    )?;
    append(
        &mut archive,
        "index.json",
        described.index.len() as u64,
        described.index.as_slice(),
    )?;
    for (digest, blob) in &described.blobs {
        append(
            &mut archive,
            &format!("blobs/sha256/{digest}"),
            blob.len() as u64,
            blob.as_slice(),
        )?;
    }
    layer.rewind()?;
    append(&mut archive, &format!("blobs/sha256/{digest}"), size, layer)?;
    archive.into_inner()?.flush()
}

fn append(archive: &mut Builder<File>, path: &str, size: u64, data: impl Read) -> io::Result<()> {
    let mut header = header(EntryType::Regular, 0o644);
    header.set_size(size);
    archive.append_data(&mut header, path, data)
}

/// A header of root's, with a fixed time.
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
