//! Copies single files out of an image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::archive::Archive;
use super::error::ImageError;
use crate::sparse::Sparse;

/// Copies files out of the single image in the archive or layout `path`. `wanted` maps absolute paths in the image to the
/// new files. Of a file in several layers, the uppermost is copied.
///
/// # Errors
/// [`ImageError::Damaged`] also if the image has no regular file at one of the paths; and [`ImageError::Read`] for reading
/// the archive or writing the files.
pub fn extract_files(path: &Path, wanted: &BTreeMap<String, PathBuf>) -> Result<(), ImageError> {
    let archive = Archive::examine_unnamed(path)?;
    // Layers come in any order: the layer that each file was copied from so far.
    let mut copied: BTreeMap<&str, usize> = BTreeMap::new();
    let extracted = archive.read_layers(|_| true, &mut |layer, content| {
        extract_from(content, wanted, |file| {
            let is_uppermost = copied.get(file).is_none_or(|other| *other <= layer);
            if is_uppermost {
                copied.insert(file, layer);
            }
            is_uppermost
        })
    });
    extracted.map_err(|source| ImageError::Read {
        path: path.to_owned(),
        source,
    })?;
    match wanted.keys().find(|file| !copied.contains_key(file.as_str())) {
        None => Ok(()),
        Some(file) => Err(ImageError::damaged(
            path,
            format!("the image has no file `{file}`"),
        )),
    }
}

fn extract_from<'w>(
    layer: &mut dyn Read,
    wanted: &'w BTreeMap<String, PathBuf>,
    mut accept: impl FnMut(&'w str) -> bool,
) -> io::Result<()> {
    for entry in tar::Archive::new(layer).entries()? {
        let mut entry = entry?;
        let sparse = Sparse::of(&mut entry)?;
        let path = match sparse.as_ref().and_then(|sparse| sparse.name.as_ref()) {
            Some(name) => name.clone(),
            None => entry.path()?.into_owned(),
        };
        let path = Path::new("/").join(path.strip_prefix("./").unwrap_or(&path));
        let kind = entry.header().entry_type();
        if let Some((file, to)) = wanted.iter().find(|(file, _)| Path::new(file) == path)
            && matches!(
                kind,
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
            )
            && accept(file)
        {
            let mut to = File::create(to)?;
            match sparse {
                Some(sparse) => io::copy(&mut sparse.expand(&mut entry)?, &mut to)?,
                None => io::copy(&mut entry, &mut to)?,
            };
        }
    }
    Ok(())
}
