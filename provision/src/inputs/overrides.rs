//! Extra container images: in a file, or in a registry by digest.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use parbake_artifact::Reference;
use parbake_artifact::images::{Archive, ImageName, runtime_name};
use parbake_artifact::registry::{self, pull_image};
use parbake_machine::fs::files::failed;
use tokio::runtime::Runtime;

use super::ImageArchive;
use super::cache::{KeyBuilder, Locked};
use super::error::Error;

/// Changes whenever this file would produce something else from the same image.
const RECIPE: u32 = 1;
/// Names in cache entries: the archive, and the pulled layout.
const ARCHIVE: &str = "image.tar";
const LAYOUT: &str = "layout";

/// An additional container image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtraImage {
    /// A file of images, or a directory with an OCI image layout.
    File {
        path: PathBuf,
        /// Renames the only image of the file.
        name: Option<ImageName>,
    },
    /// An image in a registry, by its digest.
    Registry(Reference),
}

/// A text that is not an extra image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidImage(String);

impl FromStr for ExtraImage {
    type Err = InvalidImage;

    fn from_str(text: &str) -> Result<Self, InvalidImage> {
        if Path::new(text).exists() {
            let (path, name) = (text.into(), None);
            return Ok(Self::File { path, name });
        }
        if let Some((name, path)) = text.split_once('=') {
            let wrong = |_| InvalidImage(format!("`{name}` is not the name of an image"));
            let name = Some(name.parse().map_err(wrong)?);
            let path = path.into();
            return Ok(Self::File { path, name });
        }
        match text.parse::<Reference>() {
            Ok(reference) if reference.digest().is_some() => Ok(Self::Registry(reference)),
            Ok(_) => Err(InvalidImage(format!(
                "`{text}` can change; use `{text}@sha256:...`"
            ))),
            Err(_) => Err(InvalidImage(format!(
                "`{text}` is neither a file nor an image REGISTRY/REPOSITORY[:TAG]@DIGEST"
            ))),
        }
    }
}

/// The archives of `images`, with short names that are not in `taken`.
pub(super) fn archives(
    images: &[ExtraImage],
    options: &registry::Options,
    architecture: &str,
    taken: impl Iterator<Item = String>,
    cache: &Locked,
) -> Result<Vec<ImageArchive>, Error> {
    let mut taken: BTreeSet<String> = taken.collect();
    let mut archive = |image: &ExtraImage| {
        let archive = match image {
            ExtraImage::File { path, name } => examine(path, name.as_ref())?,
            ExtraImage::Registry(reference) => match pulled(reference, options, architecture, cache)? {
                Some(layout) => Archive::examine(&layout, None)?,
                None => return Ok(not_pulled(reference, &mut taken)),
            },
        };
        let name = short_name(&archive.names()[0], &mut taken);
        packed(name, &archive, cache)
    };
    images.iter().map(&mut archive).collect()
}

fn examine(path: &Path, name: Option<&ImageName>) -> Result<Archive, Error> {
    let _step = tracing::debug_span!("step", what = format!("check `{}`", path.display())).entered();
    Ok(Archive::examine(path, name)?)
}

/// A placeholder for an image that was not pulled yet.
fn not_pulled(reference: &Reference, taken: &mut BTreeSet<String>) -> ImageArchive {
    let names = names(reference);
    ImageArchive {
        short_name: short_name(&names[0], taken),
        reference: reference.to_string(),
        path: PathBuf::new(),
        key: KeyBuilder::new("not pulled", RECIPE)
            .field("reference", reference.to_string())
            .finish()
            .to_string(),
        names,
    }
}

/// The image as a layout in a directory, from the cache or pulled. `None` for a preview if it is not in the cache.
pub(super) fn pulled(
    reference: &Reference,
    options: &registry::Options,
    architecture: &str,
    cache: &Locked,
) -> Result<Option<PathBuf>, Error> {
    let key = KeyBuilder::new("pulled image", RECIPE)
        .field("reference", reference.to_string())
        .field("architecture", architecture)
        .finish();
    let entry = cache.entry("pulled", &key, &format!("get the image {reference}"), |out| {
        let threads = Runtime::new().map_err(failed("start threads for", out))?;
        let layout = out.join(LAYOUT);
        std::fs::create_dir(&layout).map_err(failed("create", &layout))?;
        threads.block_on(pull_image(
            reference,
            &names(reference),
            architecture,
            options,
            &layout,
        ))?;
        Ok(())
    })?;
    let layout = entry.path.join(LAYOUT);
    if cache.is_preview() && !layout.exists() {
        return Ok(None);
    }
    Ok(Some(layout))
}

/// The names that pods can use: with the digest, and with the tag if there is one.
fn names(reference: &Reference) -> Vec<String> {
    let digest = runtime_name(&reference.to_string());
    let tag = reference
        .tag()
        .map(|_| runtime_name(&reference.unpinned().to_string()));
    tag.into_iter().chain([digest]).collect()
}

/// Stores an examined archive in the cache.
pub(super) fn packed(short_name: String, archive: &Archive, cache: &Locked) -> Result<ImageArchive, Error> {
    let key = KeyBuilder::new("given image", RECIPE)
        .field("digest", archive.digest().as_str())
        .finish();
    let entry = cache.entry("images", &key, &format!("take the image {short_name}"), |out| {
        let path = out.join(ARCHIVE);
        let file = File::create(&path).map_err(failed("create", &path))?;
        Ok(archive
            .write_to(&mut BufWriter::new(file))
            .map_err(failed("write", &path))?)
    })?;
    Ok(ImageArchive {
        short_name,
        reference: archive.names()[0].clone(),
        names: archive.names().iter().map(|name| runtime_name(name)).collect(),
        path: entry.path.join(ARCHIVE),
        key: key.to_string(),
    })
}

/// The last part of an image's name, with a number if that is taken.
fn short_name(name: &str, taken: &mut BTreeSet<String>) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    let last = last.split([':', '@']).next().unwrap_or(last);
    let numbered = (2..).map(|number| format!("{last}-{number}"));
    let mut names = std::iter::once(last.to_owned()).chain(numbered);
    let free = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{ExtraImage, names, short_name};

    fn digest() -> String {
        format!("sha256:{}", "a".repeat(64))
    }

    #[test]
    fn images_are_files_or_pinned_references() {
        let parsed = |text: &str| text.parse::<ExtraImage>().map_err(|error| error.to_string());
        assert!(matches!(
            parsed("Cargo.toml"),
            Ok(ExtraImage::File { name: None, .. })
        ));
        assert!(matches!(
            parsed("app:1=no/file"),
            Ok(ExtraImage::File { name: Some(_), .. })
        ));
        let pinned = format!("example.org/app:1@{}", digest());
        assert!(matches!(parsed(&pinned), Ok(ExtraImage::Registry(_))));
        for (text, expected) in [
            ("example.org/app:1", "use `example.org/app:1@sha256:...`"),
            ("app:1", "`app:1` is neither a file nor an image"),
            ("APP=x", "`APP` is not the name of an image"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn names_include_tag_and_digest() {
        let of = |text: &str| names(&format!("{text}@{}", digest()).parse().unwrap());
        let own = format!("example.org/app@{}", digest());
        assert_eq!(of("example.org/app:1"), ["example.org/app:1", own.as_str()]);
        assert_eq!(of("example.org/app"), [own.as_str()]);
    }

    #[test]
    fn short_names_are_unique() {
        let mut taken = BTreeSet::from(["etcd".to_owned()]);
        assert_eq!(short_name("docker.io/library/app:1", &mut taken), "app");
        assert_eq!(short_name("example.org:5000/app@sha256:00", &mut taken), "app-2");
        assert_eq!(short_name("x.org/etcd:3", &mut taken), "etcd-2");
    }
}
