//! Writes a pin, and leaves alone whatever else is in the file.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use toml_edit::{DocumentMut, Item, Value};

use super::{FILE, Pin, PinError};
use crate::reference::Reference;

/// Whatever a new file says besides.
const HEAD: &str = "# What `parbake up` starts here; `parbake pin --update` renews it.\n";

/// Pins `artifact` in the project that `dir` is in: in its `parbake.toml`, or in a new one in `dir`. Comments and the
/// order of things stay; `plain_http` is said where it is true, and taken out where it is not. Gives back what was
/// pinned before, if anything was, and what is now.
///
/// # Errors
/// When the file that is there is not understood, or cannot be written; it is as it was then.
pub fn write(dir: &Path, artifact: &Reference, plain_http: bool) -> Result<(Option<Pin>, Pin), PinError> {
    let before = Pin::find(dir)?;
    let path = match &before {
        Some(pin) => pin.path.clone(),
        None => dir.join(FILE),
    };
    let io = |act, path: &Path| {
        let path = path.to_owned();
        move |source| PinError::Io { act, path, source }
    };
    let text = match before {
        Some(_) => fs::read_to_string(&path).map_err(io("read", &path))?,
        None => HEAD.to_owned(),
    };
    let text = edit(&path, &text, artifact, plain_http)?;
    replace(&path, text.as_bytes()).map_err(io("write", &path))?;
    let now = Pin {
        path,
        artifact: artifact.clone(),
        plain_http,
    };
    Ok((before, now))
}

pub(super) fn edit(
    path: &Path,
    text: &str,
    artifact: &Reference,
    plain_http: bool,
) -> Result<String, PinError> {
    let mut document: DocumentMut = text
        .parse()
        .map_err(|error: toml_edit::TomlError| super::wrong(path, text, error.span(), error.message()))?;
    set(&mut document, "artifact", artifact.to_string().into());
    if plain_http {
        set(&mut document, "plain-http", true.into());
    } else {
        document.remove("plain-http");
    }
    Ok(document.to_string())
}

/// Sets a value; what is written around the old one stays, such as a comment behind it.
fn set(document: &mut DocumentMut, key: &str, mut value: Value) {
    match document.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        None => {
            document.insert(key, Item::Value(value));
        }
    }
}

/// The old file or the new one, whatever happens; it stays its owner's, who is hardly root.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays one.
    let path: PathBuf = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let dir = path.parent().unwrap_or(Path::new("/"));
    let (owner, mode) = match fs::metadata(&path) {
        Ok(old) => (old, None),
        Err(_) => (fs::metadata(dir)?, Some(0o644)),
    };
    let mut file = NamedTempFile::with_prefix_in(".parbake.toml-", dir)?;
    file.write_all(bytes)?;
    chown(file.path(), Some(owner.uid()), Some(owner.gid()))?;
    let mode = mode.unwrap_or(owner.mode() & 0o7777);
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    File::open(dir)?.sync_all()
}
