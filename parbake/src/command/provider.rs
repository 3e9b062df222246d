//! `parbake provider`

use std::collections::BTreeMap;

use parbake_cluster::{Description, KubernetesVersion, Offered, Role};
use parbake_provision::inputs::{LockPart, LockUpdate, check, update_lock};
use parbake_provision::provider::{ContainerRuntime, Provider, ProviderName, Status, Variant, VariantName};
use parbake_provision::upgrade::{self, Upgraded};
use serde::Serialize;

use super::registry::{MirrorArgs, RegistryArgs};
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
    LockUpdate(UpdateArgs),
    New(NewArgs),
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
  parbake provider update k8s-1.34 --newest            for the newest patch release of 1.34
  parbake provider update k8s-1.34 --only release      what is published, and no packages
  parbake provider update k8s-1.34 --only release --binary-mirror URL --image-mirror REGISTRY
                                                       the same, as mirrors have it

Without a mirror, what is published is pinned where dl.k8s.io can be reached; elsewhere the lock
keeps what it has. With `--newest` or `--kubernetes` the versions in the provider file and the Go
modules change too, or nothing does. The digests of binaries are those in the files `.sha256` beside them.";

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
    /// First go to the newest patch release of its minor version that is to be had
    #[arg(long, conflicts_with_all = ["only", "kubernetes"])]
    newest: bool,
    /// First go to this version of Kubernetes
    #[arg(long, value_name = "VERSION", conflicts_with = "only")]
    kubernetes: Option<KubernetesVersion>,
    #[command(flatten)]
    mirrors: MirrorArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

const CREATED: &str = "\
Examples:
  parbake provider new k8s-1.34-mine --from k8s-1.34
  parbake provider new k8s-1.35 --from k8s-1.34 --kubernetes 1.35.0

Versions of etcd, CoreDNS and pause are those that kubeadm of that version asks for; go.mod and
go.sum are worked out by `go`, and the lock as `parbake provider update` makes it. What cannot be
had is one error, and there is no new provider then. Comments in the provider file stay.";

/// Make a provider from another one, of the same version of Kubernetes or of another
#[derive(Debug, clap::Args)]
#[command(after_help = CREATED)]
pub(crate) struct NewArgs {
    /// What it is called, such as k8s-1.35
    #[arg(value_name = "NAME")]
    provider: ProviderName,
    /// The provider that it is made from
    #[arg(long, value_name = "PROVIDER")]
    from: String,
    /// Its version of Kubernetes [default: that of the other]
    #[arg(long, value_name = "VERSION")]
    kubernetes: Option<KubernetesVersion>,
    #[command(flatten)]
    mirrors: MirrorArgs,
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
    /// What runs containers on them.
    runtime: ContainerRuntime,
    /// What `provision --runtime` takes: that one first.
    runtimes: Vec<ContainerRuntime>,
    /// Versions by name of component.
    components: BTreeMap<String, String>,
    /// The container images that kubeadm asks for.
    images: Vec<String>,
    /// The add-ons, in the order in which they are applied.
    addons: Vec<String>,
    /// What `provision --variant` takes, and what each has other than the provider.
    variants: BTreeMap<VariantName, Variant>,
}

/// What is printed of a provider in a list.
#[derive(Debug, Serialize)]
struct Listed {
    name: ProviderName,
    /// Its variants; nothing where its files are not sound, of which `parbake provider check` says more.
    variants: Option<Vec<VariantName>>,
}

/// What is printed of a provider without problems.
#[derive(Debug, Serialize)]
struct Checked {
    provider: ProviderName,
    sound: bool,
    variants: Vec<VariantName>,
    /// Those of its add-ons that no test runs, with those that it offers.
    untested: Vec<String>,
}

/// What is printed of a provider whose packages were looked up.
#[derive(Debug, Serialize)]
struct Updated {
    provider: ProviderName,
    changed: bool,
    /// The version of Kubernetes now.
    kubernetes: String,
    /// The one before, where it was another.
    before: Option<String>,
    /// Whether source `release` has all that it needs.
    release: bool,
}

impl Command {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        match self {
            Self::List => {
                let names = Provider::list(&global.providers)?;
                let listed = |name: ProviderName| Listed {
                    variants: Provider::find(name.as_str(), &global.providers)
                        .ok()
                        .map(|provider| provider.recipe.variants.into_keys().collect()),
                    name,
                };
                let all: Vec<Listed> = names.into_iter().map(listed).collect();
                output::print(global.output, &all, |all| {
                    all.iter().map(|one| format!("{}\n", one.name)).collect()
                })
            }
            Self::Show(args) => output::print(global.output, &args.shown(global)?, text),
            Self::LockUpdate(args) => output::print(global.output, &args.update(global)?, |updated| {
                let version = updated.before.iter().map(|before| {
                    format!(
                        "`{}` has Kubernetes {} instead of {before}\n",
                        updated.provider, updated.kubernetes
                    )
                });
                let version = version.collect::<String>();
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
                format!("{version}`{}` {verb}{release}\n", updated.provider)
            }),
            Self::New(args) => output::print(global.output, &args.create(global)?, |made| {
                format!(
                    "`{name}` has Kubernetes {}; bake it with `parbake provision {name}`\n",
                    made.kubernetes,
                    name = made.provider
                )
            }),
            Self::Check(args) => {
                let provider = Provider::find(&args.provider, &global.providers)?;
                check(&provider)?;
                let untested = provider.pinned_addons();
                let untested = untested.filter(|addon| addon.recipe.status == Status::Untested);
                let checked = Checked {
                    untested: untested.map(|addon| addon.name.clone()).collect(),
                    variants: provider.recipe.variants.keys().cloned().collect(),
                    provider: provider.name,
                    sound: true,
                };
                output::print(global.output, &checked, |checked| {
                    let listed = |what: &str, names: Vec<&str>| match names.as_slice() {
                        [] => String::new(),
                        names => format!("; {what}: {}", names.join(", ")),
                    };
                    let variants = checked.variants.iter().map(VariantName::as_str);
                    let untested = checked.untested.iter().map(String::as_str);
                    format!(
                        "`{}` is sound{}{}\n",
                        checked.provider,
                        listed("variants", variants.collect()),
                        listed("untested add-ons", untested.collect())
                    )
                })
            }
        }
    }
}

impl UpdateArgs {
    fn update(self, global: &Global) -> anyhow::Result<Updated> {
        let provider = Provider::find(&self.provider, &global.providers)?;
        let update = LockUpdate {
            part: match self.only {
                None => LockPart::All,
                Some(Only::Packages) => LockPart::Packages,
                Some(Only::Release) => LockPart::Release,
            },
            mirrors: &self.mirrors.into(),
            registry: &self.registry.into(),
            cache: &global.cache(),
        };
        let wanted = match self.newest {
            true => Some(upgrade::newest(&provider)?),
            false => self.kubernetes,
        };
        match wanted {
            Some(wanted) if wanted != provider.recipe.kubernetes => {
                Ok(upgraded(upgrade::upgrade(&provider, &wanted, &update)?))
            }
            _ => {
                let updated = update_lock(&provider, &update)?;
                Ok(Updated {
                    provider: provider.name,
                    changed: updated.changed,
                    kubernetes: provider.recipe.kubernetes.to_string(),
                    before: None,
                    release: updated.release,
                })
            }
        }
    }
}

impl NewArgs {
    fn create(self, global: &Global) -> anyhow::Result<Updated> {
        let from = Provider::find(&self.from, &global.providers)?;
        let update = LockUpdate {
            part: LockPart::All,
            mirrors: &self.mirrors.into(),
            registry: &self.registry.into(),
            cache: &global.cache(),
        };
        let kubernetes = self.kubernetes.as_ref();
        let made = upgrade::create(&self.provider, &from, &global.providers, kubernetes, &update)?;
        Ok(upgraded(made))
    }
}

fn upgraded(upgraded: Upgraded) -> Updated {
    let [before, now] = upgraded.kubernetes.map(|version| version.to_string());
    Updated {
        provider: upgraded.name,
        changed: upgraded.lock.changed || before != now,
        before: Some(before).filter(|before| *before != now),
        kubernetes: now,
        release: upgraded.lock.release,
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
            .iter()
            .map(|(name, version)| (name.clone(), version.to_string()));
        Ok(Shown {
            name,
            cluster,
            runtimes: recipe.available_runtimes(),
            os: recipe.os.suite,
            runtime: recipe.runtime,
            components: components.collect(),
            images: recipe.images.into_keys().collect(),
            addons: addons.into_iter().map(|addon| addon.name).collect(),
            variants: recipe.variants,
        })
    }
}

/// A variant in a line.
fn in_words((name, variant): (&VariantName, &Variant)) -> String {
    let addons = match variant.addons.as_slice() {
        [] => "no add-ons".to_owned(),
        addons => addons.join(", "),
    };
    let services = variant.services.map(|Offered { dns, registry }| {
        let running = [(dns, "DNS"), (registry, "registry")];
        let names: Vec<&str> = running
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, name)| *name)
            .collect();
        match names.as_slice() {
            [] => "; no services".to_owned(),
            names => format!("; services: {}", names.join(", ")),
        }
    });
    format!("{name}: {addons}{}", services.unwrap_or_default())
}

fn text(shown: &Shown) -> String {
    let networks = shown.cluster.networks();
    let components = shown
        .components
        .iter()
        .map(|(name, version)| format!("{name} {version}"));
    let variants = shown.variants.iter().map(in_words);
    // Under each other.
    let variants = variants.collect::<Vec<_>>().join("\n            ");
    let variants = match shown.variants.is_empty() {
        true => String::new(),
        false => format!("variants    {variants}\n"),
    };
    let others: Vec<&str> = shown
        .runtimes
        .iter()
        .skip(1)
        .map(|runtime| runtime.as_str())
        .collect();
    let runtime = match others.as_slice() {
        [] => shown.runtime.to_string(),
        others => format!("{} (or {})", shown.runtime, others.join(", ")),
    };
    let mut text = format!(
        "provider    {}\nkubernetes  {}\nnode OS     Debian {}\nruntime     {}\ncomponents  {}\nimages      {}\n\
         add-ons     {}\n{variants}nodes       {}, gateway {}\npods        {}\nservices    {}, DNS {}\n\n",
        shown.name,
        shown.cluster.kubernetes(),
        shown.os,
        runtime,
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
