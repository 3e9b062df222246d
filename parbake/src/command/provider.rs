//! `parbake provider`

use std::collections::BTreeMap;

use clap::builder::PossibleValuesParser;
use parbake_cluster::{BuiltinServices, Description, KubernetesVersion, Role};
use parbake_machine::executable::ARCHITECTURE;
use parbake_provision::inputs::{LockPart, LockUpdate, check, update_lock};
use parbake_provision::provider::lock::ARCHITECTURES;
use parbake_provision::provider::{ContainerRuntime, Provider, ProviderName, Status, Variant, VariantName};
use parbake_provision::upgrade::{self, Upgraded};
use serde::Serialize;

use crate::args::{CacheArgs, GlobalArgs, MirrorArgs, ProvidersArgs, RegistryArgs};
use crate::output::{self, table};

/// List, check, update and create providers, the recipes of clusters
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List all providers
    List(ListArgs),
    /// Show the cluster that a provider describes
    Show(Args),
    /// Validate a provider's files and report all problems
    Check(Args),
    Update(UpdateArgs),
    New(NewArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    providers: ProvidersArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The provider, such as k8s-1.34
    provider: String,
    #[command(flatten)]
    providers: ProvidersArgs,
}

const UPDATE_EXAMPLES: &str = "\
Examples:
  parbake provider update k8s-1.34                     everything
  parbake provider update k8s-1.34 --newest            upgrade to the newest patch release
  parbake provider update k8s-1.34 --only release      published binaries and images only
  parbake provider update k8s-1.34 --only release --binary-mirror URL --image-mirror REGISTRY
                                                       the same, from mirrors

Without a mirror, published files are pinned if their hosts can be reached; otherwise their pins are
kept. `--newest` and `--kubernetes` also change the versions in the provider file and the Go
modules, or nothing at all. The digests of binaries come from the `.sha256` files next to them.";

/// Update the lock file: Debian packages, add-ons, published binaries and images
#[derive(Debug, clap::Args)]
#[command(after_help = UPDATE_EXAMPLES)]
pub(crate) struct UpdateArgs {
    /// The provider, such as k8s-1.34
    provider: String,
    /// Update only Debian packages and add-ons, or only published binaries and images
    #[arg(long, value_name = "PART")]
    only: Option<Only>,
    /// Update the lock file for this architecture [default: that of this host]
    #[arg(long, value_name = "ARCH", value_parser = PossibleValuesParser::new(ARCHITECTURES))]
    architecture: Option<String>,
    /// First upgrade to the newest patch release of the minor version
    #[arg(long, conflicts_with_all = ["only", "kubernetes"])]
    newest: bool,
    /// First change to this Kubernetes version
    #[arg(long, value_name = "VERSION", conflicts_with = "only")]
    kubernetes: Option<KubernetesVersion>,
    #[command(flatten)]
    providers: ProvidersArgs,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    mirrors: MirrorArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

const NEW_EXAMPLES: &str = "\
Examples:
  parbake provider new k8s-1.34-mine --from k8s-1.34
  parbake provider new k8s-1.35 --from k8s-1.34 --kubernetes 1.35.0

The versions of etcd, CoreDNS and pause are those that kubeadm of the new version requires. `go`
resolves go.mod and go.sum, and the lock file is updated as by `parbake provider update`. If any
version is unavailable, no provider is created. Comments in the provider file are kept.";

/// Create a provider from another one, for the same or another Kubernetes version
#[derive(Debug, clap::Args)]
#[command(after_help = NEW_EXAMPLES)]
pub(crate) struct NewArgs {
    /// The new provider's name, such as k8s-1.35
    #[arg(value_name = "NAME")]
    provider: ProviderName,
    /// The provider to copy
    #[arg(long, value_name = "PROVIDER")]
    from: String,
    /// Its Kubernetes version [default: that of the copied provider]
    #[arg(long, value_name = "VERSION")]
    kubernetes: Option<KubernetesVersion>,
    #[command(flatten)]
    providers: ProvidersArgs,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    mirrors: MirrorArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Only {
    Packages,
    Release,
}

#[derive(Debug, Serialize)]
struct ProviderInfo {
    name: ProviderName,
    cluster: Description,
    /// The Debian release of the nodes.
    os: String,
    runtime: ContainerRuntime,
    /// What `provision --runtime` accepts, the default first.
    runtimes: Vec<ContainerRuntime>,
    /// Versions by name.
    components: BTreeMap<String, String>,
    /// The images that kubeadm requires.
    images: Vec<String>,
    /// In the order in which they are applied.
    addons: Vec<String>,
    /// What `provision --variant` accepts, and how each variant differs.
    variants: BTreeMap<VariantName, Variant>,
}

#[derive(Debug, Serialize)]
struct Listed {
    name: ProviderName,
    /// `None` if its files are invalid; see `parbake provider check`.
    variants: Option<Vec<VariantName>>,
}

#[derive(Debug, Serialize)]
struct Checked {
    provider: ProviderName,
    sound: bool,
    variants: Vec<VariantName>,
    /// Its add-ons, including optional ones, that no end-to-end test covers.
    untested: Vec<String>,
    /// How many pinned files and images were never compared with the public sites, by architecture and host.
    untried: BTreeMap<String, BTreeMap<String, usize>>,
}

#[derive(Debug, Serialize)]
struct Updated {
    provider: ProviderName,
    changed: bool,
    kubernetes: String,
    /// The previous version, if it changed.
    before: Option<String>,
    /// True if everything for source `release` is pinned.
    release: bool,
}

impl Command {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        match self {
            Self::List(args) => {
                let dir = args.providers.dir();
                let names = Provider::list(&dir)?;
                let listed = |name: ProviderName| Listed {
                    variants: Provider::find(name.as_str(), &dir)
                        .ok()
                        .map(|provider| provider.recipe.variants.into_keys().collect()),
                    name,
                };
                let providers: Vec<Listed> = names.into_iter().map(listed).collect();
                output::print(global.output, &providers, |providers| {
                    providers
                        .iter()
                        .map(|provider| format!("{}\n", provider.name))
                        .collect()
                })
            }
            Self::Show(args) => output::print(global.output, &args.info()?, text),
            Self::Update(args) => output::report(global.output, &args.update(global)?, |updated| {
                let version = updated.before.iter().map(|before| {
                    format!(
                        "`{}`: Kubernetes {before} -> {}\n",
                        updated.provider, updated.kubernetes
                    )
                });
                let version = version.collect::<String>();
                let verb = if updated.changed {
                    "updated the lock of"
                } else {
                    "nothing changed in the lock of"
                };
                let release = if updated.release {
                    ""
                } else {
                    "; nothing is pinned for source `release`"
                };
                format!("{version}{verb} `{}`{release}\n", updated.provider)
            }),
            Self::New(args) => output::report(global.output, &args.create(global)?, |made| {
                format!(
                    "created `{name}` with Kubernetes {}; bake it with `parbake provision {name}`\n",
                    made.kubernetes,
                    name = made.provider
                )
            }),
            Self::Check(args) => {
                let provider = Provider::find(&args.provider, &args.providers.dir())?;
                let untried = check(&provider)?;
                let untested = provider.pinned_addons();
                let untested = untested.filter(|addon| addon.recipe.status == Status::Untested);
                let checked = Checked {
                    untested: untested.map(|addon| addon.name.clone()).collect(),
                    variants: provider.recipe.variants.keys().cloned().collect(),
                    provider: provider.name,
                    sound: true,
                    untried,
                };
                output::print(global.output, &checked, |checked| {
                    let list = |title: &str, names: Vec<&str>| match names.as_slice() {
                        [] => String::new(),
                        names => format!("; {title}: {}", names.join(", ")),
                    };
                    let untried = checked.untried.iter().filter(|(_, hosts)| !hosts.is_empty());
                    let untried = untried.map(|(architecture, hosts)| {
                        let hosts = hosts.iter().map(|(host, pins)| format!("{host} ({pins})"));
                        let hosts: Vec<String> = hosts.collect();
                        format!(
                            "\npins for {architecture} never compared with the public site: {}",
                            hosts.join(", ")
                        )
                    });
                    let variants = checked.variants.iter().map(VariantName::as_str);
                    let untested = checked.untested.iter().map(String::as_str);
                    format!(
                        "`{}` is valid{}{}{}\n",
                        checked.provider,
                        list("variants", variants.collect()),
                        list("untested add-ons", untested.collect()),
                        untried.collect::<String>()
                    )
                })
            }
        }
    }
}

impl UpdateArgs {
    fn update(self, global: &GlobalArgs) -> anyhow::Result<Updated> {
        let provider = Provider::find(&self.provider, &self.providers.writable_dir()?)?;
        let update = LockUpdate {
            part: match self.only {
                None => LockPart::All,
                Some(Only::Packages) => LockPart::Packages,
                Some(Only::Release) => LockPart::Release,
            },
            architecture: self.architecture.as_deref().unwrap_or(ARCHITECTURE),
            mirrors: &self.mirrors.into(),
            registry: &self.registry.into(),
            cache: &self.cache.dir(global),
        };
        let version = match self.newest {
            true => Some(upgrade::newest(&provider)?),
            false => self.kubernetes,
        };
        match version {
            Some(version) if version != provider.recipe.kubernetes => {
                Ok(upgraded(upgrade::upgrade(&provider, &version, &update)?))
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
    fn create(self, global: &GlobalArgs) -> anyhow::Result<Updated> {
        let dir = self.providers.writable_dir()?;
        let from = Provider::find(&self.from, &dir)?;
        let update = LockUpdate {
            part: LockPart::All,
            architecture: ARCHITECTURE,
            mirrors: &self.mirrors.into(),
            registry: &self.registry.into(),
            cache: &self.cache.dir(global),
        };
        let kubernetes = self.kubernetes.as_ref();
        let made = upgrade::create(&self.provider, &from, &dir, kubernetes, &update)?;
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
    fn info(&self) -> anyhow::Result<ProviderInfo> {
        let provider = Provider::find(&self.provider, &self.providers.dir())?;
        let cluster = provider.describe()?;
        let Provider {
            name, recipe, addons, ..
        } = provider;
        let components = recipe
            .components
            .iter()
            .map(|(name, version)| (name.clone(), version.to_string()));
        Ok(ProviderInfo {
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

/// A variant in one line.
fn variant_line((name, variant): (&VariantName, &Variant)) -> String {
    let addons = match variant.addons.as_slice() {
        [] => "no add-ons".to_owned(),
        addons => addons.join(", "),
    };
    let services = variant.services.map(|BuiltinServices { dns, registry }| {
        let services = [(dns, "DNS"), (registry, "registry")];
        let names: Vec<&str> = services
            .iter()
            .filter(|(enabled, _)| *enabled)
            .map(|(_, name)| *name)
            .collect();
        match names.as_slice() {
            [] => "; no services".to_owned(),
            names => format!("; services: {}", names.join(", ")),
        }
    });
    format!("{name}: {addons}{}", services.unwrap_or_default())
}

fn text(info: &ProviderInfo) -> String {
    let networks = info.cluster.networks();
    let components = info
        .components
        .iter()
        .map(|(name, version)| format!("{name} {version}"));
    let variants = info.variants.iter().map(variant_line);
    let variants = variants.collect::<Vec<_>>().join("\n            ");
    let variants = match info.variants.is_empty() {
        true => String::new(),
        false => format!("variants    {variants}\n"),
    };
    let others: Vec<&str> = info
        .runtimes
        .iter()
        .skip(1)
        .map(|runtime| runtime.as_str())
        .collect();
    let runtime = match others.as_slice() {
        [] => info.runtime.to_string(),
        others => format!("{} (or {})", info.runtime, others.join(", ")),
    };
    let mut text = format!(
        "provider    {}\nkubernetes  {}\nnode OS     Debian {}\nruntime     {}\ncomponents  {}\nimages      {}\n\
         add-ons     {}\n{variants}nodes       {}, gateway {}\npods        {}\nservices    {}, DNS {}\n\n",
        info.name,
        info.cluster.kubernetes(),
        info.os,
        runtime,
        components.collect::<Vec<_>>().join(", "),
        info.images.join(", "),
        info.addons.join(", "),
        networks.comma_separated(|family| family.nodes),
        networks.comma_separated(|family| family.gateway),
        networks.comma_separated(|family| family.pods),
        networks.comma_separated(|family| family.services),
        networks.dns,
    );
    let rows = info.cluster.nodes().iter().map(|node| {
        let role = match node.role {
            Role::ControlPlane => "control-plane",
            Role::Worker => "worker",
        };
        [
            node.name.to_string(),
            role.to_owned(),
            node.comma_separated(|family| family.address),
            node.comma_separated(|family| family.pod_cidr),
        ]
    });
    text.push_str(&table(["NODE", "ROLE", "ADDRESS", "PODS"], rows));
    text
}
