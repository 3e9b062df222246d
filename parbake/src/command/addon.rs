//! `parbake addon`

use std::collections::BTreeMap;

use parbake_provision::provider::{Addon, Status};
use serde::Serialize;

use crate::cli::Global;
use crate::output::{self, table};

const EXAMPLES: &str = "\
Examples:
  parbake addon list
  parbake addon show local-storage
  parbake provision k8s-1.34 --manifest manifests/NAME --tag with-NAME    bake it in

Add-ons are folders in `manifests/` beside the folder of providers. A provider names those that it has in
`addons`, and pins them in its lock.";

/// Look at the add-ons: what can be in a cluster beside Kubernetes
#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Command {
    /// List all add-ons
    List,
    /// Show what an add-on applies, and what it needs
    Show(Args),
}

/// The add-on that is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The add-on, such as local-storage
    addon: String,
}

/// What is printed of an add-on.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    version: Option<String>,
    description: String,
    /// Whether a test runs it.
    tested: bool,
    /// Its options and their defaults.
    options: BTreeMap<String, String>,
    /// The container images that it brings.
    images: Vec<String>,
    /// Kinds and names of what it applies, in order.
    objects: Vec<String>,
}

impl Command {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let folder = Addon::folder(&global.providers);
        let find = |name: &str| Addon::find(name, &folder, &BTreeMap::new());
        match self {
            Self::List => {
                let names = Addon::list(&folder)?.into_iter();
                let addons = names.map(|name| Ok(shown(find(&name)?)));
                let addons = addons.collect::<anyhow::Result<Vec<_>>>()?;
                output::print(global.output, &addons, |addons| {
                    let rows = addons.iter().map(|addon| {
                        [
                            addon.name.clone(),
                            addon.version.clone().unwrap_or_default(),
                            tested(addon).to_owned(),
                            addon.description.clone(),
                        ]
                    });
                    table(["ADD-ON", "VERSION", "STATUS", "DESCRIPTION"], rows)
                })
            }
            Self::Show(args) => output::print(global.output, &shown(find(&args.addon)?), text),
        }
    }
}

fn shown(addon: Addon) -> Shown {
    let objects = addon.objects.iter().map(|object| {
        let text = |path: &str| object.pointer(path).and_then(|value| value.as_str());
        let name = text("/metadata/name").unwrap_or_default();
        let namespace = text("/metadata/namespace").map(|namespace| format!("{namespace}/"));
        format!(
            "{} {}{name}",
            text("/kind").unwrap_or_default(),
            namespace.unwrap_or_default()
        )
    });
    Shown {
        version: addon.recipe.version.as_ref().map(ToString::to_string),
        tested: addon.recipe.status == Status::Tested,
        images: addon
            .recipe
            .images
            .values()
            .map(|image| image.reference.clone())
            .collect(),
        objects: objects.collect(),
        options: addon.options,
        description: addon.recipe.description,
        name: addon.name,
    }
}

fn tested(addon: &Shown) -> &'static str {
    if addon.tested { "tested" } else { "untested" }
}

fn text(addon: &Shown) -> String {
    let options = addon
        .options
        .iter()
        .map(|(name, value)| format!("{name} = {value}"));
    format!(
        "add-on   {} {}, {}\nis       {}\noptions  {}\nimages   {}\n\n{}\n",
        addon.name,
        addon.version.as_deref().unwrap_or_default(),
        tested(addon),
        addon.description,
        options.collect::<Vec<_>>().join(", "),
        addon.images.join(", "),
        addon.objects.join("\n")
    )
}
