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

mod check;
mod document;
pub mod lock;
mod names;
mod problem;
mod read;
mod recipe;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parbake_cluster::{Description, DescriptionError};

pub use self::names::{InvalidProviderName, ProviderName};
pub use self::problem::{Problem, Problems};
pub use self::recipe::{ImageRecipe, Modules, Os, Recipe, Size};

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
}

fn listed(known: &[ProviderName]) -> String {
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
}

impl Provider {
    /// Reads the provider in the folder `dir`.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Name`] and [`Error::Recipe`].
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
        Ok(Self { name, dir, recipe })
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
    pub fn describe_with(&self, size: Size) -> Result<Description, DescriptionError> {
        self.recipe.describe_with(size)
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
