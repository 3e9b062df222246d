//! Compares the files of two layers.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::layer::{Facts, Type};
use crate::printable::printable;

/// A path at which two layers differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// Relative to the layer's root, which is `.`; what is not UTF-8 or not printable is escaped.
    pub path: String,
    #[serde(flatten)]
    pub change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum Change {
    OnlyA,
    OnlyB,
    Differs {
        /// At least one.
        attributes: Vec<Attribute>,
    },
}

/// A property of a file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attribute {
    /// `type`, `content`, `size`, `target`, `opaque`, `mode`, `owner`, `mtime`, or `xattr NAME`.
    pub name: String,
    /// The value in `a` for people; for contents and extended attributes their digest. `None` if `a` has none.
    pub a: Option<String>,
    pub b: Option<String>,
}

/// All paths that differ, in order.
pub(super) fn changes(a: BTreeMap<PathBuf, Facts>, mut b: BTreeMap<PathBuf, Facts>) -> Vec<FileChange> {
    let mut changes = BTreeMap::new();
    for (path, in_a) in a {
        let change = match b.remove(&path) {
            None => Change::OnlyA,
            Some(in_b) if in_a == in_b => continue,
            Some(in_b) => Change::Differs {
                attributes: attributes(&in_a, &in_b),
            },
        };
        changes.insert(path, change);
    }
    changes.extend(b.into_keys().map(|path| (path, Change::OnlyB)));
    let change = |(path, change): (PathBuf, Change)| FileChange {
        path: display(&path),
        change,
    };
    changes.into_iter().map(change).collect()
}

fn display(path: &Path) -> String {
    if path.as_os_str().is_empty() {
        return ".".to_owned();
    }
    text(path.as_os_str().as_bytes())
}

fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => printable(text),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

/// Name and value of an attribute.
type Named = (&'static str, fn(&Facts) -> Option<String>);

fn attributes(a: &Facts, b: &Facts) -> Vec<Attribute> {
    let fixed: [Named; 8] = [
        ("type", |facts| Some(type_name(facts.kind).to_owned())),
        ("content", |facts| Some(facts.content.as_ref()?.to_string())),
        ("size", |facts| Some(facts.size?.to_string())),
        ("target", |facts| Some(text(facts.target.as_ref()?))),
        ("opaque", |facts| facts.opaque.then(|| "yes".to_owned())),
        ("mode", |facts| Some(format!("{:04o}", facts.mode))),
        ("owner", |facts| {
            Some(format!("{}:{}", facts.owner.0, facts.owner.1))
        }),
        ("mtime", |facts| Some(time(facts.mtime))),
    ];
    let fixed = fixed.into_iter().map(|(name, of)| Attribute {
        name: name.to_owned(),
        a: of(a),
        b: of(b),
    });
    let names: BTreeSet<&Vec<u8>> = a.xattrs.keys().chain(b.xattrs.keys()).collect();
    let xattrs = names.into_iter().map(|name| Attribute {
        name: format!("xattr {}", text(name)),
        a: a.xattrs.get(name).map(ToString::to_string),
        b: b.xattrs.get(name).map(ToString::to_string),
    });
    fixed
        .chain(xattrs)
        .filter(|attribute| attribute.a != attribute.b)
        .collect()
}

fn type_name(kind: Type) -> &'static str {
    match kind {
        Type::Directory => "directory",
        Type::File => "file",
        Type::Symlink => "symbolic link",
        Type::HardLink => "hard link",
        Type::Fifo => "pipe",
        Type::Whiteout => "deletion",
    }
}

/// RFC 3339; in seconds if the time is outside of its range.
fn time((seconds, nanoseconds): (i64, u32)) -> String {
    let nanoseconds = nanoseconds.cast_signed();
    match Timestamp::new(seconds, nanoseconds) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{seconds} s + {nanoseconds} ns"),
    }
}
