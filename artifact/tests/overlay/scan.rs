//! What is in a tree, in full.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// Blocks that a file may take more when it comes back: file systems differ in how they hold attributes and holes.
const SLACK: u64 = 16 * 1024;

/// Everything about one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: &'static str,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, i64),
    pub(crate) device: u64,
    pub(crate) size: u64,
    pub(crate) content: Vec<u8>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// All names of the file, as found in the tree.
    pub(crate) names: BTreeSet<OsString>,
    /// Bytes on disk.
    pub(crate) allocated: u64,
}

impl Node {
    pub(crate) fn is_opaque(&self) -> bool {
        self.xattrs
            .get(&b"trusted.overlay.opaque"[..])
            .is_some_and(|value| value == b"y")
    }
}

/// A tree by path.
pub(crate) type Tree = BTreeMap<PathBuf, Node>;

/// A tree as it is on disk, without overlay's book-keeping.
pub(crate) fn scan(dir: &Path) -> Tree {
    let entries: Vec<_> = WalkDir::new(dir).into_iter().map(Result::unwrap).collect();
    let mut names: BTreeMap<u64, BTreeSet<OsString>> = BTreeMap::new();
    let mut tree = Tree::new();
    for entry in &entries {
        let path = entry.path().strip_prefix(dir).unwrap();
        let metadata = fs::symlink_metadata(entry.path()).unwrap();
        names
            .entry(metadata.ino())
            .or_default()
            .insert(path.as_os_str().to_owned());
        tree.insert(path.to_owned(), node(entry.path(), &metadata));
    }
    for entry in &entries {
        let path = entry.path().strip_prefix(dir).unwrap();
        let node = tree.get_mut(path).unwrap();
        // Overlay links all its whiteouts together, to save inodes.
        if node.kind != "whiteout" {
            node.names = names[&fs::symlink_metadata(entry.path()).unwrap().ino()].clone();
        }
    }
    tree
}

/// A tree as the users of an overlay see it; how it is stored does not matter there.
pub(crate) fn scan_merged(dir: &Path) -> Tree {
    let mut tree = scan(dir);
    for node in tree.values_mut() {
        node.allocated = 0;
    }
    tree
}

/// Equal in everything, and about as large on disk at most.
pub(crate) fn assert_equal(expected: &Tree, found: &Tree) {
    assert_eq!(
        expected.keys().collect::<Vec<_>>(),
        found.keys().collect::<Vec<_>>()
    );
    for (path, expected) in expected {
        let found = &found[path];
        let limit = expected.allocated + SLACK;
        assert!(
            found.allocated <= limit,
            "{path:?} takes {} instead of {}",
            found.allocated,
            expected.allocated
        );
        let found = Node {
            allocated: expected.allocated,
            ..found.clone()
        };
        assert_eq!(*expected, found, "{path:?}");
    }
}

fn node(path: &Path, metadata: &Metadata) -> Node {
    let kind = metadata.file_type();
    let is_whiteout = kind.is_char_device() && metadata.rdev() == 0;
    let (kind, content) = match kind {
        _ if is_whiteout => ("whiteout", Vec::new()),
        kind if kind.is_dir() => ("dir", Vec::new()),
        kind if kind.is_symlink() => (
            "symlink",
            fs::read_link(path).unwrap().into_os_string().into_vec(),
        ),
        kind if kind.is_char_device() => ("char", Vec::new()),
        kind if kind.is_block_device() => ("block", Vec::new()),
        kind if kind.is_fifo() => ("fifo", Vec::new()),
        kind if kind.is_file() => ("file", fs::read(path).unwrap()),
        other => panic!("{path:?} is {other:?}"),
    };
    // Only that it is there counts of a whiteout.
    let of = |value: u32| if is_whiteout { 0 } else { value };
    Node {
        kind,
        mode: of(metadata.mode() & 0o7777),
        owner: (of(metadata.uid()), of(metadata.gid())),
        mtime: if is_whiteout {
            (0, 0)
        } else {
            (metadata.mtime(), metadata.mtime_nsec())
        },
        device: metadata.rdev(),
        size: if metadata.is_dir() { 0 } else { metadata.size() },
        content,
        // One in a directory with a default ACL has an ACL.
        xattrs: if is_whiteout {
            BTreeMap::new()
        } else {
            xattrs(path)
        },
        names: BTreeSet::new(),
        allocated: if metadata.is_dir() {
            0
        } else {
            metadata.blocks() * 512
        },
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let bookkeeping =
        ["impure", "nlink", "origin", "upper", "uuid"].map(|name| format!("trusted.overlay.{name}"));
    xattr::list(path)
        .unwrap()
        .filter(|name| !bookkeeping.iter().any(|own| name.as_bytes() == own.as_bytes()))
        .map(|name| {
            (
                name.as_bytes().to_vec(),
                xattr::get(path, &name).unwrap().unwrap(),
            )
        })
        .collect()
}
