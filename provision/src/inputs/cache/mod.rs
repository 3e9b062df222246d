//! The cache of build results.
//!
//! ```text
//! CACHE/
//! |-- lock                  held while inputs are prepared
//! |-- tmp/                  unfinished results; emptied when the lock is taken
//! |-- partial/              interrupted downloads; see source `release`
//! |-- debs/SHA256.deb       Debian packages; verified at every use
//! `-- KIND/KEY/             a result; KEY is the digest of everything that determines it
//!     |-- manifest.json     version 1: the files of the result
//!     `-- content/          the result
//! ```
//!
//! Results appear atomically: they are made in `tmp/`, flushed to disk and renamed.

mod key;
mod manifest;
#[cfg(test)]
mod tests;
mod trace;

use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::syncfs;
use tempfile::TempDir;

pub(crate) use self::key::{Key, KeyBuilder, shown};
pub(crate) use self::manifest::sha256_of_file;
use parbake_machine::fs::files::failed;

use self::manifest::{Manifest, State};
pub use self::trace::CachedStep;
use super::error::Error;

const MANIFEST: &str = "manifest.json";
const CONTENT: &str = "content";
const TMP: &str = "tmp";

/// A cache directory that is not locked.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    dir: PathBuf,
}

/// A [`Cache`] that this process has locked, or opened for a preview.
#[derive(Debug)]
pub(crate) struct Locked {
    dir: PathBuf,
    /// Missing results are not made, only traced.
    is_preview: bool,
    trace: RefCell<Vec<CachedStep>>,
    _lock: Option<File>,
}

/// A result in the cache.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Known(Manifest),
    /// The result is not in the cache. The key replaces the digests of its files.
    Missing(String),
}

impl Entry {
    /// The SHA-256 of the file `name` of the result.
    pub(crate) fn sha256(&self, name: &str) -> Result<String, Error> {
        let found = match &self.content {
            Content::Known(manifest) => manifest.sha256(name).map(str::to_owned),
            // No file has this digest, so everything that depends on it is missing, too.
            Content::Missing(key) => {
                let placeholder = KeyBuilder::new("missing", 1).field("of", key).field("name", name);
                Some(placeholder.finish().to_string())
            }
        };
        let missing = || failed("find", &self.path.join(name))(io::ErrorKind::NotFound);
        Ok(found.ok_or_else(missing)?)
    }
}

impl Cache {
    /// A cache in the directory `dir`, which does not have to exist.
    pub(crate) fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Creates the directory if needed, waits for the lock, and removes unfinished results.
    pub(crate) fn lock(&self) -> Result<Locked, Error> {
        fs::create_dir_all(&self.dir).map_err(failed("create", &self.dir))?;
        let dir = fs::canonicalize(&self.dir).map_err(failed("find", &self.dir))?;
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(failed("create", &path))?;
        if lock.try_lock().is_err() {
            tracing::info!("waiting for another parbake that uses `{}`", dir.display());
            lock.lock().map_err(failed("lock", &path))?;
        }
        let tmp = dir.join(TMP);
        remove(&tmp)?;
        fs::create_dir(&tmp).map_err(failed("create", &tmp))?;
        Ok(Locked {
            dir,
            is_preview: false,
            trace: RefCell::default(),
            _lock: Some(lock),
        })
    }

    /// Opens the cache without a lock, to find out which results are missing. Nothing is made.
    pub(crate) fn preview(&self) -> Locked {
        Locked {
            dir: fs::canonicalize(&self.dir).unwrap_or_else(|_| self.dir.clone()),
            is_preview: true,
            trace: RefCell::default(),
            _lock: None,
        }
    }
}

impl Cache {
    /// True if there is a result, valid or not.
    pub(crate) fn has(&self, kind: &str, key: &Key) -> bool {
        has(&self.dir, kind, key)
    }
}

fn has(dir: &Path, kind: &str, key: &Key) -> bool {
    dir.join(kind).join(key.as_str()).join(MANIFEST).exists()
}

impl Locked {
    /// See [`Cache::has`].
    pub(crate) fn has(&self, kind: &str, key: &Key) -> bool {
        has(&self.dir, kind, key)
    }

    /// The result of the kind `kind` with this key. If it is missing or damaged, `build` makes it in an empty directory;
    /// `what` describes that step.
    pub(crate) fn entry(
        &self,
        kind: &str,
        key: &Key,
        what: &str,
        build: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<Entry, Error> {
        let path = self.dir.join(kind).join(key.as_str());
        let existing = self.existing(&path, what)?;
        let step = CachedStep::new(what, key, existing.is_some());
        self.trace.borrow_mut().push(step);
        if let Some(entry) = existing {
            return Ok(entry);
        }
        if self.is_preview {
            return Ok(Entry {
                path: path.join(CONTENT),
                content: Content::Missing(key.to_string()),
            });
        }
        let _step = tracing::info_span!("step", what).entered();
        let made = self.temp_dir()?;
        let content = made.path().join(CONTENT);
        fs::create_dir(&content).map_err(failed("create", &content))?;
        build(&content)?;
        let manifest = Manifest::of(&content).map_err(failed("read", &content))?;
        write_manifest(&made.path().join(MANIFEST), &manifest)?;
        sync(made.path())?;
        let parent = self.dir.join(kind);
        fs::create_dir_all(&parent).map_err(failed("create", &parent))?;
        fs::rename(made.path(), &path).map_err(failed("move a result to", &path))?;
        // The directory was renamed, so the guard must not remove it.
        let _ = made.keep();
        sync(&parent)?;
        Ok(Entry {
            path: path.join(CONTENT),
            content: Content::Known(manifest),
        })
    }

    fn existing(&self, path: &Path, what: &str) -> Result<Option<Entry>, Error> {
        if !path.exists() {
            return Ok(None);
        }
        let content = path.join(CONTENT);
        let text = fs::read_to_string(path.join(MANIFEST)).unwrap_or_default();
        let damage = match Manifest::parse(&text) {
            None => "its manifest is invalid".to_owned(),
            Some(manifest) => match manifest.check(&content) {
                Ok(State::Valid) => {
                    return Ok(Some(Entry {
                        path: content,
                        content: Content::Known(manifest),
                    }));
                }
                Ok(State::Moved) => {
                    if !self.is_preview {
                        let manifest = Manifest::of(&content).map_err(failed("read", &content))?;
                        write_manifest(&path.join(MANIFEST), &manifest)?;
                    }
                    return Ok(Some(Entry {
                        path: content,
                        content: Content::Known(manifest),
                    }));
                }
                Ok(State::Damaged(damage)) => damage,
                Err(error) => error.to_string(),
            },
        };
        if self.is_preview {
            return Ok(None);
        }
        tracing::warn!("the cached result of `{what}` is damaged and will be rebuilt: {damage}");
        remove(path)?;
        Ok(None)
    }

    pub(crate) fn is_preview(&self) -> bool {
        self.is_preview
    }

    /// All lookups so far, in order.
    pub(crate) fn trace(&self) -> Vec<CachedStep> {
        self.trace.borrow().clone()
    }

    /// An empty directory on the cache's file system.
    pub(crate) fn temp_dir(&self) -> Result<TempDir, Error> {
        let tmp = self.dir.join(TMP);
        Ok(tempfile::Builder::new()
            .prefix("")
            .tempdir_in(&tmp)
            .map_err(failed("create a directory in", &tmp))?)
    }

    /// A directory of the cache for files other than results.
    pub(crate) fn plain_dir(&self, name: &str) -> Result<PathBuf, Error> {
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir).map_err(failed("create", &dir))?;
        Ok(dir)
    }
}

fn write_manifest(path: &Path, manifest: &Manifest) -> Result<(), Error> {
    let text = manifest
        .to_text()
        .map_err(|error| failed("write", path)(io::Error::from(error)))?;
    let temporary = path.with_extension("new");
    fs::write(&temporary, text).map_err(failed("write", &temporary))?;
    Ok(fs::rename(&temporary, path).map_err(failed("write", path))?)
}

/// Flushes the whole file system of `path`, since an entry may have thousands of files.
fn sync(path: &Path) -> Result<(), Error> {
    let flush = || -> io::Result<()> { Ok(syncfs(File::open(path)?)?) };
    Ok(flush().map_err(failed("flush to disk", path))?)
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error).into()),
        _ => Ok(()),
    }
}
