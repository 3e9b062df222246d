use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::document::CONTAINERD_NAME;
use super::{Archive, ImageName, extract_files};
use crate::config::host_architecture;
use crate::digest::Digest;

/// An OCI image layout in a directory.
struct Layout(TempDir);

impl Layout {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(dir)
    }

    /// A layout with one image for this host, without a name.
    fn with_image() -> Self {
        let layout = Self::new();
        layout.index(&[layout.image(b"layer", host_architecture())]);
        layout
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn blob_path(&self, content: &[u8]) -> PathBuf {
        self.path().join("blobs/sha256").join(Digest::of(content).hex())
    }

    fn blob(&self, content: &[u8]) -> Value {
        fs::write(self.blob_path(content), content).unwrap();
        descriptor(content)
    }

    fn document(&self, document: &Value) -> Value {
        self.blob(document.to_string().as_bytes())
    }

    fn image(&self, layer: &[u8], architecture: &str) -> Value {
        self.image_of(self.blob(layer), architecture)
    }

    fn image_of(&self, layer: Value, architecture: &str) -> Value {
        let config = self.document(&json!({"architecture": architecture, "os": "linux"}));
        self.document(&json!({"schemaVersion": 2, "config": config, "layers": [layer]}))
    }

    fn index(&self, manifests: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        fs::write(self.path().join("index.json"), index.to_string()).unwrap();
    }

    /// Writes the layout as an archive with leading `./`.
    fn archive(&self) -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image.tar");
        let mut archive = Builder::new(File::create(&path).unwrap());
        archive.append_dir_all(".", self.path()).unwrap();
        archive.into_inner().unwrap();
        (dir, path)
    }
}

fn descriptor(content: &[u8]) -> Value {
    json!({
        "mediaType": "application/octet-stream", "digest": Digest::of(content), "size": content.len(),
    })
}

fn named(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    descriptor
}

fn on(mut descriptor: Value, architecture: &str) -> Value {
    descriptor["platform"] = json!({"architecture": architecture, "os": "linux"});
    descriptor
}

fn examine(path: &Path, name: Option<&str>) -> Result<Vec<String>, String> {
    let name: Option<ImageName> = name.map(|name| name.parse().unwrap());
    let archive = Archive::examine(path, name.as_ref()).map_err(|error| error.to_string())?;
    Ok(archive.names().to_vec())
}

fn problem(path: &Path, name: Option<&str>) -> String {
    examine(path, name).unwrap_err()
}

/// The files that a runtime gets, in order.
fn written(path: &Path, name: Option<&str>) -> Vec<(String, Vec<u8>)> {
    let name: Option<ImageName> = name.map(|name| name.parse().unwrap());
    let mut bytes = Vec::new();
    let archive = Archive::examine(path, name.as_ref()).unwrap();
    archive.write_to(&mut bytes).unwrap();
    let mut files = Vec::new();
    for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.push((path, content));
    }
    files
}

/// The index of written files, after a check that it leads to `layer` and nowhere else.
fn check_written(files: &[(String, Vec<u8>)], layer: &[u8]) -> Value {
    let by_name: BTreeMap<_, _> = files
        .iter()
        .map(|(name, content)| (name.as_str(), content))
        .collect();
    let blob = |descriptor: &Value| {
        let digest: Digest = serde_json::from_value(descriptor["digest"].clone()).unwrap();
        let blob = by_name[format!("blobs/sha256/{}", digest.hex()).as_str()];
        assert_eq!(Digest::of(blob), digest);
        assert_eq!(descriptor["size"], blob.len());
        blob.clone()
    };
    let index: Value = serde_json::from_slice(by_name["index.json"]).unwrap();
    let mut indexes = BTreeSet::new();
    for entry in index["manifests"].as_array().unwrap() {
        let manifest: Value = serde_json::from_slice(&blob(entry)).unwrap();
        // Only names with digests may lead to indexes.
        if manifest.get("manifests").is_some() {
            assert!(
                entry["annotations"][CONTAINERD_NAME]
                    .as_str()
                    .unwrap()
                    .contains('@')
            );
            indexes.insert(entry["digest"].to_string());
            continue;
        }
        assert_eq!(blob(&manifest["layers"][0]), layer);
        blob(&manifest["config"]);
    }
    // Marker, index, manifest, config and layer.
    assert_eq!(files.len(), 5 + indexes.len(), "{:?}", by_name.keys());
    index
}

#[test]
fn images_get_full_names() {
    let layout = Layout::new();
    let (one, two) = (
        layout.image(b"one", host_architecture()),
        layout.image(b"two", host_architecture()),
    );
    layout.index(&[
        named(one.clone(), "app:v1"),
        named(two.clone(), "example.org/a/b"),
    ]);
    let names = ["docker.io/library/app:v1", "example.org/a/b:latest"];
    assert_eq!(examine(layout.path(), None).unwrap(), names);
    assert_eq!(examine(&layout.archive().1, None).unwrap(), names);
    layout.index(&[named(one, "v1")]);
    assert!(problem(layout.path(), None).contains("an image without a full name: `v1`; name it with `--as`"));
    assert_eq!(
        examine(layout.path(), Some("app")).unwrap(),
        ["docker.io/library/app:latest"]
    );
}

#[test]
fn several_images_need_names_of_their_own() {
    let layout = Layout::new();
    let image = |text: &[u8]| layout.image(text, host_architecture());
    layout.index(&[named(image(b"one"), "v1"), named(image(b"two"), "a/b@sha256:x")]);
    let unnamed = problem(layout.path(), None);
    assert!(
        unnamed.contains("images without a full name: `v1`, `a/b@sha256:x`; save each"),
        "{unnamed}"
    );
    let several = problem(layout.path(), Some("x"));
    assert!(
        several.contains("has 2: v1, a/b@sha256:x; copy the one to load")
            && several.contains("`skopeo copy`"),
        "{several}"
    );
    // Two tags of one image are one image.
    layout.index(&[named(image(b"one"), "v1"), named(image(b"one"), "v2")]);
    assert_eq!(
        examine(layout.path(), Some("a:1")).unwrap(),
        ["docker.io/library/a:1"]
    );
}

#[test]
fn index_is_written_last() {
    let layout = Layout::with_image();
    let files = written(layout.path(), Some("app:v2"));
    assert_eq!(files[0].0, "oci-layout");
    assert_eq!(files.last().unwrap().0, "index.json");
    let index = check_written(&files, b"layer");
    let annotations = &index["manifests"][0]["annotations"];
    for key in ["io.containerd.image.name", "org.opencontainers.image.ref.name"] {
        assert_eq!(annotations[key], "docker.io/library/app:v2");
    }
}

#[test]
fn missing_and_corrupt_blobs_are_rejected() {
    let layout = Layout::with_image();
    let layer = layout.blob_path(b"layer");
    fs::write(&layer, b"LAYER").unwrap();
    assert!(problem(layout.path(), Some("x")).contains("does not match its digest"));
    fs::remove_file(&layer).unwrap();
    let missing = problem(&layout.archive().1, Some("x"));
    let expected = format!("{} is missing", Digest::of(b"layer"));
    assert!(missing.contains(&expected), "{missing}");
    layout.index(&[]);
    assert!(problem(layout.path(), Some("x")).contains("lists no image"));
}

#[test]
fn images_for_other_architectures_are_rejected() {
    let layout = Layout::new();
    layout.index(&[layout.image(b"layer", "s390x")]);
    assert!(problem(layout.path(), Some("x")).contains("is for s390x, the nodes are"));
    let others = json!({"manifests": [on(descriptor(b"absent"), "s390x")]});
    layout.index(&[layout.document(&others)]);
    assert!(problem(layout.path(), Some("x")).contains("is for s390x, the nodes are"));
}

/// As Docker saves an image of several platforms from its containerd store: only the blobs of the host's platform are there.
#[test]
fn only_the_hosts_platform_is_written() {
    let layout = Layout::new();
    let mut attestation = on(descriptor(b"absent attestation"), "unknown");
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let platforms = json!({"manifests": [
        on(descriptor(b"absent"), "s390x"),
        attestation,
        on(layout.image(b"layer", host_architecture()), host_architecture()),
    ]});
    layout.index(&[named(layout.document(&platforms), "app:v1")]);
    for nested in [false, true] {
        if nested {
            let outer = json!({"manifests": [layout.document(&platforms)]});
            layout.index(&[named(layout.document(&outer), "app:v1")]);
        }
        let (_dir, archive) = layout.archive();
        for path in [layout.path(), &archive] {
            let listed = check_written(&written(path, None), b"layer");
            // containerd refuses an index that lists what is absent.
            let entries = listed["manifests"].as_array().unwrap();
            assert!(
                entries
                    .iter()
                    .all(|entry| entry["digest"] == entries[0]["digest"]),
                "{listed}"
            );
        }
    }
}

#[test]
fn platforms_may_be_listed_in_the_index_itself() {
    let layout = Layout::new();
    let ours = on(layout.image(b"layer", host_architecture()), host_architecture());
    let other = on(descriptor(b"absent"), "s390x");
    layout.index(&[named(other.clone(), "app:v1"), named(ours.clone(), "app:v1")]);
    check_written(&written(layout.path(), None), b"layer");
    layout.index(&[named(other, "only-there:v1"), named(ours, "app:v1")]);
    assert!(problem(layout.path(), None).contains("the image `only-there:v1` is for s390x"));
}

#[test]
fn the_closest_variant_is_chosen() {
    let layout = Layout::new();
    let variant = |layer: &[u8], variant: Option<&str>| {
        let image = layout.image(layer, host_architecture());
        let mut image = on(image, host_architecture());
        image["platform"]["variant"] = json!(variant);
        image
    };
    let baseline = match host_architecture() {
        "arm64" => "v8",
        _ => "v1",
    };
    let platforms = json!({"manifests": [variant(b"newer", Some("v9")), variant(b"layer", Some(baseline))]});
    layout.index(&[layout.document(&platforms)]);
    check_written(&written(layout.path(), Some("x")), b"layer");
}

#[test]
fn artifacts_beside_an_image_are_skipped() {
    let layout = Layout::new();
    let image = layout.image(b"layer", host_architecture());
    let document = |extra: Value| {
        let config = layout.document(&json!({}));
        let mut manifest = json!({"schemaVersion": 2, "config": config, "layers": []});
        manifest
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        layout.document(&manifest)
    };
    let mut typed = descriptor(b"absent");
    typed["artifactType"] = json!("application/vnd.example");
    layout.index(&[
        document(json!({"subject": image})),
        named(
            document(json!({"artifactType": "application/vnd.example"})),
            "sha256-0.sig",
        ),
        named(document(json!({})), "chart:v1"),
        typed,
        named(image, "app:v1"),
    ]);
    assert_eq!(
        examine(layout.path(), None).unwrap(),
        ["docker.io/library/app:v1"]
    );
    check_written(&written(layout.path(), Some("x")), b"layer");
    layout.index(&[document(json!({}))]);
    assert!(problem(layout.path(), None).contains("lists no image"));
}

#[test]
fn digests_in_names_must_be_the_images() {
    let layout = Layout::new();
    let manifest = layout.image(b"layer", host_architecture());
    let index = layout.document(&json!({"manifests": [manifest]}));
    let digest = |descriptor: &Value| descriptor["digest"].as_str().unwrap().to_owned();
    for top in [&manifest, &index] {
        let name = format!("example.org/app:v1@{}", digest(top));
        layout.index(&[named(top.clone(), &name)]);
        let pinned = format!("example.org/app@{}", digest(top));
        assert_eq!(
            examine(layout.path(), None).unwrap(),
            ["example.org/app:v1", pinned.as_str()]
        );
        // The document that the digest is of is written.
        let files = written(layout.path(), None);
        let listed: Value = serde_json::from_slice(&files.last().unwrap().1).unwrap();
        assert_eq!(digest(&listed["manifests"][1]), digest(top));
    }
    let other = Digest::of(b"other");
    let name = |tag: &str| named(manifest.clone(), &format!("example.org/app{tag}@{other}"));
    layout.index(&[name(":v1")]);
    assert_eq!(examine(layout.path(), None).unwrap(), ["example.org/app:v1"]);
    layout.index(&[name("")]);
    let error = problem(layout.path(), None);
    assert!(
        error.contains(&format!("has the digest {}", digest(&manifest))),
        "{error}"
    );
}

#[test]
fn registries_may_be_ipv6_addresses() {
    let layout = Layout::new();
    layout.index(&[named(
        layout.image(b"layer", host_architecture()),
        "[::1]:5000/app",
    )]);
    assert_eq!(examine(layout.path(), None).unwrap(), ["[::1]:5000/app:latest"]);
    let name: ImageName = "[::1]:5000/app:v1".parse().unwrap();
    assert_eq!(
        (name.registry(), name.whole().as_str()),
        ("[::1]:5000", "[::1]:5000/app:v1")
    );
}

#[test]
fn blobs_may_be_links_to_files() {
    let layout = Layout::with_image();
    let cache = tempfile::tempdir().unwrap();
    for blob in fs::read_dir(layout.path().join("blobs/sha256")).unwrap() {
        let blob = blob.unwrap();
        let cached = cache.path().join(blob.file_name());
        fs::rename(blob.path(), &cached).unwrap();
        symlink(&cached, blob.path()).unwrap();
    }
    symlink("nowhere", layout.path().join("blobs/sha256/dangling")).unwrap();
    symlink(layout.path(), layout.path().join("blobs/sha256/loop")).unwrap();
    check_written(&written(layout.path(), Some("x")), b"layer");
    let moved = cache.path().join("blobs");
    fs::rename(layout.path().join("blobs"), &moved).unwrap();
    symlink(&moved, layout.path().join("blobs")).unwrap();
    check_written(&written(layout.path(), Some("x")), b"layer");
}

/// A tar archive of `entries`: name, type, and content or target.
fn tar_archive(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (name, kind, content) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        if matches!(kind, EntryType::Link | EntryType::Symlink) {
            let target = std::str::from_utf8(content).unwrap();
            header.set_size(0);
            archive.append_link(&mut header, name, target).unwrap();
        } else {
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, name, *content).unwrap();
        }
    }
    archive.into_inner().unwrap()
}

fn file(content: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar");
    fs::write(&path, content).unwrap();
    (dir, path)
}

#[test]
fn repacked_archives_may_repeat_and_link_entries() {
    let layout = Layout::with_image();
    let blobs = fs::read_dir(layout.path().join("blobs/sha256")).unwrap();
    let blobs: Vec<(String, Vec<u8>)> = blobs
        .map(|blob| {
            let path = blob.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    let index = fs::read(layout.path().join("index.json")).unwrap();
    let layer = Digest::of(b"layer");
    let mut entries: Vec<(String, EntryType, Vec<u8>)> = vec![
        ("index.json".into(), EntryType::Regular, b"{}".to_vec()),
        ("./cache/layer".into(), EntryType::Regular, b"layer".to_vec()),
    ];
    for (name, content) in &blobs {
        let path = format!("./blobs/sha256/{name}");
        entries.push((path.clone(), EntryType::Regular, b"{earlier version}".to_vec()));
        match *name == layer.hex() {
            true => entries.push((path, EntryType::Link, b"cache/layer".to_vec())),
            false => entries.push((path, EntryType::Regular, content.clone())),
        }
    }
    entries.push(("./index.json".into(), EntryType::Regular, index));
    let entries: Vec<(&str, EntryType, &[u8])> = entries
        .iter()
        .map(|(name, kind, content)| (name.as_str(), *kind, content.as_slice()))
        .collect();
    let (_dir, path) = file(&tar_archive(&entries));
    check_written(&written(&path, Some("x")), b"layer");
}

#[test]
fn sparse_entries_are_expanded() {
    let layout = Layout::new();
    let mut layer = vec![0; 1 << 20];
    layer[700_000] = 7;
    layout.index(&[layout.image(&layer, host_architecture())]);
    let blob = layout.blob_path(&layer);
    let sparse = File::create(&blob).unwrap();
    sparse.set_len(layer.len() as u64).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, &[7], 700_000).unwrap();
    let pack = |format: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image.tar");
        let tar = std::process::Command::new("tar")
            .args(format)
            .args(["--sparse", "--create", "--file"])
            .arg(&path)
            .arg("--directory")
            .arg(layout.path())
            .arg(".")
            .status();
        assert!(tar.unwrap().success());
        (dir, path)
    };
    for format in [
        &["--format=gnu"][..],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        let (_dir, path) = pack(format);
        assert!(fs::metadata(&path).unwrap().len() < 200_000, "it is not sparse");
        check_written(&written(&path, Some("x")), &layer);
    }
}

#[test]
fn names_of_entries_may_be_absolute() {
    let layout = Layout::with_image();
    let (_dir, path) = layout.archive();
    let packed = fs::read(&path).unwrap();
    let mut absolute = Builder::new(Vec::new());
    for entry in tar::Archive::new(&packed[..]).entries().unwrap() {
        let entry = entry.unwrap();
        let mut header = entry.header().clone();
        let name = format!("/{}", entry.path().unwrap().display());
        // The builder refuses such names.
        header.as_old_mut().name.fill(0);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        absolute.append(&header, entry).unwrap();
    }
    let (_dir, path) = file(&absolute.into_inner().unwrap());
    check_written(&written(&path, Some("x")), b"layer");
}

#[test]
fn archives_come_through_pipes_too() {
    let layout = Layout::with_image();
    let (dir, path) = layout.archive();
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::copy(path, pipe).unwrap()
    });
    check_written(&written(&pipe, Some("x")), b"layer");
    writer.join().unwrap();
}

#[test]
fn archives_are_decompressed() {
    let layout = Layout::with_image();
    let (dir, path) = layout.archive();
    for tool in ["bzip2", "gzip", "xz", "zstd"] {
        let packed = dir.path().join(tool);
        let status = std::process::Command::new(tool)
            .arg("-c")
            .stdin(File::open(&path).unwrap())
            .stdout(File::create(&packed).unwrap())
            .status();
        assert!(status.unwrap().success(), "{tool}");
        check_written(&written(&packed, Some("x")), b"layer");
    }
    // As `pzstd` writes it, with the length of each frame in a frame to be skipped.
    let plain = fs::read(&path).unwrap();
    let frame = zstd::encode_all(&plain[..], 1).unwrap();
    let mut frames = vec![0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0];
    frames.extend(u32::try_from(frame.len()).unwrap().to_le_bytes());
    frames.extend(frame);
    let (_dir, path) = file(&frames);
    check_written(&written(&path, Some("x")), b"layer");
}

/// As containerd looks images up: pods may name the digest that `image load` prints, or that of the index in a registry.
#[test]
fn images_are_also_known_by_their_digests() {
    let layout = Layout::new();
    let mut layer = layout.blob(b"layer");
    layer["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip");
    let manifest = layout.image_of(layer.clone(), host_architecture());
    let index = layout.document(&json!({"manifests": [on(manifest.clone(), host_architecture())]}));
    layout.index(&[named(index.clone(), "example.org/app:v1")]);
    assert_eq!(examine(layout.path(), None).unwrap(), ["example.org/app:v1"]);
    let listed = check_written(&written(layout.path(), None), b"layer");
    let corrected = listed["manifests"][0]["digest"].as_str().unwrap();
    let names = |listed: &Value| -> BTreeSet<String> {
        let name = |entry: &Value| entry["annotations"][CONTAINERD_NAME].as_str().unwrap().to_owned();
        listed["manifests"].as_array().unwrap().iter().map(name).collect()
    };
    // The layer has the wrong media type, and an index does not lead to the corrected manifest.
    let expected = [
        "example.org/app:v1".to_owned(),
        format!("example.org/app@{corrected}"),
    ];
    assert_eq!(names(&listed), BTreeSet::from(expected));

    layer["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar");
    let manifest = layout.image_of(layer, host_architecture());
    let index = layout.document(&json!({"manifests": [on(manifest.clone(), host_architecture())]}));
    layout.index(&[named(index.clone(), "example.org/app:v1")]);
    let listed = check_written(&written(layout.path(), None), b"layer");
    let digests = [&manifest, &index].map(|document| document["digest"].as_str().unwrap());
    let expected = digests.map(|digest| format!("example.org/app@{digest}"));
    let expected = expected.into_iter().chain(["example.org/app:v1".to_owned()]);
    assert_eq!(names(&listed), expected.collect());
}

#[test]
fn go_tools_write_null_for_nothing() {
    let layout = Layout::new();
    let config = layout.document(&json!({"architecture": host_architecture(), "os": "linux"}));
    let empty =
        json!({"schemaVersion": 2, "config": config, "layers": null, "manifests": null, "annotations": null});
    let mut empty = layout.document(&empty);
    empty["annotations"] = json!(null);
    empty["urls"] = json!(null);
    layout.index(&[empty]);
    let names = examine(layout.path(), Some("empty")).unwrap();
    assert_eq!(names, ["docker.io/library/empty:latest"]);
}

#[test]
fn config_may_lack_the_platform() {
    let layout = Layout::new();
    let of = |media_type: &str| {
        let mut layer = layout.blob(b"layer");
        layer["mediaType"] = json!(media_type);
        layout.image_of(layer, "")
    };
    layout.index(&[of("application/vnd.docker.image.rootfs.diff.tar.gzip")]);
    check_written(&written(layout.path(), Some("x")), b"layer");
    // So do signatures.
    layout.index(&[of("application/vnd.dev.cosign.simplesigning.v1+json")]);
    assert!(problem(layout.path(), Some("x")).contains("lists no image"));
}

#[test]
fn layers_are_decompressed_by_their_content() {
    let plain = tar_archive(&[("etc/hello", EntryType::Regular, b"hello")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    for (layer, right) in [
        (plain.clone(), "application/vnd.oci.image.layer.v1.tar"),
        (
            gzip.finish().unwrap(),
            "application/vnd.oci.image.layer.v1.tar+gzip",
        ),
        (zstd, "application/vnd.oci.image.layer.v1.tar+zstd"),
    ] {
        for declared in ["", "+gzip", "+zstd"] {
            let layout = Layout::new();
            let mut descriptor = layout.blob(&layer);
            descriptor["mediaType"] = json!(format!("application/vnd.oci.image.layer.v1.tar{declared}"));
            layout.index(&[layout.image_of(descriptor, host_architecture())]);
            let to = layout.path().join("hello");
            extract_files(layout.path(), &[("/etc/hello".to_owned(), to.clone())].into()).unwrap();
            assert_eq!(fs::read(to).unwrap(), b"hello");
            // Runtimes go by the media type.
            let files = written(layout.path(), Some("x"));
            let index = check_written(&files, &layer);
            let manifest = index["manifests"][0]["digest"]
                .as_str()
                .unwrap()
                .replace("sha256:", "blobs/sha256/");
            let (_, manifest) = files.iter().find(|(name, _)| *name == manifest).unwrap();
            let manifest: Value = serde_json::from_slice(manifest).unwrap();
            assert_eq!(manifest["layers"][0]["mediaType"], right);
        }
    }
}

#[test]
fn other_files_are_rejected() {
    let (dir, path) = file(b"");
    fs::remove_file(&path).unwrap();
    assert!(problem(&path, None).contains("could not read"));
    for content in [
        &b""[..],
        b"no archive",
        &[0x1f, 0x8b, 1, 2, 3],
        &[0x28, 0xb5, 0x2f, 0xfd, 9],
        &[b'x'; 4096],
    ] {
        fs::write(&path, content).unwrap();
        let problem = problem(&path, None);
        assert!(problem.contains("is not an image archive: "), "{problem}");
        assert!(!problem.contains("xxx"), "{problem}");
    }
    assert!(problem(dir.path(), None).contains("it has neither `index.json` nor `manifest.json`"));
    assert!(
        problem(Path::new("/dev/zero"), None).contains("it is not a regular file, a directory or a pipe")
    );
}

#[test]
fn cut_off_archives_are_rejected() {
    let layout = Layout::new();
    layout.index(&[layout.image(&[7; 100_000], host_architecture())]);
    let (_dir, path) = layout.archive();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..50_000]).unwrap();
    assert!(problem(&path, Some("x")).contains("is damaged: "));
}

#[test]
fn docker_archives_are_written_as_layouts() {
    let image = |tags: Value| json!([{"Config": "c.json", "RepoTags": tags, "Layers": ["l/layer.tar"]}]);
    let archive = |tags: Value, files: &[(&str, EntryType, &[u8])]| {
        let manifest = image(tags).to_string();
        let entries = [
            files,
            &[("manifest.json", EntryType::Regular, manifest.as_bytes())],
        ]
        .concat();
        file(&tar_archive(&entries))
    };
    let config = ("c.json", EntryType::Regular, &b"{}"[..]);
    let layer = ("l/layer.tar", EntryType::Regular, &b"layer"[..]);
    let (_dir, path) = archive(json!(["app:v1", "app:v2"]), &[config, layer]);
    let names = ["docker.io/library/app:v1", "docker.io/library/app:v2"];
    assert_eq!(examine(&path, None).unwrap(), names);
    assert_eq!(examine(&path, Some("b:1")).unwrap(), ["docker.io/library/b:1"]);
    check_written(&written(&path, None), b"layer");
    // Docker links a layer that occurs twice.
    let linked = [
        ("2.tar", EntryType::Regular, &b"layer"[..]),
        ("l/layer.tar", EntryType::Symlink, b"../2.tar"),
        config,
    ];
    let (_dir, path) = archive(json!(["app:v1"]), &linked);
    check_written(&written(&path, None), b"layer");

    let (_dir, path) = archive(Value::Null, &[config, layer]);
    assert!(problem(&path, None).contains("without a full name"));
    let (_dir, path) = archive(json!(["app:v1"]), &[config]);
    assert!(problem(&path, None).contains("`l/layer.tar` of `docker.io/library/app:v1` is missing"));
    let foreign = ("c.json", EntryType::Regular, &br#"{"architecture":"s390x"}"#[..]);
    let (_dir, path) = archive(json!(["app:v1"]), &[foreign, layer]);
    assert!(problem(&path, None).contains("is for s390x"));
}

#[test]
fn names_may_be_in_the_docker_manifest_only() {
    let layout = Layout::with_image();
    let index: Value = serde_json::from_slice(&fs::read(layout.path().join("index.json")).unwrap()).unwrap();
    let blob = |digest: &Value| digest.as_str().unwrap().replace("sha256:", "blobs/sha256/");
    let manifest = fs::read(layout.path().join(blob(&index["manifests"][0]["digest"]))).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let listed = json!([{
        "Config": blob(&manifest["config"]["digest"]),
        "RepoTags": ["app:v1"],
        "Layers": [blob(&manifest["layers"][0]["digest"])],
    }]);
    fs::write(layout.path().join("manifest.json"), listed.to_string()).unwrap();
    let (_dir, path) = layout.archive();
    check_written(&written(&path, None), b"layer");
    assert_eq!(examine(&path, None).unwrap(), ["docker.io/library/app:v1"]);
}

#[test]
fn bare_words_in_docker_archives_are_repositories() {
    let listed = json!([{"Config": "./c.json", "RepoTags": ["app"], "Layers": null}]).to_string();
    let (_dir, path) = file(&tar_archive(&[
        ("c.json", EntryType::Regular, b"{}"),
        ("manifest.json", EntryType::Regular, listed.as_bytes()),
    ]));
    assert_eq!(examine(&path, None).unwrap(), ["docker.io/library/app:latest"]);
}
