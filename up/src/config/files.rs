//! Files that a configuration names.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use parbake_cluster::toml_document::{Finding, ValuePath};
use serde::Deserialize;

use super::{Audit, Config};

/// Extensions of manifests.
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];

/// The fields that every Kubernetes object has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    api_version: String,
    kind: String,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
}

/// The configuration with absolute paths; relative ones start at `base`.
pub(super) fn absolute(mut config: Config, base: &Path) -> Config {
    let hosts = config.mounts.iter_mut().map(|mount| &mut mount.host);
    for path in hosts.chain(&mut config.images).chain(&mut config.manifests) {
        // `join` keeps absolute paths, and `components` drops the dot of `./src`.
        *path = base.join(&*path).components().collect();
    }
    if let Some(Audit::Policy(path)) = &mut config.api_server.audit {
        *path = base.join(&*path).components().collect();
    }
    config
}

/// The first relative path in the configuration.
pub(super) fn relative_path(config: &Config) -> Option<&PathBuf> {
    let policy = match &config.api_server.audit {
        Some(Audit::Policy(path)) => Some(path),
        _ => None,
    };
    let hosts = config.mounts.iter().map(|mount| &mount.host);
    let mut paths = hosts.chain(&config.images).chain(&config.manifests).chain(policy);
    paths.find(|path| path.is_relative())
}

/// Sources of mounts that do not exist.
pub(super) fn mount_sources(config: &Config) -> Vec<Finding> {
    let mounts = config.mounts.iter().enumerate();
    mounts
        .filter_map(|(index, mount)| {
            let message = missing(&mount.host)?;
            let path = ValuePath::of(["mounts"]).index(index).key("host");
            Some(Finding::new(path, message))
        })
        .collect()
}

/// Images and manifests that cannot be read or are not valid.
pub(super) fn workloads(config: &Config) -> Vec<Finding> {
    let images = config.images.iter().enumerate().filter_map(|(index, path)| {
        let message = missing(path)?;
        Some(Finding::new(ValuePath::of(["images"]).index(index), message))
    });
    let manifests = config.manifests.iter().enumerate().filter_map(|(index, path)| {
        let message = check_manifests(path).err()?;
        Some(Finding::new(ValuePath::of(["manifests"]).index(index), message))
    });
    images.chain(manifests).collect()
}

fn missing(path: &Path) -> Option<String> {
    let error = fs::metadata(path).err()?;
    Some(format!("`{}`: {}", path.display(), reason(&error)))
}

/// Why a file could not be read.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        _ => error.to_string(),
    }
}

fn check_manifests(path: &Path) -> Result<(), String> {
    let failed = |path: &Path, error: &dyn std::fmt::Display| format!("`{}`: {error}", path.display());
    let files = manifest_files(path).map_err(|error| failed(path, &reason(&error)))?;
    if files.is_empty() {
        return Err(failed(path, &"no file there ends in .yaml, .yml or .json"));
    }
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| failed(&file, &error))?;
        check_objects(&text).map_err(|reason| failed(&file, &reason))?;
    }
    Ok(())
}

/// The manifests at `path`: the file itself, or the files directly in the directory, sorted by name.
pub(super) fn manifest_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return File::open(path).map(|_| vec![path.to_owned()]);
    }
    let is_manifest = |path: &Path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) && path.is_file()
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        files.push(entry?.path());
    }
    files.retain(|path| is_manifest(path));
    files.sort();
    Ok(files)
}

/// Checks that each document of a text looks like a Kubernetes object.
fn check_objects(text: &str) -> Result<(), String> {
    let objects = serde_saphyr::from_multiple::<Option<Object>>(text).map_err(|error| {
        let text = error.to_string();
        format!(
            "is not a Kubernetes manifest: {}",
            text.lines().next().unwrap_or_default()
        )
    })?;
    let mut objects = objects.into_iter().flatten().peekable();
    if objects.peek().is_none() {
        return Err("contains no Kubernetes object".to_owned());
    }
    for Object {
        api_version,
        kind,
        metadata,
    } in objects
    {
        let list = kind.ends_with("List");
        if api_version.is_empty() || kind.is_empty() {
            return Err("contains an object without `apiVersion` or `kind`".to_owned());
        }
        // Server-side apply needs names.
        if !list
            && metadata
                .and_then(|metadata| metadata.name)
                .is_none_or(|name| name.is_empty())
        {
            return Err(format!("contains a {kind} without `metadata.name`"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::Config;
    use super::{absolute, check_objects, manifest_files, mount_sources, workloads};

    #[test]
    fn relative_paths_start_at_the_base() {
        let text = "images = ['./a.tar', '/b.tar']\nmanifests = ['m']\n[[mounts]]\nhost = 'src'\npath = '/mnt/src'\n";
        let config = absolute(Config::parse(text).unwrap(), Path::new("/project"));
        assert_eq!(config.images, [Path::new("/project/a.tar"), Path::new("/b.tar")]);
        assert_eq!(config.manifests, [Path::new("/project/m")]);
        assert_eq!(config.mounts[0].host, Path::new("/project/src"));
    }

    #[test]
    fn missing_files_are_reported_with_their_paths() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("good.yaml"),
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n",
        )
        .unwrap();
        fs::write(dir.path().join("bad.yaml"), "kind: Namespace\n").unwrap();
        fs::create_dir(dir.path().join("empty")).unwrap();
        let text = "images = ['a.tar']\nmanifests = ['good.yaml', 'none.yaml', 'bad.yaml', 'empty']\n\
                    [[mounts]]\nhost = '.'\npath = '/mnt/a'\n[[mounts]]\nhost = 'none'\npath = '/mnt/b'\n";
        let config = absolute(Config::parse(text).unwrap(), dir.path());
        let found: Vec<_> = [mount_sources(&config), workloads(&config)]
            .concat()
            .into_iter()
            .map(|finding| {
                let message = finding.message.replace(&dir.path().display().to_string(), "");
                format!("{}: {message}", finding.path)
            })
            .collect();
        assert_eq!(found[0], "mounts[1].host: `/none`: no such file or directory");
        assert_eq!(found[1], "images[0]: `/a.tar`: no such file or directory");
        assert_eq!(found[2], "manifests[1]: `/none.yaml`: no such file or directory");
        assert!(
            found[3].starts_with("manifests[2]: `/bad.yaml`: is not a Kubernetes manifest: "),
            "{found:?}"
        );
        assert_eq!(
            found[4],
            "manifests[3]: `/empty`: no file there ends in .yaml, .yml or .json"
        );
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn manifests_of_a_directory_are_sorted_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", "c.json", "read.me"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join("d.yaml")).unwrap();
        let names = ["a.yml", "b.yaml", "c.json"].map(|name| dir.path().join(name));
        assert_eq!(manifest_files(dir.path()).unwrap(), names);
    }

    #[test]
    fn manifests_must_contain_named_objects() {
        let object = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n";
        for text in [
            object.to_owned(),
            format!("---\n{object}---\n{object}"),
            format!("# text\n---\n{object}---\n"),
        ] {
            assert_eq!(check_objects(&text), Ok(()), "{text}");
        }
        for (text, problem) in [
            ("", "contains no Kubernetes object"),
            ("a: [", "is not a Kubernetes manifest"),
            ("- a\n", "is not a Kubernetes manifest"),
            (
                "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a}\n",
                "without `metadata.name`",
            ),
        ] {
            assert!(check_objects(text).unwrap_err().contains(problem), "{text}");
        }
    }
}
