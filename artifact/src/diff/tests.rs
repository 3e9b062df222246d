//! These tests need root, since layers have files of other users.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use super::{Change, Difference};
use crate::config::MachineLayers;
use crate::layer::{Layer, PackOptions};
use crate::store::{NewArtifact, Store};

/// The default modification time.
const PACK: PackOptions = PackOptions {
    mtime_clamp: Some(1),
    exclude: Vec::new(),
};

fn add(store: &Store, title: &str, fill: impl Fn(&Path)) -> Layer {
    let temp = tempfile::tempdir().unwrap();
    fill(temp.path());
    store.add_layer(title, temp.path(), &PACK).unwrap()
}

fn draft(layers: &[Layer], cluster: serde_json::Value) -> NewArtifact {
    NewArtifact {
        created: "2026-01-31T12:00:00Z".parse::<Timestamp>().unwrap(),
        provider: "k8s-1.34".to_owned(),
        machines: vec![MachineLayers {
            name: "node01".to_owned(),
            layers: layers.iter().map(|layer| layer.digest.clone()).collect(),
        }],
        cluster,
        layers: layers.to_vec(),
        secrets: None,
    }
}

/// The differences between two new artifacts.
fn diff(drafts: impl FnOnce(&Store) -> (NewArtifact, NewArtifact)) -> Difference {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(&temp.path().join("store")).unwrap();
    let (a, b) = drafts(&store);
    let put = |tag: &str, draft| store.put(&tag.parse().unwrap(), draft).unwrap();
    store.diff(&put("a", a), &put("b", b)).unwrap()
}

/// The differences between two trees: one line per path, with the names of the attributes.
fn files(a: impl Fn(&Path), b: impl Fn(&Path)) -> Vec<String> {
    let found = diff(|store| {
        let of = |fill: &dyn Fn(&Path)| draft(&[add(store, "own", fill)], json!({}));
        (of(&a), of(&b))
    });
    assert!(found.config.is_empty() && found.machines.is_empty());
    let files = found.layers.into_iter().flat_map(|layer| layer.files);
    files
        .map(|file| match file.change {
            Change::OnlyA => format!("- {}", file.path),
            Change::OnlyB => format!("+ {}", file.path),
            Change::Differs { attributes } => {
                let show = |value: Option<String>| match value {
                    Some(text) if text.starts_with("sha256:") => "x".to_owned(),
                    Some(text) => text,
                    None => "none".to_owned(),
                };
                let parts = attributes.into_iter().map(|attribute| {
                    format!("{} {} {}", attribute.name, show(attribute.a), show(attribute.b))
                });
                format!("~ {}: {}", file.path, parts.collect::<Vec<_>>().join(", "))
            }
        })
        .collect()
}

#[test]
fn equal_artifacts_do_not_differ() {
    let found = diff(|store| {
        let both = draft(
            &[add(store, "os", |dir| fs::write(dir.join("a"), "").unwrap())],
            json!({}),
        );
        (both.clone(), both)
    });
    assert!(found.is_empty() && found.a == found.b);
    assert_eq!(found.same_layers, 1);
}

#[test]
fn all_kinds_of_differences_are_found() {
    let base = |dir: &Path| {
        for name in [
            "content", "size", "mode", "owner", "xattr", "kind", "gone", "same",
        ] {
            fs::write(dir.join(name), "1234").unwrap();
        }
        symlink("there", dir.join("link")).unwrap();
        fs::create_dir(dir.join("dir")).unwrap();
        fs::write(dir.join("dir/linked"), "").unwrap();
    };
    let changed = |dir: &Path| {
        base(dir);
        fs::write(dir.join("content"), "4321").unwrap();
        fs::write(dir.join("size"), "12345").unwrap();
        fs::set_permissions(dir.join("mode"), fs::Permissions::from_mode(0o4755)).unwrap();
        chown(dir.join("owner"), Some(7), Some(8)).unwrap();
        xattr::set(dir.join("xattr"), "user.a", b"b").unwrap();
        fs::remove_file(dir.join("kind")).unwrap();
        symlink("x", dir.join("kind")).unwrap();
        fs::remove_file(dir.join("gone")).unwrap();
        mknodat(CWD, dir.join("gone"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
        fs::remove_file(dir.join("link")).unwrap();
        symlink("here", dir.join("link")).unwrap();
        xattr::set(dir.join("dir"), "trusted.overlay.opaque", b"y").unwrap();
        fs::hard_link(dir.join("dir/linked"), dir.join("linked")).unwrap();
        fs::remove_file(dir.join("same")).unwrap();
        fs::write(dir.join("new\u{1b}"), "").unwrap();
    };
    assert_eq!(
        files(base, changed),
        [
            "~ content: content x x",
            "~ dir: opaque none yes",
            "~ gone: type file deletion, content x none, size 4 none, mode 0644 0000, \
             mtime 1970-01-01T00:00:01Z 1970-01-01T00:00:00Z",
            "~ kind: type file symbolic link, content x none, size 4 none, target none x, mode 0644 0777",
            "~ link: target there here",
            "+ linked",
            "~ mode: mode 0644 4755",
            "+ new\\u{1b}",
            "~ owner: owner 0:0 7:8",
            "- same",
            "~ size: content x x, size 4 5",
            "~ xattr: xattr user.a none x",
        ]
    );
}

#[test]
fn the_root_itself_may_differ() {
    let root = |mode| move |dir: &Path| fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(files(root(0o755), root(0o711)), ["~ .: mode 0755 0711"]);
}

#[test]
fn layers_machines_and_fields_are_compared() {
    let found = diff(|store| {
        let layer = |title, text: &str| add(store, title, |dir| fs::write(dir.join("file"), text).unwrap());
        let (os, old, new) = (layer("os", "os"), layer("old", "old"), layer("new", "new"));
        let a = draft(&[os.clone(), old], json!({"pods": 3, "a/b": [1, 2], "same": 1}));
        let mut b = draft(&[os, new], json!({"pods": 4, "a/b": [1], "same": 1}));
        let mut other = b.machines[0].clone();
        other.name = "node02".to_owned();
        b.machines.push(other);
        (a, b)
    });
    let fields: Vec<_> = found
        .config
        .iter()
        .map(|change| json!([change.field, change.a, change.b]))
        .collect();
    assert_eq!(
        fields,
        [
            json!(["/cluster/a~1b/1", 2, null]),
            json!(["/cluster/pods", 3, 4])
        ]
    );
    let titles = |titles: &[&str]| Some(titles.iter().map(|title| (*title).to_owned()).collect::<Vec<_>>());
    let machines: Vec<_> = found
        .machines
        .iter()
        .map(|change| (&change.name[..], change.a.clone(), change.b.clone()))
        .collect();
    assert_eq!(
        machines,
        [
            ("node01", titles(&["os", "old"]), titles(&["os", "new"])),
            ("node02", None, titles(&["os", "new"]))
        ]
    );
    let layers: Vec<_> = found
        .layers
        .iter()
        .map(|change| (&change.title[..], change.a.is_some(), change.b.is_some()))
        .collect();
    assert_eq!(layers, [("old", true, false), ("new", false, true)]);
    assert_eq!(found.same_layers, 1);
}

#[test]
fn damaged_layers_are_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(&temp.path().join("store")).unwrap();
    let put = |tag: &str, text: &str| {
        let layer = add(&store, "own", |dir| fs::write(dir.join("file"), text).unwrap());
        store
            .put(&tag.parse().unwrap(), draft(&[layer], json!({})))
            .unwrap()
    };
    let (a, b) = (put("a", "a"), put("b", "b"));
    fs::write(
        store.blob_path(&b.layers[0].digest),
        vec![0; b.layers[0].size as usize],
    )
    .unwrap();
    let error = store.diff(&a, &b).unwrap_err().to_string();
    assert!(
        error.contains("layer `own`") && error.contains("artifact remove b"),
        "{error}"
    );
    fs::remove_file(store.blob_path(&b.layers[0].digest)).unwrap();
    let error = store.diff(&a, &b).unwrap_err().to_string();
    assert!(error.contains("is not in the store"), "{error}");
}
