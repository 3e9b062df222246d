//! What can be wrong with a file of images.

use std::io;
use std::path::PathBuf;

/// A file of images that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file or directory could not be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error(
        "`{}` is no image archive: {why}; what can be loaded is the output of `docker save` or `podman save`, \
         an archive or a directory with an OCI image layout, and archives compressed with gzip, xz or zstd",
        path.display()
    )]
    NoArchive {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It is an image archive, but something in it is missing or spoilt.
    #[error("the image archive `{}` is damaged: {problem}; make it anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// An image has no name that a pod could use.
    #[error("an image in `{}` has no name; give it one with `--as`", path.display())]
    NoName {
        /// The file.
        path: PathBuf,
    },
    /// One name was given for several images.
    #[error("`--as` names one image, and `{}` holds {}: {}", path.display(), names.len(), names.join(", "))]
    Several {
        /// The file.
        path: PathBuf,
        /// What they are called; a dash for those without a name.
        names: Vec<String>,
    },
    /// A name in the file is none.
    #[error("an image in `{}` is called `{name}`, which is no image name; give it one with `--as`", path.display())]
    BadName {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// The image cannot run here.
    #[error("the image `{name}` is for {found}, the nodes are {wanted}")]
    Architecture {
        /// The image.
        name: String,
        /// What it is for.
        found: String,
        /// What the nodes are.
        wanted: &'static str,
    },
}
