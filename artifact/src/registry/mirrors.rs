//! Where a repository may be read: mirrors, as Podman, Buildah and Skopeo are told of them (containers-registries.conf(5),
//! version 2).

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::reference::{Reference, ReferenceError};

const SYSTEM: &str = "/etc/containers/registries.conf";
const UNDER_HOME: &str = ".config/containers/registries.conf";

/// Why a configuration of registries cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// It cannot be read.
    #[error("cannot read the registries' configuration `{}`", .path.display())]
    Read {
        /// The file, or the directory of files.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no TOML, or not of this shape.
    #[error("`{}` is no configuration of registries", .path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Why.
        source: toml::de::Error,
    },
    /// It says to read it from a place that is none.
    #[error("the registries' configuration has `{location}` for `{reference}`")]
    Location {
        /// What it says.
        location: String,
        /// What was to be read.
        reference: Box<Reference>,
        /// Why that is no place.
        source: ReferenceError,
    },
    /// It says that nothing is to be read from there.
    #[error("`{}` is blocked by `{prefix}` in the registries' configuration of this host", .reference)]
    Blocked {
        /// What blocks it.
        prefix: String,
        /// What was to be read.
        reference: Box<Reference>,
    },
}

/// One place to read a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The same artifact, as it is called there.
    pub(super) reference: Reference,
    /// Without TLS, or with a certificate that nobody vouches for.
    pub(super) insecure: bool,
}

/// All places to read a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    /// In the order in which to try them.
    pub(super) mirrors: Vec<Place>,
    /// The one that counts.
    pub(super) own: Place,
}

/// `[[registry]]`; what is not of interest here is not looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Entry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror: Vec<Mirror>,
    mirror_by_digest_only: bool,
}

/// `[[registry.mirror]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: Which,
}

/// What a mirror is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Which {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(default)]
    registry: Vec<Entry>,
}

/// The places where to read what `reference` means.
pub(super) fn places(reference: &Reference) -> Result<Places, MirrorError> {
    let get = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let mut entries = BTreeMap::new();
    for path in files(get)? {
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            text => text.map_err(|source| MirrorError::Read {
                path: path.clone(),
                source,
            })?,
        };
        add(&mut entries, &path, &text)?;
    }
    choose(&entries, reference)
}

/// The files, the later ones above the earlier.
fn files(get: impl Fn(&str) -> Option<OsString>) -> Result<Vec<PathBuf>, MirrorError> {
    if let Some(only) = get("CONTAINERS_REGISTRIES_CONF") {
        return Ok(vec![only.into()]);
    }
    let own = get("HOME").map(|home| Path::new(&home).join(UNDER_HOME));
    let own = own.filter(|path| path.exists());
    let main = own.clone().unwrap_or_else(|| SYSTEM.into());
    let mut files = vec![main];
    for file in [Some(SYSTEM.into()), own].into_iter().flatten() {
        files.extend(more(&file.with_extension("conf.d"))?);
    }
    Ok(files)
}

/// The files `*.conf` of a directory, in order (containers-registries.conf.d(5)).
fn more(dir: &Path) -> Result<Vec<PathBuf>, MirrorError> {
    let failed = |source| MirrorError::Read {
        path: dir.to_owned(),
        source,
    };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(failed)?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "conf"));
    paths.sort();
    Ok(paths)
}

/// Adds what a file says, in place of what others said of the same prefixes.
fn add(entries: &mut BTreeMap<String, Entry>, path: &Path, text: &str) -> Result<(), MirrorError> {
    let file: File = toml::from_str(text).map_err(|source| MirrorError::Toml {
        path: path.to_owned(),
        source,
    })?;
    for mut entry in file.registry {
        if entry.prefix.is_empty() {
            entry.prefix.clone_from(&entry.location);
        }
        entries.insert(entry.prefix.clone(), entry);
    }
    Ok(())
}

/// The places that the entry with the longest prefix has for it.
fn choose(entries: &BTreeMap<String, Entry>, reference: &Reference) -> Result<Places, MirrorError> {
    let as_named = |insecure| Place {
        reference: reference.clone(),
        insecure,
    };
    let text = reference.to_string();
    let matching = entries
        .values()
        .filter_map(|entry| Some((entry, rest(&text, &entry.prefix)?)));
    let Some((entry, rest)) = matching.max_by_key(|(entry, _)| entry.prefix.len()) else {
        return Ok(Places {
            mirrors: Vec::new(),
            own: as_named(false),
        });
    };
    if entry.blocked {
        return Err(MirrorError::Blocked {
            prefix: entry.prefix.clone(),
            reference: Box::new(reference.clone()),
        });
    }
    let place = |location: &str, insecure| {
        let there = format!("{location}{rest}").parse();
        let reference = there.map_err(|source| MirrorError::Location {
            location: location.to_owned(),
            reference: Box::new(reference.clone()),
            source,
        })?;
        Ok(Place { reference, insecure })
    };
    let by_digest = reference.digest().is_some();
    let asked = |mirror: &&Mirror| match mirror.pull_from_mirror {
        Which::All => by_digest || !entry.mirror_by_digest_only,
        Which::DigestOnly => by_digest,
        Which::TagOnly => !by_digest,
    };
    let mirrors = entry.mirror.iter().filter(asked);
    Ok(Places {
        mirrors: mirrors
            .map(|mirror| place(&mirror.location, mirror.insecure))
            .collect::<Result<_, _>>()?,
        own: match entry.location.as_str() {
            "" => as_named(entry.insecure),
            location => place(location, entry.insecure)?,
        },
    })
}

/// What comes behind the prefix, if it is one: a host, or more up to the end of a part; `*.HOST` is every host below.
fn rest<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = match prefix.strip_prefix('*') {
        Some(domain) => {
            let (host, _) = text.split_once('/')?;
            text.strip_prefix(host.strip_suffix(domain)?)?
                .strip_prefix(domain)?
        }
        None if prefix.is_empty() => return None,
        None => text.strip_prefix(prefix)?,
    };
    // Behind a host stands its port, behind a repository its tag.
    let ends: &[char] = if prefix.contains('/') {
        &['/', ':', '@']
    } else {
        &['/']
    };
    (rest.is_empty() || rest.starts_with(ends)).then_some(rest)
}

#[cfg(test)]
#[path = "mirrors_tests.rs"]
mod tests;
