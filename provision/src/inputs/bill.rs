//! What the inputs of a bake were made from, for those who ask afterwards.

use std::collections::BTreeMap;
use std::fs;

use super::Binary;
use super::ImageArchive;
use super::buildinfo::{self, GoBuild};
use super::cache::{Locked, sha256_of_file};
use super::error::Error;
use super::pause;
use crate::provider::Provider;
use crate::provider::lock::{Lock, Package};

/// The files of a provider that say what it is made of, beside those of its modules.
const FILES: [&str; 2] = ["provider.toml", "lock.toml"];

/// What the inputs were made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    /// Which source the binaries came from, as `--source` names it.
    pub source: String,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// The Debian release, by code name.
    pub suite: String,
    /// The provider's files by their path below its folder, with the SHA-256 of each: 64 hexadecimal digits.
    pub files: BTreeMap<String, String>,
    /// The Debian packages of each set: `os`, and `image/NAME` for an image with packages.
    pub packages: BTreeMap<String, Vec<Package>>,
    /// All that was built, by name.
    pub binaries: BTreeMap<String, BilledBinary>,
    /// The images, by short name.
    pub images: BTreeMap<String, BilledImage>,
}

/// A binary that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BilledBinary {
    /// Its version.
    pub version: String,
    /// The SHA-256 of its bytes: 64 hexadecimal digits.
    pub sha256: String,
    /// What is in it, if it is of Go.
    pub go: Option<GoBuild>,
}

/// A container image that was put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BilledImage {
    /// Its full name, for example `registry.k8s.io/kube-apiserver:v1.34.4`.
    pub reference: String,
    /// The names of its binaries.
    pub binaries: Vec<String>,
}

/// Writes the bill of what was built from `provider` and `lock`.
pub(super) fn make(
    source: &str,
    provider: &Provider,
    lock: &Lock,
    built: &BTreeMap<String, Binary>,
    images: &[ImageArchive],
    cache: &Locked,
) -> Result<Bill, Error> {
    let mut of_go = built.clone();
    of_go.remove(pause::NAME);
    let addons = provider.addons.iter().map(|addon| &addon.recipe.modules);
    let modules = addons
        .chain([&provider.recipe.modules])
        .flat_map(BTreeMap::values);
    for file in modules.flat_map(|modules| modules.files.keys()) {
        of_go.remove(file);
    }
    let mut of_go = buildinfo::read(&of_go, cache)?;
    let components = &provider.recipe.components;
    let binary = |(name, binary): (&String, &Binary)| {
        let go = of_go.remove(name);
        let version = match &go {
            Some(go) => go.main.version.clone(),
            None => components.get(name).map(ToString::to_string).unwrap_or_default(),
        };
        let sha256 = binary.sha256.clone();
        (name.clone(), BilledBinary { version, sha256, go })
    };
    let binaries = built.iter().map(binary).collect();
    let image = |archive: &ImageArchive| {
        let recipe = provider.image(&archive.short_name);
        let files = recipe.into_iter().flat_map(|recipe| recipe.files.values());
        let mut binaries: Vec<_> = files.cloned().collect();
        binaries.sort();
        binaries.dedup();
        let reference = archive.reference.clone();
        (archive.short_name.clone(), BilledImage { reference, binaries })
    };
    let sets = lock.sets.keys();
    Ok(Bill {
        source: source.to_owned(),
        architecture: lock.architecture.clone(),
        suite: lock.suite.clone(),
        files: files(provider)?,
        packages: sets
            .map(|set| (set.clone(), lock.set(set).into_iter().cloned().collect()))
            .collect(),
        binaries,
        images: images.iter().map(image).collect(),
    })
}

fn files(provider: &Provider) -> Result<BTreeMap<String, String>, Error> {
    let modules = provider.recipe.modules.keys();
    let of_modules =
        modules.flat_map(|name| ["go.mod", "go.sum"].map(|file| format!("modules/{name}/{file}")));
    let names = FILES.map(str::to_owned).into_iter().chain(of_modules);
    let addons = provider.addons.iter().flat_map(|addon| {
        let files = addon.files.iter();
        files.map(|(path, sha256)| Ok((format!("addons/{}/{path}", addon.name), sha256.clone())))
    });
    names
        .map(|name| {
            let path =
                fs::canonicalize(provider.dir.join(&name)).map_err(Error::file("find", &provider.dir))?;
            let sha256 = sha256_of_file(&path).map_err(Error::file("read", &path))?;
            Ok((name, sha256))
        })
        .chain(addons)
        .collect()
}
