//! Downloads locked packages.
//!
//! Uses apt's downloader, which knows the host's proxies and credentials, reuses connections and verifies digests.

use std::fs;
use std::path::{Path, PathBuf};

use parbake_machine::fs::files::failed;

use super::super::cache::{Locked, sha256_of_file};
use super::super::error::Error;
use super::Deb;
use super::apt;
use super::mirror::{Archives, DebianMirrors};
use crate::provider::ProviderName;
use crate::provider::lock::{Archive, Package};

/// The directory for packages in the cache.
const DIR: &str = "debs";

/// Returns the files of `packages`, from the cache or a mirror, each with its locked digest.
pub(super) fn fetch<'a>(
    provider: &ProviderName,
    packages: Vec<&'a Package>,
    cache: &Locked,
    mirrors: &DebianMirrors,
) -> Result<Vec<Deb<'a>>, Error> {
    let dir = cache.plain_dir(DIR)?;
    let mut missing = Vec::new();
    for package in &packages {
        if !is_cached(package, &path(&dir, package))? {
            missing.push(*package);
        }
    }
    if !missing.is_empty() {
        let what = format!("download {} Debian packages", missing.len());
        let _step = tracing::info_span!("step", what).entered();
        download(provider, &missing, &dir, cache, &mirrors.archives()?)?;
    }
    Ok(packages
        .into_iter()
        .map(|package| Deb {
            package,
            path: path(&dir, package),
        })
        .collect())
}

fn path(dir: &Path, package: &Package) -> PathBuf {
    dir.join(format!("{}.deb", package.sha256))
}

fn is_cached(package: &Package, path: &Path) -> Result<bool, Error> {
    if !path.exists() {
        return Ok(false);
    }
    if sha256_of_file(path).map_err(failed("read", path))? == package.sha256 {
        return Ok(true);
    }
    tracing::warn!(
        "the cached package `{}` is damaged and will be downloaded again",
        package.name
    );
    fs::remove_file(path).map_err(failed("remove", path))?;
    Ok(false)
}

fn download(
    provider: &ProviderName,
    packages: &[&Package],
    dir: &Path,
    cache: &Locked,
    archives: &Archives,
) -> Result<(), Error> {
    let temporary = cache.temp_dir()?;
    let to = |package: &Package| path(temporary.path(), package);
    // One call for all is fast. If it fails, single calls find the missing package. Security updates move to the main archive
    // over time, so the other archive is tried, too.
    let all = packages.iter().map(|package| (*package, package.archive));
    if run(archives, all, &to).is_err() {
        for package in packages.iter().filter(|package| !to(package).exists()) {
            let other = match package.archive {
                Archive::Main => Archive::Security,
                Archive::Security => Archive::Main,
            };
            run(archives, [(*package, package.archive)], &to)
                .or_else(|source| run(archives, [(*package, other)], &to).map_err(|_| source))
                .map_err(|source| Error::Download {
                    package: format!("{} {}", package.name, package.version),
                    provider: provider.to_string(),
                    source,
                })?;
        }
    }
    for package in packages {
        let (from, to) = (to(package), path(dir, package));
        let found = sha256_of_file(&from).map_err(failed("read", &from))?;
        if found != package.sha256 {
            return Err(Error::Digest {
                path: from,
                expected: package.sha256.clone(),
                found,
            });
        }
        fs::rename(&from, &to).map_err(failed("move a package to", &to))?;
    }
    Ok(())
}

fn run<'a>(
    archives: &Archives,
    packages: impl IntoIterator<Item = (&'a Package, Archive)>,
    to: &impl Fn(&Package) -> PathBuf,
) -> Result<(), parbake_machine::Error> {
    let mut command = apt::helper().arg("download-file");
    for (package, archive) in packages {
        command = command
            .arg(archives.url(archive, &package.filename))
            .arg(to(package))
            .arg(format!("SHA256:{}", package.sha256));
    }
    command.run().map(|_| ())
}
