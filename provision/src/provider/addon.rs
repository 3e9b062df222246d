//! Add-ons: manifests and images that a cluster has in addition to Kubernetes, as data.
//!
//! ```text
//! manifests/local-storage/        `manifests` is next to `providers`
//! |-- addon.toml                  AddonRecipe
//! |-- README.md
//! |-- *.yaml                      applied in the order of their names
//! `-- modules/NAME/               go.mod and go.sum, as in a provider
//! ```

mod error;
mod manifest;
mod recipe;
#[cfg(test)]
mod shipped;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

pub use self::error::AddonError;
pub use self::manifest::ManifestError;
pub use self::recipe::{AddonImage, AddonRecipe, Status};

const RECIPE: &str = "addon.toml";
/// Not part of an add-on's digest.
const README: &str = "README.md";
/// The folder of add-ons, next to the folder of providers.
const FOLDER: &str = "manifests";

/// An add-on: its name, folder, recipe and Kubernetes objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addon {
    /// The name of its folder, or of its only file without the extension.
    pub name: String,
    /// Absolute path of its folder, or of its only file.
    pub dir: PathBuf,
    pub recipe: AddonRecipe,
    /// The objects to apply, in this order, with the values of options.
    pub objects: Vec<Value>,
    /// SHA-256 of all files except `README.md`, in hexadecimal, by path below the folder.
    pub files: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
}

impl Addon {
    /// The folder of add-ons for the folder `providers`.
    pub fn folder(providers: &Path) -> PathBuf {
        let providers = fs::canonicalize(providers).unwrap_or_else(|_| providers.to_owned());
        providers.parent().unwrap_or(Path::new("/")).join(FOLDER)
    }

    /// Reads the add-on `name` in the folder `addons`, with `options` instead of its defaults.
    ///
    /// # Errors
    /// [`AddonError::Unknown`], and those of [`Addon::load`].
    pub fn find(name: &str, addons: &Path, options: &BTreeMap<String, String>) -> Result<Self, AddonError> {
        let known = Self::list(addons)?;
        if !known.iter().any(|known| known == name) {
            return Err(AddonError::Unknown {
                name: name.to_owned(),
                dir: addons.to_owned(),
                known,
            });
        }
        Self::load(&addons.join(name), options)
    }

    /// The names of all add-ons in the folder `addons`, sorted; empty if there is no such folder.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(addons: &Path) -> Result<Vec<String>, AddonError> {
        let entries = match fs::read_dir(addons) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(AddonError::read(addons))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(AddonError::read(addons))?;
            if entry.path().join(RECIPE).is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Reads an add-on: a folder with an `addon.toml`, a folder of manifests, or a single manifest.
    ///
    /// # Errors
    /// A file is missing or invalid, there are no manifests, or an option is unknown or unused.
    pub fn load(path: &Path, options: &BTreeMap<String, String>) -> Result<Self, AddonError> {
        let dir = fs::canonicalize(path).map_err(AddonError::read(path))?;
        let name = dir.file_stem().filter(|_| dir.is_file()).or(dir.file_name());
        let name = name.unwrap_or_default().to_string_lossy().into_owned();
        let path = dir.join(RECIPE);
        let recipe = if path.is_file() {
            let text = fs::read_to_string(&path).map_err(AddonError::read(&path))?;
            AddonRecipe::parse(&text).map_err(|source| AddonError::Recipe { path, source })?
        } else {
            AddonRecipe::default()
        };
        let options = recipe.with_options(&name, options)?;
        let manifests = manifest::files(&dir)?;
        let mut objects = Vec::new();
        let mut used = BTreeSet::new();
        for path in &manifests {
            let text = fs::read_to_string(path).map_err(AddonError::read(path))?;
            objects.extend(manifest::objects(path, &text, &options, &mut used)?);
        }
        if objects.is_empty() && recipe.images.is_empty() {
            return Err(AddonError::Empty { dir });
        }
        if let Some(unused) = options.keys().find(|option| !used.contains(*option)) {
            return Err(AddonError::UnusedOption {
                addon: name,
                option: unused.clone(),
            });
        }
        // All files of an add-on's own folder count; other folders may contain anything.
        let files = if dir.join(RECIPE).is_file() {
            sums(&dir, WalkDir::new(&dir))?
        } else {
            manifests.iter().try_fold(BTreeMap::new(), |mut all, path| {
                all.extend(sums(&dir, WalkDir::new(path))?);
                Ok(all)
            })?
        };
        Ok(Self {
            name,
            dir,
            recipe,
            objects,
            files,
            options,
        })
    }

    /// SHA-256 of all files of the add-on, in hexadecimal.
    pub fn sha256(&self) -> String {
        let lines = self.files.iter().map(|(path, sum)| format!("{sum}  {path}\n"));
        hex::encode(Sha256::digest(lines.collect::<String>()))
    }

    /// Identifies the objects that are applied: the files and the values of options.
    pub fn fingerprint(&self) -> String {
        format!("{} {} {:?}", self.name, self.sha256(), self.options)
    }
}

/// SHA-256 of files, by path below `dir`.
fn sums(dir: &Path, files: WalkDir) -> Result<BTreeMap<String, String>, AddonError> {
    let mut sums = BTreeMap::new();
    for entry in files.sort_by_file_name() {
        let entry = entry.map_err(|error| AddonError::read(dir)(error.into()))?;
        if entry.file_type().is_dir() || entry.file_name() == README {
            continue;
        }
        let path = entry.path();
        let bytes = fs::read(path).map_err(AddonError::read(path))?;
        let below = path
            .strip_prefix(dir)
            .ok()
            .filter(|below| *below != Path::new(""));
        let name = below.map_or_else(
            || entry.file_name().to_string_lossy().into_owned(),
            |below| below.to_string_lossy().into_owned(),
        );
        sums.insert(name, hex::encode(Sha256::digest(&bytes)));
    }
    Ok(sums)
}
