//! Single files out of an image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::archive::Files;
use super::bundle::{Entry, ZSTD, uncompressed, walk};
use super::error::ImageError;
use super::oci::layers;

/// Copies files out of the first image in `path`, an OCI image layout as a directory or an archive: `wanted` has the
/// absolute path in the image, and the new file to write. Of a file in several layers the uppermost counts.
///
/// # Errors
/// [`ImageError::Damaged`], also when the image lacks one of the files or has no regular file there; and what reading
/// and writing say.
pub fn extract_files(path: &Path, wanted: &BTreeMap<String, PathBuf>) -> Result<(), ImageError> {
    let failed = |source| ImageError::Read {
        path: path.to_owned(),
        source,
    };
    let files = Files::of(path)?;
    let layers = layers(path, &files)?;
    // The layers come in any order: where each file was found so far, by number of the layer.
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    let mut visit = |name: &Path, entry: Entry<'_>| {
        let number = layers.iter().position(|layer| layer == name);
        let (Some(number), Entry::File(_, content)) = (number, entry) else {
            return Ok(());
        };
        copy_from(content, wanted, |inside| {
            let above = found.get(inside).is_none_or(|other| *other <= number);
            if above {
                found.insert(inside, number);
            }
            above
        })
    };
    walk(path, &mut visit).map_err(failed)?;
    match wanted.keys().find(|inside| !found.contains_key(inside.as_str())) {
        None => Ok(()),
        Some(inside) => Err(ImageError::Damaged {
            path: path.to_owned(),
            problem: format!("the image has no file `{inside}`"),
        }),
    }
}

fn copy_from<'w>(
    layer: &mut dyn Read,
    wanted: &'w BTreeMap<String, PathBuf>,
    mut counts: impl FnMut(&'w str) -> bool,
) -> io::Result<()> {
    let mut start = Vec::new();
    layer.take(ZSTD.len() as u64).read_to_end(&mut start)?;
    let whole = BufReader::with_capacity(1 << 18, Cursor::new(start.clone()).chain(layer));
    let mut archive = tar::Archive::new(uncompressed(&start, whole)?);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let inside = Path::new("/").join(entry.path()?.strip_prefix("./").unwrap_or(&entry.path()?));
        let kind = entry.header().entry_type();
        let wanted = wanted.iter().find(|(path, _)| Path::new(path) == inside);
        if let Some((path, to)) = wanted
            && matches!(kind, EntryType::Regular | EntryType::Continuous)
            && counts(path)
        {
            io::copy(&mut entry, &mut File::create(to)?)?;
        }
    }
    Ok(())
}
