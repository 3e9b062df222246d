//! The contents of an add-on's file.

use std::collections::BTreeMap;

use parbake_artifact::images::{ImageName, runtime_name};
use parbake_cluster::api::rollout::Workload;
use parbake_cluster::diagnostics::Problems;
use parbake_cluster::toml_document::{Document, Parsed, ValuePath};
use semver::Version;
use serde::Deserialize;

use super::super::file::ImageTable;
use super::super::recipe::{ImageRecipe, Modules};
use super::super::text::{self, Name, Rule, Word};
use super::super::validate;
use super::error::AddonError;

/// The validated contents of an add-on's file.
///
/// ```toml
/// version = "0.0.30"
/// description = "local volumes and a default storage class"
/// status = "tested"                     # or `untested`
///
/// # Workloads that must be rolled out in addition to those of the manifests.
/// ready = ["deployment/local-path-storage/local-path-provisioner"]
/// # Images that only an argument or a config map names.
/// also = ["docker.io/library/helper:1"]
///
/// [options]                             # replace `@path@` in the manifests; providers can set other values
/// path = "/mnt/local-storage"
///
/// [components]                          # versions of what is built
/// local-path-provisioner = "0.0.30"
///
/// [modules.local-path-provisioner]      # as in a provider file; `go.mod` and `go.sum` are in the add-on's `modules/`
/// go = "1.26.8"
/// commands = { local-path-provisioner = "github.com/rancher/local-path-provisioner" }
///
/// [images.local-path-provisioner]       # as in a provider file; packages are pinned by the provider's lock
/// reference = "docker.io/rancher/local-path-provisioner:v0.0.30"
/// files = { "/usr/bin/local-path-provisioner" = "local-path-provisioner" }
/// published = true                      # the image of that name in its registry serves the manifests, too: no build is needed
///
/// [images.busybox]                      # only a reference: a published image, pinned by the provider's lock
/// reference = "docker.io/library/busybox:1.37.0"
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddonRecipe {
    /// `None` for manifests without an add-on file.
    pub version: Option<Version>,
    pub description: String,
    pub status: Status,
    /// Workloads that must be rolled out in addition to those of the manifests.
    pub ready: Vec<Workload>,
    /// Images that only an argument or a config map names: `also` in the file.
    pub extra_images: Vec<String>,
    /// Default values of options.
    pub options: BTreeMap<String, String>,
    /// Versions of components that are built.
    pub components: BTreeMap<String, Version>,
    /// By name of the folder under `modules/`.
    pub modules: BTreeMap<String, Modules>,
    /// By short name.
    pub images: BTreeMap<String, AddonImage>,
}

/// An image of an add-on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddonImage {
    /// The full name that pods use.
    pub reference: String,
    /// Empty for an image that is always pulled.
    pub recipe: ImageRecipe,
    /// True if the image of that name in its registry serves, too.
    pub published: bool,
}

/// An add-on's file. Required fields are optional here, so that all that are missing are reported at once.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddonFile {
    version: Option<Parsed<Version>>,
    description: Option<String>,
    status: Option<Status>,
    #[serde(default)]
    ready: Vec<Parsed<Workload>>,
    #[serde(default, deserialize_with = "text::list::<FullImageName, _>")]
    also: Vec<String>,
    #[serde(default, deserialize_with = "text::map::<Name, Word, _>")]
    options: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "text::named_parsed")]
    components: BTreeMap<String, Version>,
    #[serde(default, deserialize_with = "text::named")]
    modules: BTreeMap<String, Modules>,
    #[serde(default, deserialize_with = "text::named")]
    images: BTreeMap<String, ImageTable>,
}

impl AddonFile {
    fn into_recipe(self, document: &mut Document<'_>) -> Option<AddonRecipe> {
        let version = document.require(["version"], self.version);
        let description = document.require(["description"], self.description);
        let status = document.require(["status"], self.status);
        let mut images = BTreeMap::new();
        for (name, mut table) in self.images {
            let reference = document.require(["images", &name, "reference"], table.reference.take());
            if let Some(Err(message)) = reference.as_deref().map(FullImageName::check) {
                let path = ValuePath::of(["images", &name, "reference"]);
                document.report(&path, format!("`{path}`: {message}"));
            }
            let published = std::mem::take(&mut table.published);
            let image = AddonImage {
                reference: reference.unwrap_or_default(),
                recipe: table.into(),
                published,
            };
            images.insert(name, image);
        }
        let built = images.iter().filter(|(_, image)| image.is_buildable());
        let built = built.map(|(name, image)| (name.clone(), image.recipe.clone()));
        let built: BTreeMap<_, _> = built.collect();
        if document.is_intact(["modules"]) && document.is_intact(["components"]) {
            document.report_all(validate::modules(&self.modules, &self.components));
        }
        if document.is_intact(["modules"]) && document.is_intact(["images"]) {
            document.report_all(validate::images(&built));
            document.report_all(validate::binaries(&[], &built, &self.modules));
        }
        Some(AddonRecipe {
            version: Some(version?.0),
            description: description?,
            status: status?,
            ready: self.ready.into_iter().map(|workload| workload.0).collect(),
            extra_images: self.also,
            options: self.options,
            components: self.components,
            modules: self.modules,
            images,
        })
    }
}

/// The complete name of an image, with registry and tag.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct FullImageName;

impl Rule for FullImageName {
    fn check(text: &str) -> Result<(), String> {
        let is_valid = text.parse::<ImageName>().is_ok();
        match runtime_name(text) {
            complete if is_valid && complete == text => Ok(()),
            complete if is_valid => Err(format!("`{text}` is not complete; write `{complete}`")),
            _ => Err(format!("`{text}` is not the name of an image")),
        }
    }
}

impl AddonImage {
    /// True if the image can be built.
    pub fn is_buildable(&self) -> bool {
        !self.recipe.is_empty()
    }
}

/// Tells if the end-to-end tests cover an add-on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Tested,
    #[default]
    Untested,
}

impl AddonRecipe {
    /// Parses and validates an add-on's file.
    ///
    /// # Errors
    /// All problems of the file, with line and column.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let mut document = Document::parse(text)?;
        let file = document.deserialize::<AddonFile>();
        let recipe = file.and_then(|file| file.into_recipe(&mut document));
        document.finish(recipe)
    }

    /// The images that can be pulled, by short name; some can be built, too.
    pub(crate) fn published(&self) -> impl Iterator<Item = (&String, &AddonImage)> {
        let images = self.images.iter();
        images.filter(|(_, image)| image.published || !image.is_buildable())
    }

    /// The options with the values in `selected`.
    pub(super) fn with_options(
        &self,
        addon: &str,
        selected: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, AddonError> {
        if let Some(option) = selected.keys().find(|option| !self.options.contains_key(*option)) {
            return Err(AddonError::Option {
                addon: addon.to_owned(),
                option: option.clone(),
                known: self.options.keys().cloned().collect(),
            });
        }
        let mut options = self.options.clone();
        options.extend(selected.clone());
        Ok(options)
    }
}
