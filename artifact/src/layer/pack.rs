//! Packs a directory into a layer's stream.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use zstd::stream::write::Encoder;

use super::entry::{self, Entry, Kind, MAX_RECORDS};
use super::error::PackError;
use super::path::LayerPath;
use super::pax::Mtime;
use super::xattrs::{self, Xattr, Xattrs};
use super::{Layer, MAX_ENTRIES, OPAQUE_MARKER, WHITEOUT_PREFIX};
use crate::digest::{Digest, HashingStream};

/// Compression at this level keeps up with a disk.
const ZSTD_LEVEL: i32 = 3;
/// Bytes read from a file at a time.
const BUFFER: usize = 256 * 1024;

/// Options of [`pack`]; by default everything is packed unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackOptions {
    /// Later modification times are set to this one (seconds since 1970), so that two builds of a layer give the same bytes (as with
    /// `SOURCE_DATE_EPOCH`, reproducible-builds.org).
    pub mtime_clamp: Option<i64>,
    /// Subtrees to leave out, relative to the directory. They need not exist.
    pub exclude: Vec<PathBuf>,
}

/// The result of [`pack`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Digest of the compressed stream.
    pub digest: Digest,
    /// Digest of the uncompressed tar stream.
    pub diff_id: Digest,
    /// Length of the compressed stream in bytes.
    pub size: u64,
    /// Length of the uncompressed tar stream in bytes.
    pub unpacked_size: u64,
    /// True if unpacking gives the same directory: nothing was clamped, excluded or left out, except attributes that layers do not
    /// have (overlay's bookkeeping, labels of the host).
    pub exact: bool,
}

impl Packed {
    pub fn layer(&self, title: &str) -> Layer {
        Layer {
            title: title.to_owned(),
            digest: self.digest.clone(),
            diff_id: self.diff_id.clone(),
            size: self.size,
            unpacked_size: self.unpacked_size,
        }
    }
}

/// Writes the directory `dir`, in overlayfs form, to `out` as a layer's stream. Returns `out`.
///
/// Equal trees give equal bytes, however many CPUs the machine has. `dir` must not change meanwhile.
///
/// # Errors
/// See [`PackError`]; what was written must not be used then.
pub fn pack<W: Write>(dir: &Path, out: W, options: &PackOptions) -> Result<(W, Packed), PackError> {
    pack_with(
        dir,
        out,
        options,
        std::thread::available_parallelism().map_or(1, NonZero::get),
    )
}

/// Any number of workers gives the same bytes, except zero.
fn pack_with<W: Write>(
    dir: &Path,
    out: W,
    options: &PackOptions,
    workers: usize,
) -> Result<(W, Packed), PackError> {
    let read = |source| PackError::Read {
        path: dir.to_owned(),
        source,
    };
    let device = fs::metadata(dir).map_err(read)?.dev();
    let encoder = encoder(HashingStream::new(out), workers).map_err(PackError::Write)?;
    let mut packer = Packer {
        out: HashingStream::new(encoder),
        dir,
        device,
        options,
        first_names: HashMap::new(),
        entries: 0,
        exact: true,
    };
    packer.directory(&LayerPath::root())?;
    entry::write_end(&mut packer.out).map_err(PackError::Write)?;

    let exact = packer.exact;
    let (encoder, diff_id, unpacked_size) = packer.out.finish();
    let (out, digest, size) = encoder.finish().map_err(PackError::Write)?.finish();
    let packed = Packed {
        digest,
        diff_id,
        size,
        unpacked_size,
        exact,
    };
    Ok((out, packed))
}

/// The compressor of all layers. Equal streams give equal bytes with the same release of zstd.
pub(super) fn encoder<W: Write>(out: W, workers: usize) -> io::Result<Encoder<'static, W>> {
    let mut encoder = Encoder::new(out, ZSTD_LEVEL)?;
    encoder.multithread(workers.try_into().unwrap_or(1))?;
    Ok(encoder)
}

struct Packer<'a, W: Write> {
    out: HashingStream<Encoder<'static, HashingStream<W>>>,
    dir: &'a Path,
    device: u64,
    options: &'a PackOptions,
    /// For files with several names: the first name by inode number.
    first_names: HashMap<u64, LayerPath>,
    entries: u64,
    exact: bool,
}

impl<W: Write> Packer<'_, W> {
    fn directory(&mut self, path: &LayerPath) -> Result<(), PackError> {
        let at = self.at(path);
        let read = |source| PackError::Read {
            path: at.clone(),
            source,
        };
        let metadata = fs::symlink_metadata(&at).map_err(read)?;
        if metadata.dev() != self.device {
            return Err(PackError::MountPoint { path: at });
        }
        let (entry, opaque) = self.describe(path, &metadata, Kind::Directory)?;
        self.write_headers(&entry)?;
        if opaque {
            self.marker(path.join(OPAQUE_MARKER))?;
        }

        let mut whiteouts = Vec::new();
        let mut children = Vec::new();
        for child in fs::read_dir(&at).map_err(read)? {
            let name = child.map_err(read)?.file_name().into_vec();
            let child = path.join(&name);
            if self
                .options
                .exclude
                .iter()
                .any(|excluded| excluded == child.as_path())
            {
                self.exact = false;
                continue;
            }
            if name.starts_with(WHITEOUT_PREFIX) {
                return Err(PackError::ReservedName {
                    path: self.at(&child),
                });
            }
            if let Err(source) = LayerPath::parse(child.as_bytes()) {
                return Err(PackError::Path {
                    path: self.at(&child),
                    source,
                });
            }
            let at = self.at(&child);
            let metadata =
                fs::symlink_metadata(&at).map_err(|source| PackError::Read { path: at, source })?;
            if is_whiteout(&metadata) {
                whiteouts.push(name)
            } else {
                children.push((name, metadata))
            }
        }
        // Whiteouts first, as OCI layer.md recommends for readers that apply entries one by one.
        whiteouts.sort_unstable();
        for name in whiteouts {
            self.marker(path.join(&[WHITEOUT_PREFIX, &name].concat()))?;
        }
        children.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        for (name, metadata) in children {
            let child = path.join(&name);
            if metadata.is_dir() {
                self.directory(&child)?
            } else {
                self.leaf(child, &metadata)?
            }
        }
        Ok(())
    }

    /// Writes an empty file whose name is a deletion.
    fn marker(&mut self, path: LayerPath) -> Result<(), PackError> {
        let (mtime, xattrs) = (Mtime::default(), BTreeMap::new());
        self.write_headers(&Entry {
            path,
            kind: Kind::File { size: 0 },
            mode: 0,
            uid: 0,
            gid: 0,
            mtime,
            xattrs,
        })
    }

    fn leaf(&mut self, path: LayerPath, metadata: &Metadata) -> Result<(), PackError> {
        if metadata.dev() != self.device {
            return Err(PackError::MountPoint { path: self.at(&path) });
        }
        if let Some(why) = unsupported(metadata) {
            tracing::debug!("left out `{}`: {why}", path.as_path().display());
            self.exact = false;
            return Ok(());
        }
        let first_name = self.first_names.get(&metadata.ino()).cloned();
        if let Some(to) = first_name {
            let (entry, _) = self.describe(&path, metadata, Kind::HardLink { to })?;
            return self.write_headers(&Entry {
                xattrs: BTreeMap::new(),
                ..entry
            });
        }
        if metadata.nlink() > 1 {
            self.first_names.insert(metadata.ino(), path.clone());
        }
        let kind = self.kind(&path, metadata)?;
        let (entry, _) = self.describe(&path, metadata, kind)?;
        self.write_headers(&entry)?;
        if let Kind::File { size } = entry.kind {
            self.data(&path, size)
        } else {
            Ok(())
        }
    }

    fn kind(&self, path: &LayerPath, metadata: &Metadata) -> Result<Kind, PackError> {
        let kind = metadata.file_type();
        Ok(if kind.is_symlink() {
            let at = self.at(path);
            let target = fs::read_link(&at).map_err(|source| PackError::Read { path: at, source })?;
            Kind::Symlink {
                target: target.into_os_string().into_vec(),
            }
        } else if kind.is_fifo() {
            Kind::Fifo
        } else {
            Kind::File {
                size: metadata.size(),
            }
        })
    }

    /// The entry of an object, and true for an opaque directory.
    fn describe(
        &mut self,
        path: &LayerPath,
        metadata: &Metadata,
        kind: Kind,
    ) -> Result<(Entry, bool), PackError> {
        let mut mtime = Mtime {
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec().try_into().unwrap_or(0),
        };
        if let Some(seconds) = self.options.mtime_clamp {
            let latest = Mtime {
                seconds,
                nanoseconds: 0,
            };
            self.exact &= mtime <= latest;
            mtime = mtime.min(latest);
        }
        let (xattrs, opaque) = self.xattrs(path)?;
        let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
        Ok((
            Entry {
                path: path.clone(),
                kind,
                mode,
                uid,
                gid,
                mtime,
                xattrs,
            },
            opaque,
        ))
    }

    fn xattrs(&self, path: &LayerPath) -> Result<(Xattrs, bool), PackError> {
        let at = self.at(path);
        let read = |source| PackError::Read {
            path: at.clone(),
            source,
        };
        let names = match xattr::list(&at) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok((BTreeMap::new(), false)),
            Err(error) => return Err(read(error)),
        };
        let (mut content, mut opaque) = (BTreeMap::new(), false);
        for name in names {
            let value = xattr::get(&at, &name).map_err(read)?;
            let value = value.ok_or_else(|| PackError::Changed { path: at.clone() })?;
            match xattrs::classify(name.as_bytes(), &value) {
                Xattr::Content => drop(content.insert(name.into_vec(), value)),
                Xattr::Opaque => opaque = true,
                Xattr::OverlayBookkeeping | Xattr::Host => {}
                Xattr::Unsupported => {
                    let xattr = name.to_string_lossy().into_owned();
                    return Err(PackError::OverlayFeature { path: at, xattr });
                }
            }
        }
        Ok((content, opaque))
    }

    fn data(&mut self, path: &LayerPath, size: u64) -> Result<(), PackError> {
        let at = self.at(path);
        let read = |source: io::Error| PackError::Read {
            path: at.clone(),
            source,
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&at, flags, Mode::empty()).map_err(|errno| read(errno.into()))?;
        // One byte more than expected, to notice growth.
        let mut file = File::from(file).take(size.saturating_add(1));
        let mut left = size;
        let mut buffer = vec![0; BUFFER.min(usize::try_from(size).unwrap_or(BUFFER)).max(1)];
        loop {
            let count = file.read(&mut buffer).map_err(read)?;
            if count == 0 && left == 0 {
                return entry::pad(&mut self.out, size).map_err(PackError::Write);
            }
            if count == 0 || count as u64 > left {
                return Err(PackError::Changed { path: at });
            }
            self.out.write_all(&buffer[..count]).map_err(PackError::Write)?;
            left -= count as u64;
        }
    }

    fn write_headers(&mut self, entry: &Entry) -> Result<(), PackError> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(PackError::TooMany);
        }
        let (header, records) = entry.headers();
        if records.len() as u64 > MAX_RECORDS {
            return Err(PackError::Attributes {
                path: self.at(&entry.path),
            });
        }
        entry::write_headers(&mut self.out, &header, &records).map_err(PackError::Write)
    }

    fn at(&self, path: &LayerPath) -> PathBuf {
        self.dir.join(path.as_path())
    }
}

/// Why an object is left out; `None` if it is packed.
fn unsupported(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    if kind.is_socket() {
        Some("sockets end with their program")
    } else if kind.is_char_device() || kind.is_block_device() {
        Some("device nodes are created when a machine starts")
    } else {
        None
    }
}

/// True for overlayfs's form of a deletion.
fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

#[cfg(test)]
mod tests;
