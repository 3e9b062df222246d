//! The tables of a provider file, and the [`Recipe`] made from them.

use std::collections::BTreeMap;

use parbake_cluster::diagnostics::Problems;
use parbake_cluster::toml_document::{Document, Finding, ValuePath};
use parbake_cluster::{BuiltinServices, KubernetesVersion, NodeName, Role};
use semver::Version;
use serde::Deserialize;

use super::network::NetworkTable;
use super::recipe::{ImageRecipe, Modules, Os, Recipe};
use super::runtime::RuntimeTable;
use super::text::{self, Any, ImagePath, Name, PackageName, Word};
use super::{ContainerRuntime, Published, Variant, VariantName, validate};

/// A provider file. Required fields are optional here, so that all that are missing are reported at once.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderFile {
    kubernetes: Option<KubernetesVersion>,
    nodes: Option<Vec<NodeTable>>,
    network: Option<NetworkTable>,
    os: Option<OsTable>,
    #[serde(default)]
    runtime: ContainerRuntime,
    #[serde(default)]
    runtimes: BTreeMap<ContainerRuntime, RuntimeTable>,
    #[serde(default, deserialize_with = "text::named_parsed")]
    components: BTreeMap<String, Version>,
    #[serde(default, deserialize_with = "text::named")]
    modules: BTreeMap<String, Modules>,
    #[serde(default, deserialize_with = "text::named")]
    images: BTreeMap<String, ImageTable>,
    #[serde(default, deserialize_with = "text::named")]
    release: BTreeMap<String, Published>,
    #[serde(default, deserialize_with = "text::list::<Name, _>")]
    addons: Vec<String>,
    #[serde(default, deserialize_with = "text::list::<Name, _>")]
    optional: Vec<String>,
    #[serde(default, deserialize_with = "text::named")]
    options: BTreeMap<String, OptionsTable>,
    #[serde(default)]
    services: BuiltinServices,
    #[serde(default)]
    variants: BTreeMap<VariantName, Variant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeTable {
    name: NodeName,
    role: Role,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OsTable {
    #[serde(default, deserialize_with = "text::optional::<Name, _>")]
    suite: Option<String>,
    #[serde(default, deserialize_with = "text::list::<PackageName, _>")]
    packages: Vec<String>,
    #[serde(default, deserialize_with = "text::list::<Name, _>")]
    binaries: Vec<String>,
    root: Option<String>,
}

/// The options of one add-on.
#[derive(Deserialize)]
#[serde(transparent)]
struct OptionsTable(#[serde(deserialize_with = "text::map::<Name, Word, _>")] BTreeMap<String, String>);

/// An image; `reference` and `published` are for add-ons only.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageTable {
    pub(super) reference: Option<String>,
    #[serde(default)]
    pub(super) published: bool,
    #[serde(default, deserialize_with = "text::map::<ImagePath, Name, _>")]
    files: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "text::list::<ImagePath, _>")]
    setuid: Vec<String>,
    #[serde(default, deserialize_with = "text::map::<ImagePath, Any, _>")]
    links: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "text::list::<ImagePath, _>")]
    directories: Vec<String>,
    #[serde(default, deserialize_with = "text::list::<PackageName, _>")]
    packages: Vec<String>,
    #[serde(default)]
    entrypoint: Vec<String>,
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default)]
    user: String,
}

impl From<ImageTable> for ImageRecipe {
    fn from(table: ImageTable) -> Self {
        Self {
            files: table.files,
            setuid: table.setuid,
            links: table.links,
            directories: table.directories,
            packages: table.packages,
            entrypoint: table.entrypoint,
            arguments: table.arguments,
            user: table.user,
        }
    }
}

impl Recipe {
    /// Parses and validates a provider file.
    ///
    /// # Errors
    /// All problems of the file, with line and column.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        let mut document = Document::parse(text)?;
        let file = document.deserialize::<ProviderFile>();
        let recipe = file.and_then(|file| file.into_recipe(&mut document));
        document.finish(recipe)
    }
}

impl ProviderFile {
    /// Reports missing fields, and contradictions between fields that are valid for themselves.
    fn into_recipe(mut self, document: &mut Document<'_>) -> Option<Recipe> {
        let kubernetes = document.require(["kubernetes"], self.kubernetes.take());
        let nodes = document.require(["nodes"], self.nodes.take());
        let network = document.require(["network"], self.network.take());
        let network = network.and_then(|table| table.families(document));
        let os = document.require(["os"], self.os.take());
        let os = os.and_then(|table| table.into_os(document));
        let images = images(document, std::mem::take(&mut self.images));
        let nodes = nodes.map(|nodes| {
            nodes
                .into_iter()
                .map(|node| (node.name, node.role))
                .collect::<Vec<_>>()
        });
        if let Some(nodes) = nodes.as_ref().filter(|_| document.is_intact(["nodes"])) {
            document.report_all(validate::nodes(nodes));
        }
        self.validate(document, os.as_ref(), &images);

        let (os, nodes) = (os?, nodes?);
        let mut recipe = Recipe {
            kubernetes: kubernetes?,
            nodes,
            network: network?,
            default_packages: os.packages.clone(),
            os,
            runtime: self.runtime,
            default_runtime: self.runtime,
            runtimes: BTreeMap::new(),
            components: self.components,
            modules: self.modules,
            release: self.release,
            images,
            addons: self.addons,
            optional: self.optional,
            options: self
                .options
                .into_iter()
                .map(|(addon, options)| (addon, options.0))
                .collect(),
            services: self.services,
            variants: self.variants,
        };
        recipe.add_runtimes(&self.runtimes);
        document.report_all(validate::release(&recipe));
        if let Err(error) = recipe.describe() {
            document.report(&ValuePath::of(["nodes"]), error.to_string());
        }
        Some(recipe)
    }

    /// Checks that need several fields are skipped where one of them is invalid.
    fn validate(&self, document: &mut Document<'_>, os: Option<&Os>, images: &BTreeMap<String, ImageRecipe>) {
        let intact = |document: &Document<'_>, fields: &[&str]| {
            fields.iter().all(|field| document.is_intact([*field]))
        };
        let addons = intact(document, &["addons", "optional"]);
        if addons && document.is_intact(["options"]) {
            document.report_all(validate::addons(
                &self.addons,
                &self.optional,
                self.options.keys(),
            ));
        }
        let modules = document.is_intact(["modules"]);
        if modules && document.is_intact(["components"]) {
            document.report_all(validate::modules(&self.modules, &self.components));
        }
        if document.is_intact(["images"]) {
            document.report_all(validate::images(images));
        }
        let Some(os) = os else { return };
        if intact(document, &["os", "runtime", "runtimes"]) {
            document.report_all(validate::runtimes(&self.runtimes, self.runtime, os));
        }
        if modules && intact(document, &["os", "runtimes", "images"]) {
            let of_os = (ValuePath::of(["os", "binaries"]), os.binaries.as_slice());
            let of_runtimes = self.runtimes.iter().map(|(name, runtime)| {
                let path = ValuePath::of(["runtimes", name.as_str(), "binaries"]);
                (path, runtime.binaries.as_slice())
            });
            let lists: Vec<_> = [of_os].into_iter().chain(of_runtimes).collect();
            document.report_all(validate::binaries(&lists, images, &self.modules));
        }
        if intact(document, &["os", "services"]) {
            document.report_all(validate::services(ValuePath::of(["services"]), self.services, os));
        }
        if addons && intact(document, &["os", "variants"]) {
            document.report_all(validate::variants(
                &self.variants,
                &self.addons,
                &self.optional,
                os,
            ));
        }
    }
}

impl OsTable {
    fn into_os(self, document: &mut Document<'_>) -> Option<Os> {
        let suite = document.require(["os", "suite"], self.suite);
        if self.packages.is_empty() && document.is_intact(["os", "packages"]) {
            let message = "`os.packages` must name at least one package";
            document.report(&ValuePath::of(["os"]), message);
        }
        Some(Os {
            suite: suite?,
            packages: self.packages,
            binaries: self.binaries,
            root: self.root,
        })
    }
}

fn images(
    document: &mut Document<'_>,
    tables: BTreeMap<String, ImageTable>,
) -> BTreeMap<String, ImageRecipe> {
    for (name, table) in &tables {
        let given = [
            ("reference", table.reference.is_some()),
            ("published", table.published),
        ];
        for (field, _) in given.into_iter().filter(|(_, given)| *given) {
            let path = ValuePath::of(["images", name.as_str(), field]);
            let message = format!("unknown field `{path}`: only images of add-ons have one");
            document.report_all([Finding::new(path, message)]);
        }
    }
    tables
        .into_iter()
        .map(|(name, table)| (name, table.into()))
        .collect()
}
