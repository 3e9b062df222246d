//! Checks between the fields of a provider or add-on file.

use std::collections::{BTreeMap, BTreeSet};

use parbake_cluster::toml_document::{Finding, ValuePath};
use parbake_cluster::{BuiltinServices, NodeName, Role};
use semver::Version;

use super::recipe::{ImageRecipe, Modules, OUT, Os, PACKAGES, Recipe};
use super::runtime::RuntimeTable;
use super::{ContainerRuntime, Published, Variant, VariantName};

/// The component that is built from C sources in Kubernetes' own modules.
const PAUSE: &str = "pause";
/// The folder of Kubernetes' own modules, whose version is that of the provider.
const KUBERNETES: &str = "kubernetes";
/// The Debian package of the DNS server for nodes.
const DNS_PACKAGE: &str = "dnsmasq-base";
/// The binary of the registry.
const REGISTRY: &str = "registry";

/// Control planes come first and their number is odd; names are unique.
pub(super) fn nodes(nodes: &[(NodeName, Role)]) -> Vec<Finding> {
    let path = || ValuePath::of(["nodes"]);
    let mut findings = Vec::new();
    let mut names = BTreeSet::new();
    for (index, (name, _)) in nodes.iter().enumerate() {
        if !names.insert(name) {
            let message = format!("there are two nodes named `{name}`");
            findings.push(Finding::new(path().index(index), message));
        }
    }
    let planes = nodes
        .iter()
        .filter(|(_, role)| *role == Role::ControlPlane)
        .count();
    let problem = match nodes {
        [] => Some("`nodes` must have at least one node".to_owned()),
        [(first, Role::Worker), ..] => Some(format!(
            "the first node, `{first}`, must have the role `control-plane`"
        )),
        _ if planes.is_multiple_of(2) => Some(format!(
            "{planes} control planes tolerate no more failures than {}: use an odd number",
            planes - 1
        )),
        _ => None,
    };
    findings.extend(problem.map(|message| Finding::new(path(), message)));
    findings
}

/// Every folder of modules has a version and builds something, and no binary is built twice.
pub(super) fn modules(
    modules: &BTreeMap<String, Modules>,
    components: &BTreeMap<String, Version>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut built = BTreeMap::new();
    for (name, module) in modules {
        let path = || ValuePath::of(["modules", name.as_str()]);
        let mut report = |message: String| findings.push(Finding::new(path(), message));
        if name != KUBERNETES && !components.contains_key(name) {
            report(format!(
                "`modules.{name}` needs its version in `components.{name}`"
            ));
        }
        if module.binaries().next().is_none() {
            report(format!(
                "`modules.{name}.commands` must name at least one command"
            ));
        }
        for binary in module.binaries() {
            if let Some(other) = built.insert(binary, name) {
                report(format!(
                    "`modules.{name}.commands.{binary}` is also in `modules.{other}`"
                ));
            }
        }
        for (file, generated) in &module.generated {
            let path = || path().key("generated").key(&file.to_string());
            let has = |word: &str| generated.arguments.iter().any(|argument| argument.contains(word));
            if !has(OUT) {
                let message =
                    format!("`arguments` must contain `{OUT}`, the directory for the generated file");
                findings.push(Finding::new(path(), message));
            }
            if has(PACKAGES) != generated.marker.is_some() {
                let message = format!("`marker` selects the packages of `{PACKAGES}`: set both or neither");
                findings.push(Finding::new(path(), message));
            }
        }
    }
    findings
}

/// Files that are setuid exist.
pub(super) fn images(images: &BTreeMap<String, ImageRecipe>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, image) in images {
        for (index, path) in image.setuid.iter().enumerate() {
            if !image.files.contains_key(path) {
                let at = ValuePath::of(["images", name.as_str(), "setuid"]).index(index);
                findings.push(Finding::new(at, format!("`setuid`: `{path}` is not in `files`")));
            }
        }
    }
    findings
}

/// Alternative runtimes differ from the default one, and remove only what nodes have.
pub(super) fn runtimes(
    runtimes: &BTreeMap<ContainerRuntime, RuntimeTable>,
    default: ContainerRuntime,
    os: &Os,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, runtime) in runtimes {
        let path = || ValuePath::of(["runtimes", name.as_str()]);
        if *name == default {
            let message = format!("`runtimes.{name}` must differ from the default runtime, `{default}`");
            findings.push(Finding::new(path(), message));
        }
        for (index, removed) in runtime.without.iter().enumerate() {
            if !os.packages.contains(removed) && !os.binaries.contains(removed) {
                let message = format!(
                    "`runtimes.{name}.without` has `{removed}`, which is neither in `os.packages` nor in `os.binaries`"
                );
                findings.push(Finding::new(path().key("without").index(index), message));
            }
        }
    }
    findings
}

/// Every binary in `lists` and in images is built, and no image is empty.
pub(super) fn binaries(
    lists: &[(ValuePath, &[String])],
    images: &BTreeMap<String, ImageRecipe>,
    modules: &BTreeMap<String, Modules>,
) -> Vec<Finding> {
    let built: BTreeSet<&str> = modules
        .values()
        .flat_map(Modules::binaries)
        .map(String::as_str)
        .chain([PAUSE])
        .collect();
    let mut findings = Vec::new();
    for (path, list) in lists {
        for (index, binary) in list.iter().enumerate() {
            if !built.contains(binary.as_str()) {
                let message = format!("`{path}` has `{binary}`, which nothing in `modules` builds");
                findings.push(Finding::new(path.clone().index(index), message));
            }
        }
    }
    for (name, image) in images {
        let mut report =
            |message: String| findings.push(Finding::new(ValuePath::of(["images", name.as_str()]), message));
        if image.files.is_empty() && image.packages.is_empty() {
            report(format!("`images.{name}` must have at least one file or package"));
        }
        for binary in image
            .files
            .values()
            .filter(|binary| !built.contains(binary.as_str()))
        {
            report(format!(
                "`images.{name}` has the binary `{binary}`, which nothing in `modules` builds"
            ));
        }
    }
    findings
}

/// Binaries are in images that exist, and their URLs contain only known versions.
pub(super) fn release(recipe: &Recipe) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, place) in &recipe.release {
        let message = match place {
            Published::InImage { image, .. } if !recipe.images.contains_key(image) => {
                format!("`release.{name}` is in the image `{image}`, which is not in `images`")
            }
            Published::InImage { .. } => continue,
            // The result does not depend on the architecture.
            Published::File(template) => match Published::url(template, recipe, "") {
                Ok(_) => continue,
                Err(unknown) => format!("`release.{name}`: there is no version of `{unknown}`"),
            },
        };
        findings.push(Finding::new(ValuePath::of(["release", name.as_str()]), message));
    }
    findings
}

/// Add-ons are listed once, and only listed ones have options.
pub(super) fn addons<'a>(
    addons: &'a [String],
    optional: &'a [String],
    with_options: impl Iterator<Item = &'a String>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut names = BTreeSet::new();
    for (field, list) in [("addons", addons), ("optional", optional)] {
        for (index, name) in list.iter().enumerate() {
            if !names.insert(name) {
                let path = ValuePath::of([field]).index(index);
                findings.push(Finding::new(path, format!("the add-on `{name}` is listed twice")));
            }
        }
    }
    for name in with_options.filter(|name| !names.contains(*name)) {
        let message =
            format!("`options.{name}` is for an add-on that is neither in `addons` nor in `optional`");
        findings.push(Finding::new(ValuePath::of(["options", name.as_str()]), message));
    }
    findings
}

/// Variants list add-ons of the provider once, and have what their services need.
pub(super) fn variants(
    variants: &BTreeMap<VariantName, Variant>,
    addons: &[String],
    optional: &[String],
    os: &Os,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (variant, table) in variants {
        let path = || ValuePath::of(["variants", variant.as_str()]);
        let mut names = BTreeSet::new();
        for (index, name) in table.addons.iter().enumerate() {
            let message = if !names.insert(name) {
                format!("the add-on `{name}` is listed twice in `variants.{variant}`")
            } else if !addons.contains(name) && !optional.contains(name) {
                format!(
                    "`variants.{variant}` has the add-on `{name}`, which is neither in `addons` nor in `optional`"
                )
            } else {
                continue;
            };
            findings.push(Finding::new(path().key("addons").index(index), message));
        }
        if let Some(own) = table.services {
            findings.extend(services(path().key("services"), own, os));
        }
    }
    findings
}

/// The services in the table at `path` have their programs.
pub(super) fn services(path: ValuePath, services: BuiltinServices, os: &Os) -> Vec<Finding> {
    let needs = |service: &str, list: &str, needed: &str| {
        let message = format!("`{path}.{service}` needs `{needed}` in `{list}`");
        Finding::new(path.clone(), message)
    };
    let lacks = |list: &[String], needed: &str| !list.iter().any(|name| name == needed);
    let mut findings = Vec::new();
    if services.dns && lacks(&os.packages, DNS_PACKAGE) {
        findings.push(needs("dns", "os.packages", DNS_PACKAGE));
    }
    if services.registry && lacks(&os.binaries, REGISTRY) {
        findings.push(needs("registry", "os.binaries", REGISTRY));
    }
    findings
}
