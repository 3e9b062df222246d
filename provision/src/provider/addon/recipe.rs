//! What an add-on's file says, validated.

use std::collections::BTreeMap;

use parbake_cluster::api::rollout::Workload;
use semver::Version;

use super::super::recipe::{ImageRecipe, Modules};
use super::error::AddonError;
use super::read;
use parbake_cluster::diagnostics::Problems;

/// What an add-on's file says.
///
/// ```toml
/// version = "0.0.30"
/// description = "local volumes and a default storage class"
/// status = "tested"                     # or `untested`: nobody has seen it run
///
/// # What must be rolled out beside all that the manifests themselves have.
/// ready = ["deployment/local-path-storage/local-path-provisioner"]
/// # Images that only an argument or a config map names.
/// also = ["docker.io/library/helper:1"]
///
/// [options]                             # `@path@` in the manifests, unless a provider says otherwise
/// path = "/mnt/local-storage"
///
/// [components]                          # versions of what is built
/// local-path-provisioner = "0.0.30"
///
/// [modules.local-path-provisioner]      # as in a provider file, `go.mod` and `go.sum` in the add-on's `modules/`
/// go = "1.26.8"
/// commands = { local-path-provisioner = "github.com/rancher/local-path-provisioner" }
///
/// [images.local-path-provisioner]       # as in a provider file; the packages are pinned by the provider's lock
/// reference = "docker.io/rancher/local-path-provisioner:v0.0.30"
/// files = { "/usr/bin/local-path-provisioner" = "local-path-provisioner" }
///
/// [images.busybox]                      # nothing but the name: taken as it is published, by a digest in the provider's lock
/// reference = "docker.io/library/busybox:1.37.0"
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddonRecipe {
    /// Its version. None for manifests without an add-on's file.
    pub version: Option<Version>,
    /// What it is, in a few words.
    pub description: String,
    /// Whether it is known to work.
    pub status: Status,
    /// What must be rolled out beside all that the manifests themselves have.
    pub ready: Vec<Workload>,
    /// Images that only an argument or a config map names.
    pub also: Vec<String>,
    /// Defaults of its options.
    pub options: BTreeMap<String, String>,
    /// Versions of what is built, by name of component.
    pub components: BTreeMap<String, Version>,
    /// What is built from Go modules, by name of the folder under `modules/`.
    pub modules: BTreeMap<String, Modules>,
    /// The container images that are made for it, by short name.
    pub images: BTreeMap<String, AddonImage>,
}

/// An image of an add-on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddonImage {
    /// Its full name, as pods have it.
    pub reference: String,
    /// What it is made of; empty where it is published.
    pub recipe: ImageRecipe,
}

impl AddonImage {
    /// Whether it is taken as it is published, since nothing says what it is made of.
    pub fn is_published(&self) -> bool {
        self.recipe.is_empty()
    }
}

/// Whether an add-on is known to work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Status {
    /// A test runs it.
    Tested,
    /// Nobody has seen it run, or it is not ours.
    #[default]
    Untested,
}

impl AddonRecipe {
    /// Reads and validates the text of an add-on's file.
    ///
    /// # Errors
    /// Every problem of the text, with line and column.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        read::recipe(text)
    }

    /// The images that are taken as they are published, by short name and full name.
    pub(crate) fn published(&self) -> impl Iterator<Item = (&str, &str)> {
        let images = self.images.iter().filter(|(_, image)| image.is_published());
        images.map(|(name, image)| (name.as_str(), image.reference.as_str()))
    }

    /// Its options, with the values in `chosen`.
    pub(super) fn with_options(
        &self,
        addon: &str,
        chosen: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, AddonError> {
        if let Some(option) = chosen.keys().find(|option| !self.options.contains_key(*option)) {
            return Err(AddonError::Option {
                addon: addon.to_owned(),
                option: option.clone(),
                known: self.options.keys().cloned().collect(),
            });
        }
        let mut options = self.options.clone();
        options.extend(chosen.clone());
        Ok(options)
    }
}
