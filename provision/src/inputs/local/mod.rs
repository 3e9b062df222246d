//! Local builds of Kubernetes: a build output and single binaries that replace those of the source.

mod output;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use parbake_artifact::images::Archive;
pub use parbake_machine::executable::BinaryOverride;
use parbake_machine::executable::Executable;
use parbake_machine::fs::files::failed;

use super::cache::{KeyBuilder, Locked, sha256_of_file};
use super::error::Error;
use super::{Binary, ImageArchive, Source, overrides};
use crate::provider::Provider;

/// Changes whenever this file would store something else.
const RECIPE: u32 = 1;

/// A local build that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error(
        "`{}` has no binary or image of Kubernetes for {architecture}; use a checkout with a build, its `_output`, or a \
         folder with binaries such as `kubelet`", dir.display()
    )]
    Nothing { dir: PathBuf, architecture: String },
    #[error("could not read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` cannot run on the nodes: {why}", path.display())]
    NotRunnable { path: PathBuf, why: String },
    #[error("the provider has no binary `{name}`; it has {known}")]
    Unknown { name: String, known: String },
    #[error("the binary `{0}` is given twice")]
    Twice(String),
}

/// Usable files of a local build, not copied yet.
#[derive(Debug, Default)]
pub(super) struct Local {
    /// Binaries by name.
    binaries: BTreeMap<String, PathBuf>,
    /// Images by short name.
    images: BTreeMap<String, PathBuf>,
}

impl Local {
    /// Finds and checks the files.
    ///
    /// # Errors
    /// See [`LocalError`].
    pub(super) fn find(
        provider: &Provider,
        source: &Source,
        binaries: &[BinaryOverride],
        architecture: &str,
    ) -> Result<Self, LocalError> {
        let mut local = match source {
            Source::Dir(dir) => output::find(dir, provider, architecture)?,
            Source::Auto | Source::Release | Source::Modules => Self::default(),
        };
        let mut names = BTreeSet::new();
        for BinaryOverride { name, path } in binaries {
            if !names.insert(name) {
                return Err(LocalError::Twice(name.clone()));
            }
            let known = known(provider);
            if !known.contains(name.as_str()) {
                return Err(LocalError::Unknown {
                    name: name.clone(),
                    known: known.into_iter().collect::<Vec<_>>().join(", "),
                });
            }
            local.binaries.insert(name.clone(), path.clone());
            let in_image = |image: &String, _: &mut PathBuf| {
                let recipe = provider.recipe.images.get(image);
                !recipe.is_some_and(|recipe| recipe.files.values().any(|binary| binary == name))
            };
            local.images.retain(in_image);
        }
        for (name, path) in &local.binaries {
            let without_libraries = |recipe: &&crate::provider::ImageRecipe| {
                recipe.packages.is_empty() && recipe.files.values().any(|binary| binary == name)
            };
            let must_be_static = provider
                .recipe
                .images
                .values()
                .any(|recipe| without_libraries(&recipe));
            check(path, architecture, must_be_static)?;
        }
        Ok(local)
    }

    pub(super) fn names(&self) -> BTreeSet<String> {
        self.binaries.keys().cloned().collect()
    }

    /// Short names.
    pub(super) fn images(&self) -> BTreeSet<String> {
        self.images.keys().cloned().collect()
    }

    /// Copies the binaries into the cache, since the next build overwrites them.
    pub(super) fn keep(&self, cache: &Locked) -> Result<BTreeMap<String, Binary>, Error> {
        let keep = |(name, path): (&String, &PathBuf)| {
            let sha256 = sha256_of_file(path).map_err(failed("read", path))?;
            let key = KeyBuilder::new("given binary", RECIPE)
                .field("name", name)
                .field("sha256", &sha256);
            if cache.is_preview() {
                let path = path.clone();
                return Ok((name.clone(), Binary { path, sha256 }));
            }
            let what = format!("take `{}`", path.display());
            let entry = cache.entry("given", &key.finish(), &what, |out| copy(path, &out.join(name)))?;
            let found = entry.sha256(name)?;
            if found == sha256 {
                let path = entry.path.join(name);
                return Ok((name.clone(), Binary { path, sha256 }));
            }
            Err(LocalError::NotRunnable {
                path: path.clone(),
                why: "it changed while it was read; wait until the build has finished".to_owned(),
            }
            .into())
        };
        self.binaries.iter().map(keep).collect()
    }

    /// The image `short_name` with the name `reference`, if the build has one.
    pub(super) fn image(
        &self,
        short_name: &str,
        reference: &str,
        cache: &Locked,
    ) -> Result<Option<ImageArchive>, Error> {
        let Some(path) = self.images.get(short_name) else {
            return Ok(None);
        };
        let Ok(name) = reference.parse() else {
            return Ok(None);
        };
        let _step = tracing::debug_span!("step", what = format!("check `{}`", path.display())).entered();
        let archive = Archive::examine(path, Some(&name))?;
        overrides::packed(short_name.to_owned(), &archive, cache).map(Some)
    }
}

/// The names of all binaries of the provider.
fn known(provider: &Provider) -> BTreeSet<&str> {
    let modules = provider.recipe.modules.values();
    let built = modules.flat_map(|modules| modules.binaries()).map(String::as_str);
    let in_images = provider
        .recipe
        .images
        .values()
        .flat_map(|image| image.files.values());
    built.chain(in_images.map(String::as_str)).collect()
}

/// Checks that `path` is an executable for `architecture`, and static if it must be.
fn check(path: &Path, architecture: &str, must_be_static: bool) -> Result<(), LocalError> {
    let read = Executable::read(path, architecture).map_err(|source| LocalError::Read {
        path: path.to_owned(),
        source,
    })?;
    let why = match read {
        Ok(Executable { loader: Some(_) }) if must_be_static => {
            "it needs a dynamic loader, and its image has none; build it with `CGO_ENABLED=0` or \
             `KUBE_STATIC_OVERRIDES`"
        }
        Ok(_) => return Ok(()),
        Err(ref why) => why,
    };
    Err(LocalError::NotRunnable {
        path: path.to_owned(),
        why: why.to_owned(),
    })
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let copied = fs::copy(from, to).and_then(|_| fs::set_permissions(to, fs::Permissions::from_mode(0o755)));
    Ok(copied.map_err(failed("copy", from))?)
}
