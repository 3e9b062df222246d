//! Writes a pin, and preserves everything else in the file.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use toml_edit::{DocumentMut, Item, Value};

use super::{FILE, Pin, PinError};
use crate::reference::Reference;

/// The comment at the top of a new file.
const HEADER: &str = "# What `parbake up` starts here; `parbake pin --update` renews it.\n";

/// Pins `artifact` in the project that `dir` is in: in its `parbake.toml`, or in a new one in `dir`. Comments and order are
/// preserved; `plain-http` is written only if it is true. Returns the previous pin, if any, and the new one.
///
/// # Errors
/// The file is not valid or cannot be written; it is unchanged then.
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
        None => HEADER.to_owned(),
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
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        super::content_error(path, text, error.span(), error.message())
    })?;
    set(&mut document, "artifact", artifact.to_string().into());
    if plain_http {
        set(&mut document, "plain-http", true.into());
    } else {
        document.remove("plain-http");
    }
    Ok(document.to_string())
}

/// Sets a value, and preserves the whitespace and comments around the old one.
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

/// Replaces the file atomically. Its owner, who is rarely root, stays.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A symbolic link stays one.
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
