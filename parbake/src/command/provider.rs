//! `parbake provider`

use std::collections::BTreeMap;

use parbake_cluster::{Description, Role};
use parbake_provision::inputs::{Part, Update, check, update_lock};
use parbake_provision::provider::{Provider, ProviderName, Status};
use serde::Serialize;

use super::registry::{RegistryArgs, SiteArgs};
use crate::cli::Global;
use crate::output::{self, table};

/// Look at the providers: recipes of clusters that can be baked
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List all providers
    List,
    /// Show what a provider's cluster consists of
    Show(Args),
    /// Say whether a provider's files are sound, or all that is wrong with them
    Check(Args),
    Update(UpdateArgs),
}

/// The provider that is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The provider, such as k8s-1.34
    provider: String,
}

const EXAMPLES: &str = "\
Examples:
  parbake provider update k8s-1.34                     all of it
  parbake provider update k8s-1.34 --only release      what is published, and no packages
  parbake provider update k8s-1.34 --only release --binary-mirror URL --image-mirror REGISTRY
                                                       the same, as mirrors have it

Without a mirror, what is published is pinned where dl.k8s.io can be reached; elsewhere the lock
keeps what it has. The digests of binaries are those in the files `.sha256` beside them.";

/// Pin the newest packages that the Debian mirror has, the add-ons, and what is published for source `release`, in the
/// provider's lock file
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UpdateArgs {
    /// The provider, such as k8s-1.34
    provider: String,
    /// Only this part of the lock: Debian packages and add-ons, or what is published
    #[arg(long, value_name = "PART")]
    only: Option<Only>,
    #[command(flatten)]
    sites: SiteArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// A part of a lock.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Only {
    Packages,
    Release,
}

/// What is printed of a provider.
#[derive(Debug, Serialize)]
struct Shown {
    name: ProviderName,
    cluster: Description,
    /// The Debian release of the nodes.
    os: String,
    /// Versions by name of component.
    components: BTreeMap<String, String>,
    /// The container images that kubeadm asks for.
    images: Vec<String>,
    /// The add-ons, in the order in which they are applied.
    addons: Vec<String>,
}

/// What is printed of a provider without problems.
#[derive(Debug, Serialize)]
struct Checked {
    provider: ProviderName,
    sound: bool,
    /// Those of its add-ons that no test runs.
    untested: Vec<String>,
}

/// What is printed of a provider whose packages were looked up.
#[derive(Debug, Serialize)]
struct Updated {
    provider: ProviderName,
    changed: bool,
    /// Whether source `release` has all that it needs.
    release: bool,
}

impl Command {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        match self {
            Self::List => {
                let names = Provider::list(&global.providers)?;
                output::print(global.output, &names, |names| {
                    names.iter().map(|name| format!("{name}\n")).collect()
                })
            }
            Self::Show(args) => output::print(global.output, &args.shown(global)?, text),
            Self::Update(args) => output::print(global.output, &args.update(global)?, |updated| {
                let verb = if updated.changed {
                    "is pinned anew"
                } else {
                    "is pinned as it was"
                };
                let release = if updated.release {
                    ""
                } else {
                    "; nothing is pinned for source `release`"
                };
                format!("`{}` {verb}{release}\n", updated.provider)
            }),
            Self::Check(args) => {
                let provider = Provider::find(&args.provider, &global.providers)?;
                check(&provider)?;
                let untested = provider.addons.iter();
                let untested = untested.filter(|addon| addon.recipe.status == Status::Untested);
                let checked = Checked {
                    untested: untested.map(|addon| addon.name.clone()).collect(),
                    provider: provider.name,
                    sound: true,
                };
                output::print(global.output, &checked, |checked| {
                    let untested = match checked.untested.as_slice() {
                        [] => String::new(),
                        addons => format!("; untested: {}", addons.join(", ")),
                    };
                    format!("`{}` is sound{untested}\n", checked.provider)
                })
            }
        }
    }
}

impl UpdateArgs {
    fn update(self, global: &Global) -> anyhow::Result<Updated> {
        let provider = Provider::find(&self.provider, &global.providers)?;
        let updated = update_lock(
            &provider,
            &Update {
                part: match self.only {
                    None => Part::All,
                    Some(Only::Packages) => Part::Packages,
                    Some(Only::Release) => Part::Release,
                },
                sites: &self.sites.into(),
                registry: &self.registry.into(),
                cache: &global.cache(),
            },
        )?;
        Ok(Updated {
            provider: provider.name,
            changed: updated.changed,
            release: updated.release,
        })
    }
}

impl Args {
    fn shown(&self, global: &Global) -> anyhow::Result<Shown> {
        let provider = Provider::find(&self.provider, &global.providers)?;
        let cluster = provider.describe()?;
        let Provider {
            name, recipe, addons, ..
        } = provider;
        let components = recipe
            .components
            .into_iter()
            .map(|(name, version)| (name, version.to_string()));
        Ok(Shown {
            name,
            cluster,
            os: recipe.os.suite,
            components: components.collect(),
            images: recipe.images.into_keys().collect(),
            addons: addons.into_iter().map(|addon| addon.name).collect(),
        })
    }
}

fn text(shown: &Shown) -> String {
    let networks = shown.cluster.networks();
    let components = shown
        .components
        .iter()
        .map(|(name, version)| format!("{name} {version}"));
    let mut text = format!(
        "provider    {}\nkubernetes  {}\nnode OS     Debian {}\ncomponents  {}\nimages      {}\n\
         add-ons     {}\nnodes       {}, gateway {}\npods        {}\nservices    {}, DNS {}\n\n",
        shown.name,
        shown.cluster.kubernetes(),
        shown.os,
        components.collect::<Vec<_>>().join(", "),
        shown.images.join(", "),
        shown.addons.join(", "),
        networks.list(|family| family.nodes),
        networks.list(|family| family.gateway),
        networks.list(|family| family.pods),
        networks.list(|family| family.services),
        networks.dns,
    );
    let rows = shown.cluster.nodes().iter().map(|node| {
        let role = match node.role {
            Role::ControlPlane => "control-plane",
            Role::Worker => "worker",
        };
        [
            node.name.to_string(),
            role.to_owned(),
            node.list(|place| place.address),
            node.list(|place| place.pod_cidr),
        ]
    });
    text.push_str(&table(["NODE", "ROLE", "ADDRESS", "PODS"], rows));
    text
}
