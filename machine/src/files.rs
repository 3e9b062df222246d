//! Files that are whole at any moment, and what to say when something cannot be done with one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Something that could not be done with a file or a directory.
#[derive(Debug, thiserror::Error)]
#[error("could not {act} `{}`", path.display())]
pub struct Error {
    /// What was tried, as a verb: "read".
    pub act: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Makes an [`Error`] of why `act` failed at `path`.
pub fn failed<E: Into<io::Error>>(act: &'static str, path: &Path) -> impl FnOnce(E) -> Error + use<E> {
    let path = path.to_owned();
    move |source| Error {
        act,
        path,
        source: source.into(),
    }
}

/// Writes `content` into the file at `path` with the permission bits `mode`: whoever reads it, also after a crash, finds
/// the old content or the new one. The partial file beside it has the extension `partial`.
///
/// # Errors
/// What creating, writing, syncing or renaming says.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&partial)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::replace;

    #[test]
    fn the_new_content_is_all_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        replace(&path, b"a long first text", 0o644).unwrap();
        replace(&path, b"short", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"short");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
