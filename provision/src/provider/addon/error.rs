//! Why an add-on cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use super::manifest::ManifestError;
use parbake_cluster::diagnostics::Problems;

/// Why an add-on cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AddonError {
    /// There is no add-on of that name.
    #[error("there is no add-on `{name}` in `{}`; {}", dir.display(), listed(.known))]
    Unknown {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        dir: PathBuf,
        /// What is there.
        known: Vec<String>,
    },
    /// A file or folder could not be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// What could not be read.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The add-on's file is wrong.
    #[error("`{}` is not a valid add-on file", path.display())]
    Recipe {
        /// The file.
        path: PathBuf,
        /// All that is wrong with it.
        #[source]
        source: Problems,
    },
    /// A manifest makes no sense.
    #[error("`{}` is not a manifest that can be applied", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// There is nothing to apply.
    #[error("`{}` has no manifest: no object in a file that ends in `.yaml`, `.yml` or `.json`", dir.display())]
    Empty {
        /// The folder.
        dir: PathBuf,
    },
    /// An option that the add-on does not have.
    #[error("the add-on `{addon}` has no option `{option}`; {}", listed(.known))]
    Option {
        /// The add-on.
        addon: String,
        /// What was set.
        option: String,
        /// What it has.
        known: Vec<String>,
    },
    /// An option that changes nothing.
    #[error("the add-on `{addon}` has the option `{option}`, but no manifest says `@{option}@`")]
    UnusedOption {
        /// The add-on.
        addon: String,
        /// The option.
        option: String,
    },
    /// An add-on that a bake is asked for, and the provider does not offer.
    #[error("the provider offers no add-on `{addon}`; {}", listed(.offered))]
    NotOffered {
        /// What was asked for.
        addon: String,
        /// What it offers.
        offered: Vec<String>,
    },
    /// Something that there may be only one of in a cluster is there twice.
    #[error("the add-on `{addon}` has the {kind} `{name}`, which is there already; rename one of them")]
    Twice {
        /// The add-on.
        addon: String,
        /// `binary`, `image` or `name`.
        kind: &'static str,
        /// What it is called.
        name: String,
    },
    /// No lock says which image is meant.
    #[error(
        "the image `{image}` of the add-on `{addon}` is published, and the lock of `{provider}` does not pin it; \
         `parbake provider update {provider}` does, where its registry or an `--image-mirror` can be reached and the add-on \
         is in `addons` or `optional`"
    )]
    ImageNotPinned {
        /// The provider.
        provider: String,
        /// The add-on.
        addon: String,
        /// The image's full name.
        image: String,
    },
    /// An add-on that no lock knows needs packages.
    #[error(
        "the image `{image}` of the add-on `{addon}` has Debian packages, which only a lock pins; \
         name the add-on in `addons` or `optional` of a provider and run `parbake provider update`"
    )]
    Unpinned {
        /// The add-on.
        addon: String,
        /// Its image.
        image: String,
    },
}

impl AddonError {
    /// For `map_err` after reading.
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }
}

fn listed(known: &[String]) -> String {
    if known.is_empty() {
        return "there is none at all".to_owned();
    }
    let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    format!("there are {}", names.join(", "))
}
