//! The lock of a provider for one architecture: exact versions and digests of its inputs.
//!
//! `lock.toml` is for amd64, `lock.ARCHITECTURE.toml` for others.
//!
//! ```toml
//! # Written by `parbake provider update k8s-1.34`; do not edit.
//! version = 1                              # of this format
//! architecture = "amd64"
//! suite = "bookworm"
//! tried = ["sha256:..."]                   # pinned digests that the public site has confirmed to `provider update`
//!
//! [sets.os]                                # `os`, `os/RUNTIME`, and `image/NAME` for an image with packages
//! requested = ["containerd"]               # as in the provider file when the lock was written
//! packages = ["base-files", "containerd"]  # these and their dependencies
//!
//! [addons.local-storage]                   # add-ons of the provider file when the lock was written
//! version = "0.0.30"
//! sha256 = "..."                           # of all their files
//! images = { "example.org/a:1" = "sha256:..." }  # published images whose digests are known
//!
//! [release.files.kubelet]                  # for source `release`; absent if nothing is pinned for it
//! url = "https://dl.k8s.io/release/v1.34.4/bin/linux/amd64/kubelet"
//! digest = "sha256:..."
//!
//! [release.images]
//! "registry.k8s.io/pause:3.10.1" = "sha256:..."
//!
//! [[package]]
//! name = "containerd"
//! version = "1.6.20~ds1-1+deb12u3"
//! archive = "security"                     # or `main`
//! filename = "pool/updates/main/c/containerd/containerd_1.6.20~ds1-1+deb12u3_amd64.deb"
//! size = 25950104
//! sha256 = "..."
//! ```

mod error;
mod release;
mod tried;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use parbake_artifact::Digest;
use parbake_machine::executable::ARCHITECTURE;
use serde::{Deserialize, Serialize};

pub use self::error::{Error, InvalidLock};
pub use self::release::{PinnedFile, Release};
use super::{Addon, OS_SET, Provider, Recipe, is_os};

const VERSION: u32 = 1;
/// The architecture whose lock has no architecture in its name.
const DEFAULT_ARCHITECTURE: &str = "amd64";
/// The architectures that parbake supports, as Debian and Go name them.
pub const ARCHITECTURES: [&str; 2] = [DEFAULT_ARCHITECTURE, "arm64"];

/// The lock of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// Debian's name.
    pub architecture: String,
    /// Code name of the Debian release.
    pub suite: String,
    /// Those of the pinned digests that the public site has confirmed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tried: BTreeSet<Digest>,
    /// `os`, `os/RUNTIME` for nodes with an alternative runtime, and `image/NAME` for an image with packages.
    pub sets: BTreeMap<String, PackageSet>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub addons: BTreeMap<String, PinnedAddon>,
    /// Pinned files and images for source `release`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// The packages of all sets, by name.
    #[serde(rename = "package", with = "listed")]
    pub packages: BTreeMap<String, Package>,
}

/// An add-on at the time when the lock was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedAddon {
    pub version: Option<String>,
    /// Of all files, in hexadecimal.
    pub sha256: String,
    /// Published images by full name, without those whose registry was unreachable.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, Digest>,
}

/// Packages that are installed together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageSet {
    /// As in the provider file.
    pub requested: Vec<String>,
    /// The requested packages and their dependencies, sorted.
    pub packages: Vec<String>,
}

/// A Debian package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    pub name: String,
    /// Its version (Debian Policy, section 5.6.12).
    pub version: String,
    pub archive: Archive,
    /// Path below the archive's root.
    pub filename: String,
    /// In bytes.
    pub size: u64,
    /// In hexadecimal.
    pub sha256: String,
}

/// The archives of a stable Debian release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Archive {
    /// The release and its point updates.
    Main,
    Security,
}

impl Lock {
    /// A lock with these packages, without pins for source `release`.
    pub fn new(
        architecture: String,
        provider: &Provider,
        sets: BTreeMap<String, PackageSet>,
        packages: BTreeMap<String, Package>,
    ) -> Self {
        Self {
            version: VERSION,
            architecture,
            suite: provider.recipe.os.suite.clone(),
            tried: BTreeSet::new(),
            sets,
            addons: pinned(provider.pinned_addons()),
            release: None,
            packages,
        }
    }

    /// The name of the lock's file in the provider's folder.
    pub fn file_name(architecture: &str) -> String {
        match architecture {
            DEFAULT_ARCHITECTURE => "lock.toml".to_owned(),
            other => format!("lock.{other}.toml"),
        }
    }

    /// The lock's file.
    pub fn path(provider: &Provider, architecture: &str) -> PathBuf {
        provider.dir.join(Self::file_name(architecture))
    }

    /// Reads the lock of `provider` for this host and checks that it matches the provider file.
    ///
    /// # Errors
    /// The lock is missing, invalid or out of date.
    pub fn load(provider: &Provider) -> Result<Self, Error> {
        Self::load_for(provider, ARCHITECTURE)
    }

    /// Like [`Lock::load`], for `architecture`.
    ///
    /// # Errors
    /// Those of [`Lock::load`].
    pub fn load_for(provider: &Provider, architecture: &str) -> Result<Self, Error> {
        let lock = Self::read(provider, architecture)?;
        let other = Some(&lock.architecture).filter(|found| *found != architecture);
        let other = other.map(|found| format!("it is for {found}, not for {architecture}"));
        let difference = || {
            let addons = pinned(provider.pinned_addons());
            lock.difference(&provider.recipe, &provider.package_sets(), &addons)
        };
        match other.or_else(difference) {
            Some(change) => Err(Error::OutOfDate {
                provider: provider.name.to_string(),
                path: Self::path(provider, architecture),
                change,
            }),
            None => Ok(lock),
        }
    }

    /// Like [`Lock::load_for`], but the lock may be out of date.
    ///
    /// # Errors
    /// The lock is missing or invalid.
    pub(crate) fn read(provider: &Provider, architecture: &str) -> Result<Self, Error> {
        let path = Self::path(provider, architecture);
        let name = || provider.name.to_string();
        let text = fs::read_to_string(&path).map_err(|source| Error::Read {
            provider: name(),
            path: path.clone(),
            source,
        })?;
        Self::parse(&text).map_err(|source| Error::Invalid {
            provider: name(),
            path,
            source,
        })
    }

    /// Parses and validates the text of a lock.
    ///
    /// # Errors
    /// The first problem.
    pub fn parse(text: &str) -> Result<Self, InvalidLock> {
        #[derive(Deserialize)]
        struct Format {
            version: u32,
        }
        // The version is checked first: another format may have other fields.
        let format: Format = read(text)?;
        if format.version != VERSION {
            return Err(InvalidLock(format!(
                "format version {} is not supported; this parbake knows version {VERSION}",
                format.version
            )));
        }
        let lock: Self = read(text)?;
        lock.check()?;
        Ok(lock)
    }

    /// The text of the lock.
    ///
    /// # Errors
    /// None in practice: every lock can be written as TOML.
    pub fn to_text(&self, provider: &str) -> Result<String, toml::ser::Error> {
        let body = toml::to_string_pretty(self)?;
        Ok(format!(
            "# Written by `parbake provider update {provider}`; do not edit.\n{body}"
        ))
    }

    /// Writes the lock of `provider` and returns true if that changed it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, provider: &Provider) -> Result<bool, Error> {
        let path = Self::path(provider, &self.architecture);
        let failed = |source: io::Error| Error::Write {
            path: path.clone(),
            source,
        };
        let text = self
            .to_text(provider.name.as_str())
            .map_err(|error| failed(io::Error::other(error)))?;
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(false);
        }
        let temporary = path.with_extension("toml.new");
        fs::write(&temporary, text)
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(failed)?;
        Ok(true)
    }

    /// The lock for the selected runtime of `recipe`: its packages become the set `os`, and those of other runtimes are
    /// removed.
    #[must_use]
    pub(crate) fn for_runtime(mut self, recipe: &Recipe) -> Self {
        let selected = self.sets.remove(&recipe.os_set(recipe.runtime));
        self.sets.retain(|name, _| !is_os(name));
        self.sets.extend(selected.map(|set| (OS_SET.to_owned(), set)));
        self
    }

    /// The packages of a set; empty if there is no such set.
    pub fn set(&self, name: &str) -> Vec<&Package> {
        let names = self
            .sets
            .get(name)
            .map(|set| set.packages.as_slice())
            .unwrap_or_default();
        names.iter().filter_map(|name| self.packages.get(name)).collect()
    }

    fn check(&self) -> Result<(), InvalidLock> {
        for package in self.packages.values() {
            let Package {
                name,
                sha256,
                filename,
                ..
            } = package;
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            if sha256.len() != 64 || !sha256.bytes().all(is_hex) {
                return Err(InvalidLock(format!(
                    "package `{name}`: `{sha256}` is not a SHA-256 digest of 64 hexadecimal digits"
                )));
            }
            let is_below_pool =
                filename.starts_with("pool/") && !filename.split('/').any(|part| part == "..");
            if !is_below_pool || filename.contains(char::is_whitespace) {
                return Err(InvalidLock(format!(
                    "package `{name}`: `{filename}` is not the name of a file below `pool/`"
                )));
            }
        }
        for (set, members) in &self.sets {
            let mut members = members.packages.iter();
            if let Some(package) = members.find(|package| !self.packages.contains_key(*package)) {
                return Err(InvalidLock(format!(
                    "set `{set}` names the package `{package}`, which is not in the lock"
                )));
            }
        }
        Ok(())
    }

    /// The first difference between the lock and the provider file.
    fn difference(
        &self,
        recipe: &Recipe,
        requested: &BTreeMap<String, Vec<String>>,
        addons: &BTreeMap<String, PinnedAddon>,
    ) -> Option<String> {
        if self.suite != recipe.os.suite {
            return Some(format!(
                "it is for `{}`, not for `{}`",
                self.suite, recipe.os.suite
            ));
        }
        let names = self.addons.keys().chain(addons.keys());
        let files = |addons: &BTreeMap<String, PinnedAddon>, name: &String| {
            let addon = addons.get(name)?;
            Some((addon.version.clone(), addon.sha256.clone()))
        };
        let mut changed = names.filter(|name| files(&self.addons, name) != files(addons, name));
        if let Some(name) = changed.next() {
            return Some(format!("the add-on `{name}` has changed"));
        }
        if let Some(extra) = self.sets.keys().find(|set| !requested.contains_key(*set)) {
            return Some(format!("the set `{extra}` is not needed"));
        }
        requested
            .iter()
            .find_map(|(set, requested)| match self.sets.get(set) {
                None => Some(format!("the set `{set}` is missing")),
                Some(locked) if locked.requested != *requested => {
                    Some(format!("the requested packages of the set `{set}` have changed"))
                }
                Some(_) => None,
            })
    }
}

fn pinned<'a>(addons: impl Iterator<Item = &'a Addon>) -> BTreeMap<String, PinnedAddon> {
    addons
        .map(|addon| {
            let pinned = PinnedAddon {
                version: addon.recipe.version.as_ref().map(ToString::to_string),
                sha256: addon.sha256(),
                images: BTreeMap::new(),
            };
            (addon.name.clone(), pinned)
        })
        .collect()
}

fn read<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, InvalidLock> {
    toml::from_str(text).map_err(|error: toml::de::Error| InvalidLock(error.to_string()))
}

/// Serializes the map of packages as a list.
mod listed {
    use std::collections::BTreeMap;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Package;

    pub(super) fn serialize<S: Serializer>(
        packages: &BTreeMap<String, Package>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(packages.values())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<String, Package>, D::Error> {
        let mut packages = BTreeMap::new();
        for package in Vec::<Package>::deserialize(from)? {
            if let Some(duplicate) = packages.insert(package.name.clone(), package) {
                let name = duplicate.name;
                return Err(D::Error::custom(format!("there are two packages named `{name}`")));
            }
        }
        Ok(packages)
    }
}

#[cfg(test)]
mod tests;
