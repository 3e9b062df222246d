//! Errors of image archives.

use std::io;
use std::path::{Path, PathBuf};

/// Why an image archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("could not read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "`{}` is not an image archive: {why}; supported are the output of `docker save` or `podman save`, \
         an archive or a directory with an OCI image layout, and archives compressed with gzip, xz, zstd or bzip2",
        path.display()
    )]
    NotAnArchive { path: PathBuf, why: String },
    #[error("the image archive `{}` is damaged: {problem}; create it again", path.display())]
    Damaged { path: PathBuf, problem: String },
    /// `tags` has what images without a full name are called instead.
    #[error(
        "`{}` has {} without a full name: {}; {}",
        path.display(),
        if tags.len() == 1 { "an image" } else { "images" },
        tags.join(", "),
        naming_advice(*total)
    )]
    Unnamed {
        path: PathBuf,
        tags: Vec<String>,
        /// Number of images in the archive.
        total: usize,
    },
    #[error(
        "`--as` names one image, and `{}` has {}: {}; copy the one to load into a file of its own, for example with \
         `docker save` or `skopeo copy`, or omit `--as` to load all under their own names",
        path.display(),
        names.len(),
        names.join(", ")
    )]
    Several { path: PathBuf, names: Vec<String> },
    #[error("the image `{name}` in `{}` has the digest {found}; correct the name, or set one with `--as`", path.display())]
    WrongDigest {
        path: PathBuf,
        name: String,
        found: String,
    },
    #[error("the image `{name}` is for {found}, the nodes are {wanted}")]
    Architecture {
        name: String,
        found: String,
        wanted: &'static str,
    },
}

impl ImageError {
    pub(super) fn not_an_archive(path: &Path, why: impl Into<String>) -> Self {
        Self::NotAnArchive {
            path: path.to_owned(),
            why: why.into(),
        }
    }

    pub(super) fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }
}

fn naming_advice(images: usize) -> &'static str {
    match images {
        1 => "name it with `--as`",
        _ => {
            "save each under a name such as `registry.example.org/app:v1`, or copy one into a file of its own with \
             `skopeo copy` and name it with `--as`"
        }
    }
}
