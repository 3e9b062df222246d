//! Results that are made once and then kept.
//!
//! ```text
//! CACHE/
//! |-- lock                  held while inputs are prepared
//! |-- tmp/                  what is being made; emptied by whoever takes the lock
//! |-- partial/              files and images that are on their way; see source `release`
//! |-- debs/SHA256.deb       Debian packages; checked whenever one is used
//! `-- KIND/KEY/             a result; KEY is the digest of everything that determines it
//!     |-- manifest.json     version 1: what the result consists of
//!     `-- content/          the result
//! ```
//!
//! A result appears whole or not at all: it is made in `tmp/`, flushed to disk and renamed.

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

/// A directory that keeps results, not yet locked.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    dir: PathBuf,
}

/// A [`Cache`] that nobody else works with at the moment, or that is only looked at.
#[derive(Debug)]
pub(crate) struct Locked {
    dir: PathBuf,
    /// Nothing is made: what is not there is only noted.
    looking: bool,
    trace: RefCell<Vec<CachedStep>>,
    _lock: Option<File>,
}

/// A result in the cache.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The directory with the result.
    pub(crate) path: PathBuf,
    content: Content,
}

/// What is known of an entry.
#[derive(Debug)]
enum Content {
    Known(Manifest),
    /// It was not there, and nobody made it. The key stands for what its files would be.
    Missing(String),
}

impl Entry {
    /// The SHA-256 of the file `name` of the result.
    pub(crate) fn sha256(&self, name: &str) -> Result<String, Error> {
        let found = match &self.content {
            Content::Known(manifest) => manifest.sha256(name).map(str::to_owned),
            // No file has this one, so all that depends on it is made anew, too.
            Content::Missing(key) => {
                let stand_in = KeyBuilder::new("missing", 1).field("of", key).field("name", name);
                Some(stand_in.finish().to_string())
            }
        };
        let missing = || failed("find", &self.path.join(name))(io::ErrorKind::NotFound);
        Ok(found.ok_or_else(missing)?)
    }
}

impl Cache {
    /// A cache in the directory `dir`, which need not exist.
    pub(crate) fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Creates the directory where needed, waits until nobody else works with it, and clears away what they left
    /// unfinished.
    pub(crate) fn lock(&self) -> Result<Locked, Error> {
        fs::create_dir_all(&self.dir).map_err(failed("create", &self.dir))?;
        let dir = fs::canonicalize(&self.dir).map_err(failed("find", &self.dir))?;
        let path = dir.join("lock");
        let lock = File::create(&path).map_err(failed("create", &path))?;
        if lock.try_lock().is_err() {
            tracing::info!("waiting for another parbake that works with `{}`", dir.display());
            lock.lock().map_err(failed("lock", &path))?;
        }
        let tmp = dir.join(TMP);
        remove(&tmp)?;
        fs::create_dir(&tmp).map_err(failed("create", &tmp))?;
        Ok(Locked {
            dir,
            looking: false,
            trace: RefCell::default(),
            _lock: Some(lock),
        })
    }

    /// The same for who only wants to know what would be made: nothing is, so nobody is waited for.
    pub(crate) fn look(&self) -> Locked {
        Locked {
            dir: fs::canonicalize(&self.dir).unwrap_or_else(|_| self.dir.clone()),
            looking: true,
            trace: RefCell::default(),
            _lock: None,
        }
    }
}

impl Cache {
    /// Whether there is a result of the kind `kind` under `key`, sound or not.
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

    /// The result of the kind `kind` under `key`; where it is not there, or damaged, the step `what` makes it: `build`
    /// is given an empty directory to fill.
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
        if self.looking {
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
        // The name is gone, so nothing is left for the guard to remove.
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
            None => "its manifest cannot be read".to_owned(),
            Some(manifest) => match manifest.check(&content) {
                Ok(State::Sound) => {
                    return Ok(Some(Entry {
                        path: content,
                        content: Content::Known(manifest),
                    }));
                }
                Ok(State::Moved) => {
                    if !self.looking {
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
        if self.looking {
            return Ok(None);
        }
        tracing::warn!("the cached result of `{what}` is damaged and will be made anew: {damage}");
        remove(path)?;
        Ok(None)
    }

    /// Whether nothing is made.
    pub(crate) fn is_looking(&self) -> bool {
        self.looking
    }

    /// What was asked for so far, in order.
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

    /// A directory of the cache that holds files which are no results.
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

/// Flushes everything that was written to the file system of `path`: an entry may have thousands of files.
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
