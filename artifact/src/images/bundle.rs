//! The files of an image archive, wherever they are: in a directory, or in an archive that may be compressed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use tar::EntryType;
use walkdir::WalkDir;

/// RFC 1952, 2.3.1.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The .xz file format, 2.1.1.1.
const XZ: [u8; 6] = *b"\xfd7zXZ\0";
/// RFC 8878, 3.1.1.
pub(super) const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// One file of it.
pub(super) enum Entry<'a> {
    /// A regular file, of so many bytes.
    File(u64, &'a mut dyn Read),
    /// A link that docker puts in the place of a layer that is there twice: relative to it if symbolic.
    Link(EntryType, PathBuf),
}

/// Shows every file to `visit`, by its path below the bundle's root without a leading `./`.
///
/// # Errors
/// What reading says, or `visit`.
pub(super) fn walk(path: &Path, visit: &mut dyn FnMut(&Path, Entry<'_>) -> io::Result<()>) -> io::Result<()> {
    if path.metadata()?.is_dir() {
        walk_directory(path, visit)
    } else {
        walk_archive(&mut open(path)?, visit)
    }
}

fn walk_directory(root: &Path, visit: &mut dyn FnMut(&Path, Entry<'_>) -> io::Result<()>) -> io::Result<()> {
    // What else is in the directory is not part of the layout.
    let parts = ["oci-layout", "index.json", "blobs"].map(|part| root.join(part));
    for part in parts.iter().filter(|part| part.exists()) {
        for entry in WalkDir::new(part).sort_by_file_name() {
            let entry = entry?;
            if entry.file_type().is_file() {
                let mut file = File::open(entry.path())?;
                let size = file.metadata()?.len();
                let below = entry.path().strip_prefix(root).unwrap_or(entry.path());
                visit(below, Entry::File(size, &mut file))?;
            }
        }
    }
    Ok(())
}

fn walk_archive(
    from: &mut dyn Read,
    visit: &mut dyn FnMut(&Path, Entry<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut archive = tar::Archive::new(from);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path: PathBuf = entry.path()?.components().skip_while(is_here).collect();
        let kind = entry.header().entry_type();
        match kind {
            EntryType::Regular | EntryType::Continuous => {
                let size = entry.size();
                visit(&path, Entry::File(size, &mut entry))?;
            }
            EntryType::Link | EntryType::Symlink => {
                let to = entry.link_name()?.unwrap_or_default().into_owned();
                visit(&path, Entry::Link(kind, to))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Shows the names of all that is in the archive `path` to `visit`, without a leading `./`.
///
/// # Errors
/// What reading says.
pub(crate) fn walk_names(path: &Path, visit: &mut dyn FnMut(&Path)) -> io::Result<()> {
    let mut archive = tar::Archive::new(open(path)?);
    for entry in archive.entries()? {
        let name: PathBuf = entry?.path()?.components().skip_while(is_here).collect();
        visit(&name);
    }
    Ok(())
}

fn is_here(component: &std::path::Component<'_>) -> bool {
    *component == std::path::Component::CurDir
}

/// Opens a file, uncompressed on the way.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = BufReader::with_capacity(1 << 18, File::open(path)?);
    // A pipe may give less at first than there is.
    let mut start = Vec::new();
    (&mut file).take(XZ.len() as u64).read_to_end(&mut start)?;
    let whole = Cursor::new(start.clone()).chain(file);
    uncompressed(&start, BufReader::with_capacity(1 << 18, whole))
}

/// What is in `whole`, which begins with `start`.
pub(super) fn uncompressed<'w>(start: &[u8], whole: impl BufRead + 'w) -> io::Result<Box<dyn Read + 'w>> {
    if start.starts_with(&GZIP) {
        Ok(Box::new(MultiGzDecoder::new(whole)))
    } else if start.starts_with(&ZSTD) {
        Ok(Box::new(zstd::Decoder::with_buffer(whole)?))
    } else if start.starts_with(&XZ) {
        Ok(Box::new(XzDecoder::new_multi_decoder(whole)))
    } else {
        Ok(Box::new(whole))
    }
}
