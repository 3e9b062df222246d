//! Looks up files below a directory as if it were the root: links never lead out of it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;

/// A directory that is the root of its lookups.
#[derive(Debug)]
pub struct RootedDir {
    root: OwnedFd,
}

impl RootedDir {
    /// Opens `dir`.
    ///
    /// # Errors
    /// `dir` is not a readable directory.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let root = open(dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root })
    }

    /// The regular file at `path`, after links; `None` if there is none.
    pub fn file(&self, path: &Path) -> io::Result<Option<File>> {
        // Opening a pipe would block.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        match self.look_up(path, flags, ResolveFlags::IN_ROOT)? {
            Some((fd, FileType::RegularFile)) => Ok(Some(File::from(fd))),
            _ => Ok(None),
        }
    }

    /// True if anything is at `path`, after links.
    pub fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.look_up(path, OFlags::PATH, ResolveFlags::IN_ROOT)?.is_some())
    }

    /// True if `path` does not exist or is a directory, and its parents are not links: writing there stays below the root.
    pub fn is_plain(&self, path: &Path) -> io::Result<bool> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match openat2(
            &self.root,
            path,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        ) {
            Ok(fd) => Ok(FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::Directory),
            Err(Errno::NOENT) => Ok(true),
            Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn look_up(
        &self,
        path: &Path,
        flags: OFlags,
        resolve: ResolveFlags,
    ) -> io::Result<Option<(OwnedFd, FileType)>> {
        let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
        match openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Ok(fd) => {
                let kind = FileType::from_raw_mode(fstat(&fd)?.st_mode);
                Ok(Some((fd, kind)))
            }
            // `NXIO`: a device node without a device, or a socket.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}
