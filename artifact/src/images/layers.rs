//! The layers of an image, for those who want its files.

use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use super::archive::Files;
use super::bundle::{Entry, ZSTD, uncompressed, walk};
use super::error::ImageError;
use super::{docker, oci};

/// The files that mark an OCI image layout (OCI image specification, 'Image Layout Specification').
pub(crate) const LAYOUT: [&str; 2] = ["oci-layout", oci::INDEX];

/// Paths in `path`, a bundle that was examined, of the layers of its first image, the lowest first.
///
/// # Errors
/// See [`ImageError`].
pub(crate) fn layers_of(path: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let files = Files::of(path)?;
    let layers = match files.texts.contains_key(Path::new(oci::INDEX)) {
        true => oci::layers(path, &files)?,
        false => docker::layers(&files),
    };
    let followed = |layer: PathBuf| files.links.get(&layer).cloned().unwrap_or(layer);
    Ok(layers.into_iter().map(followed).collect())
}

/// Shows what is in the layer `layer` of the bundle `path` to `read`, uncompressed.
///
/// # Errors
/// What reading the bundle says.
pub(crate) fn read_layer(path: &Path, layer: &Path, read: &mut dyn FnMut(&mut dyn Read)) -> io::Result<()> {
    walk(path, &mut |name, entry| {
        if let Entry::File(_, content) = entry
            && name == layer
        {
            let mut start = Vec::new();
            content.take(ZSTD.len() as u64).read_to_end(&mut start)?;
            let whole = Cursor::new(start.clone()).chain(content);
            let whole = BufReader::with_capacity(1 << 18, whole);
            read(&mut uncompressed(&start, whole)?);
        }
        Ok(())
    })
}
