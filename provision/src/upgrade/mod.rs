//! Providers made from others: a new folder, or the same one of a newer version.
//!
//! ```text
//! providers/.upgrade-XXXX/            made aside; gone when it fails
//! |-- manifests -> ../../manifests  so that add-ons are found
//! `-- providers/k8s-1.35/           a copy of what it is made from, then changed
//!     |-- provider.toml             versions of Kubernetes, and of what its kubeadm asks for; comments stay
//!     |-- modules/*/go.mod, go.sum  of those versions, checked by `go` against the checksum database
//!     `-- lock.toml                 as `parbake provider update` makes it
//! ```
//!
//! Only what is whole takes its place among the providers, by one rename.

mod constants;
mod error;
mod go;
mod modules;
mod newest;
mod recipe;

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use parbake_cluster::KubernetesVersion;
use parbake_machine::fs::files::failed;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use semver::Version;
use tempfile::TempDir;
use walkdir::WalkDir;

use crate::inputs::{LockUpdate, UpdatedLock, update_lock};
use crate::provider::{Addon, Provider, ProviderName};
use constants::Constants;
pub use error::UpgradeError;
use go::Go;
pub use newest::newest;

const RECIPE: &str = "provider.toml";

/// A provider that was made or changed.
#[derive(Debug)]
pub struct Upgraded {
    /// Its name.
    pub name: ProviderName,
    /// The version of Kubernetes before, and now.
    pub kubernetes: [KubernetesVersion; 2],
    /// What became of its lock.
    pub lock: UpdatedLock,
}

/// Makes the provider `name` in the folder `providers` from another one of it, with the version `kubernetes` if one is
/// given.
///
/// # Errors
/// There is something of this name, or a version cannot be had; there is no new provider then.
pub fn create(
    name: &ProviderName,
    from: &Provider,
    providers: &Path,
    kubernetes: Option<&KubernetesVersion>,
    update: &LockUpdate<'_>,
) -> Result<Upgraded, UpgradeError> {
    let path = providers.join(name.as_str());
    if path.symlink_metadata().is_ok() {
        return Err(UpgradeError::Exists(name.clone()));
    }
    let draft = NewArtifact::of(from, name, providers)?;
    let upgraded = draft.upgrade(from, kubernetes, update)?;
    draft.rename(&path, RenameFlags::NOREPLACE)?;
    Ok(upgraded)
}

/// Makes `provider` one of the version `kubernetes`, in its place.
///
/// # Errors
/// A version cannot be had; the provider is as it was then.
pub fn upgrade(
    provider: &Provider,
    kubernetes: &KubernetesVersion,
    update: &LockUpdate<'_>,
) -> Result<Upgraded, UpgradeError> {
    let providers = provider.dir.parent().unwrap_or(Path::new("/"));
    let draft = NewArtifact::of(provider, &provider.name, providers)?;
    let upgraded = draft.upgrade(provider, Some(kubernetes), update)?;
    // What was there before goes with the draft.
    draft.rename(&provider.dir, RenameFlags::EXCHANGE)?;
    Ok(upgraded)
}

/// A provider in the making.
struct NewArtifact {
    dir: PathBuf,
    providers: PathBuf,
    _temporary: TempDir,
}

impl NewArtifact {
    fn of(from: &Provider, name: &ProviderName, providers: &Path) -> Result<Self, UpgradeError> {
        let providers = fs::canonicalize(providers).map_err(failed("find", providers))?;
        let temporary = tempfile::Builder::new()
            .prefix(".upgrade-")
            .tempdir_in(&providers)
            .map_err(failed("make a folder in", &providers))?;
        let (addons, link) = (Addon::folder(&providers), temporary.path().join("manifests"));
        symlink(&addons, &link).map_err(failed("make", &link))?;
        let dir = temporary.path().join("providers").join(name.as_str());
        copy(&from.dir, &dir)?;
        Ok(Self {
            dir,
            providers,
            _temporary: temporary,
        })
    }

    fn upgrade(
        &self,
        from: &Provider,
        kubernetes: Option<&KubernetesVersion>,
        update: &LockUpdate<'_>,
    ) -> Result<Upgraded, UpgradeError> {
        let old = &from.recipe.kubernetes;
        let new = kubernetes.unwrap_or(old);
        if new != old {
            self.change(from, new)?;
        }
        let provider = Provider::load(&self.dir)?;
        let lock = update_lock(&provider, update)?;
        Ok(Upgraded {
            name: provider.name,
            kubernetes: [old.clone(), new.clone()],
            lock,
        })
    }

    /// Writes the provider file and modules of the version `new`.
    fn change(&self, from: &Provider, new: &KubernetesVersion) -> Result<(), UpgradeError> {
        let toolchain = from.recipe.modules.get(modules::KUBERNETES);
        let go = Go::new(&[]).of(toolchain.map(|modules| &modules.go));
        let constants = {
            let what = format!("look what kubeadm {new} asks for");
            let _step = tracing::info_span!("step", what).entered();
            Constants::of(&go, new)?
        };
        let path = self.dir.join(RECIPE);
        let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
        let text = recipe::change(&text, &from.recipe, new, &constants)?;
        fs::write(&path, text).map_err(failed("write", &path))?;
        // All that is wrong with it is said before anything is fetched.
        let changed = Provider::load(&self.dir)?;
        modules::upgrade(&go, &self.dir, &from.recipe, &changed.recipe)
    }

    fn rename(&self, to: &Path, flags: RenameFlags) -> Result<(), UpgradeError> {
        let synced = fs::File::open(&self.dir).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
        synced.map_err(failed("flush to disk", &self.dir))?;
        let renamed = renameat_with(CWD, &self.dir, CWD, to, flags);
        renamed.map_err(|error| failed("move the new provider to", to)(io::Error::from(error)))?;
        let synced = fs::File::open(&self.providers).and_then(|dir| dir.sync_all());
        Ok(synced.map_err(failed("flush to disk", &self.providers))?)
    }
}

/// Copies the files of a provider.
fn copy(from: &Path, to: &Path) -> Result<(), UpgradeError> {
    for entry in WalkDir::new(from) {
        let entry = entry.map_err(|error| failed("read", from)(io::Error::from(error)))?;
        let below = entry.path().strip_prefix(from).unwrap_or(entry.path());
        let to = to.join(below);
        let copied = match entry.file_type() {
            kind if kind.is_dir() => fs::create_dir_all(&to),
            kind if kind.is_file() => fs::copy(entry.path(), &to).map(drop),
            _ => Err(io::Error::other("it is no file and no folder")),
        };
        copied.map_err(failed("copy", entry.path()))?;
    }
    Ok(())
}

/// The version of a component, as provider files have it: `3.6.5` of `3.6.5-0`, `1.12.1` of `v1.12.1`, `3.1.0` of `3.1`.
fn component(text: &str) -> Option<Version> {
    let number = text.strip_prefix('v').unwrap_or(text);
    let number = number.split('-').next().unwrap_or(number);
    let padded = match number.matches('.').count() {
        1 => format!("{number}.0"),
        _ => number.to_owned(),
    };
    padded.parse().ok()
}

#[cfg(test)]
mod tests;
