//! The materials of a bake's inputs, for provenance and bills of materials.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use parbake_machine::fs::files::failed;

use super::Binary;
use super::ImageArchive;
use super::buildinfo::{self, GoBuild};
use super::cache::{Locked, sha256_of_file};
use super::error::Error;
use super::os::CustomOsInfo;
use super::pause;
use super::release::{Download, ReleaseMirrors};
use super::source::{MODULES, Source};
use super::{OsTree, debian};
use crate::provider::Provider;
use crate::provider::lock::{Lock, Package};

const DIRECTORY: &str = "directory";

/// Everything that the inputs were made from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Materials {
    /// The source of binaries: `release`, `modules` or `directory`.
    pub source: String,
    /// The source of everything that was not overridden: `release` or `modules`.
    pub base: String,
    /// Mirrors by option.
    pub mirrors: BTreeMap<&'static str, String>,
    /// Downloaded files and images, sorted.
    pub downloads: Vec<Download>,
    /// SHA-256 of local binaries and image archives, in hexadecimal, by name.
    pub local_files: BTreeMap<String, String>,
    /// A custom node OS.
    pub os: Option<CustomOsInfo>,
    /// Debian's name.
    pub architecture: String,
    /// Code name of the Debian release.
    pub suite: String,
    /// SHA-256 of the provider's files, in hexadecimal, by path below its folder.
    pub files: BTreeMap<String, String>,
    /// Debian packages by set: `os`, and `image/NAME` for an image with packages.
    pub packages: BTreeMap<String, Vec<Package>>,
    /// By name.
    pub binaries: BTreeMap<String, BinaryMaterial>,
    /// By short name.
    pub images: BTreeMap<String, ImageMaterial>,
}

/// A binary of the inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryMaterial {
    pub version: String,
    /// In hexadecimal.
    pub sha256: String,
    /// Set for Go binaries.
    pub go: Option<GoBuild>,
}

/// A container image of the inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageMaterial {
    /// For example `registry.k8s.io/kube-apiserver:v1.34.4`.
    pub reference: String,
    /// Names of its binaries; empty for a published image.
    pub binaries: Vec<String>,
}

/// The prepared inputs.
pub(super) struct Prepared<'a> {
    pub(super) source: &'a Source,
    pub(super) os: &'a OsTree,
    /// The name of the selected source.
    pub(super) base: &'static str,
    /// The provider's folders of modules that were built.
    pub(super) folders: Vec<&'a String>,
    pub(super) mirrors: &'a ReleaseMirrors,
    pub(super) provider: &'a Provider,
    pub(super) lock: &'a Lock,
    /// All binaries, including local ones.
    pub(super) built: &'a BTreeMap<String, Binary>,
    /// Local binaries.
    pub(super) replaced: &'a BTreeMap<String, Binary>,
    pub(super) images: &'a [ImageArchive],
    /// Published images, by short name.
    pub(super) ready: &'a BTreeMap<String, ImageArchive>,
    /// Short names of local images.
    pub(super) local: &'a BTreeSet<String>,
    pub(super) downloads: Vec<Download>,
}

impl Prepared<'_> {
    /// True if the image was not assembled here.
    fn is_complete(&self, image: &ImageArchive) -> bool {
        let name = &image.short_name;
        let published = self.ready.get(name).is_some_and(|ready| ready.key == image.key);
        published || self.local.contains(name)
    }
}

/// Collects the materials of prepared inputs.
pub(super) fn collect(made: &Prepared<'_>, cache: &Locked) -> Result<Materials, Error> {
    let Prepared {
        provider,
        lock,
        built,
        ..
    } = made;
    let mut of_go = (*built).clone();
    of_go.remove(pause::NAME);
    let addons = provider.addons.iter().map(|addon| &addon.recipe.modules);
    let modules = addons
        .chain([&provider.recipe.modules])
        .flat_map(BTreeMap::values);
    for file in modules.flat_map(|modules| modules.files.keys().chain(modules.c.keys())) {
        of_go.remove(file);
    }
    let built_here = made.base == MODULES && made.replaced.is_empty();
    let mut of_go = buildinfo::read(&of_go, built_here, cache)?;
    let components = &provider.recipe.components;
    let binary = |(name, binary): (&String, &Binary)| {
        let go = of_go.remove(name);
        let version = match &go {
            Some(go) => go.main.version.clone(),
            None => components.get(name).map(ToString::to_string).unwrap_or_default(),
        };
        let sha256 = binary.sha256.clone();
        (name.clone(), BinaryMaterial { version, sha256, go })
    };
    let binaries = built.iter().map(binary).collect();
    let image = |archive: &ImageArchive| {
        let recipe = provider
            .image(&archive.short_name)
            .filter(|_| !made.is_complete(archive));
        let files = recipe.into_iter().flat_map(|recipe| recipe.files.values());
        let mut binaries: Vec<_> = files.cloned().collect();
        binaries.sort();
        binaries.dedup();
        let reference = archive.reference.clone();
        (archive.short_name.clone(), ImageMaterial { reference, binaries })
    };
    let whole = made.images.iter().filter(|image| made.is_complete(image));
    let whole: BTreeSet<String> = whole.map(|image| format!("image/{}", image.short_name)).collect();
    let has_packages =
        |set: &&String| !whole.contains(*set) && (made.os.custom.is_none() || *set != debian::OS_SET);
    let sets = lock.sets.keys().filter(has_packages);
    let replaced = made.replaced.iter();
    let replaced = replaced.map(|(name, binary)| (name.clone(), binary.sha256.clone()));
    let archives = made
        .images
        .iter()
        .filter(|image| made.local.contains(&image.short_name));
    let archives = archives.map(|image| {
        let sha256 = sha256_of_file(&image.path).map_err(failed("read", &image.path))?;
        Ok((format!("{}.tar", image.short_name), sha256))
    });
    let mirrors = [
        (
            "binaryMirror",
            made.mirrors.binaries.as_ref().map(ToString::to_string),
        ),
        (
            "imageMirror",
            made.mirrors.images.as_ref().map(ToString::to_string),
        ),
    ];
    Ok(Materials {
        source: match made.source {
            Source::Dir(_) => DIRECTORY.to_owned(),
            Source::Auto | Source::Release | Source::Modules => made.base.to_owned(),
        },
        base: made.base.to_owned(),
        mirrors: mirrors
            .into_iter()
            .filter_map(|(name, mirror)| Some((name, mirror?)))
            .collect(),
        downloads: made.downloads.clone(),
        local_files: replaced.map(Ok).chain(archives).collect::<Result<_, Error>>()?,
        os: made.os.custom.clone(),
        architecture: lock.architecture.clone(),
        suite: lock.suite.clone(),
        files: files(made)?,
        packages: sets
            .map(|set| (set.clone(), lock.set(set).into_iter().cloned().collect()))
            .collect(),
        binaries,
        images: made.images.iter().map(image).collect(),
    })
}

/// The provider's files; those of modules only if these were built.
fn files(made: &Prepared<'_>) -> Result<BTreeMap<String, String>, Error> {
    let provider = made.provider;
    let of_modules = made.folders.iter();
    let of_modules =
        of_modules.flat_map(|name| ["go.mod", "go.sum"].map(|file| format!("modules/{name}/{file}")));
    let own = [
        "provider.toml".to_owned(),
        Lock::file_name(&made.lock.architecture),
    ];
    let names = own.into_iter().chain(of_modules);
    let addons = provider.addons.iter().flat_map(|addon| {
        let files = addon.files.iter();
        files.map(|(path, sha256)| Ok((format!("addons/{}/{path}", addon.name), sha256.clone())))
    });
    names
        .map(|name| {
            let path = fs::canonicalize(provider.dir.join(&name)).map_err(failed("find", &provider.dir))?;
            let sha256 = sha256_of_file(&path).map_err(failed("read", &path))?;
            Ok((name, sha256))
        })
        .chain(addons)
        .collect()
}
