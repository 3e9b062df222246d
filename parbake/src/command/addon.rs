//! `parbake addon`

use std::collections::BTreeMap;
use std::path::Path;

use parbake_provision::provider::{Addon, Status};
use serde::Serialize;

use crate::args::{GlobalArgs, ProvidersArgs};
use crate::output::{self, table};

const EXAMPLES: &str = "\
Examples:
  parbake addon list
  parbake addon show local-storage
  parbake provision k8s-1.34 --manifest manifests/NAME --tag with-NAME    bake it in

Add-ons are directories in `manifests/` next to the directory of providers. A provider lists its
add-ons in `addons`, and pins them in its lock file.";

/// List and show add-ons, which clusters can have besides Kubernetes
#[derive(Debug, clap::Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Command {
    /// List all add-ons
    List(ListArgs),
    /// Show the objects, images and options of an add-on
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    providers: ProvidersArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The add-on, such as local-storage
    addon: String,
    #[command(flatten)]
    providers: ProvidersArgs,
}

#[derive(Debug, Serialize)]
struct AddonInfo {
    name: String,
    version: Option<String>,
    description: String,
    /// True if an end-to-end test covers it.
    tested: bool,
    /// Options and their defaults.
    options: BTreeMap<String, String>,
    images: Vec<String>,
    /// Kinds and names, in the order in which they are applied.
    objects: Vec<String>,
}

impl Command {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        match self {
            Self::List(args) => {
                let dir = Addon::folder(&args.providers.dir());
                let names = Addon::list(&dir)?.into_iter();
                let addons = names.map(|name| find(&name, &dir));
                let addons = addons.collect::<anyhow::Result<Vec<_>>>()?;
                output::print(global.output, &addons, |addons| {
                    let rows = addons.iter().map(|addon| {
                        [
                            addon.name.clone(),
                            addon.version.clone().unwrap_or_default(),
                            status(addon).to_owned(),
                            addon.description.clone(),
                        ]
                    });
                    table(["ADD-ON", "VERSION", "STATUS", "DESCRIPTION"], rows)
                })
            }
            Self::Show(args) => {
                let dir = Addon::folder(&args.providers.dir());
                output::print(global.output, &find(&args.addon, &dir)?, text)
            }
        }
    }
}

fn find(name: &str, dir: &Path) -> anyhow::Result<AddonInfo> {
    Ok(info(Addon::find(name, dir, &BTreeMap::new())?))
}

fn info(addon: Addon) -> AddonInfo {
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
    AddonInfo {
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

fn status(addon: &AddonInfo) -> &'static str {
    if addon.tested { "tested" } else { "untested" }
}

fn text(addon: &AddonInfo) -> String {
    let options = addon
        .options
        .iter()
        .map(|(name, value)| format!("{name} = {value}"));
    format!(
        "add-on       {} {}, {}\ndescription  {}\noptions      {}\nimages       {}\n\n{}\n",
        addon.name,
        addon.version.as_deref().unwrap_or_default(),
        status(addon),
        addon.description,
        options.collect::<Vec<_>>().join(", "),
        addon.images.join(", "),
        addon.objects.join("\n")
    )
}
