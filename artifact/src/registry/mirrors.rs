//! Mirrors, from the configuration that Podman, Buildah and Skopeo use (containers-registries.conf(5), version 2).

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::RegistryError;
use crate::reference::Reference;

const SYSTEM: &str = "/etc/containers/registries.conf";
const USER: &str = ".config/containers/registries.conf";

/// One repository to read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    /// The reference as the mirror has it.
    pub(super) reference: Reference,
    /// TLS may be absent, or its certificate unknown.
    pub(super) is_insecure: bool,
}

/// All repositories to read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Locations {
    /// In the order in which they are tried.
    pub(super) mirrors: Vec<Location>,
    pub(super) primary: Location,
}

/// `[[registry]]`, without the keys that do not matter here.
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
    pull_from_mirror: PullScope,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PullScope {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

#[derive(Debug, Default, Deserialize)]
struct ConfigFile {
    #[serde(default)]
    registry: Vec<Entry>,
}

/// The locations of `reference`, as this host is configured.
pub(super) fn locations(reference: &Reference) -> Result<Locations, RegistryError> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    let mut entries = BTreeMap::new();
    for path in files(variable)? {
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            text => add(&mut entries, &path, &text.map_err(unusable(&path))?)?,
        }
    }
    choose(&entries, reference)
}

/// The configuration files; later ones override earlier ones.
fn files(variable: impl Fn(&str) -> Option<OsString>) -> Result<Vec<PathBuf>, RegistryError> {
    if let Some(only) = variable("CONTAINERS_REGISTRIES_CONF") {
        return Ok(vec![only.into()]);
    }
    let own = variable("HOME").map(|home| Path::new(&home).join(USER));
    let own = own.filter(|path| path.exists());
    let main = own.clone().unwrap_or_else(|| SYSTEM.into());
    let mut files = vec![main];
    for file in [Some(SYSTEM.into()), own].into_iter().flatten() {
        files.extend(drop_ins(&file.with_extension("conf.d"))?);
    }
    Ok(files)
}

/// The files `*.conf` of a directory, in order (containers-registries.conf.d(5)).
fn drop_ins(dir: &Path) -> Result<Vec<PathBuf>, RegistryError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unusable(dir))?,
    };
    let paths: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(unusable(dir))?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "conf"));
    paths.sort();
    Ok(paths)
}

/// Adds the entries of a file, which replace earlier ones with the same prefix.
fn add(entries: &mut BTreeMap<String, Entry>, path: &Path, text: &str) -> Result<(), RegistryError> {
    let file: ConfigFile = toml::from_str(text).map_err(unusable(path))?;
    for mut entry in file.registry {
        if entry.prefix.is_empty() {
            entry.prefix.clone_from(&entry.location);
        }
        entries.insert(entry.prefix.clone(), entry);
    }
    Ok(())
}

/// The locations from the entry with the longest matching prefix.
fn choose(entries: &BTreeMap<String, Entry>, reference: &Reference) -> Result<Locations, RegistryError> {
    let as_given = |is_insecure| Location {
        reference: reference.clone(),
        is_insecure,
    };
    let text = reference.to_string();
    let matching = entries
        .values()
        .filter_map(|entry| Some((entry, rest(&text, &entry.prefix)?)));
    let Some((entry, rest)) = matching.max_by_key(|(entry, _)| entry.prefix.len()) else {
        return Ok(Locations {
            mirrors: Vec::new(),
            primary: as_given(false),
        });
    };
    if entry.blocked {
        return Err(RegistryError::Blocked {
            prefix: entry.prefix.clone(),
            reference: Box::new(reference.clone()),
        });
    }
    let at = |location: &str, is_insecure| {
        let parsed = format!("{location}{rest}").parse();
        let reference = parsed.map_err(|source| RegistryError::Location {
            location: location.to_owned(),
            reference: Box::new(reference.clone()),
            source,
        })?;
        Ok::<_, RegistryError>(Location {
            reference,
            is_insecure,
        })
    };
    let by_digest = reference.digest().is_some();
    let is_used = |mirror: &&Mirror| match mirror.pull_from_mirror {
        PullScope::All => by_digest || !entry.mirror_by_digest_only,
        PullScope::DigestOnly => by_digest,
        PullScope::TagOnly => !by_digest,
    };
    let mirrors = entry.mirror.iter().filter(is_used);
    Ok(Locations {
        mirrors: mirrors
            .map(|mirror| at(&mirror.location, mirror.insecure))
            .collect::<Result<_, _>>()?,
        primary: match entry.location.as_str() {
            "" => as_given(entry.insecure),
            location => at(location, entry.insecure)?,
        },
    })
}

/// The rest of `text` after `prefix`, if that matches: it ends with the host or a path component; `*.HOST` matches subdomains.
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
    // A host may be followed by its port, a repository by its tag.
    let ends: &[char] = if prefix.contains('/') {
        &['/', ':', '@']
    } else {
        &['/']
    };
    (rest.is_empty() || rest.starts_with(ends)).then_some(rest)
}

/// For `map_err`.
fn unusable<E: Into<Box<dyn Error + Send + Sync>>>(path: &Path) -> impl FnOnce(E) -> RegistryError + use<E> {
    let path = path.to_owned();
    move |source| RegistryError::Config {
        path,
        source: source.into(),
    }
}

#[cfg(test)]
mod tests;
