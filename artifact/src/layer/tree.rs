//! Creates file system objects that cannot leave a directory.
//!
//! The kernel enforces this: parents are opened with `openat2` and `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS` (openat2(2)); the last
//! name is only created, never followed or replaced.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
    chmodat, chownat, fchmod, fchown, fsetxattr, futimens, linkat, lsetxattr, mkdirat, mknodat, open, openat,
    openat2, statat, symlinkat, utimensat,
};

use super::entry::{Entry, Kind};
use super::path::LayerPath;
use super::pax::Mtime;
use super::xattrs::{ACL_PREFIX, OPAQUE_YES, OVERLAY_OPAQUE, Xattrs};

/// Unit of holes in bytes: the block size of common file systems.
const BLOCK: usize = 4096;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// A directory that is filled from a stream.
pub(super) struct Tree {
    root: OwnedFd,
    /// The directory used last. Entries are sorted, so it is nearly always the next one, too.
    recent: Option<(LayerPath, OwnedFd)>,
    /// The directories being filled, each in the one before it. Their metadata is set when the stream leaves them: creating children
    /// changes their times, and children would inherit a default ACL or a set-group-ID bit. The stream never returns to a directory,
    /// so there are at most as many as names in a path.
    unfinished: Vec<Entry>,
}

/// Why an object was not created.
#[derive(Debug, thiserror::Error)]
pub(super) enum TreeProblem {
    #[error("its directory is not open: it must come before its content, which must be contiguous")]
    NoParent,
    #[error("it occurs twice in the layer")]
    Twice,
    #[error("it is a hard link, and its target is not an earlier file of the layer")]
    BadLink,
    #[error("its data is truncated")]
    Truncated,
    #[error("its data cannot be read")]
    Read(#[source] io::Error),
    #[error("it cannot be created")]
    Make(#[source] io::Error),
}

impl From<rustix::io::Errno> for TreeProblem {
    fn from(errno: rustix::io::Errno) -> Self {
        match errno {
            rustix::io::Errno::EXIST => Self::Twice,
            other => Self::Make(other.into()),
        }
    }
}

impl From<io::Error> for TreeProblem {
    fn from(error: io::Error) -> Self {
        Self::Make(error)
    }
}

impl Tree {
    /// Opens the directory `dir`.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let root = open(dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self {
            root,
            recent: None,
            unfinished: Vec::new(),
        })
    }

    /// Creates the object; `data` is the content of a file.
    pub(super) fn make(&mut self, entry: Entry, data: impl Read) -> Result<(), TreeProblem> {
        let path = entry.path.clone();
        let Some((parent_path, name)) = path.split() else {
            if !self.unfinished.is_empty() {
                return Err(TreeProblem::Twice);
            }
            return self.begin_directory(entry);
        };
        let parent = self.parent(&parent_path)?;
        match &entry.kind {
            Kind::Directory => {
                mkdirat(parent, name, Mode::RWXU)?;
                self.begin_directory(entry)?;
            }
            Kind::File { size } => {
                let flags =
                    OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file = File::from(openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?);
                copy_sparsely(data, &mut file, *size)?;
                finish_open(&file, &entry)?;
            }
            Kind::HardLink { to } => self.hard_link(to, &path)?,
            Kind::Symlink { target } => {
                symlinkat(&target[..], parent, name)?;
                finish_named(parent, name, &entry)?;
            }
            Kind::Fifo => {
                mknodat(parent, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
                finish_named(parent, name, &entry)?;
            }
        }
        Ok(())
    }

    /// Creates overlay's whiteout of a path.
    pub(super) fn whiteout(&mut self, path: &LayerPath) -> Result<(), TreeProblem> {
        let (parent, name) = path.split().ok_or(TreeProblem::Twice)?;
        mknodat(
            self.parent(&parent)?,
            name,
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        )?;
        Ok(())
    }

    /// Makes a directory opaque.
    pub(super) fn opaque(&mut self, path: &LayerPath) -> Result<(), TreeProblem> {
        if self.unfinished.last().is_none_or(|last| last.path != *path) {
            return Err(TreeProblem::NoParent);
        }
        let dir = self.open_beneath(path, OFlags::DIRECTORY)?;
        Ok(fsetxattr(dir, OVERLAY_OPAQUE, OPAQUE_YES, XattrFlags::CREATE)?)
    }

    /// Finishes the directories that do not contain `path`: sets owners, modes, attributes and times.
    pub(super) fn leave_for(&mut self, path: &LayerPath) -> Result<(), (LayerPath, TreeProblem)> {
        while let Some(last) = self.unfinished.pop_if(|last| !last.path.contains(path)) {
            self.finish_directory(last)?;
        }
        Ok(())
    }

    /// Finishes all directories.
    pub(super) fn finish(mut self) -> Result<(), (LayerPath, TreeProblem)> {
        while let Some(last) = self.unfinished.pop() {
            self.finish_directory(last)?;
        }
        Ok(())
    }

    /// Extended attributes may be large and are set now, except ACLs: children would inherit them, and changing the mode changes
    /// them.
    fn begin_directory(&mut self, mut entry: Entry) -> Result<(), TreeProblem> {
        let (acls, others) = std::mem::take(&mut entry.xattrs)
            .into_iter()
            .partition(|(name, _)| name.starts_with(ACL_PREFIX));
        let others: Xattrs = others;
        if !others.is_empty() {
            set_xattrs(self.open_beneath(&entry.path, OFlags::DIRECTORY)?, &others)?;
        }
        entry.xattrs = acls;
        self.unfinished.push(entry);
        Ok(())
    }

    fn finish_directory(&self, entry: Entry) -> Result<(), (LayerPath, TreeProblem)> {
        self.open_beneath(&entry.path, OFlags::DIRECTORY | OFlags::RDONLY)
            .and_then(|dir| finish_open(&dir, &entry))
            .map_err(|problem| (entry.path, problem))
    }

    fn hard_link(&mut self, to: &LayerPath, path: &LayerPath) -> Result<(), TreeProblem> {
        let (Some((to_parent, to_name)), Some((parent, name))) = (to.split(), path.split()) else {
            return Err(TreeProblem::BadLink);
        };
        let to_dir = self.open_beneath(&to_parent, OFlags::PATH | OFlags::DIRECTORY);
        let to_dir = to_dir.map_err(|_| TreeProblem::BadLink)?;
        let stat = statat(&to_dir, to_name, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| TreeProblem::BadLink)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory || (kind == FileType::CharacterDevice && stat.st_rdev == 0) {
            return Err(TreeProblem::BadLink);
        }
        Ok(linkat(
            &to_dir,
            to_name,
            self.parent(&parent)?,
            name,
            AtFlags::empty(),
        )?)
    }

    fn parent(&mut self, path: &LayerPath) -> Result<BorrowedFd<'_>, TreeProblem> {
        if self.unfinished.last().is_none_or(|last| last.path != *path) {
            return Err(TreeProblem::NoParent);
        }
        if self.recent.as_ref().is_none_or(|(recent, _)| recent != path) {
            let opened = self.open_beneath(path, OFlags::PATH | OFlags::DIRECTORY)?;
            self.recent = Some((path.clone(), opened));
        }
        match &self.recent {
            Some((_, dir)) => Ok(dir.as_fd()),
            None => Err(TreeProblem::NoParent),
        }
    }

    fn open_beneath(&self, path: &LayerPath, flags: OFlags) -> Result<OwnedFd, TreeProblem> {
        let path = if path.as_bytes().is_empty() {
            Path::new(".")
        } else {
            path.as_path()
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve).map_err(
            |errno| match errno {
                rustix::io::Errno::NOENT
                | rustix::io::Errno::NOTDIR
                | rustix::io::Errno::LOOP
                | rustix::io::Errno::XDEV => TreeProblem::NoParent,
                other => TreeProblem::Make(other.into()),
            },
        )
    }
}

/// Copies `size` bytes, with a hole for every block of zeros.
fn copy_sparsely(mut data: impl Read, file: &mut File, size: u64) -> Result<(), TreeProblem> {
    // Most files are small.
    let mut buffer = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(64 * BLOCK)];
    let mut offset = 0;
    while offset < size {
        let want = buffer
            .len()
            .min(usize::try_from(size - offset).unwrap_or(usize::MAX));
        let chunk = &mut buffer[..want];
        data.read_exact(chunk).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => TreeProblem::Truncated,
            _ => TreeProblem::Read(error),
        })?;
        for (start, run) in non_zero_runs(chunk) {
            file.write_all_at(run, offset + start as u64)?;
        }
        offset += want as u64;
    }
    file.set_len(size)?;
    Ok(())
}

/// Runs of blocks that are not all zeros, with their offsets.
fn non_zero_runs(chunk: &[u8]) -> Vec<(usize, &[u8])> {
    let mut runs = Vec::new();
    let mut start = None;
    for (index, block) in chunk.chunks(BLOCK).enumerate() {
        let offset = index * BLOCK;
        match (*block == ZEROS[..block.len()], start) {
            (false, None) => start = Some(offset),
            (true, Some(from)) => {
                runs.push((from, &chunk[from..offset]));
                start = None;
            }
            _ => {}
        }
    }
    if let Some(from) = start {
        runs.push((from, &chunk[from..]));
    }
    runs
}

/// Owner first, since changing it clears set-id bits and capabilities; times last.
fn finish_open(object: impl AsFd, entry: &Entry) -> Result<(), TreeProblem> {
    fchown(
        &object,
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )?;
    fchmod(&object, Mode::from_raw_mode(entry.mode))?;
    set_xattrs(&object, &entry.xattrs)?;
    Ok(futimens(&object, &times(entry.mtime))?)
}

fn set_xattrs(object: impl AsFd, xattrs: &Xattrs) -> Result<(), TreeProblem> {
    for (name, value) in xattrs {
        fsetxattr(&object, &name[..], value, XattrFlags::empty())?;
    }
    Ok(())
}

/// [`finish_open`] for links and pipes, which cannot be opened without side effects.
fn finish_named(parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), TreeProblem> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if !matches!(entry.kind, Kind::Symlink { .. }) {
        chmodat(parent, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    }
    set_xattrs_of_named(parent, name, &entry.xattrs)?;
    Ok(utimensat(
        parent,
        name,
        &times(entry.mtime),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

fn set_xattrs_of_named(parent: BorrowedFd<'_>, name: &[u8], xattrs: &Xattrs) -> Result<(), TreeProblem> {
    // Linux has no setxattrat before 6.13; the path through /proc leads to the same file.
    let path = [format!("/proc/self/fd/{}/", parent.as_raw_fd()).as_bytes(), name].concat();
    for (xattr, value) in xattrs {
        lsetxattr(&path[..], &xattr[..], value, XattrFlags::empty())?;
    }
    Ok(())
}

fn times(mtime: Mtime) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime.seconds,
            tv_nsec: mtime.nanoseconds.into(),
        },
    }
}
