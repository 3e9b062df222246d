//! The pages in `docs/reference` match the help of the command line.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;
use std::process::Command;

/// Reads all files of a directory, by name.
fn files(dir: &Path) -> BTreeMap<String, String> {
    let read = |entry: io::Result<DirEntry>| {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        Ok((name, fs::read_to_string(entry.path())?))
    };
    let files: io::Result<_> = fs::read_dir(dir).and_then(|entries| entries.map(read).collect());
    files.unwrap_or_else(|error| panic!("`{}`: {error}", dir.display()))
}

#[test]
fn reference_is_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_parbake"))
        .arg("reference")
        .arg(dir.path())
        .status()
        .unwrap();
    assert!(status.success());
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
    assert!(
        files(&committed) == files(dir.path()),
        "docs/reference does not match the help of the command line; run `cargo run -p parbake -- reference docs/reference`"
    );
}
