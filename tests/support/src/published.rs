//! What is published for a provider, at stand-ins for the public sites with their redirects to other hosts. The bytes are those
//! that another bake built; a copy of the provider pins them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use parbake_artifact::Digest;
use serde_json::{Value, json};

use crate::place::{PROVIDER, Place, repository};
use crate::public_sites::{Answer, Content, DOCKER_HUB, PublicSites};

/// What a bake from the sites finds in the cache: the node OS and Debian packages, nothing that was built.
const SHARED: [&str; 2] = ["os", "debs"];
/// Programs that a bake from the sites must not need.
const COMPILERS: [&str; 9] = ["go", "gofmt", "cc", "c89", "c99", "gcc", "g++", "c++", "clang"];
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The sites, and the provider that pins their content.
pub struct Published {
    dir: PathBuf,
    sites: PublicSites,
}

impl Published {
    /// Publishes what the bake of the artifact `tag` built.
    pub fn from_bake(place: &Place, tag: &str) -> Result<Self, String> {
        let dir = place.dir().join("published");
        fs::create_dir_all(dir.join("cache")).map_err(text)?;
        for kind in SHARED {
            let link = dir.join("cache").join(kind);
            symlink(fs::canonicalize(cache(place).join(kind)).map_err(text)?, link).map_err(text)?;
        }
        for folder in ["providers", "manifests"] {
            run(Command::new("cp")
                .arg("-rL")
                .arg(repository().join(folder))
                .arg(&dir))?;
        }
        let path = dir.join("providers").join(PROVIDER).join("lock.toml");
        let mut lock = fs::read_to_string(&path).map_err(text)?;
        let pins: toml::Table = lock.parse().map_err(|error: toml::de::Error| error.to_string())?;
        let mut content = Content::new();
        let mut pin = |old: &toml::Value, new: &Digest| {
            let old = old.as_str().unwrap_or_default();
            lock = lock.replace(old, new.as_str());
        };
        for (name, file) in pins["release"]["files"].as_table().into_iter().flatten() {
            // Of other container runtimes.
            let Ok(binary) = binary(place, name) else { continue };
            let url = file["url"].as_str().unwrap_or_default();
            let file_of = match url.ends_with("gz") {
                true => packed(&dir, name, &binary)?,
                false => binary,
            };
            pin(&file["digest"], &Digest::of(&fs::read(&file_of).map_err(text)?));
            publish_file(&mut content, url, file_of);
        }
        let images = archives(place, tag)?;
        let addons = pins["addons"].as_table().into_iter().flatten();
        let of_addons = addons.filter_map(|(_, addon)| addon.get("images")?.as_table());
        let own = pins["release"]["images"].as_table();
        for (name, digest) in own.into_iter().chain(of_addons).flatten() {
            let Some(archive) = images.get(name) else { continue };
            let unpacked = dir.join("images").join(content.len().to_string());
            fs::create_dir_all(&unpacked).map_err(text)?;
            run(Command::new("tar")
                .arg("-xf")
                .arg(archive)
                .arg("-C")
                .arg(&unpacked))?;
            pin(digest, &publish_image(&mut content, name, &unpacked)?);
        }
        fs::write(&path, lock).map_err(text)?;
        only_without_compilers(&dir.join("bin"))?;
        let sites = PublicSites::start(&dir, content)?;
        Ok(Self { dir, sites })
    }

    /// Runs parbake with an empty cache on a host that has no compilers and reaches nothing but the sites. Returns its standard
    /// output and standard error.
    pub fn run(&self, place: &Place, words: &[&str]) -> Result<[String; 2], String> {
        let mut command = place.command(words);
        command.args(self.sites.option());
        command.env("PARBAKE_PROVIDERS", self.dir.join("providers"));
        command.env("PARBAKE_CACHE", self.dir.join("cache"));
        command.env("PATH", self.dir.join("bin"));
        self.sites.only_for(&mut command);
        let output = command.output().map_err(text)?;
        let [out, log] =
            [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        match output.status.success() {
            true => Ok([out, log]),
            false => Err(format!("{words:?} ended with {}:\n{log}", output.status)),
        }
    }
}

/// A web server redirects to the host with its files.
fn publish_file(content: &mut Content, url: &str, file: PathBuf) {
    let name = url.trim_start_matches("https://").to_owned();
    let target = match name.split_once('/') {
        Some(("dl.k8s.io", path)) => format!("cdn.dl.k8s.io/{path}"),
        _ => format!("release-assets.githubusercontent.com/{}", content.len()),
    };
    content.insert(target.clone(), Answer::File(file));
    content.insert(name, Answer::Redirect(format!("https://{target}")));
}

/// A registry redirects to the hosts with its manifests and blobs. Returns the digest of an index, which has the image in
/// `layout` and those of other platforms.
fn publish_image(content: &mut Content, name: &str, layout: &Path) -> Result<Digest, String> {
    let (registry, rest) = name.split_once('/').ok_or("an image without a registry")?;
    let (repository, _) = rest.rsplit_once(':').ok_or("an image without a tag")?;
    let hub = registry == "docker.io";
    let host = if hub { DOCKER_HUB } else { registry };
    let index = fs::read(layout.join("index.json")).map_err(text)?;
    let index: Value = serde_json::from_slice(&index).map_err(|error| error.to_string())?;
    let own = |os: &str, architecture: &str, digest: &Digest, entry: &Value| {
        json!({
            "mediaType": entry["mediaType"], "digest": digest, "size": entry["size"],
            "platform": {"os": os, "architecture": architecture},
        })
    };
    let entry = &index["manifests"][0];
    let digest: Digest = entry["digest"]
        .as_str()
        .and_then(|digest| digest.parse().ok())
        .ok_or("an image without a digest")?;
    let other = Digest::of(b"of another platform");
    let foreign = if cfg!(target_arch = "aarch64") {
        "amd64"
    } else {
        "arm64"
    };
    let host_architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let manifests = [
        own("windows", host_architecture, &other, entry),
        own("linux", foreign, &other, entry),
        own("linux", host_architecture, &digest, entry),
    ];
    let whole = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).to_string();
    let top = Digest::of(whole.as_bytes());
    let media_type = entry["mediaType"].as_str().unwrap_or_default().to_owned();
    let manifest = fs::read(layout.join("blobs/sha256").join(digest.hex())).map_err(text)?;
    for (digest, media_type, bytes) in [
        (&top, INDEX.to_owned(), whole.into_bytes()),
        (&digest, media_type, manifest),
    ] {
        let document = Answer::Document(media_type, bytes);
        let path = format!("v2/{repository}/manifests/{digest}");
        if hub {
            content.insert(format!("{host}/{path}"), document);
        } else {
            let target = format!("us-west1-docker.pkg.dev/v2/k8s-artifacts-prod/images/{path}");
            content.insert(target.clone(), document);
            content.insert(
                format!("{host}/{path}"),
                Answer::Redirect(format!("https://{target}")),
            );
        }
    }
    for blob in fs::read_dir(layout.join("blobs/sha256")).map_err(text)?.flatten() {
        let digest = format!("sha256:{}", blob.file_name().to_string_lossy());
        let target = match hub {
            true => format!("production.cloudflare.docker.com/{digest}"),
            false => format!("prod-registry-k8s-io-us-east-2.s3.dualstack.us-east-2.amazonaws.com/{digest}"),
        };
        content.insert(target.clone(), Answer::File(blob.path()));
        content.insert(
            format!("{host}/v2/{repository}/blobs/{digest}"),
            Answer::Redirect(format!("https://{target}")),
        );
    }
    Ok(top)
}

/// An archive with one binary.
pub fn packed(dir: &Path, name: &str, binary: &Path) -> Result<PathBuf, String> {
    let archive = dir.join(format!("{name}.tar.gz"));
    let folder = binary.parent().ok_or("a file without a folder")?;
    run(Command::new("tar")
        .arg("-czf")
        .arg(&archive)
        .arg("-C")
        .arg(folder)
        .arg(name))?;
    Ok(archive)
}

/// A binary that a bake put on nodes.
pub fn binary(place: &Place, name: &str) -> Result<PathBuf, String> {
    let layers = fs::read_dir(place.dir().join("store/unpacked")).map_err(text)?;
    let mut files = layers
        .flatten()
        .map(|layer| layer.path().join("usr/bin").join(name));
    files
        .find(|file| file.exists())
        .ok_or_else(|| format!("no layer has `{name}`"))
}

/// The archives of images that the bake of `tag` imported, by full name.
pub fn archives(place: &Place, tag: &str) -> Result<BTreeMap<String, PathBuf>, String> {
    let memory = fs::read_to_string(place.dir().join(format!("bake/{tag}.json"))).map_err(text)?;
    let memory: Value = serde_json::from_str(&memory).map_err(|error| error.to_string())?;
    let mut steps = memory["steps"].as_array().into_iter().flatten();
    let import = steps.find(|step| step["step"] == "import the images");
    let import = import.and_then(|step| step["inputs"].as_object());
    let entries: Vec<PathBuf> = fs::read_dir(cache(place).join("images"))
        .map_err(text)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    let archive = |(name, input): (&String, &Value)| {
        // The image's position, and the beginning of its key.
        let (_, key) = input.as_str()?.split_once(' ')?;
        let entry = entries.iter().find(|entry| {
            entry
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(key))
        });
        Some((
            name.strip_prefix("image ")?.to_owned(),
            entry?.join("content/image.tar"),
        ))
    };
    Ok(import
        .ok_or("the bake imported no images")?
        .iter()
        .filter_map(archive)
        .collect())
}

/// The directory of the cache that the tests use.
pub fn cache(place: &Place) -> PathBuf {
    let command = place.command(&[]);
    let mut set = command.get_envs().filter(|(name, _)| *name == "PARBAKE_CACHE");
    let own = set.next().and_then(|(_, value)| Some(PathBuf::from(value?)));
    own.or_else(|| std::env::var_os("PARBAKE_CACHE").map(PathBuf::from))
        .unwrap_or_default()
}

/// Fills a directory with links to the programs in `PATH` except compilers.
fn only_without_compilers(dir: &Path) -> Result<(), String> {
    fs::create_dir_all(dir).map_err(text)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    for folder in std::env::split_paths(&path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let link = dir.join(&name);
            let is_compiler = COMPILERS.iter().any(|compiler| name == *compiler);
            if !is_compiler && link.symlink_metadata().is_err() {
                symlink(entry.path(), link).map_err(text)?;
            }
        }
    }
    Ok(())
}

/// Runs a command and returns its standard output.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(text)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} ended with {}:\n{message}", output.status))
}

fn text(error: io::Error) -> String {
    error.to_string()
}
