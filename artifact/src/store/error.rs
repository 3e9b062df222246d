//! Errors of a store.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::ConfigError;
use crate::digest::Digest;
use crate::layer::{PackError, UnpackError};
use crate::manifest::ManifestError;
use crate::tag::Tag;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {act} `{}`", .path.display())]
    Io {
        act: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("`{}` does not mark an OCI image layout; use another directory", .path.display())]
    Layout {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("`{}` has version `{found}` of the OCI image layout, only `1.0.0` is supported; upgrade parbake", .path.display())]
    LayoutVersion { path: PathBuf, found: String },
    #[error("`{}` is not an OCI image index; repair it, or remove the store and provision again", .path.display())]
    Index {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("there is no artifact `{tag}` ({}); `parbake provision {tag}` makes it", existing(.have))]
    NotFound { tag: Tag, have: Vec<Tag> },
    #[error("the store `{}` is in use by another parbake; try again when it has ended", .dir.display())]
    Busy { dir: PathBuf },
    #[error(
        "artifact `{tag}` cannot be used; `parbake artifact remove {tag}`, then provision or pull it again"
    )]
    Artifact { tag: Tag, source: ManifestError },
    #[error(
        "the `{media_type}` attached to the artifact is damaged ({digest}); pull or provision the artifact again"
    )]
    Attachment { media_type: String, digest: Digest },
    /// Some blobs are missing or corrupt.
    #[error("artifact `{tag}` is damaged: {}; `parbake artifact remove {tag}`, then provision or pull it again", .blobs.join(", "))]
    Damaged {
        tag: Tag,
        /// A description of each.
        blobs: Vec<String>,
    },
    #[error("layer `{title}` cannot be unpacked; {}, then provision or pull again", remove_commands(.tags))]
    Unpack {
        title: String,
        tags: Vec<Tag>,
        source: UnpackError,
    },
    #[error("layer `{title}` ({digest}) is not in the store; {}, then provision or pull again", remove_commands(.tags))]
    MissingLayer {
        title: String,
        digest: Digest,
        tags: Vec<Tag>,
    },
    #[error("cannot pack layer `{title}`")]
    Pack { title: String, source: PackError },
    #[error("cannot make artifact `{tag}`")]
    NewArtifact { tag: Tag, source: ConfigError },
    /// Data from outside does not match its digest or size.
    #[error(
        "the data of {expected} does not match: expected {size} bytes, found {found_size} bytes with {found}; download it again"
    )]
    WrongBlob {
        expected: Digest,
        /// Expected size in bytes.
        size: u64,
        found: Digest,
        found_size: u64,
    },
}

impl StoreError {
    /// For `map_err`.
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

fn existing(tags: &[Tag]) -> String {
    if tags.is_empty() {
        "there are none".to_owned()
    } else {
        format!("there are {}", names(tags))
    }
}

fn remove_commands(tags: &[Tag]) -> String {
    if tags.is_empty() {
        return "remove its artifact with `parbake artifact remove`".to_owned();
    }
    let commands: Vec<_> = tags
        .iter()
        .map(|tag| format!("`parbake artifact remove {tag}`"))
        .collect();
    commands.join(", ")
}
