//! A custom node OS instead of Debian's packages: a directory, a tar archive or a container image. It is checked for
//! everything that a node needs before anything else is built, and then adapted for machines.

mod adapt;
mod check;
mod release;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use parbake_artifact::Reference;
use parbake_artifact::registry;
use parbake_artifact::rootfs::RootFs;
use parbake_machine::fs::files::failed;

pub use self::check::MissingFromOs;
pub use self::release::{OsName, os_name};
use super::OsTree;
use super::cache::{KeyBuilder, Locked};
use super::error::Error;
use super::{debian, overrides};
use crate::provider::Provider;

/// Changes whenever this folder would make something else from the same tree.
const RECIPE: u32 = 1;
/// The kind of the cache's entries.
const KIND: &str = "given-os";

/// A custom node OS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustomOs {
    /// A directory, a tar archive, or a container image in a file or directory.
    Path(PathBuf),
    /// A container image in a registry, by its digest.
    Registry(Reference),
}

/// A text that is not a custom node OS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOs(String);

/// Properties of a custom node OS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomOsInfo {
    /// SHA-256 in hexadecimal.
    pub digest: String,
    pub name: OsName,
}

impl FromStr for CustomOs {
    type Err = InvalidOs;

    fn from_str(text: &str) -> Result<Self, InvalidOs> {
        Self::below(Path::new(""), text)
    }
}

impl CustomOs {
    /// Parses `text`; relative paths start at `dir`.
    pub(super) fn below(dir: &Path, text: &str) -> Result<Self, InvalidOs> {
        let path = dir.join(text);
        if path.exists() {
            return Ok(Self::Path(path));
        }
        match text.parse::<Reference>() {
            Ok(reference) if reference.digest().is_some() => Ok(Self::Registry(reference)),
            // Text like a path is rather a missing file than an image without a digest.
            Ok(_) if !text.starts_with(['.', '/']) => Err(InvalidOs(format!(
                "`{text}` is not a file or directory, and an image without a digest can change; use `{text}@sha256:...`"
            ))),
            _ => Err(InvalidOs(format!(
                "there is no file or directory `{}`, and it is not an image REGISTRY/REPOSITORY[:TAG]@DIGEST",
                path.display()
            ))),
        }
    }
}

/// The overriding node OS, or that of the provider; `None` for Debian's packages.
pub(super) fn selected(provider: &Provider, given: Option<&CustomOs>) -> Result<Option<CustomOs>, InvalidOs> {
    match (given, &provider.recipe.os.root) {
        (Some(given), _) => Ok(Some(given.clone())),
        (None, Some(root)) => CustomOs::below(&provider.dir, root).map(Some),
        (None, None) => Ok(None),
    }
}

/// The checked and adapted tree of `os`, from the cache or unpacked into it.
pub(super) fn tree(
    os: &CustomOs,
    provider: &Provider,
    options: &registry::Options,
    architecture: &str,
    cache: &Locked,
) -> Result<OsTree, Error> {
    let (path, name) = match os {
        CustomOs::Path(path) => (path.clone(), path.display().to_string()),
        CustomOs::Registry(reference) => {
            let name = reference.to_string();
            match overrides::pulled(reference, options, architecture, cache)? {
                Some(layout) => (layout, name),
                None => return Ok(not_pulled(&name)),
            }
        }
    };
    let source = {
        let _step = tracing::info_span!("step", what = format!("read the node OS `{name}`")).entered();
        RootFs::examine(&path)?
    };
    let needs = check::needs(provider);
    let key = KeyBuilder::new(KIND, RECIPE)
        .field("root file system", source.digest().hex())
        .field("architecture", architecture)
        .field("what a node needs", check::fingerprint(&needs))
        .field("setup", debian::setup::fingerprint())
        .finish();
    let entry = cache.entry(KIND, &key, "take the node OS", |root| {
        source.unpack(root)?;
        check::check(root, &needs, architecture, &name)?;
        adapt::adapt(root)?;
        debian::setup::apply(root)?;
        Ok(fs::set_permissions(root, Permissions::from_mode(0o755))
            .map_err(failed("set the mode of", root))?)
    })?;
    Ok(OsTree {
        key: key.to_string(),
        custom: Some(CustomOsInfo {
            digest: source.digest().hex().to_owned(),
            name: os_name(&entry.path),
        }),
        path: entry.path,
    })
}

/// A placeholder for an image that was not pulled yet.
fn not_pulled(name: &str) -> OsTree {
    let key = KeyBuilder::new("OS not pulled", RECIPE)
        .field("reference", name)
        .finish();
    OsTree {
        key: key.to_string(),
        path: PathBuf::new(),
        custom: None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{CustomOs, selected};
    use crate::provider::Provider;

    #[test]
    fn override_takes_precedence_over_the_provider() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers/k8s-1.34");
        let mut provider = Provider::load(&dir).unwrap();
        assert_eq!(selected(&provider, None), Ok(None));
        // Below the provider's folder.
        provider.recipe.os.root = Some("modules".to_owned());
        let own = CustomOs::Path(provider.dir.join("modules"));
        assert_eq!(selected(&provider, None), Ok(Some(own)));
        let given: CustomOs = "src".parse().unwrap();
        assert_eq!(selected(&provider, Some(&given)), Ok(Some(given.clone())));
        provider.recipe.os.root = Some("no/such/folder".to_owned());
        assert!(selected(&provider, None).is_err());
    }

    #[test]
    fn path_must_exist_and_image_must_be_pinned() {
        let parsed = |text: &str| text.parse::<CustomOs>().map_err(|error| error.to_string());
        assert!(matches!(parsed("src"), Ok(CustomOs::Path(_))));
        let pinned = format!("example.org/os:1@sha256:{}", "a".repeat(64));
        assert!(matches!(parsed(&pinned), Ok(CustomOs::Registry(_))));
        for (text, expected) in [
            ("example.org/os:1", "use `example.org/os:1@sha256:...`"),
            ("./no-such", "no file or directory `./no-such`"),
            ("NO SUCH", "no file or directory `NO SUCH`"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let below = CustomOs::below(Path::new("src"), "inputs");
        assert_eq!(below, Ok(CustomOs::Path("src/inputs".into())));
    }
}
