//! Looking around in a tree as one who lives there would: links never lead out of it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;

/// A tree that is looked at.
#[derive(Debug)]
pub struct RootedDir {
    root: OwnedFd,
}

impl RootedDir {
    /// Looks at the tree below `dir`.
    ///
    /// # Errors
    /// `dir` is no directory that can be read.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let root = open(dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root })
    }

    /// The regular file at `path`, at the end of all links; nothing where there is none.
    ///
    /// # Errors
    /// What the file system says, except that nothing is there.
    pub fn file(&self, path: &Path) -> io::Result<Option<File>> {
        // A pipe would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        match self.look(path, flags, ResolveFlags::IN_ROOT)? {
            Some((fd, FileType::RegularFile)) => Ok(Some(File::from(fd))),
            _ => Ok(None),
        }
    }

    /// Whether something is at `path`, at the end of all links.
    ///
    /// # Errors
    /// What the file system says, except that nothing is there.
    pub fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.look(path, OFlags::PATH, ResolveFlags::IN_ROOT)?.is_some())
    }

    /// Whether `path` is free or a directory, and no link is on the way there: what is written there goes nowhere else.
    ///
    /// # Errors
    /// What the file system says.
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

    fn look(
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
            // No such device behind a node, a socket.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}
