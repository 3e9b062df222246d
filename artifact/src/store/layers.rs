//! Packs layers into blobs and unpacks them into directories.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::blobs::sync_parent;
use super::{Store, StoreError, lock};
use crate::layer::{Layer, PackOptions, Packed, UnpackError, is_bookkeeping, pack, unpack};
use crate::manifest::BlobRef;

impl Store {
    /// Packs the directory `dir`, in overlayfs form, into a blob, unless an equal one exists.
    ///
    /// # Errors
    /// See [`PackError`](crate::PackError); nothing is stored then.
    pub fn add_layer(&self, title: &str, dir: &Path, options: &PackOptions) -> Result<Layer, StoreError> {
        Ok(self.pack_blob(title, dir, options)?.layer(title))
    }

    /// Packs `dir` like [`Store::add_layer`], and provides the unpacked layer: by moving `dir` into the store if that equals
    /// unpacking (nothing clamped, excluded or left out; same file system), else by unpacking. `dir` must not be used
    /// afterwards.
    ///
    /// # Errors
    /// As for [`Store::add_layer`] and [`Store::unpacked`].
    pub fn adopt_layer(&self, title: &str, dir: &Path, options: &PackOptions) -> Result<Layer, StoreError> {
        let packed = self.pack_blob(title, dir, options)?;
        let layer = packed.layer(title);
        if packed.exact && self.adopt(&layer, dir)? {
            return Ok(layer);
        }
        self.unpacked(&layer)?;
        Ok(layer)
    }

    /// The directory of the unpacked layer, for use as a lower directory of overlays; unpacks the layer if necessary. Several
    /// threads and processes may call this at once. The directory must not be written to.
    ///
    /// # Errors
    /// The blob is missing, damaged or not a valid layer.
    pub fn unpacked(&self, layer: &Layer) -> Result<PathBuf, StoreError> {
        let path = self.unpacked_path(&layer.digest);
        if path.is_dir() {
            return Ok(path);
        }
        let _lock = self.lock_layer(layer)?;
        if path.is_dir() {
            return Ok(path);
        }
        let _step = tracing::debug_span!("step", what = format!("unpack layer `{}`", layer.title)).entered();
        let tmp = self.tmp();
        let dir = tempfile::Builder::new().prefix("unpack-").tempdir_in(&tmp);
        let dir = dir.map_err(StoreError::io("write in", &tmp))?;
        self.read_layer(layer, |blob, layer| unpack(blob, layer, dir.path()))?;
        keep_unpacked(dir.path(), &path)?;
        let _moved = dir.keep();
        Ok(path)
    }

    /// Calls `read` with the blob of a layer.
    pub(crate) fn read_layer<T>(
        &self,
        layer: &Layer,
        read: impl FnOnce(File, &Layer) -> Result<T, UnpackError>,
    ) -> Result<T, StoreError> {
        let path = self.blob_path(&layer.digest);
        match File::open(&path) {
            Ok(blob) => read(blob, layer).map_err(|source| self.unpack_error(layer, source)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(self.missing(layer)),
            Err(error) => Err(StoreError::io("read", &path)(error)),
        }
    }

    fn pack_blob(&self, title: &str, dir: &Path, options: &PackOptions) -> Result<Packed, StoreError> {
        let _step = tracing::debug_span!("step", what = format!("pack layer `{title}`")).entered();
        let packed = pack(dir, self.temp_file()?, options);
        let (file, packed) = packed.map_err(|source| StoreError::Pack {
            title: title.to_owned(),
            source,
        })?;
        self.keep_blob(
            file,
            &BlobRef {
                digest: packed.digest.clone(),
                size: packed.size,
            },
        )?;
        Ok(packed)
    }

    /// Moves `dir` into the store as the unpacked layer; false if it is on another file system.
    fn adopt(&self, layer: &Layer, dir: &Path) -> Result<bool, StoreError> {
        let path = self.unpacked_path(&layer.digest);
        let _lock = self.lock_layer(layer)?;
        if path.is_dir() {
            return Ok(true);
        }
        drop_bookkeeping(dir)?;
        match keep_unpacked(dir, &path) {
            Ok(()) => Ok(true),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::CrossesDevices => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn lock_layer(&self, layer: &Layer) -> Result<File, StoreError> {
        lock::exclusive(&self.tmp().join(format!("{}.lock", layer.digest.hex())))
    }

    fn unpack_error(&self, layer: &Layer, source: UnpackError) -> StoreError {
        let tags = self.tags_with(&layer.digest);
        StoreError::Unpack {
            title: layer.title.clone(),
            tags,
            source,
        }
    }
}

/// Moves a complete directory into place. It must be complete or absent after a power failure, and has many files, so the whole
/// file system is synced.
fn keep_unpacked(dir: &Path, path: &Path) -> Result<(), StoreError> {
    let opened = File::open(dir).map_err(StoreError::io("read", dir))?;
    rustix::fs::syncfs(&opened).map_err(|errno| StoreError::io("write", dir)(errno.into()))?;
    fs::rename(dir, path).map_err(StoreError::io("make", path))?;
    sync_parent(path)
}

/// Removes overlay's bookkeeping attributes from a former upper directory.
fn drop_bookkeeping(dir: &Path) -> Result<(), StoreError> {
    for entry in WalkDir::new(dir) {
        let entry = entry.map_err(|error| StoreError::io("read", dir)(error.into()))?;
        let path = entry.path();
        let names = match xattr::list(path) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => continue,
            Err(error) => return Err(StoreError::io("read", path)(error)),
        };
        for name in names.filter(|name| is_bookkeeping(name.as_bytes())) {
            xattr::remove(path, &name).map_err(StoreError::io("write", path))?;
        }
    }
    Ok(())
}
