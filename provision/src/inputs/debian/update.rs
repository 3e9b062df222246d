//! Resolves the provider's packages to exact versions, for its lock.

use std::collections::{BTreeMap, BTreeSet};

use parbake_machine::fs::files::failed;

use super::super::error::Error;
use super::apt::Apt;
use super::mirror::DebianMirrors;
use crate::provider::lock::{Archive, Lock, Package, PackageSet};
use crate::provider::{Provider, is_os};

/// A package that an OS needs in addition to Debian's essential ones, since its root is created with a merged `/usr`.
const MERGED: &str = "usr-is-merged";

/// Resolves the packages of `provider` for `architecture`. The lock has no pins for source `release`.
///
/// # Errors
/// There is no mirror, the package lists cannot be downloaded, or a package is not in them.
pub(in crate::inputs) fn resolve(provider: &Provider, architecture: &str) -> Result<Lock, Error> {
    let _step = tracing::info_span!(
        "step",
        what = format!("resolve the packages of {}", provider.name)
    )
    .entered();
    let archives = DebianMirrors::from_environment()?.archives()?;
    let root = tempfile::tempdir().map_err(failed("create a directory in", &std::env::temp_dir()))?;
    let suite = &provider.recipe.os.suite;
    let apt = Apt::update(root.path(), &archives, suite, architecture)?;
    let available = apt.available()?;
    let known: BTreeMap<&str, Paragraph<'_>> = available
        .split("\n\n")
        .map(Paragraph)
        .filter_map(|found| Some((found.field("Package")?, found)))
        .collect();

    let (mut sets, mut packages) = (BTreeMap::new(), BTreeMap::new());
    for (set, requested) in provider.package_sets() {
        let mut wanted = requested.clone();
        if is_os(&set) {
            wanted.push(MERGED.to_owned());
            let essential = known
                .iter()
                .filter(|(_, found)| found.field("Essential") == Some("yes"));
            wanted.extend(essential.map(|(name, _)| (*name).to_owned()));
        }
        let mut names = BTreeSet::new();
        for (name, url) in apt.uris(&wanted)?.lines().filter_map(uri) {
            let missing = || Error::NoPackage {
                suite: suite.clone(),
                package: name.to_owned(),
            };
            let security = url.starts_with(&format!("{}/", archives.archive(Archive::Security)));
            let archive = if security {
                Archive::Security
            } else {
                Archive::Main
            };
            let package = known
                .get(name)
                .and_then(|found| found.package(archive))
                .ok_or_else(missing)?;
            names.insert(name.to_owned());
            packages.insert(name.to_owned(), package);
        }
        sets.insert(
            set,
            PackageSet {
                requested,
                packages: names.into_iter().collect(),
            },
        );
    }
    Ok(Lock::new(architecture.to_owned(), provider, sets, packages))
}

/// The name of the package and the URL in a line of `apt-get --print-uris`: `'URL' NAME_VERSION_ARCH.deb SIZE HASH`.
fn uri(line: &str) -> Option<(&str, &str)> {
    let (url, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    Some((rest.split_once('_')?.0, url))
}

/// A paragraph of a `Packages` index (Debian Policy, section 5.1).
struct Paragraph<'t>(&'t str);

impl<'t> Paragraph<'t> {
    /// The first line of a field.
    fn field(&self, name: &str) -> Option<&'t str> {
        self.0
            .lines()
            .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
    }

    fn package(&self, archive: Archive) -> Option<Package> {
        Some(Package {
            name: self.field("Package")?.to_owned(),
            version: self.field("Version")?.to_owned(),
            archive,
            filename: self.field("Filename")?.to_owned(),
            size: self.field("Size")?.parse().ok()?,
            sha256: self.field("SHA256")?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Paragraph, uri};
    use crate::provider::lock::Archive;

    #[test]
    fn uris_are_parsed() {
        let line = "'http://m/debian/pool/main/g/gmp/libgmp10_6.2.1%2bdfsg1_amd64.deb' \
                    libgmp10_2%3a6.2.1+dfsg1-1.1_amd64.deb 562588 MD5Sum:00";
        let url = "http://m/debian/pool/main/g/gmp/libgmp10_6.2.1%2bdfsg1_amd64.deb";
        assert_eq!(uri(line), Some(("libgmp10", url)));
        assert_eq!(uri("Reading package lists..."), None);
    }

    #[test]
    fn paragraphs_are_parsed() {
        let text =
            "Package: runc\nVersion: 1.1.5+ds1-1\nSize: 7\nFilename: pool/r\nSHA256: ab\nSHA256x: cd\n text";
        let package = Paragraph(text).package(Archive::Main).unwrap();
        assert_eq!(
            (package.name.as_str(), package.size, package.sha256.as_str()),
            ("runc", 7, "ab")
        );
        assert!(Paragraph("Package: runc").package(Archive::Main).is_none());
        assert_eq!(Paragraph(text).field("Essential"), None);
    }
}
