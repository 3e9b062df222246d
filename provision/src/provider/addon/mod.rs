//! Add-ons: what is in a cluster beside Kubernetes itself, as data.
//!
//! ```text
//! manifests/local-storage/        beside the folder of providers
//! |-- addon.toml                  what it is (AddonRecipe)
//! |-- README.md
//! |-- *.yaml                      applied in the order of their names
//! `-- modules/NAME/               go.mod and go.sum, as a provider has them
//! ```

mod error;
mod manifest;
mod read;
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

/// The file that makes a folder an add-on.
const RECIPE: &str = "addon.toml";
/// What is for people changes nothing.
const FOR_PEOPLE: &str = "README.md";
/// The folder of add-ons, beside that of providers.
const FOLDER: &str = "manifests";

/// An add-on: a name, a folder, what its file says, and what is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addon {
    /// Its name, which is the folder's, or the file's without its extension.
    pub name: String,
    /// Its folder, as an absolute path; or the one file that it consists of.
    pub dir: PathBuf,
    /// What its file says.
    pub recipe: AddonRecipe,
    /// The objects to apply, in this order, options filled in.
    pub objects: Vec<Value>,
    /// All of its files but `README.md`, by their path below the folder, with the SHA-256 of each: 64 hexadecimal digits.
    pub files: BTreeMap<String, String>,
    /// The values of its options.
    pub options: BTreeMap<String, String>,
}

impl Addon {
    /// The folder of add-ons that belongs to the folder `providers`.
    pub fn folder(providers: &Path) -> PathBuf {
        let providers = fs::canonicalize(providers).unwrap_or_else(|_| providers.to_owned());
        providers.parent().unwrap_or(Path::new("/")).join(FOLDER)
    }

    /// Reads the add-on `name` of the folder `addons`, with `options` in the place of its own.
    ///
    /// # Errors
    /// [`AddonError::Unknown`] with the names of those that are there, and what [`Addon::load`] says.
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

    /// The names of all add-ons of the folder `addons`, sorted; none where there is no such folder.
    ///
    /// # Errors
    /// [`AddonError::Read`].
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

    /// Reads an add-on: a folder with an `addon.toml`, or else a folder of manifests or a single one.
    ///
    /// # Errors
    /// What cannot be read or makes no sense; a folder without manifests; an option that the add-on does not have.
    pub fn load(path: &Path, options: &BTreeMap<String, String>) -> Result<Self, AddonError> {
        let dir = fs::canonicalize(path).map_err(AddonError::read(path))?;
        let name = dir.file_stem().filter(|_| dir.is_file()).or(dir.file_name());
        let name = name.unwrap_or_default().to_string_lossy().into_owned();
        let described = dir.join(RECIPE);
        let recipe = if described.is_file() {
            let text = fs::read_to_string(&described).map_err(AddonError::read(&described))?;
            AddonRecipe::parse(&text).map_err(|source| AddonError::Recipe {
                path: described,
                source,
            })?
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
        let files = if described_only(&dir) {
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

    /// Identifies all files of the add-on: 64 hexadecimal digits.
    pub fn sha256(&self) -> String {
        let lines = self.files.iter().map(|(path, sum)| format!("{sum}  {path}\n"));
        hex::encode(Sha256::digest(lines.collect::<String>()))
    }

    /// What decides which objects are applied, and how: the files, and the options' values.
    pub fn fingerprint(&self) -> String {
        format!("{} {} {:?}", self.name, self.sha256(), self.options)
    }
}

/// Whether the folder is an add-on's own, so that all in it counts. Elsewhere may be anything.
fn described_only(dir: &Path) -> bool {
    dir.join(RECIPE).is_file()
}

fn sums(dir: &Path, files: WalkDir) -> Result<BTreeMap<String, String>, AddonError> {
    let mut sums = BTreeMap::new();
    for entry in files.sort_by_file_name() {
        let entry = entry.map_err(|error| AddonError::read(dir)(error.into()))?;
        if entry.file_type().is_dir() || entry.file_name() == FOR_PEOPLE {
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
