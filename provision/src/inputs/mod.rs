//! The inputs of a bake: node OS, binaries and container images, each built once and then cached.
//!
//! Every step is a function of pinned inputs (the provider file, its lock, its `go.sum` files). Its result is cached under a
//! key that covers all of them.

mod addon_images;
mod buildinfo;
mod cache;
mod debian;
mod error;
mod images;
mod local;
mod materials;
mod modules;
mod oci_image;
mod os;
mod overrides;
mod pause;
mod release;
mod source;
mod update;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use parbake_machine::executable::ARCHITECTURE;

pub use self::buildinfo::{GoBuild, GoModule};
pub use self::cache::CachedStep;
pub(crate) use self::cache::shown;
use self::cache::{Cache, KeyBuilder, Locked};
pub use self::debian::InvalidDebianMirrors;
use self::debian::{Debian, DebianMirrors};
pub use self::error::Error;
use self::local::Local;
pub use self::local::{BinaryOverride, LocalError};
use self::materials::Prepared;
pub use self::materials::{BinaryMaterial, ImageMaterial, Materials};
pub use self::os::{CustomOs, CustomOsInfo, InvalidOs, MissingFromOs, OsName, os_name};
pub use self::overrides::{ExtraImage, InvalidImage};
pub use self::release::{BinaryMirror, Download, ImageMirror, InvalidMirror, ReleaseError, ReleaseMirrors};
use self::release::{Downloads, Plan};
use self::source::Selected;
pub use self::source::Source;
pub use self::update::{LockPart, LockUpdate, UpdatedLock, update_lock};
use self::wanted::wanted;
use crate::node::NodeRuntime;
pub use crate::node::UnusableRuntime;
use crate::provider::lock::{ARCHITECTURES, Lock};
use crate::provider::{AddonError, Provider};

/// Everything that a bake starts from. The paths are in the cache and must not be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    pub os: OsTree,
    /// The binaries of nodes, by name (`kubelet`, `kubeadm`, `kubectl`, `crictl`, `etcdctl`, `etcdutl`).
    pub binaries: BTreeMap<String, Binary>,
    /// Images that kubeadm needs, those of add-ons, and extra ones.
    pub images: Vec<ImageArchive>,
    pub(crate) runtime: NodeRuntime,
    pub materials: Materials,
    /// Identifies the OS, binaries and images: 64 hexadecimal digits.
    pub key: String,
    /// In order.
    pub steps: Vec<CachedStep>,
}

/// The node OS as a directory tree with real owners and modes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsTree {
    /// Identifies its inputs: 64 hexadecimal digits.
    pub key: String,
    pub path: PathBuf,
    /// Set for a custom OS that is not made of Debian's packages.
    pub custom: Option<CustomOsInfo>,
}

/// A static executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    pub path: PathBuf,
    /// In hexadecimal.
    pub sha256: String,
}

/// A container image as an OCI image layout in a tar archive, for `ctr images import`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageArchive {
    /// The unique name in the provider or add-on file, for example `kube-apiserver`.
    pub short_name: String,
    /// For example `registry.k8s.io/kube-apiserver:v1.34.4`.
    pub reference: String,
    /// All names of the image in the container runtime.
    pub names: Vec<String>,
    pub path: PathBuf,
    /// Identifies its inputs: 64 hexadecimal digits.
    pub key: String,
}

/// What a user adds to a bake or replaces in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Additional images.
    pub images: Vec<ExtraImage>,
    /// Replaces the node OS of the provider.
    pub os: Option<CustomOs>,
    /// Replace binaries of the source.
    pub binaries: Vec<BinaryOverride>,
    /// Mirrors for source `release`.
    pub mirrors: ReleaseMirrors,
    /// For registries and web servers.
    pub registry: parbake_artifact::registry::Options,
}

/// Builds all inputs of a bake of `provider`, or takes them from the cache in the directory `cache`.
///
/// Debian packages are downloaded from the mirror in `PARBAKE_DEBIAN_MIRROR` (`URL`, or `URL,SECURITY-URL`), or else from
/// the one in this host's apt configuration.
///
/// # Errors
/// Before the first side effect: the source is not available, or the lock is missing, invalid or out of date. Later: a
/// download, a build or a file operation failed. Finished results stay in the cache.
pub fn prepare(
    provider: &Provider,
    source: &Source,
    given: &Overrides,
    cache: &Path,
) -> Result<Inputs, Error> {
    gather(provider, source, given, cache, false)
}

/// Like [`prepare`], without building or downloading anything. Missing results have placeholders for paths and digests,
/// [`Inputs::materials`] is empty, and images of kubeadm are missing if there is no kubeadm yet.
///
/// # Errors
/// Those of [`prepare`] before its first side effect.
pub(crate) fn preview(
    provider: &Provider,
    source: &Source,
    given: &Overrides,
    cache: &Path,
) -> Result<Inputs, Error> {
    gather(provider, source, given, cache, true)
}

fn gather(
    provider: &Provider,
    source: &Source,
    given: &Overrides,
    cache: &Path,
    is_preview: bool,
) -> Result<Inputs, Error> {
    let lock = Lock::load(provider)?.for_runtime(&provider.recipe);
    let runtime = NodeRuntime::of(&provider.recipe, &lock)?;
    check_addon_packages(provider)?;
    let published = addon_images::plan(provider, &lock)?;
    let mirrors = DebianMirrors::from_environment()?;
    let given_os = os::selected(provider, given.os.as_ref())?;
    let local = Local::find(provider, source, &given.binaries, &lock.architecture)?;
    let cache = Cache::new(cache);
    let (plan, missing) = Plan::new(provider, &lock, &local.names(), &local.images())?;
    let mut chosen = source.select(plan, missing, &given.mirrors, &given.registry, &cache)?;
    let wanted = wanted(provider, &chosen.plan, &local);
    // Everything from one folder of modules has the same source.
    let folders = modules::having(&provider.recipe.modules, &wanted);
    chosen
        .plan
        .remove_binaries(folders.flat_map(|(_, modules)| modules.binaries()));
    let cache = if is_preview {
        cache.preview()
    } else {
        cache.lock()?
    };
    let debian = Debian::new(&provider.name, &lock, &cache, &mirrors);

    // A custom OS is checked before anything else is built.
    let given_os = given_os
        .map(|os| os::tree(&os, provider, &given.registry, debian.architecture(), &cache))
        .transpose()?;
    let mut base = base(provider, &chosen, given, &wanted, &debian, &cache)?;
    let published = release::download(&published, &given.mirrors, &given.registry, &cache)?;
    base.images.extend(published.images);
    base.downloads.extend(published.downloads);
    base.downloads.sort();
    let mut built = base.binaries;
    let replaced = local.keep(&cache)?;
    built.extend(replaced.clone());
    let os = match given_os {
        Some(os) => os,
        None => debian.os_tree()?,
    };
    let existing = |name: &str, reference: &str| match local.image(name, reference, &cache)? {
        Some(image) => Ok(Some(image)),
        None => published_image(provider, &base.images, &local, name, reference),
    };
    let mut images = images::assemble(provider, &built, existing, &debian, &cache)?;
    let taken = images.iter().map(|image| image.short_name.clone());
    images.extend(overrides::archives(
        &given.images,
        &given.registry,
        debian.architecture(),
        taken.collect::<Vec<_>>().into_iter(),
        &cache,
    )?);
    let made = Prepared {
        source,
        os: &os,
        base: chosen.name(),
        folders: modules::having(&provider.recipe.modules, &wanted)
            .map(|(name, _)| name)
            .collect(),
        mirrors: &given.mirrors,
        provider,
        lock: &lock,
        built: &built,
        replaced: &replaced,
        images: &images,
        ready: &base.images,
        local: &local.images(),
        downloads: base.downloads,
    };
    let materials = match is_preview {
        true => Materials::default(),
        false => materials::collect(&made, &cache)?,
    };
    let wanted = &provider.recipe.os.binaries;
    let binaries: BTreeMap<_, _> = built
        .into_iter()
        .filter(|(name, _)| wanted.contains(name))
        .collect();

    let mut key = KeyBuilder::new("inputs", 1).field("os", &os.key);
    for (name, binary) in &binaries {
        key = key.field(name, &binary.sha256);
    }
    for image in &images {
        key = key.field(&image.reference, &image.key);
    }
    Ok(Inputs {
        os,
        binaries,
        images,
        runtime,
        materials,
        key: key.finish().to_string(),
        steps: cache.trace(),
    })
}

/// Checks the locks of `provider`, and every container runtime that can be selected. Returns how many pins the public sites
/// have not confirmed, by architecture and host.
///
/// # Errors
/// The first problem, as [`prepare`] would report it.
pub fn check(provider: &Provider) -> Result<BTreeMap<String, BTreeMap<String, usize>>, Error> {
    let is_given =
        |architecture: &str| architecture == ARCHITECTURE || Lock::path(provider, architecture).exists();
    let mut untried = BTreeMap::new();
    for architecture in ARCHITECTURES.into_iter().filter(|name| is_given(name)) {
        let lock = Lock::load_for(provider, architecture)?;
        for runtime in provider.recipe.available_runtimes() {
            let mut chosen = provider.clone();
            chosen.select_runtime(runtime).map_err(UnusableRuntime::from)?;
            NodeRuntime::of(&chosen.recipe, &lock.clone().for_runtime(&chosen.recipe))?;
        }
        untried.insert(architecture.to_owned(), lock.untried());
    }
    Ok(untried)
}

/// The binaries and images of the source, without local ones: what is `chosen` is downloaded, and the `wanted` binaries are
/// built.
fn base(
    provider: &Provider,
    chosen: &Selected,
    given: &Overrides,
    wanted: &BTreeSet<String>,
    debian: &Debian<'_>,
    cache: &Locked,
) -> Result<Downloads, Error> {
    let mut base = release::download(&chosen.plan, &given.mirrors, &given.registry, cache)?;
    let built = modules::build_wanted(provider, wanted, debian.architecture(), cache);
    base.binaries.extend(built.map_err(Error::without_tool)?);
    if wanted.contains(pause::NAME) {
        let pause = pause::build(provider, cache).map_err(Error::without_tool)?;
        base.binaries.insert(pause::NAME.to_owned(), pause);
    }
    Ok(base)
}

/// The published image, unless it contains a local binary.
fn published_image(
    provider: &Provider,
    images: &BTreeMap<String, ImageArchive>,
    local: &Local,
    name: &str,
    reference: &str,
) -> Result<Option<ImageArchive>, Error> {
    let recipe = provider.recipe.images.get(name);
    let mut files = recipe.into_iter().flat_map(|recipe| recipe.files.values());
    if files.any(|binary| local.names().contains(binary)) {
        return Ok(None);
    }
    match images.get(name) {
        Some(image) if image.reference == reference => Ok(Some(image.clone())),
        None => Ok(None),
        Some(_) => Err(ReleaseError::NotPinned {
            provider: provider.name.to_string(),
            what: format!("the image `{reference}`"),
        }
        .into()),
    }
}

/// Rejects add-ons with packages that the lock does not pin.
fn check_addon_packages(provider: &Provider) -> Result<(), AddonError> {
    let sets = provider.package_sets();
    for addon in &provider.addons {
        let mut images = addon.recipe.images.iter();
        let unpinned = images.find(|(name, image)| {
            !image.recipe.packages.is_empty() && !sets.contains_key(&format!("image/{name}"))
        });
        if let Some((image, _)) = unpinned {
            return Err(AddonError::Unpinned {
                addon: addon.name.clone(),
                image: image.clone(),
            });
        }
    }
    Ok(())
}
