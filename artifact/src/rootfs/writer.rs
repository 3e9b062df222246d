//! Creates file system objects below a directory, resolving links inside it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
    fsetxattr, linkat, mkdirat, mknodat, open, openat, openat2, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::{Entry, Kind};

/// Mode of directories without an entry.
const DIRECTORY_MODE: u32 = 0o755;

/// A directory that is being filled.
pub(super) struct Tree {
    root: OwnedFd,
}

impl Tree {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let root = open(dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root })
    }

    /// Creates the object, in place of an existing one. An existing directory is kept with its content.
    pub(super) fn put(&self, entry: &Entry, mut data: impl Read) -> io::Result<()> {
        let Some((parent_path, name)) = split(&entry.path) else {
            return match entry.kind {
                Kind::Directory => finish(&self.root, entry),
                _ => Err(io::Error::other("the root is not a directory")),
            };
        };
        let parent = self.directory(parent_path)?;
        let existing = kind_of(&parent, name)?;
        if existing.is_some_and(|existing| (&entry.kind, existing) != (&Kind::Directory, FileType::Directory))
        {
            remove_from(&parent, name)?;
        }
        match &entry.kind {
            Kind::Directory => {
                if existing != Some(FileType::Directory) {
                    mkdirat(&parent, name, Mode::from_raw_mode(DIRECTORY_MODE))?;
                }
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                finish(&openat(&parent, name, flags, Mode::empty())?, entry)
            }
            Kind::File => {
                let flags =
                    OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file = File::from(openat(&parent, name, flags, Mode::RUSR | Mode::WUSR)?);
                io::copy(&mut data, &mut file)?;
                finish(&file, entry)
            }
            Kind::Symlink(target) => {
                symlinkat(target, &parent, name)?;
                set_owner(&parent, name, entry)
            }
            Kind::HardLink(to) => {
                let (to_parent, to_name) = split(to).ok_or(io::ErrorKind::InvalidInput)?;
                let to_parent = self.directory(to_parent)?;
                Ok(linkat(&to_parent, to_name, &parent, name, AtFlags::empty())?)
            }
            Kind::Fifo => {
                mknodat(&parent, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
                set_owner(&parent, name, entry)?;
                Ok(chmodat(
                    &parent,
                    name,
                    Mode::from_raw_mode(entry.mode),
                    AtFlags::empty(),
                )?)
            }
        }
    }

    /// Removes `path` if it exists.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let Some((parent, name)) = split(path) else {
            return Ok(());
        };
        match self.existing(parent)? {
            Some(parent) if kind_of(&parent, name)?.is_some() => remove_from(&parent, name),
            _ => Ok(()),
        }
    }

    /// Paths of the children of the directory `path`, and whether each is a directory.
    pub(super) fn children(&self, path: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
        let Some(dir) = self.existing(path)? else {
            return Ok(Vec::new());
        };
        let here = format!("/proc/self/fd/{}", dir.as_raw_fd());
        fs::read_dir(here)?
            .map(|child| {
                let child = child?;
                Ok((path.join(child.file_name()), child.file_type()?.is_dir()))
            })
            .collect()
    }

    /// The directory at `path`, created if necessary.
    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        if let Some(dir) = self.existing(path)? {
            return Ok(dir);
        }
        let (parent, name) = split(path).ok_or(io::ErrorKind::NotFound)?;
        let parent = self.directory(parent)?;
        mkdirat(&parent, name, Mode::from_raw_mode(DIRECTORY_MODE))?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&parent, name, flags, Mode::empty())?;
        fchmod(&made, Mode::from_raw_mode(DIRECTORY_MODE))?;
        Ok(made)
    }

    fn existing(&self, path: &Path) -> io::Result<Option<OwnedFd>> {
        let path = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match openat2(&self.root, path, flags, Mode::empty(), resolve) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Parent and name; `None` for the root.
fn split(path: &Path) -> Option<(&Path, &[u8])> {
    Some((path.parent()?, path.file_name()?.as_bytes()))
}

fn kind_of(parent: &OwnedFd, name: &[u8]) -> io::Result<Option<FileType>> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn remove_from(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match kind_of(parent, name)? {
        // `remove_dir_all` does not follow links.
        Some(FileType::Directory) => {
            let here = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string());
            fs::remove_dir_all(here.join(std::ffi::OsStr::from_bytes(name)))
        }
        _ => Ok(unlinkat(parent, name, AtFlags::empty())?),
    }
}

fn set_owner(parent: &OwnedFd, name: &[u8], entry: &Entry) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    Ok(chownat(
        parent,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Owner first, since changing it clears set-id bits and capabilities.
fn finish(object: impl AsFd, entry: &Entry) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    fchown(&object, Some(uid), Some(gid))?;
    fchmod(&object, Mode::from_raw_mode(entry.mode))?;
    for (name, value) in &entry.xattrs {
        fsetxattr(&object, &name[..], value, XattrFlags::empty())?;
    }
    Ok(())
}
