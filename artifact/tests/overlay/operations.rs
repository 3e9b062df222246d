//! Random operations on a file system.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::{Just, any};
use proptest::prop_oneof;
use proptest::sample::Index;
use proptest::strategy::{BoxedStrategy, Strategy};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, UTIME_OMIT, mknodat, utimensat};
use walkdir::WalkDir;

/// One operation. An `Index` selects one of the directories or entries that exist at that time.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    MakeDir {
        parent: Index,
        name: usize,
    },
    Write {
        parent: Index,
        name: usize,
        size: usize,
        fill: u8,
    },
    WriteHole {
        parent: Index,
        name: usize,
        blocks: u64,
    },
    Append {
        target: Index,
    },
    Symlink {
        parent: Index,
        name: usize,
        length: usize,
    },
    HardLink {
        target: Index,
        parent: Index,
        name: usize,
    },
    Pipe {
        parent: Index,
        name: usize,
    },
    Remove {
        target: Index,
    },
    Replace {
        target: Index,
    },
    Rename {
        target: Index,
        parent: Index,
        name: usize,
    },
    Chmod {
        target: Index,
        mode: u32,
    },
    Chown {
        target: Index,
        uid: u32,
        gid: u32,
    },
    Xattr {
        target: Index,
        which: usize,
        value: Vec<u8>,
    },
    Times {
        target: Index,
        seconds: i64,
        nanoseconds: i64,
    },
}

pub(crate) fn operation() -> BoxedStrategy<Operation> {
    let (index, name) = (any::<Index>, || 0..names().len());
    prop_oneof![
        4 => (index(), name()).prop_map(|(parent, name)| Operation::MakeDir { parent, name }),
        4 => (index(), name(), 0usize..20_000, any::<u8>())
            .prop_map(|(parent, name, size, fill)| Operation::Write { parent, name, size, fill }),
        1 => (index(), name(), 1u64..60)
            .prop_map(|(parent, name, blocks)| Operation::WriteHole { parent, name, blocks }),
        2 => index().prop_map(|target| Operation::Append { target }),
        1 => (index(), name(), prop_oneof![Just(1usize), 90usize..110, Just(300)])
            .prop_map(|(parent, name, length)| Operation::Symlink { parent, name, length }),
        2 => (index(), index(), name())
            .prop_map(|(target, parent, name)| Operation::HardLink { target, parent, name }),
        1 => (index(), name()).prop_map(|(parent, name)| Operation::Pipe { parent, name }),
        4 => index().prop_map(|target| Operation::Remove { target }),
        2 => index().prop_map(|target| Operation::Replace { target }),
        2 => (index(), index(), name())
            .prop_map(|(target, parent, name)| Operation::Rename { target, parent, name }),
        2 => (index(), 0u32..0o10000).prop_map(|(target, mode)| Operation::Chmod { target, mode }),
        2 => (index(), 0u32..5_000_000, 0u32..5_000_000)
            .prop_map(|(target, uid, gid)| Operation::Chown { target, uid, gid }),
        3 => (index(), 0usize..XATTRS.len(), proptest::collection::vec(any::<u8>(), 0..60))
            .prop_map(|(target, which, value)| Operation::Xattr { target, which, value }),
        2 => (index(), -2_000_000_000i64..9_000_000_000, 0i64..1_000_000_000)
            .prop_map(|(target, seconds, nanoseconds)| Operation::Times { target, seconds, nanoseconds }),
    ]
    .boxed()
}

pub(crate) const XATTRS: [&str; 6] = [
    "user.plain",
    "user.a=b%c",
    "trusted.own",
    "security.capability",
    "system.posix_acl_default",
    "trusted.line\nfeed",
];

/// `VFS_CAP_REVISION_2` with one capability permitted and effective (linux/capability.h).
pub(crate) const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Default ACL `u::rwx,u:1000:r-x,g::r-x,m::rwx,o::---` (linux/posix_acl_xattr.h).
pub(crate) fn default_acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] = [
        (1, 7, u32::MAX),
        (2, 5, 1000),
        (4, 5, u32::MAX),
        (16, 7, u32::MAX),
        (32, 0, u32::MAX),
    ];
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&permissions.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    acl
}

/// Few names, so that operations collide, with a long one, one that is not UTF-8, and some of unusual sort order.
pub(crate) fn names() -> Vec<OsString> {
    let raw = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    vec![
        raw(b"a"),
        raw(b"b"),
        raw(b"c"),
        raw(b"a.b"),
        raw(b"A"),
        raw(b".wh"),
        raw(b"not\xffutf8"),
        raw(b"line\nfeed \\"),
        raw(&[b'l'; 120]),
        raw(&[[0xc3, 0x28].as_slice(), &[b'm'; 253]].concat()),
    ]
}

impl Operation {
    /// Applies the operation below `root`. Operations that are not possible, for example on an existing name, are skipped.
    pub(crate) fn apply(&self, root: &Path) {
        if let Err(error) = self.try_apply(root) {
            let expected = [
                io::ErrorKind::AlreadyExists,
                io::ErrorKind::DirectoryNotEmpty,
                io::ErrorKind::InvalidInput,
                io::ErrorKind::IsADirectory,
                io::ErrorKind::NotADirectory,
                io::ErrorKind::PermissionDenied,
                // A default ACL on a link.
                io::ErrorKind::Unsupported,
                // Without redirects, overlay does not rename directories of lower layers.
                io::ErrorKind::CrossesDevices,
            ];
            assert!(expected.contains(&error.kind()), "{self:?}: {error}");
        }
    }

    fn try_apply(&self, root: &Path) -> io::Result<()> {
        match self {
            Self::MakeDir { parent, name } => fs::create_dir(place(root, parent, *name)),
            Self::Write {
                parent,
                name,
                size,
                fill,
            } => {
                let path = place(root, parent, *name);
                // Opening a pipe would block, and links lead elsewhere.
                match fs::symlink_metadata(&path) {
                    Ok(metadata) if !metadata.is_file() => Ok(()),
                    _ => fs::write(path, vec![*fill; *size]),
                }
            }
            Self::WriteHole { parent, name, blocks } => {
                let file = File::create_new(place(root, parent, *name))?;
                file.write_all_at(b"in the middle", blocks * 4096 + 17)?;
                file.set_len(blocks * 3 * 4096 + 5)
            }
            Self::Append { target } => {
                let target = entry(root, target);
                if !fs::symlink_metadata(&target)?.is_file() {
                    return Ok(());
                }
                io::Write::write_all(&mut OpenOptions::new().append(true).open(target)?, b"appended")
            }
            Self::Symlink { parent, name, length } => {
                symlink("t".repeat(*length), place(root, parent, *name))
            }
            Self::HardLink { target, parent, name } => {
                fs::hard_link(entry(root, target), place(root, parent, *name))
            }
            Self::Pipe { parent, name } => {
                let path = place(root, parent, *name);
                Ok(mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0)?)
            }
            Self::Remove { target } => remove(root, &entry(root, target)),
            Self::Replace { target } => {
                let target = entry(root, target);
                remove(root, &target)?;
                fs::create_dir(&target)?;
                fs::write(target.join("new"), "new")
            }
            Self::Rename { target, parent, name } => {
                let target = entry(root, target);
                if target == root {
                    Ok(())
                } else {
                    fs::rename(target, place(root, parent, *name))
                }
            }
            Self::Chmod { target, mode } => {
                let target = entry(root, target);
                if fs::symlink_metadata(&target)?.is_symlink() {
                    return Ok(());
                }
                fs::set_permissions(target, fs::Permissions::from_mode(*mode))
            }
            Self::Chown { target, uid, gid } => lchown(entry(root, target), Some(*uid), Some(*gid)),
            Self::Xattr { target, which, value } => {
                let value = match XATTRS[*which] {
                    "security.capability" => CAPABILITY.to_vec(),
                    "system.posix_acl_default" => default_acl(),
                    _ => value.clone(),
                };
                xattr::set(entry(root, target), XATTRS[*which], &value)
            }
            Self::Times {
                target,
                seconds,
                nanoseconds,
            } => {
                let times = Timestamps {
                    last_access: Timespec {
                        tv_sec: 0,
                        tv_nsec: UTIME_OMIT,
                    },
                    last_modification: Timespec {
                        tv_sec: *seconds,
                        tv_nsec: *nanoseconds,
                    },
                };
                Ok(utimensat(
                    CWD,
                    entry(root, target),
                    &times,
                    AtFlags::SYMLINK_NOFOLLOW,
                )?)
            }
        }
    }
}

fn remove(root: &Path, target: &Path) -> io::Result<()> {
    if target == root {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if fs::symlink_metadata(target)?.is_dir() {
        fs::remove_dir_all(target)
    } else {
        fs::remove_file(target)
    }
}

fn listed(root: &Path, only_dirs: bool) -> Vec<PathBuf> {
    let entries = WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .map(Result::unwrap);
    entries
        .filter(|entry| !only_dirs || entry.file_type().is_dir())
        .map(walkdir::DirEntry::into_path)
        .collect()
}

fn entry(root: &Path, index: &Index) -> PathBuf {
    index.get(&listed(root, false)).clone()
}

fn place(root: &Path, parent: &Index, name: usize) -> PathBuf {
    index_dir(root, parent).join(&names()[name])
}

fn index_dir(root: &Path, index: &Index) -> PathBuf {
    index.get(&listed(root, true)).clone()
}
