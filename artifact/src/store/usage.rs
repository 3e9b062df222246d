//! What files take on disk.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use walkdir::WalkDir;

/// `st_blocks` counts in this unit on Linux, whatever the file system (stat(2)).
const STAT_BLOCK: u64 = 512;

/// Bytes that a file or tree takes on disk: blocks allocated, a file with several names once. Links are not
/// followed.
///
/// # Errors
/// When something in it cannot be read.
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
