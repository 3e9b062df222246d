//! Manifests of cache entries, to detect changes.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

/// The version of the format.
const VERSION: u32 = 1;

/// All files of an entry, by path below its content directory.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    version: u32,
    files: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Type and permissions, `st_mode`.
    mode: u32,
    uid: u32,
    gid: u32,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Content {
    File { sha256: String, size: u64, stamp: Stamp },
    Link { target: String },
    Other,
}

/// A file with the same stamp is assumed to have the same content: the change time cannot be set back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stamp {
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The state of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    Valid,
    /// The content is the same, but stamps differ, since the entry was copied or restored.
    Moved,
    /// With the first difference.
    Damaged(String),
}

impl Manifest {
    /// Describes everything below `dir`.
    pub(super) fn of(dir: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for (path, name, metadata) in walk(dir)? {
            let content = if metadata.is_file() {
                let sha256 = sha256_of_file(&path)?;
                Content::File {
                    sha256,
                    size: metadata.len(),
                    stamp: Stamp::of(&metadata),
                }
            } else if metadata.is_symlink() {
                Content::Link {
                    target: text(fs::read_link(&path)?.as_os_str().as_bytes()),
                }
            } else {
                Content::Other
            };
            let entry = Entry {
                mode: metadata.mode(),
                uid: metadata.uid(),
                gid: metadata.gid(),
                content,
            };
            files.insert(name, entry);
        }
        Ok(Self {
            version: VERSION,
            files,
        })
    }

    /// Parses a manifest; `None` if it is invalid or of another version.
    pub(super) fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text)
            .ok()
            .filter(|manifest: &Self| manifest.version == VERSION)
    }

    pub(super) fn to_text(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// Compares the manifest with the files below `dir`.
    pub(super) fn check(&self, dir: &Path) -> io::Result<State> {
        let mut state = State::Valid;
        let found = walk(dir)?;
        for (path, name, metadata) in &found {
            let Some(entry) = self.files.get(name) else {
                return Ok(State::Damaged(format!("`{name}` is not part of it")));
            };
            if (entry.mode, entry.uid, entry.gid) != (metadata.mode(), metadata.uid(), metadata.gid()) {
                return Ok(State::Damaged(format!("`{name}` has another owner or mode")));
            }
            let same = match &entry.content {
                Content::File { stamp, size, .. }
                    if *stamp == Stamp::of(metadata) && *size == metadata.len() =>
                {
                    true
                }
                Content::File { sha256, .. } => {
                    state = State::Moved;
                    *sha256 == sha256_of_file(path)?
                }
                Content::Link { target } => *target == text(fs::read_link(path)?.as_os_str().as_bytes()),
                Content::Other => true,
            };
            if !same {
                return Ok(State::Damaged(format!("`{name}` has changed")));
            }
        }
        if found.len() != self.files.len() {
            return Ok(State::Damaged(format!(
                "{} files are missing",
                self.files.len() - found.len()
            )));
        }
        Ok(state)
    }

    /// The SHA-256 of the file `name`, if it is one.
    pub(super) fn sha256(&self, name: &str) -> Option<&str> {
        match &self.files.get(name)?.content {
            Content::File { sha256, .. } => Some(sha256),
            _ => None,
        }
    }
}

fn walk(dir: &Path) -> io::Result<Vec<(PathBuf, String, Metadata)>> {
    WalkDir::new(dir)
        .into_iter()
        .map(|entry| {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let name = entry.path().strip_prefix(dir).unwrap_or(entry.path());
            Ok((
                entry.path().to_owned(),
                text(name.as_os_str().as_bytes()),
                metadata,
            ))
        })
        .collect()
}

/// A path as text. Bytes that are not UTF-8 and the escape character are escaped, so that different paths stay different.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('%') => text.to_owned(),
        _ => format!("%{}", hex::encode(bytes)),
    }
}

/// The SHA-256 of the file at `path` as hexadecimal digits.
pub(crate) fn sha256_of_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(digest.finalize())),
            count => digest.update(&buffer[..count]),
        }
    }
}
