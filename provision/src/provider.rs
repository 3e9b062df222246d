//! Providers: recipes of clusters, one folder each under `providers/`. They contain data, never code.
//!
//! ```text
//! providers/k8s-1.34/
//! |-- provider.toml        the cluster (Recipe)
//! |-- lock.toml            pinned inputs: Debian packages, add-ons, release files (lock::Lock)
//! |-- lock.arm64.toml      the same for another architecture
//! `-- modules/
//!     `-- kubernetes/      one Go main module for each source of binaries
//!         |-- go.mod
//!         `-- go.sum
//! ```
//!
//! Add-ons ([`Addon`]) are shared by providers.

mod addon;
mod file;
pub mod lock;
mod names;
mod network;
mod published;
mod recipe;
mod runtime;
mod text;
mod validate;
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
pub use self::recipe::{
    AlternativeRuntime, ClusterSize, GeneratedFile, ImageRecipe, ModuleFile, Modules, Os, Recipe,
};
pub(crate) use self::recipe::{OS_SET, is_os};
pub use self::runtime::RuntimeNotAvailable;
pub use self::variant::{InvalidVariantName, Variant, VariantName};
pub use parbake_cluster::diagnostics::{Problem, Problems};
pub use parbake_cluster::{ContainerRuntime, InvalidValue};

const RECIPE: &str = "provider.toml";

/// A provider that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no provider `{name}` in `{}`; {}", dir.display(), listed(.known))]
    Unknown {
        name: String,
        dir: PathBuf,
        known: Vec<ProviderName>,
    },
    #[error("`{}` is not a provider", dir.display())]
    Name {
        dir: PathBuf,
        #[source]
        source: InvalidProviderName,
    },
    #[error("could not read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` is not a valid provider file", path.display())]
    Recipe {
        path: PathBuf,
        #[source]
        source: Problems,
    },
    #[error("`{provider}` has no variant `{name}`; {}", listed(.known))]
    NoVariant {
        provider: ProviderName,
        name: String,
        known: Vec<VariantName>,
    },
    #[error(transparent)]
    Addon(#[from] AddonError),
}

/// Lists the known names, at the end of an error.
fn listed<T: Display>(known: &[T]) -> String {
    if known.is_empty() {
        return "there are none".to_owned();
    }
    let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    format!("there are {}", names.join(", "))
}

/// A provider: its name, folder, recipe and add-ons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// The name of its folder.
    pub name: ProviderName,
    /// Absolute path of its folder.
    pub dir: PathBuf,
    pub recipe: Recipe,
    /// In the order in which they are applied; those of the provider file come first.
    pub addons: Vec<Addon>,
    /// Further add-ons that can be selected.
    pub optional: Vec<Addon>,
    /// The selected variant.
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
            provider.add_addon(addon)?;
        }
        for name in &provider.recipe.optional {
            provider.optional.push(find(name, &provider.recipe)?);
        }
        for variant in provider.recipe.variants.keys() {
            provider.clone().select_variant(variant.as_str())?;
        }
        Ok(provider)
    }

    /// Selects a variant, whose add-ons and services replace those of the provider. Add-ons that the variant lacks become
    /// optional.
    ///
    /// # Errors
    /// [`Error::NoVariant`]. [`Provider::load`] has already checked that the add-ons of each variant are compatible.
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
        let (kept, removed) = std::mem::take(&mut self.addons)
            .into_iter()
            .partition(|addon| variant.addons.contains(&addon.name));
        let kept: Vec<Addon> = kept;
        self.optional.extend::<Vec<Addon>>(removed);
        for name in &variant.addons {
            match kept.iter().find(|addon| addon.name == *name) {
                Some(addon) => self.add_addon(addon.clone())?,
                None => self.select_addon(name)?,
            }
        }
        self.recipe.services = variant.services.unwrap_or(self.recipe.services);
        self.variant = Some(name);
        Ok(())
    }

    /// The default tag of its artifact: `PROVIDER` or `PROVIDER-VARIANT`.
    pub fn tag(&self) -> String {
        let variant = self.variant.iter().map(|variant| format!("-{variant}"));
        self.name.to_string() + &variant.collect::<String>()
    }

    /// Selects one of the optional add-ons.
    ///
    /// # Errors
    /// [`AddonError::NotOffered`], [`AddonError::Duplicate`].
    pub fn select_addon(&mut self, name: &str) -> Result<(), AddonError> {
        let optional = self.optional.iter().find(|addon| addon.name == name);
        let addon = optional.cloned().ok_or_else(|| AddonError::NotOffered {
            addon: name.to_owned(),
            offered: self.optional.iter().map(|addon| addon.name.clone()).collect(),
        })?;
        self.add_addon(addon)
    }

    /// Adds an add-on after those of the provider.
    ///
    /// # Errors
    /// [`AddonError::Duplicate`] if it has the name, a binary or an image of another one.
    pub fn add_addon(&mut self, addon: Addon) -> Result<(), AddonError> {
        let duplicate = |kind, name: &str| AddonError::Duplicate {
            addon: addon.name.clone(),
            kind,
            name: name.to_owned(),
        };
        if self.addons.iter().any(|other| other.name == addon.name) {
            return Err(duplicate("name", &addon.name));
        }
        let others = || self.addons.iter().map(|other| &other.recipe);
        let modules = others().flat_map(|other| other.modules.values());
        let modules = self.recipe.modules.values().chain(modules);
        let binaries: BTreeSet<&String> = modules.flat_map(Modules::binaries).collect();
        let own = addon.recipe.modules.values().flat_map(Modules::binaries);
        if let Some(binary) = own.into_iter().find(|binary| binaries.contains(*binary)) {
            return Err(duplicate("binary", binary));
        }
        let images = others().flat_map(|other| other.images.keys());
        let images: BTreeSet<&String> = self.recipe.images.keys().chain(images).collect();
        if let Some(image) = addon.recipe.images.keys().find(|image| images.contains(*image)) {
            return Err(duplicate("image", image));
        }
        self.addons.push(addon);
        Ok(())
    }

    /// The requested Debian packages by the name of their set in the lock, see [`Recipe::package_sets`], including images of
    /// add-ons.
    pub fn package_sets(&self) -> BTreeMap<String, Vec<String>> {
        let mut sets = self.recipe.package_sets();
        for addon in self.pinned_addons() {
            let images = addon.recipe.images.iter();
            let images = images.map(|(name, image)| (format!("image/{name}"), image.recipe.packages.clone()));
            sets.extend(images.filter(|(_, packages)| !packages.is_empty()));
        }
        sets
    }

    /// The add-ons of the provider file, which the lock pins.
    pub fn pinned_addons(&self) -> impl Iterator<Item = &Addon> {
        let listed = |addon: &&Addon| self.recipe.addons.contains(&addon.name);
        self.addons.iter().filter(listed).chain(&self.optional)
    }

    /// The recipe of an image of the provider or of an add-on.
    pub fn image(&self, short_name: &str) -> Option<&ImageRecipe> {
        let addons = self.addons.iter();
        let mut images = addons.filter_map(|addon| Some(&addon.recipe.images.get(short_name)?.recipe));
        self.recipe.images.get(short_name).or_else(|| images.next())
    }

    /// Reads the provider `name` in the folder `providers`.
    ///
    /// # Errors
    /// [`Error::Unknown`], and those of [`Provider::load`].
    pub fn find(name: &str, providers: &Path) -> Result<Self, Error> {
        // The name is validated before it becomes part of a path.
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

    /// Selects the IP families of the cluster.
    pub fn select_ip_stack(&mut self, stack: IpStack) {
        self.recipe.network = stack.networks(self.recipe.network);
    }

    /// The cluster with all nodes of the provider file.
    ///
    /// # Errors
    /// None for a parsed recipe: parsing has checked it.
    pub fn describe(&self) -> Result<Description, DescriptionError> {
        self.recipe.describe()
    }

    /// The cluster in another `size`, see [`Recipe::describe_sized`].
    ///
    /// # Errors
    /// Those of [`Recipe::describe_sized`].
    pub fn describe_sized(&self, size: ClusterSize) -> Result<Description, DescriptionError> {
        self.recipe.describe_sized(size)
    }

    /// The names of all providers in the folder `providers`, sorted.
    ///
    /// # Errors
    /// The folder cannot be read.
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
