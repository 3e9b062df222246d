//! The content of an image's layer.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType};
use walkdir::WalkDir;

use super::{Image, header};

/// Items by their path below the root, in an order that puts directories before their children.
pub(super) struct Layer(BTreeMap<PathBuf, Item>);

struct Item {
    mode: u32,
    owner: (u64, u64),
    content: Content,
}

enum Content {
    Directory,
    File(PathBuf),
    Link(PathBuf),
}

impl Layer {
    /// Collects the image's tree, then the files, directories and links that are added to it.
    pub(super) fn collect(image: &Image<'_>) -> io::Result<Self> {
        let mut layer = Self(BTreeMap::new());
        for entry in WalkDir::new(image.tree).min_depth(1) {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let content = if metadata.is_dir() {
                Content::Directory
            } else if metadata.is_symlink() {
                Content::Link(fs::read_link(entry.path())?)
            } else if metadata.is_file() {
                Content::File(entry.path().to_owned())
            } else {
                return Err(io::Error::other(format!(
                    "`{}` is a special file",
                    entry.path().display()
                )));
            };
            let path = entry
                .path()
                .strip_prefix(image.tree)
                .unwrap_or(entry.path())
                .to_owned();
            let owner = (u64::from(metadata.uid()), u64::from(metadata.gid()));
            layer.0.insert(
                path,
                Item {
                    mode: metadata.mode() & 0o7777,
                    owner,
                    content,
                },
            );
        }
        for (path, file) in image.files {
            let mode = if image.setuid.contains(path) {
                0o6755
            } else {
                0o755
            };
            layer.put(path, mode, Content::File(file.clone()));
        }
        for path in image.directories {
            layer.put(path, 0o1777, Content::Directory);
        }
        for (path, target) in image.links {
            layer.put(path, 0o777, Content::Link(target.into()));
        }
        Ok(layer)
    }

    /// Adds an item owned by root, with its parent directories where they are missing.
    fn put(&mut self, path: &str, mode: u32, content: Content) {
        let path = Path::new(path.trim_start_matches('/'));
        for parent in path.ancestors().skip(1).filter(|parent| *parent != Path::new("")) {
            let directory = Item {
                mode: 0o755,
                owner: (0, 0),
                content: Content::Directory,
            };
            self.0.entry(parent.to_owned()).or_insert(directory);
        }
        self.0.insert(
            path.to_owned(),
            Item {
                mode,
                owner: (0, 0),
                content,
            },
        );
    }

    /// Writes the layer as a tar archive.
    pub(super) fn write(&self, to: impl Write) -> io::Result<()> {
        let mut archive = Builder::new(to);
        for (path, item) in &self.0 {
            let kind = match item.content {
                Content::Directory => EntryType::Directory,
                Content::File(_) => EntryType::Regular,
                Content::Link(_) => EntryType::Symlink,
            };
            let mut header = header(kind, item.mode);
            header.set_uid(item.owner.0);
            header.set_gid(item.owner.1);
            match &item.content {
                Content::Directory => archive.append_data(&mut header, path, io::empty())?,
                Content::File(from) => {
                    let file = File::open(from)?;
                    header.set_size(file.metadata()?.len());
                    archive.append_data(&mut header, path, file)?;
                }
                Content::Link(target) => archive.append_link(&mut header, path, target)?,
            }
        }
        archive.into_inner()?.flush()
    }
}
