//! What is found out about files of images before anything is loaded.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use oci_spec::distribution::Reference;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::archive::Archive;

const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};

/// An OCI image layout in a directory.
struct Layout(TempDir);

impl Layout {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn blob(&self, content: &[u8]) -> Value {
        let digest = Digest::of(content);
        fs::write(self.path().join("blobs/sha256").join(digest.hex()), content).unwrap();
        json!({"mediaType": "application/octet-stream", "digest": digest, "size": content.len()})
    }

    fn image(&self, layer: &[u8], architecture: &str) -> Value {
        let config = self.blob(
            json!({"architecture": architecture, "os": "linux"})
                .to_string()
                .as_bytes(),
        );
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": [self.blob(layer)]});
        self.blob(manifest.to_string().as_bytes())
    }

    fn index(&self, manifests: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        fs::write(self.path().join("index.json"), index.to_string()).unwrap();
    }

    /// The same as an archive beside it.
    fn archive(&self) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image.tar");
        let mut archive = tar::Builder::new(File::create(&path).unwrap());
        archive.append_dir_all(".", self.path()).unwrap();
        archive.into_inner().unwrap();
        (dir, path)
    }
}

fn named(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    descriptor
}

fn examine(path: &Path, name: Option<&str>) -> Result<Vec<String>, String> {
    let name: Option<Reference> = name.map(|name| name.parse().unwrap());
    let archive = Archive::examine(path, name.as_ref()).map_err(|error| error.to_string())?;
    Ok(archive.names().to_vec())
}

fn problem(path: &Path, name: Option<&str>) -> String {
    examine(path, name).unwrap_err()
}

#[test]
fn images_have_full_names() {
    let layout = Layout::new();
    let (one, two) = (
        layout.image(b"one", ARCHITECTURE),
        layout.image(b"two", ARCHITECTURE),
    );
    layout.index(&[
        named(one.clone(), "app:v1"),
        named(two, "example.org/a/b@sha256:x"),
    ]);
    assert!(
        problem(layout.path(), None).contains("is called `example.org/a/b@sha256:x`, which is no image name")
    );
    assert!(problem(layout.path(), Some("x")).contains("holds 2: app:v1, example.org/a/b@sha256:x"));
    layout.index(&[
        named(one.clone(), "app:v1"),
        named(one.clone(), "example.org/a/b"),
    ]);
    let names = ["docker.io/library/app:v1", "example.org/a/b:latest"];
    assert_eq!(examine(layout.path(), None).unwrap(), names);
    assert_eq!(examine(&layout.archive().1, None).unwrap(), names);
    // A tag is no name.
    layout.index(&[named(one, "v1")]);
    assert!(problem(layout.path(), None).contains("has no name; give it one with `--as`"));
    assert_eq!(
        examine(layout.path(), Some("app")).unwrap(),
        ["docker.io/library/app:latest"]
    );
}

#[test]
fn what_is_written_names_the_images_last() {
    let layout = Layout::new();
    layout.index(&[layout.image(b"one", ARCHITECTURE)]);
    let archive = Archive::examine(layout.path(), Some(&"app:v2".parse().unwrap())).unwrap();
    let mut written = Vec::new();
    archive.write_to(&mut written).unwrap();
    let mut entries = Vec::new();
    for entry in tar::Archive::new(&written[..]).entries().unwrap() {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        entries.push((path, std::io::read_to_string(entry).unwrap_or_default()));
    }
    assert_eq!(entries[0].0, "oci-layout");
    let (last, index) = entries.last().unwrap();
    let index: Value = serde_json::from_str(index).unwrap();
    assert_eq!(last, "index.json");
    assert_eq!(
        index["manifests"][0]["annotations"]["io.containerd.image.name"],
        "docker.io/library/app:v2"
    );
    assert_eq!(entries.len(), 5);
}

#[test]
fn what_is_missing_or_spoilt_is_noticed() {
    let layout = Layout::new();
    let image = layout.image(b"layer", ARCHITECTURE);
    layout.index(&[image]);
    let layer = layout
        .path()
        .join("blobs/sha256")
        .join(Digest::of(b"layer").hex());
    fs::write(&layer, b"LAYER").unwrap();
    assert!(problem(layout.path(), Some("x")).contains("does not match its digest"));
    fs::remove_file(&layer).unwrap();
    let missing = problem(&layout.archive().1, Some("x"));
    assert!(
        missing.contains(&format!(
            "`docker.io/library/x:latest` lacks {}",
            Digest::of(b"layer")
        )),
        "{missing}"
    );
    layout.index(&[]);
    assert!(problem(layout.path(), Some("x")).contains("lists no image"));
}

#[test]
fn images_for_other_machines_are_refused() {
    let layout = Layout::new();
    let strange = layout.image(b"layer", "s390x");
    layout.index(std::slice::from_ref(&strange));
    assert!(problem(layout.path(), Some("x")).contains("is for s390x, the nodes are"));
    // An image for many: only ours need be there.
    let on = |mut descriptor: Value, architecture: &str| {
        descriptor["platform"] = json!({"architecture": architecture, "os": "linux"});
        descriptor
    };
    let absent = json!({"digest": Digest::of(b"absent"), "size": 6});
    let ours = layout.image(b"layer", ARCHITECTURE);
    let many = json!({"manifests": [on(absent.clone(), "s390x"), on(ours, ARCHITECTURE)]});
    layout.index(&[layout.blob(many.to_string().as_bytes())]);
    assert!(examine(layout.path(), Some("x")).is_ok());
    let others = json!({"manifests": [on(absent, "s390x")]});
    layout.index(&[layout.blob(others.to_string().as_bytes())]);
    assert!(problem(layout.path(), Some("x")).contains("is for s390x, the nodes are"));
}

#[test]
fn what_is_something_else_is_said_to_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let write = |content: &[u8]| File::create(&path).unwrap().write_all(content).unwrap();
    assert!(problem(&path, None).contains("could not read"));
    for content in [
        &b""[..],
        b"no archive",
        &[0x1f, 0x8b, 1, 2, 3],
        &[0x28, 0xb5, 0x2f, 0xfd, 9],
        &[b'x'; 4096],
    ] {
        write(content);
        let problem = problem(&path, None);
        assert!(problem.contains("is no image archive: "), "{problem}");
        assert!(!problem.contains("xxx"), "{problem}");
    }
    assert!(problem(dir.path(), None).contains("it has neither `index.json` nor `manifest.json`"));
    assert!(
        problem(Path::new("/dev/zero"), None)
            .contains("it is no file or directory, and has to be read more than once")
    );
    // Cut off within a file.
    let layout = Layout::new();
    layout.index(&[layout.image(&[7; 100_000], ARCHITECTURE)]);
    let whole = fs::read(layout.archive().1).unwrap();
    write(&whole[..50_000]);
    assert!(problem(&path, Some("x")).contains("is damaged: "));
}

#[test]
fn dockers_archives_are_known_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("docker.tar");
    let write = |manifest: &Value, files: &[(&str, &str)]| {
        let mut archive = tar::Builder::new(File::create(&path).unwrap());
        let manifest = manifest.to_string();
        for (name, text) in files.iter().chain([&("manifest.json", manifest.as_str())]) {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            archive.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        archive.into_inner().unwrap();
    };
    let image = |tags: Value| json!([{"Config": "c.json", "RepoTags": tags, "Layers": ["l.tar"]}]);
    write(
        &image(json!(["app:v1", "app:v2"])),
        &[("c.json", "{}"), ("l.tar", "layer")],
    );
    let names = ["docker.io/library/app:v1", "docker.io/library/app:v2"];
    assert_eq!(examine(&path, None).unwrap(), names);
    assert_eq!(examine(&path, Some("b:1")).unwrap(), ["docker.io/library/b:1"]);
    write(&image(Value::Null), &[("c.json", "{}"), ("l.tar", "layer")]);
    assert!(problem(&path, None).contains("has no name"));
    write(&image(json!(["app:v1"])), &[("c.json", "{}")]);
    assert!(problem(&path, None).contains("`docker.io/library/app:v1` lacks `l.tar`"));
    write(
        &image(json!(["app:v1"])),
        &[("c.json", r#"{"architecture":"s390x"}"#), ("l.tar", "x")],
    );
    assert!(problem(&path, None).contains("is for s390x"));
}
