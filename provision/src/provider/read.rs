//! From the text of a provider file to a [`Recipe`].

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::str::FromStr;

use parbake_cluster::{BuiltinServices, NodeName, Role};

use super::document::{At, Fields, whole};
use super::recipe::{Generated, ImageRecipe, Modules, OUT, Os, PACKAGES, Recipe};
use super::{AlternativeRuntime, ContainerRuntime, Published, Variant, VariantName, check, network};
use parbake_cluster::diagnostics::{Collector, Problems};

pub(super) fn recipe(text: &str) -> Result<Recipe, Problems> {
    whole(text, read_recipe)
}

fn read_recipe(problems: &mut Collector<'_>, mut fields: Fields<'_, '_>) -> Option<Recipe> {
    // Everything is read before the first `?`, so that one bad field does not hide the others.
    let kubernetes = fields.parsed(problems, "kubernetes");
    let nodes = fields.array(problems, "nodes", read_node);
    let network = fields
        .table(problems, "network")
        .and_then(|fields| network::read(problems, fields));
    let os = fields
        .table(problems, "os")
        .and_then(|fields| read_os(problems, fields));
    let runtime = fields.optional_parsed::<ContainerRuntime>(problems, "runtime");
    let runtimes = fields.tables::<ContainerRuntime, _>(problems, "runtimes", read_runtime);
    let components = fields.map::<Segment, _>(problems, "components").map(plain);
    let modules = fields.tables::<Segment, _>(problems, "modules", read_modules);
    let images = fields.tables::<Segment, _>(problems, "images", read_image);
    let release = fields.map::<Segment, Published>(problems, "release");
    let addons = fields.list::<Segment>(problems, "addons");
    let optional = fields.list::<Segment>(problems, "optional");
    let options = fields.tables::<Segment, _>(problems, "options", |problems, fields| {
        let span = fields.span().clone();
        Some((fields.all::<Segment, Word>(problems)?, span))
    });
    let services = fields
        .optional_table(problems, "services")
        .map(|fields| read_services(problems, fields));
    let variants = fields.tables::<VariantName, _>(problems, "variants", read_variant);
    fields.finish(problems);

    if let Some((nodes, span)) = &nodes {
        check::nodes(problems, nodes, span);
    }
    let (modules, images, release) = (modules?, images?, release?);
    let (addons, optional, options) = (addons?, optional?, options?);
    check::addons(problems, &addons, &optional, &options);
    let components = components?;
    check::modules(problems, &modules, &components);
    let (os, binaries) = os?;
    let runtimes = runtimes?;
    let default_runtime = runtime.as_ref().map(|(runtime, _)| *runtime).unwrap_or_default();
    check::runtimes(problems, &runtimes, default_runtime, &os);
    let of_runtimes = runtimes.values().flat_map(|runtime| runtime.binaries.clone());
    let on_nodes: Vec<_> = binaries.into_iter().chain(of_runtimes).collect();
    check::binaries(problems, &on_nodes, &images, &modules);
    if let Some((services, span)) = &services {
        check::services(problems, "services", *services, span, &os);
    }
    let variants = variants?;
    check::variants(problems, &variants, &addons, &optional, &os);
    let (nodes, nodes_span) = nodes?;
    let places = release
        .iter()
        .map(|(name, (_, span))| (name.0.clone(), span.clone()));
    let places: BTreeMap<_, _> = places.collect();
    let mut recipe = Recipe {
        kubernetes: kubernetes?.0,
        nodes: nodes.into_iter().map(|(node, _)| node).collect(),
        network: network?,
        default_packages: os.packages.clone(),
        os,
        runtime: default_runtime,
        default_runtime,
        runtimes: BTreeMap::new(),
        components,
        modules: modules
            .into_iter()
            .map(|(name, (module, _))| (name.0, module))
            .collect(),
        release: plain(release),
        images: images
            .into_iter()
            .map(|(name, (image, _))| (name.0, image))
            .collect(),
        addons: addons.into_iter().map(|(name, _)| name.0).collect(),
        optional: optional.into_iter().map(|(name, _)| name.0).collect(),
        options: options
            .into_iter()
            .map(|(addon, (values, _))| {
                let values = plain(values).into_iter();
                (addon.0, values.map(|(name, value)| (name, value.0)).collect())
            })
            .collect(),
        services: services.map(|(services, _)| services).unwrap_or_default(),
        variants: variants
            .into_iter()
            .map(|(name, variant)| (name, variant.plain()))
            .collect(),
    };
    recipe.offer(&runtimes);
    check::release(problems, &recipe, &places);
    if let Err(error) = recipe.describe() {
        problems.add(&nodes_span, error.to_string());
    }
    Some(recipe)
}

fn read_node(problems: &mut Collector<'_>, mut fields: Fields<'_, '_>) -> Option<At<(NodeName, Role)>> {
    let span = fields.span().clone();
    let name = fields.parsed::<NodeName>(problems, "name");
    let role = fields.parsed::<RoleName>(problems, "role");
    fields.finish(problems);
    Some(((name?.0, role?.0.0), span))
}

fn read_os(problems: &mut Collector<'_>, mut fields: Fields<'_, '_>) -> Option<(Os, Vec<At<String>>)> {
    let suite = fields.parsed::<Segment>(problems, "suite");
    let packages = fields.list::<PackageName>(problems, "packages");
    if packages.as_ref().is_some_and(Vec::is_empty) {
        problems.add(fields.span(), "`os.packages` must name at least one package");
    }
    let binaries = fields.list::<Segment>(problems, "binaries");
    let root = fields.optional_parsed::<Text>(problems, "root");
    fields.finish(problems);
    let binaries: Vec<_> = binaries?.into_iter().map(|(name, span)| (name.0, span)).collect();
    let names = binaries.iter().map(|(name, _)| name.clone()).collect();
    Some((
        Os {
            suite: suite?.0.0,
            packages: package_names(packages?),
            binaries: names,
            root: root.map(|(root, _)| root.0),
        },
        binaries,
    ))
}

fn read_services(problems: &mut Collector<'_>, mut fields: Fields<'_, '_>) -> At<BuiltinServices> {
    let span = fields.span().clone();
    let services = BuiltinServices {
        dns: fields.flag(problems, "dns"),
        registry: fields.flag(problems, "registry"),
    };
    fields.finish(problems);
    (services, span)
}

/// A variant and where its parts are.
pub(super) struct ReadVariant {
    pub(super) addons: Vec<At<Segment>>,
    pub(super) services: Option<At<BuiltinServices>>,
}

impl ReadVariant {
    fn plain(self) -> Variant {
        Variant {
            addons: self.addons.into_iter().map(|(name, _)| name.0).collect(),
            services: self.services.map(|(services, _)| services),
        }
    }
}

fn read_variant(problems: &mut Collector<'_>, mut fields: Fields<'_, '_>) -> Option<ReadVariant> {
    let addons = fields.needed_list::<Segment>(problems, "addons");
    let services = fields
        .optional_table(problems, "services")
        .map(|fields| read_services(problems, fields));
    fields.finish(problems);
    Some(ReadVariant {
        addons: addons?,
        services,
    })
}

/// A runtime that is offered and where its parts are.
pub(super) struct ReadRuntime {
    pub(super) packages: Vec<String>,
    pub(super) binaries: Vec<At<String>>,
    pub(super) without: Vec<At<String>>,
    pub(super) span: std::ops::Range<usize>,
}

fn read_runtime(problems: &mut Collector<'_>, mut fields: Fields<'_, '_>) -> Option<ReadRuntime> {
    let span = fields.span().clone();
    let packages = fields.list::<PackageName>(problems, "packages");
    let binaries = fields.list::<Segment>(problems, "binaries");
    let without = fields.list::<Segment>(problems, "without");
    fields.finish(problems);
    let names = |names: Vec<At<Segment>>| names.into_iter().map(|(name, span)| (name.0, span)).collect();
    Some(ReadRuntime {
        packages: package_names(packages?),
        binaries: names(binaries?),
        without: names(without?),
        span,
    })
}

impl Recipe {
    /// Puts what can be chosen apart from what nodes have when nobody chooses.
    fn offer(&mut self, runtimes: &BTreeMap<ContainerRuntime, ReadRuntime>) {
        let plain = |names: &[At<String>]| names.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        for (runtime, read) in runtimes {
            let binaries = plain(&read.binaries);
            let mut offered =
                AlternativeRuntime::beside(&self.os, [&read.packages, &binaries], &plain(&read.without));
            let in_images = self.images.values().flat_map(|image| image.files.values());
            let needed: Vec<String> = self.os.binaries.iter().chain(in_images).cloned().collect();
            let (theirs, own) = std::mem::take(&mut self.modules)
                .into_iter()
                .partition(|(_, module)| {
                    module.binaries().any(|binary| binaries.contains(binary))
                        && !module.binaries().any(|binary| needed.contains(binary))
                });
            (offered.modules, self.modules) = (theirs, own);
            self.runtimes.insert(*runtime, offered);
        }
    }
}

pub(super) fn read_modules(problems: &mut Collector<'_>, mut fields: Fields<'_, '_>) -> Option<At<Modules>> {
    let span = fields.span().clone();
    let go = fields.parsed(problems, "go");
    let commands = fields.map::<Segment, Text>(problems, "commands");
    let tests = fields.map::<Segment, Text>(problems, "tests");
    let files = fields.map::<Segment, FileOfModule>(problems, "files");
    let c = fields.map::<Segment, FileOfModule>(problems, "c");
    let tags = fields.list::<Segment>(problems, "tags");
    let variables = fields.map::<Word, Word>(problems, "variables");
    let generated = fields.tables::<FileOfModule, _>(problems, "generated", read_generated);
    fields.finish(problems);
    let packages = |all: BTreeMap<Segment, At<Text>>| {
        let all = all.into_iter();
        all.map(|(name, (package, _))| (name.0, package.0)).collect()
    };
    let variables = variables?
        .into_iter()
        .map(|(name, (value, _))| (name.0, value.0))
        .collect();
    Some((
        Modules {
            go: go?.0,
            commands: packages(commands?),
            tests: packages(tests?),
            files: of_modules(files?),
            c: of_modules(c?),
            tags: tags?.into_iter().map(|(tag, _)| tag.0).collect(),
            variables,
            generated: generated?
                .into_iter()
                .map(|(file, generated)| ((file.module, file.path), generated))
                .collect(),
        },
        span,
    ))
}

fn of_modules(files: BTreeMap<Segment, At<FileOfModule>>) -> BTreeMap<String, (String, String)> {
    let files = files.into_iter();
    files
        .map(|(name, (file, _))| (name.0, (file.module, file.path)))
        .collect()
}

fn read_generated(problems: &mut Collector<'_>, mut fields: Fields<'_, '_>) -> Option<Generated> {
    let by = fields.parsed::<Text>(problems, "by");
    let marker = fields.optional_parsed::<Marker>(problems, "marker");
    let arguments = fields.list::<Text>(problems, "arguments");
    let arguments: Vec<String> = arguments?.into_iter().map(|(word, _)| word.0).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument.contains(word));
    if !has(OUT) {
        problems.add(
            fields.span(),
            format!("`arguments` must say where the file is to be, with `{OUT}`"),
        );
    }
    if has(PACKAGES) != marker.is_some() {
        let message =
            format!("`marker` says what `{PACKAGES}` is: there must be both of them in it, or neither");
        problems.add(fields.span(), message);
    }
    fields.finish(problems);
    Some(Generated {
        by: by?.0.0,
        arguments,
        marker: marker.map(|(marker, _)| marker.0),
    })
}

fn read_image(problems: &mut Collector<'_>, fields: Fields<'_, '_>) -> Option<At<ImageRecipe>> {
    read_image_fields(problems, fields)
}

/// What an image is made of, and nothing else that has not been read before.
pub(super) fn read_image_fields(
    problems: &mut Collector<'_>,
    mut fields: Fields<'_, '_>,
) -> Option<At<ImageRecipe>> {
    let span = fields.span().clone();
    let files = fields.map::<ImagePath, Segment>(problems, "files");
    let setuid = fields.list::<ImagePath>(problems, "setuid");
    let links = fields.map::<ImagePath, Text>(problems, "links");
    let directories = fields.list::<ImagePath>(problems, "directories");
    let packages = fields.list::<PackageName>(problems, "packages");
    let entrypoint = fields.list::<Text>(problems, "entrypoint");
    let arguments = fields.list::<Text>(problems, "arguments");
    let user = fields.optional_parsed::<Text>(problems, "user");
    fields.finish(problems);
    let files: BTreeMap<_, _> = files?
        .into_iter()
        .map(|(path, (binary, _))| (path.0, binary.0))
        .collect();
    let setuid = setuid?;
    for (path, span) in &setuid {
        if !files.contains_key(&path.0) {
            problems.add(span, format!("`setuid`: `{}` is none of `files`", path.0));
        }
    }
    let image = ImageRecipe {
        files,
        setuid: setuid.into_iter().map(|(path, _)| path.0).collect(),
        links: links?
            .into_iter()
            .map(|(path, (target, _))| (path.0, target.0))
            .collect(),
        directories: directories?.into_iter().map(|(path, _)| path.0).collect(),
        packages: package_names(packages?),
        entrypoint: entrypoint?.into_iter().map(|(word, _)| word.0).collect(),
        arguments: arguments?.into_iter().map(|(word, _)| word.0).collect(),
        user: user.map(|(user, _)| user.0).unwrap_or_default(),
    };
    Some((image, span))
}

pub(super) fn plain<T>(map: BTreeMap<Segment, At<T>>) -> BTreeMap<String, T> {
    map.into_iter().map(|(key, (value, _))| (key.0, value)).collect()
}

fn package_names(names: Vec<At<PackageName>>) -> Vec<String> {
    names.into_iter().map(|(name, _)| name.0).collect()
}

struct RoleName(Role);

impl FromStr for RoleName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "control-plane" => Ok(Self(Role::ControlPlane)),
            "worker" => Ok(Self(Role::Worker)),
            _ => Err(format!(
                "`{text}` is no role; there are `control-plane` and `worker`"
            )),
        }
    }
}

/// What looks for packages, neither nothing nor more than a line.
struct Marker(String);

impl FromStr for Marker {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let good = !text.trim().is_empty() && !text.contains('\n');
        good.then(|| Self(text.into()))
            .ok_or("a marker must be a text within one line")
    }
}

/// A file of a module: `MODULE//PATH`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct FileOfModule {
    module: String,
    path: String,
}

impl FromStr for FileOfModule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let inside = |path: &str| path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        match text.split_once("//") {
            Some((module, path)) if inside(module) && inside(path) => Ok(Self {
                module: module.into(),
                path: path.into(),
            }),
            _ => Err(format!(
                "`{text}` is no file of a module such as example.org/module//path/of/file"
            )),
        }
    }
}

/// Any text.
pub(super) struct Text(pub(super) String);

impl FromStr for Text {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.into()))
    }
}

/// A name that is also a file name: of a binary, a component, an image, a module folder, a Debian suite.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment(pub(super) String);

impl FromStr for Segment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c);
        if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(good) {
            Ok(Self(text.into()))
        } else {
            Err(format!(
                "`{text}` is not a name of `a`-`z`, `0`-`9`, `.`, `_` and `-`"
            ))
        }
    }
}

/// A text without white space or quotes, which the Go linker's flags would need quoted.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Word(pub(super) String);

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || "'\"".contains(c)) {
            return Err(format!(
                "`{text}` must have neither white space nor quotes and not be empty"
            ));
        }
        Ok(Self(text.into()))
    }
}

/// The name of a Debian package (Debian Policy, section 5.6.1).
struct PackageName(String);

impl FromStr for PackageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if text.len() >= 2 && text.starts_with(plain) && text.chars().all(|c| plain(c) || "+-.".contains(c)) {
            Ok(Self(text.into()))
        } else {
            Err(format!("`{text}` is not the name of a Debian package"))
        }
    }
}

/// An absolute path inside an image, already in its shortest form.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct ImagePath(String);

impl FromStr for ImagePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.strip_prefix('/').map(|rest| rest.split('/'));
        if parts.is_some_and(|mut parts| parts.all(|part| !matches!(part, "" | "." | ".."))) {
            Ok(Self(text.into()))
        } else {
            Err(format!(
                "`{text}` is not an absolute path without `.`, `..` and double slashes"
            ))
        }
    }
}
