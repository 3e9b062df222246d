//! Nodes with an operating system from elsewhere.
//!
//! It is the one of a bake with another name and an extra file, as a directory, an archive, and an image whose upper layer
//! changes and deletes files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use parbake_test_support::place::{Outcome, PROVIDER, Place, check, record_tested};
use parbake_test_support::published::run;

/// The name of the operating system.
const NAME: &str = "Our Own Linux 7";
/// A file that only it has, and one that the image's upper layer deletes.
const OWN: &str = "etc/our-own";
const DELETED: &str = "etc/to-be-deleted";

/// Everything that is missing is reported in one error, and nothing is baked or kept.
pub(crate) fn lacking(place: &Place) -> Outcome {
    let dir = system(place)?;
    let poor = place.dir().join("poor");
    copy(&dir, &poor)?;
    for path in ["usr/bin/socat", "usr/sbin/conntrack", "usr/lib/cni/bridge"] {
        fs::remove_file(poor.join(path)).map_err(|error| format!("{path}: {error}"))?;
    }
    let message = [
        "cannot be used as node OS: `conntrack` is missing (looked for in",
        "`socat` is missing",
        "`/usr/lib/cni/bridge` is missing",
        "install the contents of the Debian packages conntrack, containernetworking-plugins, socat",
    ];
    let path = poor.display().to_string();
    let words = [
        "provision",
        PROVIDER,
        "--nodes",
        "1",
        "--tag",
        "poor",
        "--os",
        &path,
    ];
    place.refused(&words, &message)?;
    check(place.run(&["artifact", "inspect", "poor"]).is_err(), || {
        "there is an artifact of it".to_owned()
    })?;
    fs::remove_dir_all(&poor).map_err(|error| error.to_string())
}

pub(crate) fn directory(place: &Place) -> Outcome {
    let dir = system(place)?;
    works(place, &dir, "os-directory", true)?;
    record_tested(place, "os-directory", &["bake", "thaw", "own OS (directory)"])
}

pub(crate) fn archive(place: &Place) -> Outcome {
    let dir = system(place)?;
    let path = place.dir().join("own.tar");
    pack(&dir, &path, &["."])?;
    works(place, &path, "os-archive", true)?;
    let layer = |tag: &str| os_layer(place, tag);
    check(layer("os-archive")? == layer("os-directory")?, || {
        "the same tree makes another layer when it comes in an archive".to_owned()
    })?;
    record_tested(place, "os-archive", &["bake", "thaw", "own OS (archive)"])
}

pub(crate) fn image(place: &Place) -> Outcome {
    let dir = system(place)?;
    let (lower, upper) = (place.dir().join("lower.tar"), place.dir().join("upper.tar"));
    pack(&dir, &lower, &["."])?;
    let over = place.dir().join("upper");
    fs::create_dir_all(over.join("etc")).map_err(|error| error.to_string())?;
    let whiteout = over.join("etc/.wh.to-be-deleted");
    fs::write(whiteout, "").map_err(|error| error.to_string())?;
    pack(&over, &upper, &["."])?;
    let image = place.dir().join("own-image.tar");
    let from = format!("tarball:{}:{}", lower.display(), upper.display());
    let to = format!("oci-archive:{}", image.display());
    run(Command::new("skopeo").args(["copy", "--quiet", &from, &to])).map(drop)?;
    works(place, &image, "os-image", false)?;
    record_tested(place, "os-image", &["bake", "thaw", "own OS (image)"])
}

/// Bakes with the operating system and checks a node.
fn works(place: &Place, os: &Path, tag: &str, whole: bool) -> Outcome {
    let os = os.display().to_string();
    let bake = ["provision", PROVIDER, "--nodes", "1", "--tag", tag, "--os", &os];
    place.run(&bake)?;
    let again = place.json(&bake)?;
    check(again["unchanged"] == true, || again.to_string())?;
    let inspected = place.json(&["artifact", "inspect", tag])?;
    check(inspected["os"] == NAME, || inspected["os"].to_string())?;
    let provenance = place.run(&["artifact", "provenance", tag])?;
    check(provenance.contains("\"given/os\""), || {
        "the OS is no material of the artifact".to_owned()
    })?;
    place.run(&["up", tag, "--name", tag])?;
    let found = looked_at(place, tag, whole);
    place.run(&["down", "--name", tag])?;
    found
}

fn looked_at(place: &Place, name: &str, whole: bool) -> Outcome {
    let column = "jsonpath={.items[*].status.nodeInfo.osImage}";
    let message = place.run(&["kubectl", "--name", name, "get", "nodes", "-o", column])?;
    check(message == NAME, || format!("the node says it is `{message}`"))?;
    place.run(&["exec", "--name", name, "node01", "--", "cat", &format!("/{OWN}")])?;
    let deleted = format!("/{DELETED}");
    let there = place.run(&["exec", "--name", name, "node01", "--", "test", "-e", &deleted]);
    check(there.is_ok() == whole, || {
        format!("`{deleted}` is there: {}", there.is_ok())
    })
}

/// The operating system as a directory, created once.
fn system(place: &Place) -> Result<PathBuf, String> {
    let dir = place.dir().join("own");
    if dir.exists() {
        return Ok(dir);
    }
    place.run(&["provision", PROVIDER, "--nodes", "1", "--tag", "debian"])?;
    let digest = os_layer(place, "debian")?;
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    let layer = place.dir().join("store/unpacked").join(&hex[..32]);
    let making = place.dir().join("own.new");
    copy(&layer, &making)?;
    let release = "ID=own\nVERSION_ID=7\n".to_owned() + &format!("PRETTY_NAME=\"{NAME}\"\n");
    // On Debian this is a symlink to the other path.
    fs::write(making.join("usr/lib/os-release"), release).map_err(|error| error.to_string())?;
    for path in [OWN, DELETED] {
        fs::write(making.join(path), "").map_err(|error| error.to_string())?;
    }
    fs::rename(&making, &dir).map_err(|error| error.to_string())?;
    Ok(dir)
}

fn os_layer(place: &Place, tag: &str) -> Result<String, String> {
    let inspected = place.json(&["artifact", "inspect", tag])?;
    let layers = inspected["layers"].as_array().cloned().unwrap_or_default();
    let os = layers.iter().find(|layer| layer["title"] == "os");
    let digest = os.and_then(|layer| layer["digest"].as_str().map(str::to_owned));
    digest.ok_or_else(|| format!("`{tag}` has no OS: {inspected}"))
}

fn copy(from: &Path, to: &Path) -> Outcome {
    run(Command::new("cp").arg("--archive").arg(from).arg(to)).map(drop)
}

fn pack(dir: &Path, to: &Path, words: &[&str]) -> Outcome {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--numeric-owner", "--xattrs", "--file"]);
    run(tar.arg(to).arg("--directory").arg(dir).args(words)).map(drop)
}
