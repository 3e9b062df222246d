//! Pins that the public sites have confirmed to `parbake provider update`, and those that they have not.

use std::collections::{BTreeMap, BTreeSet};

use parbake_artifact::{Digest, Reference};

use super::Lock;

impl Lock {
    /// The pinned files and images: URLs or full names, and digests. Archives with several binaries are listed once.
    fn pins(&self) -> BTreeSet<(&str, &Digest)> {
        let release = self.release.iter();
        let files = release.clone().flat_map(|release| release.files.values());
        let files = files.map(|file| (file.url.as_str(), &file.digest));
        let of_addons = self.addons.values().flat_map(|addon| &addon.images);
        let images = release.flat_map(|release| &release.images).chain(of_addons);
        let images = images.map(|(name, digest)| (name.as_str(), digest));
        files.chain(images).collect()
    }

    /// How many pins the public site has not confirmed, by host.
    pub fn untried(&self) -> BTreeMap<String, usize> {
        let mut hosts = BTreeMap::new();
        for (name, digest) in self.pins() {
            if !self.tried.contains(digest) {
                *hosts.entry(host(name)).or_default() += 1;
            }
        }
        hosts
    }

    /// Removes digests from [`Lock::tried`] that are not pinned any more.
    pub(crate) fn forget_unpinned(&mut self) {
        let pinned: BTreeSet<Digest> = self
            .pins()
            .into_iter()
            .map(|(_, digest)| digest.clone())
            .collect();
        self.tried.retain(|digest| pinned.contains(digest));
    }
}

/// The host in a URL or in the name of an image.
fn host(name: &str) -> String {
    match name.split_once("://") {
        Some((_, rest)) => rest.split('/').next().unwrap_or(rest).to_owned(),
        None => {
            let registry = name.parse().map(|name: Reference| name.registry().to_owned());
            registry.unwrap_or_else(|_| name.to_owned())
        }
    }
}
