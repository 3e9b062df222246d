//! The full content of a tree.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// Bytes that an unpacked file may take more on disk: file systems store attributes and holes differently.
const SLACK: u64 = 16 * 1024;

/// A file system object.
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
    /// All names of the file in the tree.
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

/// Objects by path.
pub(crate) type Tree = BTreeMap<PathBuf, Node>;

/// Reads a tree, without overlay's bookkeeping.
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
        // Overlay hard-links its whiteouts to save inodes.
        if node.kind != "whiteout" {
            node.names = names[&fs::symlink_metadata(entry.path()).unwrap().ino()].clone();
        }
    }
    tree
}

/// Reads a merged overlay, without disk usage.
pub(crate) fn scan_merged(dir: &Path) -> Tree {
    let mut tree = scan(dir);
    for node in tree.values_mut() {
        node.allocated = 0;
    }
    tree
}

/// Checks that both trees are equal, and that `found` does not take much more space on disk.
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
    // Only the existence of a whiteout counts.
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
        // A whiteout inherits a default ACL.
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
