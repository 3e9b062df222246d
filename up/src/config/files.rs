//! The files that a configuration names.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::check::Problem;
use super::{Audit, Config};

/// How files of manifests end.
const ENDINGS: [&str; 3] = ["json", "yaml", "yml"];

/// What every Kubernetes object says of itself.
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

/// The same configuration with paths that hold wherever it is read: those that are relative are so to `base`.
pub(super) fn absolute(mut config: Config, base: &Path) -> Config {
    let hosts = config.mounts.iter_mut().map(|mount| &mut mount.host);
    for path in hosts.chain(&mut config.images).chain(&mut config.manifests) {
        // `join` keeps what is absolute; components drop the dots of `./src`.
        *path = base.join(&*path).components().collect();
    }
    if let Some(Audit::Policy(path)) = &mut config.api_server.audit {
        *path = base.join(&*path).components().collect();
    }
    config
}

/// Directories and files to be mounted that are not there.
pub(super) fn mounts(config: &Config) -> Vec<Problem> {
    let mounts = config.mounts.iter().enumerate();
    mounts
        .filter_map(|(index, mount)| {
            let problem = missing(&mount.host)?;
            Some((vec!["mounts".into(), index.into(), "host".into()], problem))
        })
        .collect()
}

/// Images and manifests that cannot be read, and manifests that are none.
pub(super) fn workloads(config: &Config) -> Vec<Problem> {
    let images = config.images.iter().enumerate().filter_map(|(index, path)| {
        let problem = missing(path)?;
        Some((vec!["images".into(), index.into()], problem))
    });
    let manifests = config.manifests.iter().enumerate().filter_map(|(index, path)| {
        let problem = manifest(path).err()?;
        Some((vec!["manifests".into(), index.into()], problem))
    });
    images.chain(manifests).collect()
}

fn missing(path: &Path) -> Option<String> {
    let error = fs::metadata(path).err()?;
    Some(format!("`{}`: {}", path.display(), said(&error)))
}

/// What an error says of a file.
pub(super) fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or directory".to_owned(),
        _ => error.to_string(),
    }
}

fn manifest(path: &Path) -> Result<(), String> {
    let failed = |path: &Path, error: &dyn std::fmt::Display| format!("`{}`: {error}", path.display());
    let files = manifests_of(path).map_err(|error| failed(path, &said(&error)))?;
    if files.is_empty() {
        return Err(failed(path, &"no file there ends in .yaml, .yml or .json"));
    }
    for file in files {
        let text = fs::read_to_string(&file).map_err(|error| failed(&file, &error))?;
        objects(&text).map_err(|problem| failed(&file, &problem))?;
    }
    Ok(())
}

/// The files of manifests that `path` means: itself, or those directly in it, by name.
///
/// # Errors
/// What opening or listing it says.
pub(super) fn manifests_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return File::open(path).map(|_| vec![path.to_owned()]);
    }
    let ends = |path: &Path| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        ending.is_some_and(|ending| ENDINGS.contains(&ending)) && path.is_file()
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        files.push(entry?.path());
    }
    files.retain(|path| ends(path));
    files.sort();
    Ok(files)
}

/// Whether each document of a text looks like an object of Kubernetes.
fn objects(text: &str) -> Result<(), String> {
    let objects = serde_saphyr::from_multiple::<Option<Object>>(text).map_err(|error| {
        let text = error.to_string();
        format!(
            "is no Kubernetes manifest: {}",
            text.lines().next().unwrap_or_default()
        )
    })?;
    let mut objects = objects.into_iter().flatten().peekable();
    if objects.peek().is_none() {
        return Err("holds no Kubernetes object".to_owned());
    }
    for Object {
        api_version,
        kind,
        metadata,
    } in objects
    {
        let list = kind.ends_with("List");
        if api_version.is_empty() || kind.is_empty() {
            return Err("holds an object without `apiVersion` or `kind`".to_owned());
        }
        // Server-side apply needs to know what it is about.
        if !list
            && metadata
                .and_then(|metadata| metadata.name)
                .is_none_or(|name| name.is_empty())
        {
            return Err(format!(
                "holds an object of the kind {kind} without `metadata.name`"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::Config;
    use super::{absolute, manifests_of, mounts, objects, workloads};

    #[test]
    fn relative_paths_are_the_configurations_own() {
        let text = "images = ['./a.tar', '/b.tar']\nmanifests = ['m']\n[[mounts]]\nhost = 'src'\npath = '/mnt/src'\n";
        let config = absolute(Config::parse(text).unwrap(), Path::new("/project"));
        assert_eq!(config.images, [Path::new("/project/a.tar"), Path::new("/b.tar")]);
        assert_eq!(config.manifests, [Path::new("/project/m")]);
        assert_eq!(config.mounts[0].host, Path::new("/project/src"));
    }

    #[test]
    fn what_is_missing_is_said_with_its_place() {
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
        let found: Vec<_> = [mounts(&config), workloads(&config)]
            .concat()
            .into_iter()
            .map(|(place, message)| {
                let message = message.replace(&dir.path().display().to_string(), "");
                format!("{}: {message}", super::super::read::shown(&place))
            })
            .collect();
        assert_eq!(
            found[0],
            "mounts[1].host: `/none`: there is no such file or directory"
        );
        assert_eq!(
            found[1],
            "images[0]: `/a.tar`: there is no such file or directory"
        );
        assert_eq!(
            found[2],
            "manifests[1]: `/none.yaml`: there is no such file or directory"
        );
        assert!(
            found[3].starts_with("manifests[2]: `/bad.yaml`: is no Kubernetes manifest: "),
            "{found:?}"
        );
        assert_eq!(
            found[4],
            "manifests[3]: `/empty`: no file there ends in .yaml, .yml or .json"
        );
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn a_directory_means_its_own_files_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yml", "c.json", "read.me"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join("d.yaml")).unwrap();
        let names = ["a.yml", "b.yaml", "c.json"].map(|name| dir.path().join(name));
        assert_eq!(manifests_of(dir.path()).unwrap(), names);
    }

    #[test]
    fn manifests_are_objects() {
        let object = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n";
        for text in [
            object.to_owned(),
            format!("---\n{object}---\n{object}"),
            format!("# text\n---\n{object}---\n"),
        ] {
            assert_eq!(objects(&text), Ok(()), "{text}");
        }
        for (text, problem) in [
            ("", "holds no Kubernetes object"),
            ("a: [", "is no Kubernetes manifest"),
            ("- a\n", "is no Kubernetes manifest"),
            (
                "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a}\n",
                "without `metadata.name`",
            ),
        ] {
            assert!(objects(text).unwrap_err().contains(problem), "{text}");
        }
    }
}
