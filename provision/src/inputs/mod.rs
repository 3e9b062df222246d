//! The inputs of a bake: node operating system, binaries and container images, each built once and then cached.
//!
//! Every step is a function of pinned inputs (the provider file, its lock, its `go.sum` files), so it has a key and
//! its result goes into the cache under that key.

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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
use self::source::Chosen;
pub use self::source::Source;
pub use self::update::{LockPart, LockUpdate, UpdatedLock, update_lock};
use crate::node::NodeRuntime;
pub use crate::node::UnusableRuntime;
use crate::provider::lock::Lock;
use crate::provider::{AddonError, Provider};

/// Everything a bake starts from. The paths are in the cache and stay as they are: never write to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// The node operating system.
    pub os: OsTree,
    /// The binaries that nodes have, by name (`kubelet`, `kubeadm`, `kubectl`, `crictl`, `etcdctl`, `etcdutl`).
    pub binaries: BTreeMap<String, Binary>,
    /// The container images: those that kubeadm asks for, those of the add-ons, and those that were given.
    pub images: Vec<ImageArchive>,
    /// The runtime among them.
    pub(crate) runtime: NodeRuntime,
    /// What all of the above was made from.
    pub materials: Materials,
    /// Identifies all of the above together: 64 hexadecimal digits.
    pub key: String,
    /// The steps that made all of it, in order.
    pub steps: Vec<CachedStep>,
}

/// The node operating system as a directory tree with its real owners and modes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OsTree {
    /// Identifies what it was made from: 64 hexadecimal digits.
    pub key: String,
    /// The tree's root.
    pub path: PathBuf,
    /// What is known of it where it was given, and is not made of Debian's packages.
    pub custom: Option<CustomOsInfo>,
}

/// A static executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// Where it is.
    pub path: PathBuf,
    /// The SHA-256 of its bytes: 64 hexadecimal digits.
    pub sha256: String,
}

/// A container image as an OCI image layout in a tar archive, ready for `ctr images import`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageArchive {
    /// Its name in the provider file or the add-on's, for example `kube-apiserver`; no two images have the same.
    pub short_name: String,
    /// Its full name, for example `registry.k8s.io/kube-apiserver:v1.34.4`.
    pub reference: String,
    /// All names by which the runtime will know what is in the archive.
    pub names: Vec<String>,
    /// The archive.
    pub path: PathBuf,
    /// Identifies what it was made from: 64 hexadecimal digits.
    pub key: String,
}

/// What somebody gives to a bake by hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Container images.
    pub images: Vec<ExtraImage>,
    /// The node operating system, in the place of the provider's.
    pub os: Option<CustomOs>,
    /// Binaries in the place of those that the source has.
    pub binaries: Vec<BinaryOverride>,
    /// Where to fetch what is published.
    pub mirrors: ReleaseMirrors,
    /// How to speak to registries that images are in, and to web servers with binaries.
    pub registry: parbake_artifact::registry::Options,
}

/// Builds, or takes out of the cache in the directory `cache`, all inputs of `provider`'s bake, with what is `given`.
///
/// Debian packages that the cache lacks come from the mirror that `PARBAKE_DEBIAN_MIRROR` names (`URL`, or
/// `URL,SECURITY-URL`), or else from the one in this host's apt configuration.
///
/// # Errors
/// Before the first side effect: a source that is not supported, a lock that is missing, malformed or out of date.
/// Later: a download, a build or a file operation that failed. What was finished before stays in the cache.
pub fn prepare(
    provider: &Provider,
    source: &Source,
    given: &Overrides,
    cache: &Path,
) -> Result<Inputs, Error> {
    gather(provider, source, given, cache, false)
}

/// The same without making or fetching anything: what the cache lacks is stood in for by paths and digests that no file
/// has, and [`Inputs::materials`] is empty. Where nobody can say yet which images there will be, none of kubeadm's is listed.
///
/// # Errors
/// What [`prepare`] says before its first side effect.
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
    looking: bool,
) -> Result<Inputs, Error> {
    let lock = Lock::load(provider)?.for_runtime(&provider.recipe);
    let runtime = NodeRuntime::of(&provider.recipe, &lock)?;
    pinned(provider)?;
    let published = addon_images::plan(provider, &lock)?;
    let mirrors = DebianMirrors::from_environment()?;
    let given_os = os::chosen(provider, given.os.as_ref())?;
    let local = Local::look(provider, source, &given.binaries, &lock.architecture)?;
    let cache = Cache::new(cache);
    let plan = || Plan::new(provider, &lock, &local.names(), &local.images());
    let chosen = source.choose(plan, &given.mirrors, &given.registry, &cache)?;
    let cache = if looking { cache.look() } else { cache.lock()? };
    let debian = Debian::new(&provider.name, &lock, &cache, &mirrors);

    // What cannot be used is found out before anything else is built.
    let given_os = given_os
        .map(|os| os::tree(&os, provider, &given.registry, debian.architecture(), &cache))
        .transpose()?;
    let mut base = base(provider, &chosen, given, &local, &debian, &cache)?;
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
    let ready = |name: &str, reference: &str| match local.image(name, reference, &cache)? {
        Some(image) => Ok(Some(image)),
        None => released(provider, &base.images, &local, name, reference),
    };
    let mut images = images::assemble(provider, &built, ready, &debian, &cache)?;
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
    let materials = match looking {
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

/// Says whether the lock of `provider` fits, and whether its nodes have a runtime that suits its Kubernetes, whichever of
/// those that it offers.
///
/// # Errors
/// What is wrong, as [`prepare`] would say it.
pub fn check(provider: &Provider) -> Result<(), Error> {
    let lock = Lock::load(provider)?;
    for runtime in provider.recipe.available_runtimes() {
        let mut chosen = provider.clone();
        chosen.select_runtime(runtime).map_err(UnusableRuntime::from)?;
        NodeRuntime::of(&chosen.recipe, &lock.clone().for_runtime(&chosen.recipe))?;
    }
    Ok(())
}

/// What the source has, without what is given in its place.
fn base(
    provider: &Provider,
    chosen: &Chosen,
    given: &Overrides,
    local: &Local,
    debian: &Debian<'_>,
    cache: &Locked,
) -> Result<Downloads, Error> {
    let architecture = debian.architecture();
    let mut base = match chosen {
        Chosen::Release(plan) => release::download(plan, &given.mirrors, &given.registry, cache)?,
        Chosen::Modules => {
            let mut binaries = modules::build_own(provider, &local.names(), architecture, cache)?;
            if !local.names().contains(pause::NAME) && !local.images().contains(pause::NAME) {
                binaries.insert(pause::NAME.to_owned(), pause::build(provider, cache)?);
            }
            Downloads {
                binaries,
                ..Downloads::default()
            }
        }
    };
    base.binaries
        .extend(modules::build_addons(provider, architecture, cache)?);
    Ok(base)
}

/// The image as it is published, unless something in it is given.
fn released(
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

/// Packages of add-ons that no lock knows could be any.
fn pinned(provider: &Provider) -> Result<(), AddonError> {
    let sets = provider.package_sets();
    for addon in &provider.addons {
        let mut images = addon.recipe.images.iter();
        let loose = images.find(|(name, image)| {
            !image.recipe.packages.is_empty() && !sets.contains_key(&format!("image/{name}"))
        });
        if let Some((image, _)) = loose {
            return Err(AddonError::Unpinned {
                addon: addon.name.clone(),
                image: image.clone(),
            });
        }
    }
    Ok(())
}
