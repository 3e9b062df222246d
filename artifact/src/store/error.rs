//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::ConfigError;
use crate::digest::Digest;
use crate::layer::{PackError, UnpackError};
use crate::manifest::ManifestError;
use crate::tag::Tag;

/// What can go wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot {act} `{}`", .path.display())]
    Io {
        /// What was tried: `read`, `make`.
        act: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// The directory is something else.
    #[error("`{}` is not the marker of an OCI image layout; give another directory", .path.display())]
    Layout {
        path: PathBuf,
        source: serde_json::Error,
    },
    /// A layout from the future.
    #[error("`{}` says version `{found}` of the OCI image layout, only `1.0.0` is understood; upgrade parbake", .path.display())]
    LayoutVersion { path: PathBuf, found: String },
    /// `index.json` cannot be understood.
    #[error("`{}` is no OCI image index; repair it, or remove the store and provision again", .path.display())]
    Index {
        path: PathBuf,
        source: serde_json::Error,
    },
    /// No artifact of that name.
    #[error("there is no artifact `{tag}` here ({}); `parbake provision {tag}` makes it", there_are(.have))]
    NotFound {
        tag: Tag,
        /// The names there are.
        have: Vec<Tag>,
    },
    /// Somebody else uses the store.
    #[error("the store `{}` is in use by another parbake; try again when that has ended", .dir.display())]
    Busy { dir: PathBuf },
    /// A manifest or config that cannot be used.
    #[error(
        "artifact `{tag}` cannot be used; `parbake artifact remove {tag}`, then provision or pull it again"
    )]
    Artifact { tag: Tag, source: ManifestError },
    /// A document about an artifact that is not whole.
    #[error(
        "the `{media_type}` that is attached to the artifact is damaged ({digest}); pull or provision it again"
    )]
    Attachment {
        media_type: String,
        /// Digest of its manifest.
        digest: Digest,
    },
    /// Blobs that are missing or have other bytes than their digest says.
    #[error("artifact `{tag}` is damaged: {}; `parbake artifact remove {tag}`, then provision or pull it again", .blobs.join(", "))]
    Damaged {
        tag: Tag,
        /// What each blob is and what is wrong with it.
        blobs: Vec<String>,
    },
    /// A layer that cannot be unpacked.
    #[error("layer `{title}` cannot be unpacked; {}, then provision or pull again", remove(.tags))]
    Unpack {
        title: String,
        tags: Vec<Tag>,
        source: UnpackError,
    },
    /// A layer that is not in the store.
    #[error("layer `{title}` ({digest}) is not in the store; {}, then provision or pull again", remove(.tags))]
    MissingLayer {
        title: String,
        digest: Digest,
        tags: Vec<Tag>,
    },
    /// A directory that cannot be made a layer.
    #[error("cannot pack layer `{title}`")]
    Pack { title: String, source: PackError },
    /// A new artifact that contradicts itself.
    #[error("cannot make artifact `{tag}`")]
    NewArtifact { tag: Tag, source: ConfigError },
    /// Bytes from outside that are not what they were announced as.
    #[error(
        "the data of {expected} is not what it should be: {found_size} bytes of {size}, {found}; fetch it again"
    )]
    WrongBlob {
        /// The digest announced.
        expected: Digest,
        /// The length announced, in bytes.
        size: u64,
        /// The digest of what came.
        found: Digest,
        /// How much came, in bytes.
        found_size: u64,
    },
}

impl StoreError {
    /// For `map_err`: what was tried with which path.
    pub(crate) fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { act, path, source }
    }
}

pub(super) fn names(tags: &[Tag]) -> String {
    tags.iter()
        .map(|tag| format!("`{tag}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn there_are(tags: &[Tag]) -> String {
    if tags.is_empty() {
        "there are none".to_owned()
    } else {
        format!("there are {}", names(tags))
    }
}

fn remove(tags: &[Tag]) -> String {
    if tags.is_empty() {
        return "`parbake artifact remove` what has it".to_owned();
    }
    let commands: Vec<_> = tags
        .iter()
        .map(|tag| format!("`parbake artifact remove {tag}`"))
        .collect();
    commands.join(", ")
}
