//! The lock of a provider: which Debian packages exactly its package names mean.
//!
//! ```toml
//! # Written by `parbake provider update k8s-1.34`; do not edit.
//! version = 1                              # of this format
//! architecture = "amd64"
//! suite = "bookworm"
//!
//! [sets.os]                                # `os`, and `image/NAME` for an image with packages
//! requested = ["containerd"]               # as in the provider file when the lock was made
//! packages = ["base-files", "containerd"]  # these and all that they need
//!
//! [addons.local-storage]                   # those that the provider file names, as they were when the lock was made
//! version = "0.0.30"
//! sha256 = "..."                           # of all their files
//! images = { "example.org/a:1" = "sha256:..." }  # those of its images that are published, where they could be reached
//!
//! [release.files.kubelet]                  # for source `release`; missing where nothing is pinned for it
//! url = "https://dl.k8s.io/release/v1.34.4/bin/linux/amd64/kubelet"
//! digest = "sha256:..."
//!
//! [release.images]
//! "registry.k8s.io/pause:3.10.1" = "sha256:..."
//!
//! [[package]]
//! name = "containerd"
//! version = "1.6.20~ds1-1+deb12u3"
//! archive = "security"                     # or `main`: where it was found
//! filename = "pool/updates/main/c/containerd/containerd_1.6.20~ds1-1+deb12u3_amd64.deb"
//! size = 25950104
//! sha256 = "..."
//! ```

mod error;
mod release;

use std::collections::BTreeMap;
use std::fs;
use std::io;

use parbake_artifact::Digest;
use serde::{Deserialize, Serialize};

pub use self::error::{Error, Invalid};
pub use self::release::{PinnedFile, Release};
use super::{Addon, OS_SET, Provider, Recipe, is_os};

/// The version of the format.
const VERSION: u32 = 1;
/// The lock's name in a provider's folder.
const FILE: &str = "lock.toml";

/// Which Debian packages exactly a provider's package names mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// The Debian release, by code name.
    pub suite: String,
    /// By name: `os`, `os/RUNTIME` for nodes with another runtime, and `image/NAME` for an image with packages.
    pub sets: BTreeMap<String, PackageSet>,
    /// The add-ons, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub addons: BTreeMap<String, PinnedAddon>,
    /// What source `release` may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// All packages of all sets, by name.
    #[serde(rename = "package", with = "listed")]
    pub packages: BTreeMap<String, Package>,
}

/// An add-on as it was when the lock was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedAddon {
    /// Its version.
    pub version: Option<String>,
    /// Identifies all of its files: 64 hexadecimal digits.
    pub sha256: String,
    /// Its published images, by full name, as far as they could be reached.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, Digest>,
}

/// Packages that are installed together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageSet {
    /// What the provider file asked for.
    pub requested: Vec<String>,
    /// That and all it needs, sorted.
    pub packages: Vec<String>,
}

/// One Debian package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version (Debian Policy, section 5.6.12).
    pub version: String,
    /// Which of a mirror's archives has it.
    pub archive: Archive,
    /// Its path below the archive's root, as in the archive's index.
    pub filename: String,
    /// The size of the file in bytes.
    pub size: u64,
    /// The SHA-256 of the file: 64 hexadecimal digits.
    pub sha256: String,
}

/// The two archives that a stable release is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Archive {
    /// The release itself and its updates.
    Main,
    /// Security updates.
    Security,
}

impl Lock {
    /// A lock with these packages.
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
            sets,
            addons: pinned(provider.pinned_addons()),
            release: None,
            packages,
        }
    }

    /// Reads the lock of `provider` and compares it with the provider file.
    ///
    /// # Errors
    /// When it is not there, malformed, or older than a change of the provider file.
    pub fn load(provider: &Provider) -> Result<Self, Error> {
        let path = provider.dir.join(FILE);
        let name = || provider.name.to_string();
        let text = fs::read_to_string(&path).map_err(|source| Error::Read {
            provider: name(),
            path: path.clone(),
            source,
        })?;
        let lock = Self::parse(&text).map_err(|source| Error::Invalid {
            provider: name(),
            path: path.clone(),
            source: Box::new(source),
        })?;
        match lock.difference(
            &provider.recipe,
            &provider.package_sets(),
            &pinned(provider.pinned_addons()),
        ) {
            Some(what) => Err(Error::OutOfDate {
                provider: name(),
                path,
                what,
            }),
            None => Ok(lock),
        }
    }

    /// Reads the text of a lock.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        #[derive(Deserialize)]
        struct Format {
            version: u32,
        }
        // The version first: another format may have other fields.
        let format: Format = read(text)?;
        if format.version != VERSION {
            return Err(Invalid::Version(format.version));
        }
        let lock: Self = read(text)?;
        lock.check()?;
        Ok(lock)
    }

    /// The text that [`Lock::parse`] reads.
    ///
    /// # Errors
    /// None in practice: every lock has a form in TOML.
    pub fn to_text(&self, provider: &str) -> Result<String, toml::ser::Error> {
        let body = toml::to_string_pretty(self)?;
        Ok(format!(
            "# Written by `parbake provider update {provider}`; do not edit.\n{body}"
        ))
    }

    /// Writes the lock of `provider`, unless it is like this already. Returns whether it was written.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn write(&self, provider: &Provider) -> Result<bool, Error> {
        let path = provider.dir.join(FILE);
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

    /// The same for nodes with the runtime that is chosen in `recipe`: the set `os` is theirs, and there is none of others.
    #[must_use]
    pub(crate) fn chosen(mut self, recipe: &Recipe) -> Self {
        let chosen = self.sets.remove(&recipe.os_set(recipe.runtime));
        self.sets.retain(|name, _| !is_os(name));
        self.sets.extend(chosen.map(|set| (OS_SET.to_owned(), set)));
        self
    }

    /// The packages of the set `name`, in the lock's order. Empty where there is no such set.
    pub fn set(&self, name: &str) -> Vec<&Package> {
        let names = self
            .sets
            .get(name)
            .map(|set| set.packages.as_slice())
            .unwrap_or_default();
        names.iter().filter_map(|name| self.packages.get(name)).collect()
    }

    fn check(&self) -> Result<(), Invalid> {
        for package in self.packages.values() {
            let name = || package.name.clone();
            if package.sha256.len() != 64
                || !package
                    .sha256
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            {
                return Err(Invalid::Digest {
                    package: name(),
                    sha256: package.sha256.clone(),
                });
            }
            let below_pool = package.filename.starts_with("pool/")
                && !package.filename.split('/').any(|part| part == "..");
            if !below_pool || package.filename.contains(char::is_whitespace) {
                return Err(Invalid::Filename {
                    package: name(),
                    filename: package.filename.clone(),
                });
            }
        }
        for (set, members) in &self.sets {
            if let Some(package) = members
                .packages
                .iter()
                .find(|package| !self.packages.contains_key(*package))
            {
                return Err(Invalid::Unknown {
                    set: set.clone(),
                    package: package.clone(),
                });
            }
        }
        Ok(())
    }

    /// What the provider file asks for and the lock does not have, or the other way round.
    fn difference(
        &self,
        recipe: &Recipe,
        wanted: &BTreeMap<String, Vec<String>>,
        addons: &BTreeMap<String, PinnedAddon>,
    ) -> Option<String> {
        if self.suite != recipe.os.suite {
            return Some(format!(
                "it is for `{}`, not for `{}`",
                self.suite, recipe.os.suite
            ));
        }
        let names = self.addons.keys().chain(addons.keys());
        let files = |of: &BTreeMap<String, PinnedAddon>, name: &String| {
            let addon = of.get(name)?;
            Some((addon.version.clone(), addon.sha256.clone()))
        };
        let mut changed = names.filter(|name| files(&self.addons, name) != files(addons, name));
        if let Some(name) = changed.next() {
            return Some(format!("the add-on `{name}` has changed"));
        }
        if let Some(extra) = self.sets.keys().find(|set| !wanted.contains_key(*set)) {
            return Some(format!("nothing asks for the set `{extra}`"));
        }
        wanted
            .iter()
            .find_map(|(set, requested)| match self.sets.get(set) {
                None => Some(format!("the set `{set}` is missing")),
                Some(locked) if locked.requested != *requested => {
                    Some(format!("the packages asked for in the set `{set}` have changed"))
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

fn read<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, Invalid> {
    toml::from_str(text).map_err(|error| Invalid::Syntax(Box::new(error)))
}

/// A map of packages that is a list in the file.
mod listed {
    use std::collections::BTreeMap;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Invalid, Package};

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
            if let Some(twice) = packages.insert(package.name.clone(), package) {
                return Err(D::Error::custom(Invalid::Twice(twice.name)));
            }
        }
        Ok(packages)
    }
}

#[cfg(test)]
mod tests;
