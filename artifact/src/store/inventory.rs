//! What is in a store, what it takes on disk, and what of it is shared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::sweep::is_lock;
use super::{Store, StoreError, UNPACKED_NAME, disk_usage};
use crate::digest::Digest;
use crate::tag::Tag;

/// All that a store holds. Sizes are bytes on disk: blocks allocated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// What each artifact consists of, by [`key`]; of one that is damaged only what is known.
    artifacts: BTreeMap<Tag, BTreeSet<String>>,
    items: BTreeMap<String, Item>,
    leftovers: Usage,
}

/// A blob and what it is unpacked to, each in bytes, if it is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Item {
    blob: Option<u64>,
    unpacked: Option<u64>,
}

/// A number of things and what they take together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many.
    pub count: usize,
    /// Bytes on disk.
    pub bytes: u64,
}

/// What one artifact takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArtifactUsage {
    /// Bytes on disk: blobs and what is unpacked of them.
    pub bytes: u64,
    /// What of that no other artifact needs.
    pub own: u64,
    /// Names that need some of the rest.
    pub shared_with: Vec<Tag>,
}

impl Store {
    /// Looks at everything in the store; takes some time, for unpacked layers are many files.
    ///
    /// # Errors
    /// When something cannot be read. It is no error when something disappears meanwhile.
    pub fn inventory(&self) -> Result<Inventory, StoreError> {
        let mut inventory = Inventory::default();
        for (tag, reference) in self.references()? {
            let mut keys = BTreeSet::from([key(reference.digest.hex())]);
            if let Ok(manifest) = self.manifest(&tag) {
                keys.extend(manifest.blobs().map(|blob| key(blob.digest.hex())));
            }
            for (_, blobs) in self.attached_with_blobs(&reference.digest)? {
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
    /// Blobs: manifests, configs, compressed layers.
    pub fn blobs(&self) -> Usage {
        self.items.values().filter_map(|item| item.blob).collect()
    }

    /// Unpacked layers.
    pub fn unpacked(&self) -> Usage {
        self.items.values().filter_map(|item| item.unpacked).collect()
    }

    /// What is being written, or was when a process was killed.
    pub fn leftovers(&self) -> Usage {
        self.leftovers
    }

    /// What more than one artifact needs, counted once.
    pub fn shared(&self) -> Usage {
        let is_shared = |key: &String| self.artifacts.values().filter(|keys| keys.contains(key)).count() > 1;
        self.sum(|key| is_shared(key))
    }

    /// What no artifact needs; clusters may.
    pub fn unnamed(&self) -> Usage {
        self.sum(|key| !self.artifacts.values().any(|keys| keys.contains(key)))
    }

    /// What the artifact called `tag` takes; nothing where there is none.
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

    /// What goes when the artifacts `removed` go and a sweep follows; `in_use` are the layers of clusters. What is being
    /// written counts as left over.
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
        sizes.into_iter().fold(Self::default(), |part, bytes| Self {
            count: part.count + 1,
            bytes: part.bytes + bytes,
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

    /// Artifacts `one` of the layers a and b and `two` of b and c; d is nobody's.
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
    fn sums_up() {
        let inventory = inventory();
        let part = |count, bytes| Usage { count, bytes };
        assert_eq!(inventory.blobs(), part(3, 7));
        assert_eq!(inventory.unpacked(), part(3, 110));
        assert_eq!(inventory.shared(), part(2, 22));
        assert_eq!(inventory.unnamed(), part(1, 80));
    }

    #[test]
    fn tells_own_from_shared() {
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
    fn foresees_what_is_freed() {
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
