use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use parbake_machine::process::Cmd;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Image, write};

const NAME: &str = "registry.example/kube-proxy:v1.34.4";

/// The bytes of an archive of an image with a tree, a file and a link.
fn image(dir: &Path) -> Vec<u8> {
    let tree = dir.join("tree");
    fs::create_dir_all(tree.join("usr/sbin")).unwrap();
    fs::write(tree.join("usr/sbin/xtables"), "xtables").unwrap();
    fs::set_permissions(tree.join("usr/sbin/xtables"), fs::Permissions::from_mode(0o4711)).unwrap();
    symlink("xtables", tree.join("usr/sbin/old")).unwrap();
    fs::write(dir.join("binary"), "binary").unwrap();
    let archive = dir.join("image.tar");
    write(
        &Image {
            reference: NAME,
            architecture: "amd64",
            tree: &tree,
            files: &BTreeMap::from([("/usr/local/bin/kube-proxy".into(), dir.join("binary"))]),
            setuid: &["/usr/local/bin/kube-proxy".into()],
            links: &BTreeMap::from([("/usr/sbin/iptables".into(), "xtables".into())]),
            directories: &["/tmp".into()],
            entrypoint: &["/usr/local/bin/kube-proxy".into()],
            arguments: &[],
            user: "1000",
        },
        &archive,
    )
    .unwrap();
    fs::read(archive).unwrap()
}

fn entries(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), bytes)
    };
    archive.entries().unwrap().map(read).collect()
}

fn blob<'a>(layout: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"]
        .as_str()
        .unwrap()
        .strip_prefix("sha256:")
        .unwrap();
    let blob = &layout[&format!("blobs/sha256/{digest}")];
    assert_eq!(hex::encode(Sha256::digest(blob)), digest);
    assert_eq!(descriptor["size"], blob.len());
    blob
}

#[test]
fn layout_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let layout = entries(&image(dir.path()));
    assert_eq!(layout.len(), 5);
    assert_eq!(layout["oci-layout"], br#"{"imageLayoutVersion":"1.0.0"}"#);
    let index: Value = serde_json::from_slice(&layout["index.json"]).unwrap();
    assert_eq!(
        index["manifests"][0]["annotations"]["io.containerd.image.name"],
        NAME
    );
    assert_eq!(
        index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"],
        NAME
    );
    let manifest: Value = serde_json::from_slice(blob(&layout, &index["manifests"][0])).unwrap();
    assert_eq!(
        manifest["layers"][0]["mediaType"],
        "application/vnd.oci.image.layer.v1.tar"
    );
    let config: Value = serde_json::from_slice(blob(&layout, &manifest["config"])).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
    assert_eq!(
        config["config"]["Entrypoint"],
        serde_json::json!(["/usr/local/bin/kube-proxy"])
    );
    assert_eq!(config["config"]["User"], "1000");
    assert_eq!(config["architecture"], "amd64");
    let path = config["config"]["Env"][0].as_str().unwrap();
    assert!(
        path.starts_with("PATH=") && path.contains(":/usr/local/bin:"),
        "{path}"
    );

    let layer = blob(&layout, &manifest["layers"][0]);
    let mut listed = Vec::new();
    for entry in tar::Archive::new(layer).entries().unwrap() {
        let entry = entry.unwrap();
        let (header, path) = (entry.header(), entry.path().unwrap().display().to_string());
        assert_eq!(header.mtime().unwrap(), 0);
        let link = entry
            .link_name()
            .unwrap()
            .map(|target| format!(" -> {}", target.display()))
            .unwrap_or_default();
        listed.push(format!("{:o} {path}{link}", header.mode().unwrap()));
    }
    assert_eq!(
        listed,
        [
            "1777 tmp",
            "755 usr",
            "755 usr/local",
            "755 usr/local/bin",
            "6755 usr/local/bin/kube-proxy",
            "755 usr/sbin",
            "777 usr/sbin/iptables -> xtables",
            "777 usr/sbin/old -> xtables",
            "4711 usr/sbin/xtables",
        ]
    );
    let files = entries(layer);
    assert_eq!(files["usr/local/bin/kube-proxy"], b"binary");
}

#[test]
fn equal_inputs_give_equal_bytes() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert!(image(one.path()) == image(two.path()));
}

#[test]
fn skopeo_reads_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    image(dir.path());
    let inspect = Cmd::new("skopeo")
        .args(["inspect", "--config"])
        .arg(format!("oci-archive:{}", dir.path().join("image.tar").display()))
        .run()
        .unwrap();
    let config: Value = serde_json::from_str(&inspect.stdout).unwrap();
    assert_eq!(config["os"], "linux");
}
