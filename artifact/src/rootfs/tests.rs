//! These tests need root, for owners.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::json;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::{RootFs, RootedDir};
use crate::digest::Digest;

/// An entry of an archive: name, type, mode, content or target.
type Line<'a> = (&'a str, EntryType, u32, &'a str);

const DIR: EntryType = EntryType::Directory;
const FILE: EntryType = EntryType::Regular;

/// A tar archive; names are not validated.
fn archive(lines: &[Line<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, mode, text) in lines {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_uid(7);
        header.set_gid(8);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        let data = match kind {
            EntryType::Symlink | EntryType::Link => {
                header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
                ""
            }
            _ => text,
        };
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A tree with links that must be followed inside, set-id bits, hard links and a device.
fn system() -> Vec<u8> {
    archive(&[
        ("./", DIR, 0o755, ""),
        ("./usr/", DIR, 0o755, ""),
        ("./usr/bin/", DIR, 0o2755, ""),
        ("./bin", EntryType::Symlink, 0o777, "/usr/bin"),
        ("./bin/su", FILE, 0o4755, "su"),
        ("./usr/bin/runuser", EntryType::Link, 0o755, "usr/bin/su"),
        ("./dev/null", EntryType::Char, 0o666, ""),
        ("./run/initctl", EntryType::Fifo, 0o600, ""),
    ])
}

fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("os.tar");
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn unpacked(path: &Path) -> Result<TempDir, String> {
    let to = tempfile::tempdir().unwrap();
    let source = RootFs::examine(path).map_err(|error| error.to_string())?;
    source.unpack(to.path()).map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    })?;
    Ok(to)
}

fn check_system(root: &Path) {
    let su = fs::metadata(root.join("usr/bin/su")).unwrap();
    assert_eq!(
        (su.mode() & 0o7777, su.uid(), su.gid(), su.nlink()),
        (0o4755, 7, 8, 2)
    );
    assert_eq!(fs::read_link(root.join("bin")).unwrap(), Path::new("/usr/bin"));
    assert_eq!(
        fs::metadata(root.join("usr/bin")).unwrap().mode() & 0o7777,
        0o2755
    );
    assert!(!root.join("dev/null").exists() && root.join("run/initctl").exists());
}

#[test]
fn compressed_archives_are_unpacked() {
    let plain = system();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    let xz = liblzma::encode_all(&plain[..], 1).unwrap();
    for bytes in [plain, gzip.finish().unwrap(), zstd, xz] {
        let (_dir, path) = file(&bytes);
        check_system(unpacked(&path).unwrap().path());
        // A cut-off archive is rejected wherever it is cut.
        let last = if bytes.len() > 2048 { 1024 } else { 3 };
        for length in [bytes.len() / 3, bytes.len() / 2, bytes.len() - last] {
            fs::write(&path, &bytes[..length]).unwrap();
            let error = unpacked(&path).unwrap_err();
            assert!(
                error.contains("is cut off") || error.contains("is not a directory, tar"),
                "{error}"
            );
        }
    }
}

#[test]
fn archives_without_an_end_mark_are_rejected() {
    let whole = system();
    let (_dir, path) = file(&whole[..512 * 4]);
    assert!(unpacked(&path).unwrap_err().contains("is cut off or damaged"));
}

#[test]
fn entries_outside_the_tree_are_rejected() {
    let outside = tempfile::tempdir().unwrap();
    let away = outside.path().to_str().unwrap();
    for (lines, message) in [
        (
            vec![("../x", FILE, 0o644, "x")],
            "`../x` would leave the directory",
        ),
        (vec![("a/../../x", FILE, 0o644, "x")], "would leave"),
        (
            vec![("a", EntryType::Link, 0o644, "../../etc/passwd")],
            "hard link to a path outside",
        ),
        (
            vec![("a", EntryType::Link, 0o644, "/etc/passwd")],
            "could not make `a`",
        ),
        (vec![("sda", EntryType::Block, 0o644, "")], "`sda` is a device"),
        (vec![("d/null", EntryType::Char, 0o644, "")], "is a device"),
        (
            vec![("a", EntryType::Symlink, 0o644, "")],
            "link without a target",
        ),
        (
            vec![
                ("out", EntryType::Symlink, 0o777, away),
                ("out/x", FILE, 0o644, "x"),
            ],
            "could not make `out/x`",
        ),
    ] {
        let (_dir, path) = file(&archive(&lines));
        let error = unpacked(&path).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    // Links are followed inside the tree.
    let inside = archive(&[
        ("etc/", DIR, 0o755, ""),
        ("up", EntryType::Symlink, 0o777, "../../../../etc"),
        ("up/x", FILE, 0o644, "x"),
        ("/abs", FILE, 0o644, "x"),
    ]);
    let (_dir, path) = file(&inside);
    let tree = unpacked(&path).unwrap();
    assert!(tree.path().join("etc/x").is_file() && tree.path().join("abs").is_file());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn other_files_are_rejected() {
    for (bytes, message) in [
        (
            &b"some text"[..],
            "is not a directory, tar archive or container image",
        ),
        (b"", "it is empty"),
        (b"\x04\x22\x4d\x18abc", "is compressed with lz4"),
    ] {
        let (_dir, path) = file(bytes);
        let error = unpacked(&path).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    assert!(
        unpacked(Path::new("/no/such"))
            .unwrap_err()
            .contains("could not read")
    );
}

#[test]
fn directories_are_copied() {
    let (_dir, path) = file(&system());
    let tree = unpacked(&path).unwrap();
    symlink("nowhere", tree.path().join("dangling")).unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr::set(tree.path().join("usr/bin/su"), "security.capability", &capability).unwrap();
    let copy = unpacked(tree.path()).unwrap();
    check_system(copy.path());
    let su = copy.path().join("usr/bin/su");
    assert_eq!(
        xattr::get(&su, "security.capability").unwrap().unwrap(),
        capability
    );
    let digest = |path: &Path| RootFs::examine(path).unwrap().digest().clone();
    assert_eq!(digest(tree.path()), digest(copy.path()));
    let before = digest(copy.path());
    fs::set_permissions(&su, fs::Permissions::from_mode(0o755)).unwrap();
    assert_ne!(before, digest(copy.path()));
}

/// An OCI image layout with `layers`.
fn layout(layers: &[Vec<u8>]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
    let blob = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(dir.path().join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": "application/octet-stream", "digest": digest, "size": bytes.len()})
    };
    let layers: Vec<_> = layers.iter().map(|layer| blob(layer)).collect();
    let config = json!({"architecture": crate::config::host_architecture(), "os": "linux"});
    let manifest =
        json!({"schemaVersion": 2, "config": blob(config.to_string().as_bytes()), "layers": layers});
    let index = json!({"schemaVersion": 2, "manifests": [blob(manifest.to_string().as_bytes())]});
    fs::write(dir.path().join("index.json"), index.to_string()).unwrap();
    fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    dir
}

fn layers() -> Vec<Vec<u8>> {
    let upper = archive(&[
        ("usr/bin/.wh.runuser", FILE, 0, ""),
        ("etc/new", FILE, 0o644, "new"),
        ("etc/.wh..wh..opq", FILE, 0, ""),
        ("srv/.wh..wh.aufs", FILE, 0, ""),
        ("lib", EntryType::Symlink, 0o777, "usr/lib"),
    ]);
    let lower = archive(&[
        ("usr/bin/runuser", FILE, 0o755, "1"),
        ("usr/bin/su", FILE, 0o4755, "2"),
        ("etc/old", FILE, 0o644, "old"),
        ("etc/dir/older", FILE, 0o644, "old"),
        ("lib/gone", FILE, 0o644, "gone"),
    ]);
    vec![lower, zstd::encode_all(&upper[..], 1).unwrap()]
}

fn check_layers(root: &Path) {
    let names = |dir: &str| -> Vec<String> {
        let children = fs::read_dir(root.join(dir)).unwrap();
        children
            .map(|child| child.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    assert_eq!(names("usr/bin"), ["su"]);
    assert_eq!(names("etc"), ["new"]);
    assert_eq!(fs::read_link(root.join("lib")).unwrap(), Path::new("usr/lib"));
}

#[test]
fn layers_of_images_are_applied_in_order() {
    let layout = layout(&layers());
    check_layers(unpacked(layout.path()).unwrap().path());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.tar");
    let mut archive = Builder::new(File::create(&path).unwrap());
    archive.append_dir_all(".", layout.path()).unwrap();
    archive.into_inner().unwrap();
    check_layers(unpacked(&path).unwrap().path());
    let kind = |path: &Path| RootFs::examine(path).unwrap().kind();
    assert_eq!((kind(&path), kind(layout.path())), ("image", "image"));
}

#[test]
fn docker_archives_may_have_links_for_layers() {
    let [lower, upper] = layers().try_into().unwrap();
    let manifest = r#"[{"Config":"c.json","RepoTags":null,"Layers":["1.tar","l/layer.tar"]}]"#;
    let mut builder = Builder::new(Vec::new());
    let mut add = |name: &str, kind: EntryType, bytes: &[u8], to: &str| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        match kind {
            EntryType::Symlink => builder.append_link(&mut header, name, to).unwrap(),
            _ => builder.append_data(&mut header, name, bytes).unwrap(),
        }
    };
    let upper = zstd::decode_all(&upper[..]).unwrap();
    add("2.tar", FILE, &upper, "");
    add("l/layer.tar", EntryType::Symlink, b"", "../2.tar");
    add("1.tar", FILE, &lower, "");
    add("c.json", FILE, b"{}", "");
    add("manifest.json", FILE, manifest.as_bytes(), "");
    let (_dir, path) = file(&builder.into_inner().unwrap());
    check_layers(unpacked(&path).unwrap().path());
}

#[test]
fn lookups_stay_below_the_root() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("usr/bin")).unwrap();
    fs::write(dir.path().join("usr/bin/sh"), "").unwrap();
    symlink("/usr/bin", dir.path().join("bin")).unwrap();
    symlink("/etc", dir.path().join("etc")).unwrap();
    let inside = RootedDir::open(dir.path()).unwrap();
    assert!(inside.file(Path::new("bin/sh")).unwrap().is_some());
    assert!(inside.file(Path::new("etc/passwd")).unwrap().is_none());
    assert!(inside.exists(Path::new("/usr")).unwrap() && !inside.exists(Path::new("x/y")).unwrap());
    assert!(inside.is_plain(Path::new("usr/lib/x")).unwrap());
    assert!(!inside.is_plain(Path::new("etc/systemd")).unwrap());
    assert!(!inside.is_plain(Path::new("usr/bin/sh")).unwrap());
}
