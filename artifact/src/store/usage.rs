//! Disk usage of files.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use walkdir::WalkDir;

/// The unit of `st_blocks` on Linux (stat(2)).
const STAT_BLOCK: u64 = 512;

/// Disk usage of a file or tree in bytes: allocated blocks, hard links counted once. Symbolic links are not followed.
///
/// # Errors
/// Something in it cannot be read.
pub fn disk_usage(path: &Path) -> io::Result<u64> {
    let mut seen = HashSet::new();
    let mut bytes = 0;
    for entry in WalkDir::new(path) {
        let metadata = entry?.metadata()?;
        if metadata.nlink() == 1 || metadata.is_dir() || seen.insert((metadata.dev(), metadata.ino())) {
            bytes += metadata.blocks() * STAT_BLOCK;
        }
    }
    Ok(bytes)
}
