//! Writes OCI image layouts (OCI image-spec 1.1, image-layout.md).

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use serde_json::{Value, json};
use tar::{Builder, Header};

use super::document::{CONFIG_MEDIA_TYPE, CONTAINERD_NAME, LAYER_MEDIA_TYPE, MANIFEST_MEDIA_TYPE, REF_NAME};
use super::files::INDEX;
use crate::digest::Digest;

/// The file that marks a layout, and its content.
pub(super) const MARKER: &str = "oci-layout";
pub(super) const MARKER_TEXT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The time of everything made here (RFC 3339), so that equal files give equal images.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// The documents of an image layout; the blobs of layers are written beside them.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// Descriptors of the index, each with one name.
    manifests: Vec<Value>,
    pub(super) blobs: BTreeMap<Digest, Vec<u8>>,
}

/// An image with one uncompressed layer.
#[derive(Debug)]
pub struct SingleLayerImage<'a> {
    /// Full name; without one the index has no name for the image.
    pub name: Option<&'a str>,
    /// Go's name for the architecture.
    pub architecture: &'a str,
    /// How to run it: `config` of an OCI image config.
    pub process: &'a Value,
    /// The tool that made it.
    pub created_by: &'a str,
    pub layer: &'a Digest,
    /// Length of the layer in bytes.
    pub size: u64,
}

impl Layout {
    /// The layout of an image with one layer. Equal images give equal bytes.
    pub fn of_single_layer(image: &SingleLayerImage<'_>) -> Self {
        let mut layout = Self::default();
        let config = layout.add(
            CONFIG_MEDIA_TYPE,
            &json!({
                "created": EPOCH,
                "architecture": image.architecture,
                "os": "linux",
                "config": image.process,
                "rootfs": {"type": "layers", "diff_ids": [image.layer]},
                "history": [{"created": EPOCH, "created_by": image.created_by}],
            }),
        );
        let layer = json!({"mediaType": LAYER_MEDIA_TYPE, "digest": image.layer, "size": image.size});
        let manifest = layout.add(
            MANIFEST_MEDIA_TYPE,
            &json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST_MEDIA_TYPE,
                "config": config,
                "layers": [layer],
            }),
        );
        match image.name {
            Some(name) => layout.name(manifest, name),
            None => layout.manifests.push(manifest),
        }
        layout
    }

    /// Writes the documents into the directory `to`, the index last.
    ///
    /// # Errors
    /// Creating directories or writing files.
    pub fn write_to_dir(&self, to: &Path) -> io::Result<()> {
        fs::create_dir_all(to.join("blobs/sha256"))?;
        for (name, text) in self.blob_files() {
            fs::write(to.join(name), text)?;
        }
        fs::write(to.join(MARKER), MARKER_TEXT)?;
        fs::write(to.join(INDEX), self.index())
    }

    /// Appends the documents to a tar archive, the index last.
    ///
    /// # Errors
    /// Writing the archive.
    pub fn append_to(&self, archive: &mut Builder<impl Write>) -> io::Result<()> {
        append(archive, MARKER_TEXT, MARKER)?;
        for (name, text) in self.blob_files() {
            append(archive, text, &name)?;
        }
        append(archive, &self.index(), INDEX)
    }

    /// Lists the manifest or index of `descriptor` under `name`.
    pub(super) fn name(&mut self, mut descriptor: Value, name: &str) {
        descriptor["annotations"] = json!({CONTAINERD_NAME: name, REF_NAME: name});
        self.manifests.push(descriptor);
    }

    pub(super) fn index(&self) -> Vec<u8> {
        json!({"schemaVersion": 2, "manifests": self.manifests})
            .to_string()
            .into_bytes()
    }

    pub(super) fn blob_files(&self) -> impl Iterator<Item = (String, &[u8])> {
        let file = |(digest, text)| (blob_name(digest), Vec::as_slice(text));
        self.blobs.iter().map(file)
    }

    fn add(&mut self, media_type: &str, document: &Value) -> Value {
        let text = document.to_string().into_bytes();
        let digest = Digest::of(&text);
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": text.len()});
        self.blobs.insert(digest, text);
        descriptor
    }
}

pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

pub(super) fn append(archive: &mut Builder<impl Write>, text: &[u8], name: &str) -> io::Result<()> {
    append_stream(archive, name, text.len() as u64, text)
}

/// Appends a file of root's with a fixed time.
pub(super) fn append_stream(
    archive: &mut Builder<impl Write>,
    name: &str,
    size: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    archive.append_data(&mut header, name, content)
}
