use std::io;
use std::path::{Path, PathBuf};

use parbake_cluster::diagnostics::Problems;

use super::super::listed;
use super::manifest::ManifestError;

/// An add-on that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AddonError {
    #[error("there is no add-on `{name}` in `{}`; {}", dir.display(), listed(.known))]
    Unknown {
        name: String,
        dir: PathBuf,
        known: Vec<String>,
    },
    #[error("could not read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is not a valid add-on file", path.display())]
    Recipe {
        path: PathBuf,
        #[source]
        source: Problems,
    },
    #[error("`{}` is not a manifest that can be applied", path.display())]
    Manifest {
        path: PathBuf,
        #[source]
        source: ManifestError,
    },
    #[error("`{}` has no manifest: no object in a file that ends in `.yaml`, `.yml` or `.json`", dir.display())]
    Empty { dir: PathBuf },
    #[error("the add-on `{addon}` has no option `{option}`; {}", listed(.known))]
    Option {
        addon: String,
        option: String,
        known: Vec<String>,
    },
    #[error("the add-on `{addon}` has the option `{option}`, but no manifest contains `@{option}@`")]
    UnusedOption { addon: String, option: String },
    #[error("the provider has no add-on `{addon}`; {}", listed(.offered))]
    NotOffered { addon: String, offered: Vec<String> },
    #[error("the add-on `{addon}` has the {kind} `{name}`, which exists already; rename one of them")]
    Duplicate {
        addon: String,
        kind: &'static str,
        name: String,
    },
    #[error(
        "the published image `{image}` of the add-on `{addon}` is not pinned in the lock of `{provider}`; add the add-on to \
         `addons` or `optional` and run `parbake provider update {provider}` where the image's registry or an \
         `--image-mirror` is reachable"
    )]
    ImageNotPinned {
        provider: String,
        addon: String,
        image: String,
    },
    #[error(
        "the image `{image}` of the add-on `{addon}` has Debian packages, which need a lock; add the add-on to `addons` or \
         `optional` of a provider and run `parbake provider update`"
    )]
    Unpinned { addon: String, image: String },
}

impl AddonError {
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }
}
