//! What must hold between the fields of a provider file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use parbake_cluster::{BuiltinServices, NodeName, Role};
use semver::Version;

use super::document::At;
use super::read::{ReadRuntime, ReadVariant, Segment, Word};
use super::recipe::{ImageRecipe, Modules, Os, Recipe};
use super::{ContainerRuntime, Published, VariantName};
use parbake_cluster::diagnostics::Collector;

/// The component that is built from Kubernetes' own modules, with C instead of Go.
const PAUSE: &str = "pause";
/// The folder of Kubernetes' own modules, whose version is the provider's own.
const KUBERNETES: &str = "kubernetes";

/// The Debian package of the DNS server for nodes.
const DNS_PACKAGE: &str = "dnsmasq-base";
/// The binary of the registry.
const REGISTRY: &str = "registry";

/// Control planes first, an odd number of them; no name twice.
pub(super) fn nodes(problems: &mut Collector<'_>, nodes: &[At<(NodeName, Role)>], span: &Range<usize>) {
    let mut names = BTreeSet::new();
    for ((name, _), span) in nodes {
        if !names.insert(name) {
            problems.add(span, format!("there are two nodes of the name `{name}`"));
        }
    }
    match nodes {
        [] => problems.add(span, "`nodes` must have at least one node"),
        [((first, Role::Worker), _), ..] => {
            problems.add(
                span,
                format!("the first node, `{first}`, must have the role `control-plane`"),
            );
        }
        _ => {
            let planes = nodes.iter().filter(|((_, role), _)| *role == Role::ControlPlane);
            let count = planes.count();
            if count.is_multiple_of(2) {
                let message = format!(
                    "{count} control planes bear no more failures than {}: have an odd number",
                    count - 1
                );
                problems.add(span, message);
            }
        }
    }
}

/// Every module folder has a known version, and no two commands have one name.
pub(super) fn modules(
    problems: &mut Collector<'_>,
    modules: &BTreeMap<Segment, At<Modules>>,
    components: &BTreeMap<String, Version>,
) {
    let mut commands = BTreeMap::new();
    for (name, (module, span)) in modules {
        if name.0 != KUBERNETES && !components.contains_key(&name.0) {
            problems.add(
                span,
                format!("`modules.{0}` needs its version in `components.{0}`", name.0),
            );
        }
        if module.binaries().next().is_none() {
            problems.add(
                span,
                format!("`modules.{}.commands` must name at least one command", name.0),
            );
        }
        for command in module.binaries() {
            if let Some(other) = commands.insert(command, &name.0) {
                let message = format!(
                    "`modules.{}.commands.{command}` is also in `modules.{other}`",
                    name.0
                );
                problems.add(span, message);
            }
        }
    }
}

/// Runtimes that are offered are others than the provider's own, and do without what nodes have.
pub(super) fn runtimes(
    problems: &mut Collector<'_>,
    runtimes: &BTreeMap<ContainerRuntime, ReadRuntime>,
    own: ContainerRuntime,
    os: &Os,
) {
    for (runtime, read) in runtimes {
        if *runtime == own {
            let message =
                format!("`runtimes.{runtime}` is for another runtime than nodes have, which is `{own}`");
            problems.add(&read.span, message);
        }
        for (name, span) in &read.without {
            if !os.packages.contains(name) && !os.binaries.contains(name) {
                let message = format!(
                    "`runtimes.{runtime}.without` has `{name}`, which neither `os.packages` nor `os.binaries` names"
                );
                problems.add(span, message);
            }
        }
    }
}

/// Every binary on nodes and in images is one that is built.
pub(super) fn binaries(
    problems: &mut Collector<'_>,
    on_nodes: &[At<String>],
    images: &BTreeMap<Segment, At<ImageRecipe>>,
    modules: &BTreeMap<Segment, At<Modules>>,
) {
    let built = |binary: &str| {
        binary == PAUSE
            || modules
                .values()
                .any(|(module, _)| module.binaries().any(|built| built == binary))
    };
    for (binary, span) in on_nodes.iter().filter(|(binary, _)| !built(binary)) {
        problems.add(
            span,
            format!("`os.binaries` has `{binary}`, which nothing in `modules` builds"),
        );
    }
    for (name, (image, span)) in images {
        if image.files.is_empty() && image.packages.is_empty() {
            problems.add(
                span,
                format!("`images.{}` must have at least one file or package", name.0),
            );
        }
        for binary in image.files.values().filter(|binary| !built(binary)) {
            let message = format!(
                "`images.{}` has the binary `{binary}`, which nothing in `modules` builds",
                name.0
            );
            problems.add(span, message);
        }
    }
}

/// Where something is published there is an image of that name, or every version in the URL.
pub(super) fn release(problems: &mut Collector<'_>, recipe: &Recipe, spans: &BTreeMap<String, Range<usize>>) {
    for (name, place) in &recipe.release {
        let problem = match place {
            Published::InImage { image, .. } if !recipe.images.contains_key(image) => {
                format!("`release.{name}` is in the image `{image}`, which `images` does not describe")
            }
            Published::InImage { .. } => continue,
            // Which architecture it is changes nothing.
            Published::File(template) => match Published::url(template, recipe, "") {
                Ok(_) => continue,
                Err(unknown) => format!("`release.{name}`: there is no version of `{unknown}`"),
            },
        };
        problems.add(&spans.get(name).cloned().unwrap_or_default(), problem);
    }
}

/// No add-on twice, and options only of those that are listed.
pub(super) fn addons(
    problems: &mut Collector<'_>,
    addons: &[At<Segment>],
    optional: &[At<Segment>],
    options: &BTreeMap<Segment, At<BTreeMap<Segment, At<Word>>>>,
) {
    let mut names = BTreeSet::new();
    for (name, span) in addons.iter().chain(optional) {
        if !names.insert(&name.0) {
            problems.add(span, format!("the add-on `{}` is named twice", name.0));
        }
    }
    for (name, (_, span)) in options {
        if !names.contains(&name.0) {
            problems.add(
                span,
                format!(
                    "`options.{0}` is for an add-on that neither `addons` nor `optional` names",
                    name.0
                ),
            );
        }
    }
}

/// Variants have add-ons that the lock pins, none twice, and services that have their programs.
pub(super) fn variants(
    problems: &mut Collector<'_>,
    variants: &BTreeMap<VariantName, ReadVariant>,
    addons: &[At<Segment>],
    optional: &[At<Segment>],
    os: &Os,
) {
    let offered: BTreeSet<&String> = addons.iter().chain(optional).map(|(name, _)| &name.0).collect();
    for (variant, read) in variants {
        let mut names = BTreeSet::new();
        for (name, span) in &read.addons {
            if !names.insert(&name.0) {
                problems.add(
                    span,
                    format!("the add-on `{}` is named twice in `variants.{variant}`", name.0),
                );
            } else if !offered.contains(&name.0) {
                let message = format!(
                    "`variants.{variant}` has the add-on `{}`, which neither `addons` nor `optional` names",
                    name.0
                );
                problems.add(span, message);
            }
        }
        if let Some((own, span)) = &read.services {
            services(problems, &format!("variants.{variant}.services"), *own, span, os);
        }
    }
}

/// Every service in the table `table` has its program.
pub(super) fn services(
    problems: &mut Collector<'_>,
    table: &str,
    services: BuiltinServices,
    span: &Range<usize>,
    os: &Os,
) {
    let mut wants = |service: &str, list: &str, names: &[String], wanted: &str| {
        if !names.iter().any(|name| name == wanted) {
            problems.add(span, format!("`{table}.{service}` needs `{wanted}` in `{list}`"));
        }
    };
    if services.dns {
        wants("dns", "os.packages", &os.packages, DNS_PACKAGE);
    }
    if services.registry {
        wants("registry", "os.binaries", &os.binaries, REGISTRY);
    }
}
