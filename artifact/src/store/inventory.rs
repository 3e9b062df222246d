//! The content of a store, its size on disk, and what is shared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::sweep::is_lock;
use super::{Store, StoreError, UNPACKED_NAME, disk_usage};
use crate::digest::Digest;
use crate::tag::Tag;

/// The content of a store. Sizes are bytes on disk: allocated blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The parts of each artifact, by [`key`]; those of a damaged artifact as far as they are known.
    artifacts: BTreeMap<Tag, BTreeSet<String>>,
    items: BTreeMap<String, Item>,
    leftovers: Usage,
}

/// Sizes of a blob and of its unpacked form in bytes, if they exist.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Item {
    blob: Option<u64>,
    unpacked: Option<u64>,
}

/// A number of files and directories, and their total size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub count: usize,
    /// Bytes on disk.
    pub bytes: u64,
}

/// The disk usage of an artifact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArtifactUsage {
    /// Bytes on disk: blobs and unpacked layers.
    pub bytes: u64,
    /// Bytes that no other artifact needs.
    pub own: u64,
    /// Names of artifacts that need some of the rest.
    pub shared_with: Vec<Tag>,
}

impl Store {
    /// Measures everything in the store. Takes some time, since unpacked layers have many files.
    ///
    /// # Errors
    /// Something cannot be read. Files that disappear meanwhile are ignored.
    pub fn inventory(&self) -> Result<Inventory, StoreError> {
        let mut inventory = Inventory::default();
        for (tag, reference) in self.references()? {
            let mut keys = BTreeSet::from([key(reference.digest.hex())]);
            if let Ok(manifest) = self.manifest(&tag) {
                keys.extend(manifest.blobs().map(|blob| key(blob.digest.hex())));
            }
            for (_, blobs) in self.referrers_with_blobs(&reference.digest)? {
                keys.extend(blobs.iter().map(|blob| key(blob.digest.hex())));
            }
            inventory.artifacts.insert(tag, keys);
        }
        for (name, bytes) in sizes(&self.dir.join("blobs/sha256"))? {
            inventory.items.entry(key(&name)).or_default().blob = Some(bytes);
        }
        for (name, bytes) in sizes(&self.dir.join("unpacked"))? {
            inventory.items.entry(key(&name)).or_default().unpacked = Some(bytes);
        }
        let leftovers = sizes(&self.tmp())?;
        let leftovers = leftovers.iter().filter(|(name, _)| !is_lock(Path::new(name)));
        inventory.leftovers = leftovers.map(|(_, bytes)| *bytes).collect();
        Ok(inventory)
    }
}

impl Inventory {
    /// Manifests, configs and packed layers.
    pub fn blobs(&self) -> Usage {
        self.items.values().filter_map(|item| item.blob).collect()
    }

    pub fn unpacked(&self) -> Usage {
        self.items.values().filter_map(|item| item.unpacked).collect()
    }

    /// Files that are being written, or were left by a killed process.
    pub fn leftovers(&self) -> Usage {
        self.leftovers
    }

    /// Parts that several artifacts need, counted once.
    pub fn shared(&self) -> Usage {
        let is_shared = |key: &String| self.artifacts.values().filter(|keys| keys.contains(key)).count() > 1;
        self.sum(|key| is_shared(key))
    }

    /// Parts that no artifact needs; clusters may.
    pub fn unnamed(&self) -> Usage {
        self.sum(|key| !self.artifacts.values().any(|keys| keys.contains(key)))
    }

    /// The disk usage of the artifact `tag`; zero if it does not exist.
    pub fn share(&self, tag: &Tag) -> ArtifactUsage {
        let none = BTreeSet::new();
        let keys = self.artifacts.get(tag).unwrap_or(&none);
        let others = || self.artifacts.iter().filter(|(other, _)| *other != tag);
        let is_own = |key: &String| !others().any(|(_, others)| others.contains(key));
        ArtifactUsage {
            bytes: self.sum(|key| keys.contains(key)).bytes,
            own: self.sum(|key| keys.contains(key) && is_own(key)).bytes,
            shared_with: others()
                .filter(|(_, others)| !others.is_disjoint(keys))
                .map(|(other, _)| other.clone())
                .collect(),
        }
    }

    /// What removing the artifacts `removed` and a sweep would free, if clusters use the layers `in_use`. Files that are being
    /// written count as leftovers.
    pub fn freed_by(&self, removed: &[Tag], in_use: &BTreeSet<Digest>) -> Usage {
        let in_use: BTreeSet<String> = in_use.iter().map(|digest| key(digest.hex())).collect();
        let stays = |key: &String| {
            let mut staying = self.artifacts.iter().filter(|(tag, _)| !removed.contains(tag));
            in_use.contains(key) || staying.any(|(_, keys)| keys.contains(key))
        };
        let items = self.sum(|key| !stays(key));
        Usage {
            count: items.count + self.leftovers.count,
            bytes: items.bytes + self.leftovers.bytes,
        }
    }

    fn sum(&self, which: impl Fn(&String) -> bool) -> Usage {
        let items = self.items.iter().filter(|(key, _)| which(key));
        items
            .flat_map(|(_, item)| [item.blob, item.unpacked])
            .flatten()
            .collect()
    }
}

impl FromIterator<u64> for Usage {
    fn from_iter<I: IntoIterator<Item = u64>>(sizes: I) -> Self {
        sizes.into_iter().fold(Self::default(), |usage, bytes| Self {
            count: usage.count + 1,
            bytes: usage.bytes + bytes,
        })
    }
}

/// What a blob and its unpacked form have in common: the first digits of the digest.
fn key(hex: &str) -> String {
    hex.chars().take(UNPACKED_NAME).collect()
}

/// What is in a directory: names, and bytes on disk.
fn sizes(dir: &Path) -> Result<Vec<(String, u64)>, StoreError> {
    let mut sizes = Vec::new();
    for entry in fs::read_dir(dir).map_err(StoreError::io("read", dir))? {
        let entry = entry.map_err(StoreError::io("read", dir))?;
        let bytes = match disk_usage(&entry.path()) {
            // It was temporary.
            Err(_) if !entry.path().exists() => continue,
            bytes => bytes.map_err(StoreError::io("read", &entry.path()))?,
        };
        sizes.push((entry.file_name().to_string_lossy().into_owned(), bytes));
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{ArtifactUsage, Inventory, Item, Usage, key};
    use crate::digest::Digest;
    use crate::tag::Tag;

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    /// Artifact `one` has the layers a and b, `two` has b and c; no artifact has d.
    fn inventory() -> Inventory {
        let keys = |names: &[&str]| names.iter().map(|name| digest_key(name)).collect();
        let item = |name: &str, blob, unpacked| (digest_key(name), Item { blob, unpacked });
        Inventory {
            artifacts: BTreeMap::from([(tag("one"), keys(&["a", "b"])), (tag("two"), keys(&["b", "c"]))]),
            items: BTreeMap::from([
                item("a", Some(1), Some(10)),
                item("b", Some(2), Some(20)),
                item("c", Some(4), None),
                item("d", None, Some(80)),
            ]),
            leftovers: Usage { count: 1, bytes: 100 },
        }
    }

    fn digest_key(name: &str) -> String {
        key(Digest::of(name.as_bytes()).hex())
    }

    #[test]
    fn usage_is_summed_up() {
        let inventory = inventory();
        let part = |count, bytes| Usage { count, bytes };
        assert_eq!(inventory.blobs(), part(3, 7));
        assert_eq!(inventory.unpacked(), part(3, 110));
        assert_eq!(inventory.shared(), part(2, 22));
        assert_eq!(inventory.unnamed(), part(1, 80));
    }

    #[test]
    fn own_and_shared_parts_are_distinguished() {
        let inventory = inventory();
        let share = |bytes, own, other: &str| ArtifactUsage {
            bytes,
            own,
            shared_with: vec![tag(other)],
        };
        assert_eq!(inventory.share(&tag("one")), share(33, 11, "two"));
        assert_eq!(inventory.share(&tag("two")), share(26, 4, "one"));
        assert_eq!(inventory.share(&tag("none")), ArtifactUsage::default());
    }

    #[test]
    fn freed_bytes_are_predicted() {
        let inventory = inventory();
        let (one, two) = (tag("one"), tag("two"));
        let used = |names: &[&str]| -> BTreeSet<Digest> {
            names.iter().map(|name| Digest::of(name.as_bytes())).collect()
        };
        let bytes = |removed: &[Tag], in_use: &[&str]| inventory.freed_by(removed, &used(in_use)).bytes;
        assert_eq!(bytes(&[], &[]), 180);
        assert_eq!(bytes(&[], &["d"]), 100);
        assert_eq!(bytes(std::slice::from_ref(&one), &[]), 191);
        assert_eq!(bytes(&[one.clone(), two.clone()], &[]), 217);
        assert_eq!(bytes(&[one, two], &["b", "c"]), 191);
    }
}
