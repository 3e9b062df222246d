//! Debian packages, for the node OS and for container images.

mod apt;
mod download;
mod mirror;
mod os_tree;
pub(super) mod prune;
mod repository;
pub(super) mod setup;
mod update;

use std::path::{Path, PathBuf};

use parbake_machine::process::Cmd;

pub(super) use self::mirror::DebianMirrors;
pub use self::mirror::InvalidDebianMirrors;
pub(super) use self::update::resolve;
use super::OsTree;
use super::cache::Locked;
use super::error::Error;
pub(super) use crate::provider::OS_SET;
use crate::provider::ProviderName;
use crate::provider::lock::{Lock, Package};

/// The locked packages of a provider, downloaded on demand.
pub(super) struct Debian<'a> {
    provider: &'a ProviderName,
    lock: &'a Lock,
    cache: &'a Locked,
    mirrors: &'a DebianMirrors,
}

/// A downloaded and verified package.
struct Deb<'a> {
    package: &'a Package,
    path: PathBuf,
}

impl<'a> Debian<'a> {
    pub(super) fn new(
        provider: &'a ProviderName,
        lock: &'a Lock,
        cache: &'a Locked,
        mirrors: &'a DebianMirrors,
    ) -> Self {
        Self {
            provider,
            lock,
            cache,
            mirrors,
        }
    }

    /// Debian's name of the architecture, which is also Go's for the supported ones.
    pub(super) fn architecture(&self) -> &'a str {
        &self.lock.architecture
    }

    /// A text that changes with the packages of a set.
    pub(super) fn fingerprint(&self, set: &str) -> String {
        self.lock
            .set(set)
            .iter()
            .map(|package| format!("{} {}\n", package.name, package.sha256))
            .collect()
    }

    /// Unpacks the packages of a set below `tree`, without running their scripts.
    pub(super) fn unpack(&self, set: &str, tree: &Path) -> Result<(), Error> {
        for deb in self.fetch(set)? {
            Cmd::new("dpkg-deb")
                .arg("--extract")
                .arg(&deb.path)
                .arg(tree)
                .run()?;
        }
        prune::prune(tree, prune::For::Image)
    }

    /// Builds the node OS.
    pub(super) fn os_tree(&self) -> Result<OsTree, Error> {
        os_tree::build(self)
    }

    fn fetch(&self, set: &str) -> Result<Vec<Deb<'a>>, Error> {
        download::fetch(self.provider, self.lock.set(set), self.cache, self.mirrors)
    }
}
