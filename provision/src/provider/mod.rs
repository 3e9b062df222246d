//! Providers: one folder each under `providers/`, which is data and never code.
//!
//! ```text
//! providers/k8s-1.34/
//! |-- provider.toml        what the cluster is (Recipe)
//! |-- lock.toml            which Debian packages exactly that means (lock::Lock)
//! `-- modules/
//!     `-- kubernetes/      one Go main module for each source of binaries
//!         |-- go.mod
//!         `-- go.sum
//! ```
//!
//! What is in the cluster beside Kubernetes are add-ons ([`Addon`]), which providers share.

mod addon;
mod check;
mod document;
pub mod lock;
mod names;
mod network;
mod published;
mod read;
mod recipe;
mod runtime;
mod variant;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parbake_cluster::{Description, DescriptionError};

pub use self::addon::{Addon, AddonError, AddonImage, AddonRecipe, ManifestError, Status};
pub use self::names::{InvalidProviderName, ProviderName};
pub use self::network::{InvalidIpStack, IpStack};
pub use self::published::Published;
pub use self::recipe::{ClusterSize, Generated, ImageRecipe, Modules, Os, Recipe};
pub use self::runtime::{AlternativeRuntime, RuntimeNotAvailable};
pub(crate) use self::runtime::{OS_SET, is_os};
pub use self::variant::{InvalidVariantName, Variant, VariantName};
pub use parbake_cluster::diagnostics::{Problem, Problems};
pub use parbake_cluster::{ContainerRuntime, InvalidValue};

/// The file that makes a folder a provider.
const RECIPE: &str = "provider.toml";

/// Why a provider cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no provider of that name.
    #[error("there is no provider `{name}` in `{}`; {}", dir.display(), listed(.known))]
    Unknown {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        dir: PathBuf,
        /// What is there.
        known: Vec<ProviderName>,
    },
    /// The folder's name is no provider name.
    #[error("`{}` cannot be a provider", dir.display())]
    Name {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: InvalidProviderName,
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
    /// The provider file is wrong.
    #[error("`{}` is not a valid provider file", path.display())]
    Recipe {
        /// The provider file.
        path: PathBuf,
        /// All that is wrong with it.
        #[source]
        source: Problems,
    },
    /// There is no variant of that name.
    #[error("`{provider}` has no variant `{name}`; {}", listed(.known))]
    NoVariant {
        /// The provider.
        provider: ProviderName,
        /// What was asked for.
        name: String,
        /// What it has.
        known: Vec<VariantName>,
    },
    /// An add-on cannot be used.
    #[error(transparent)]
    Addon(#[from] AddonError),
}

fn listed<T: Display>(known: &[T]) -> String {
    if known.is_empty() {
        return "there is none at all".to_owned();
    }
    let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    format!("there are {}", names.join(", "))
}

/// A provider: a name, a folder and what its provider file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its name, which is the folder's.
    pub name: ProviderName,
    /// Its folder, as an absolute path.
    pub dir: PathBuf,
    /// What its provider file says.
    pub recipe: Recipe,
    /// Its add-ons, in the order in which they are applied; those that it lists itself come first.
    pub addons: Vec<Addon>,
    /// The add-ons that it offers beside those.
    pub optional: Vec<Addon>,
    /// Which of its variants it is, if any.
    pub variant: Option<VariantName>,
}

impl Provider {
    /// Reads the provider in the folder `dir`, and its add-ons.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Name`], [`Error::Recipe`] and [`Error::Addon`].
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let dir = fs::canonicalize(dir).map_err(|source| Error::Read {
            path: dir.into(),
            source,
        })?;
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let name = name.parse().map_err(|source| Error::Name {
            dir: dir.clone(),
            source,
        })?;
        let path = dir.join(RECIPE);
        let text = read(&path)?;
        let recipe = Recipe::parse(&text).map_err(|source| Error::Recipe { path, source })?;
        let mut provider = Self {
            name,
            addons: Vec::new(),
            optional: Vec::new(),
            variant: None,
            recipe,
            dir,
        };
        let folder = Addon::folder(provider.dir.parent().unwrap_or(Path::new("/")));
        let none = BTreeMap::new();
        let find = |name: &String, recipe: &Recipe| {
            Addon::find(name, &folder, recipe.options.get(name).unwrap_or(&none))
        };
        for name in &provider.recipe.addons.clone() {
            let addon = find(name, &provider.recipe)?;
            provider.add(addon)?;
        }
        for name in &provider.recipe.optional {
            provider.optional.push(find(name, &provider.recipe)?);
        }
        for variant in provider.recipe.variants.keys() {
            provider.clone().select_variant(variant.as_str())?;
        }
        Ok(provider)
    }

    /// Has the add-ons and services of one of its variants in the place of its own. Add-ons that it has no more are among
    /// the optional ones then.
    ///
    /// # Errors
    /// [`Error::NoVariant`]; add-ons that cannot be together, which [`Provider::load`] has said.
    pub fn select_variant(&mut self, name: &str) -> Result<(), Error> {
        let mut variants = self.recipe.variants.iter();
        let Some((name, variant)) = variants.find(|(known, _)| known.as_str() == name) else {
            return Err(Error::NoVariant {
                provider: self.name.clone(),
                name: name.to_owned(),
                known: self.recipe.variants.keys().cloned().collect(),
            });
        };
        let (name, variant) = (name.clone(), variant.clone());
        let (kept, dropped) = std::mem::take(&mut self.addons)
            .into_iter()
            .partition(|addon| variant.addons.contains(&addon.name));
        let kept: Vec<Addon> = kept;
        self.optional.extend::<Vec<Addon>>(dropped);
        for wanted in &variant.addons {
            match kept.iter().find(|addon| addon.name == *wanted) {
                Some(addon) => self.add(addon.clone())?,
                None => self.choose(wanted)?,
            }
        }
        self.recipe.services = variant.services.unwrap_or(self.recipe.services);
        self.variant = Some(name);
        Ok(())
    }

    /// What its artifact is called: its name, and that of the variant.
    pub fn tag(&self) -> String {
        let variant = self.variant.iter().map(|variant| format!("-{variant}"));
        self.name.to_string() + &variant.collect::<String>()
    }

    /// Puts one of the optional add-ons behind those that are there.
    ///
    /// # Errors
    /// [`AddonError::NotOffered`], [`AddonError::Twice`].
    pub fn choose(&mut self, name: &str) -> Result<(), AddonError> {
        let offered = self.optional.iter().find(|addon| addon.name == name);
        let addon = offered.cloned().ok_or_else(|| AddonError::NotOffered {
            addon: name.to_owned(),
            offered: self.optional.iter().map(|addon| addon.name.clone()).collect(),
        })?;
        self.add(addon)
    }

    /// Puts an add-on behind those that are there.
    ///
    /// # Errors
    /// [`AddonError::Twice`] when it brings what is there already.
    pub fn add(&mut self, addon: Addon) -> Result<(), AddonError> {
        let twice = |kind, name: &str| AddonError::Twice {
            addon: addon.name.clone(),
            kind,
            name: name.to_owned(),
        };
        if self.addons.iter().any(|other| other.name == addon.name) {
            return Err(twice("name", &addon.name));
        }
        let others = || self.addons.iter().map(|other| &other.recipe);
        let modules = others().flat_map(|other| other.modules.values());
        let modules = self.recipe.modules.values().chain(modules);
        let binaries: BTreeSet<&String> = modules.flat_map(Modules::binaries).collect();
        let own = addon.recipe.modules.values().flat_map(Modules::binaries);
        if let Some(binary) = own.into_iter().find(|binary| binaries.contains(*binary)) {
            return Err(twice("binary", binary));
        }
        let images = others().flat_map(|other| other.images.keys());
        let images: BTreeSet<&String> = self.recipe.images.keys().chain(images).collect();
        if let Some(image) = addon.recipe.images.keys().find(|image| images.contains(*image)) {
            return Err(twice("image", image));
        }
        self.addons.push(addon);
        Ok(())
    }

    /// The Debian packages asked for, by name of the set that the lock keeps for them: `os`, and `image/NAME` for the
    /// provider's own images and those of its add-ons.
    pub fn package_sets(&self) -> BTreeMap<String, Vec<String>> {
        let mut sets = self.recipe.package_sets();
        for addon in self.pinned_addons() {
            let images = addon.recipe.images.iter();
            let images = images.map(|(name, image)| (format!("image/{name}"), image.recipe.packages.clone()));
            sets.extend(images.filter(|(_, packages)| !packages.is_empty()));
        }
        sets
    }

    /// The add-ons that its provider file names, which its lock pins.
    pub fn pinned_addons(&self) -> impl Iterator<Item = &Addon> {
        let listed = |addon: &&Addon| self.recipe.addons.contains(&addon.name);
        self.addons.iter().filter(listed).chain(&self.optional)
    }

    /// What the image `short_name` is made of, the provider's own or one of an add-on.
    pub fn image(&self, short_name: &str) -> Option<&ImageRecipe> {
        let addons = self.addons.iter();
        let mut images = addons.filter_map(|addon| Some(&addon.recipe.images.get(short_name)?.recipe));
        self.recipe.images.get(short_name).or_else(|| images.next())
    }

    /// Reads the provider `name` of the folder `providers`.
    ///
    /// # Errors
    /// [`Error::Unknown`] with the names of those that are there, and what [`Provider::load`] says.
    pub fn find(name: &str, providers: &Path) -> Result<Self, Error> {
        // A name is parsed before it becomes part of a path.
        match name.parse::<ProviderName>() {
            Ok(name) if providers.join(name.as_str()).join(RECIPE).is_file() => {
                Self::load(&providers.join(name.as_str()))
            }
            _ => Err(Error::Unknown {
                name: name.into(),
                dir: providers.into(),
                known: Self::list(providers)?,
            }),
        }
    }

    /// Has its clusters another stack than it says.
    pub fn select_ip_stack(&mut self, stack: IpStack) {
        self.recipe.network = stack.of(self.recipe.network);
    }

    /// The cluster that the provider is for, with all of its nodes.
    ///
    /// # Errors
    /// None for a recipe that was parsed: parsing has tried it.
    pub fn describe(&self) -> Result<Description, DescriptionError> {
        self.recipe.describe()
    }

    /// The cluster of another `size`: with the provider's first nodes, or all of them and more.
    ///
    /// # Errors
    /// A control plane would be left out, or the networks have no room for so many.
    pub fn describe_sized(&self, size: ClusterSize) -> Result<Description, DescriptionError> {
        self.recipe.describe_sized(size)
    }

    /// The names of all providers of the folder `providers`, sorted.
    ///
    /// # Errors
    /// [`Error::Read`] when the folder cannot be read.
    pub fn list(providers: &Path) -> Result<Vec<ProviderName>, Error> {
        let failed = |source| Error::Read {
            path: providers.into(),
            source,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(providers).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.path().join(RECIPE).is_file() {
                names.extend(entry.file_name().to_string_lossy().parse::<ProviderName>());
            }
        }
        names.sort();
        Ok(names)
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests;
