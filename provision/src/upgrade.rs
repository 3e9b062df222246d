//! New providers from existing ones, and upgrades of providers to other versions of Kubernetes.
//!
//! ```text
//! providers/.upgrade-XXXX/          removed on failure
//! |-- manifests -> ../../manifests  so that add-ons are found
//! `-- providers/k8s-1.35/           a copy of the existing provider with changes:
//!     |-- provider.toml             versions of Kubernetes and of the components that its kubeadm needs
//!     |-- modules/*/go.mod, go.sum  of these versions, checked by `go` against the checksum database
//!     `-- lock.toml                 as `parbake provider update` writes it
//! ```
//!
//! The complete folder is moved to its place with a single rename.

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

/// A created or upgraded provider.
#[derive(Debug)]
pub struct Upgraded {
    pub name: ProviderName,
    /// The old and the new version of Kubernetes.
    pub kubernetes: [KubernetesVersion; 2],
    pub lock: UpdatedLock,
}

/// Creates the provider `name` in the folder `providers` as a copy of `from`, optionally with another version of
/// Kubernetes.
///
/// # Errors
/// The name exists, or a version is not available; nothing is created then.
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
    let draft = Draft::new(from, name, providers)?;
    let upgraded = draft.upgrade(from, kubernetes, update)?;
    draft.rename(&path, RenameFlags::NOREPLACE)?;
    Ok(upgraded)
}

/// Upgrades `provider` to the version `kubernetes` in place.
///
/// # Errors
/// A version is not available; the provider stays unchanged then.
pub fn upgrade(
    provider: &Provider,
    kubernetes: &KubernetesVersion,
    update: &LockUpdate<'_>,
) -> Result<Upgraded, UpgradeError> {
    let providers = provider.dir.parent().unwrap_or(Path::new("/"));
    let draft = Draft::new(provider, &provider.name, providers)?;
    let upgraded = draft.upgrade(provider, Some(kubernetes), update)?;
    // The old folder is removed together with the draft.
    draft.rename(&provider.dir, RenameFlags::EXCHANGE)?;
    Ok(upgraded)
}

/// A provider that is being created or upgraded, in a temporary folder.
struct Draft {
    dir: PathBuf,
    providers: PathBuf,
    _temporary: TempDir,
}

impl Draft {
    fn new(from: &Provider, name: &ProviderName, providers: &Path) -> Result<Self, UpgradeError> {
        let providers = fs::canonicalize(providers).map_err(failed("find", providers))?;
        let temporary = tempfile::Builder::new()
            .prefix(".upgrade-")
            .tempdir_in(&providers)
            .map_err(failed("create a folder in", &providers))?;
        let (addons, link) = (Addon::folder(&providers), temporary.path().join("manifests"));
        symlink(&addons, &link).map_err(failed("create", &link))?;
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

    /// Changes the provider file and modules to the version `new`.
    fn change(&self, from: &Provider, new: &KubernetesVersion) -> Result<(), UpgradeError> {
        let toolchain = from.recipe.modules.get(modules::KUBERNETES);
        let go = Go::new(&[]).with_toolchain(toolchain.map(|modules| &modules.go));
        let constants = {
            let what = format!("find the component versions of kubeadm {new}");
            let _step = tracing::info_span!("step", what).entered();
            Constants::of(&go, new)?
        };
        let path = self.dir.join(RECIPE);
        let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
        let text = recipe::change(&text, &from.recipe, new, &constants)?;
        fs::write(&path, text).map_err(failed("write", &path))?;
        // Problems of the provider file are reported before anything is downloaded.
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
            _ => Err(io::Error::other("it is neither a file nor a folder")),
        };
        copied.map_err(failed("copy", entry.path()))?;
    }
    Ok(())
}

/// The version of a component in the notation of provider files: `3.6.5` for `3.6.5-0`, `1.12.1` for `v1.12.1`, `3.1.0` for
/// `3.1`.
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
