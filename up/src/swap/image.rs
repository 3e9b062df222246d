//! A new image from one that a node has, with one program in it replaced.
//!
//! The runtime has thrown the packed layers away, so it is asked for the image's files as containers see them, which become
//! the only layer of the new image. What the image says of how it runs stays.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use parbake_artifact::images::ImageName;
use parbake_artifact::{Digest, HashingStream};
use parbake_cluster::{ContainerRuntime, NodeName};
use parbake_machine::executable::ARCHITECTURE;
use parbake_machine::fs::files::failed;
use parbake_machine::supervisor::Running;
use serde_json::{Value, json};
use tar::{Archive, Builder, EntryType};

use super::{Program, SwapError};
use crate::Error;
use crate::recover::node_files;

/// Where images have their programs.
const DIRS: [&str; 7] = [
    "usr/local/bin",
    "usr/local/sbin",
    "usr/bin",
    "usr/sbin",
    "bin",
    "sbin",
    "",
];
/// What comes before the digest in the tag of a new image.
const MARK: &str = "swap.";
/// How much of the digest: a tag has 128 characters at most.
const SHORT: usize = 12;
/// The time of everything that is made here (RFC 3339), so that equal files give equal images.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// What the image that takes the place of `old` is called.
pub(super) fn name(old: &str, digest: &Digest) -> Result<ImageName, SwapError> {
    let bad = |why: String| SwapError::Image {
        image: old.to_owned(),
        why,
    };
    let parsed: ImageName = old.parse().map_err(|error| bad(format!("{error}")))?;
    let (registry, repository) = (parsed.registry(), parsed.repository());
    let before = match old.contains('@') {
        true => "",
        false => parsed.tag().unwrap_or_default(),
    };
    let before = match before.split_once(MARK) {
        Some((before, _)) => before.trim_end_matches('-'),
        None => before,
    };
    let dash = if before.is_empty() { "" } else { "-" };
    let tag = format!("{before}{dash}{}", mark(digest));
    format!("{registry}/{repository}:{tag}")
        .parse()
        .map_err(|error| bad(format!("{error}")))
}

/// Whether an image is one that was made with the program of this digest.
pub(super) fn is_with(image: &str, digest: &Digest) -> bool {
    image.ends_with(&mark(digest))
}

fn mark(digest: &Digest) -> String {
    format!("{MARK}{}", &digest.hex()[..SHORT])
}

/// Writes an OCI image layout of the image `old`, which `node` has, with `program` in it, to the directory `to`; gives the
/// digest of its layer.
pub(super) fn make(
    running: &Running,
    runtime: ContainerRuntime,
    node: &NodeName,
    old: &str,
    program: &Program,
    to: &Path,
) -> Result<String, Error> {
    let bad = |why: String| SwapError::Image {
        image: old.to_owned(),
        why,
    };
    crate::state::remove_dir(to)?;
    let blobs = to.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(failed("make", &blobs))?;
    let inspect = ["crictl", "--timeout=10s", "inspecti", "--output=json", old];
    let told = running.command(node.as_str(), inspect)?.run();
    let told = told.map_err(|source| SwapError::Node {
        act: format!("ask for the image `{old}`"),
        node: node.clone(),
        source,
    })?;
    let told: Value = serde_json::from_str(&told.stdout).map_err(|error| bad(error.to_string()))?;
    let process = told.pointer("/info/imageSpec/config");
    let process = process.ok_or_else(|| bad("the runtime does not say how it runs".to_owned()))?;
    let path = blobs.join("layer");
    let words = ["sh", "-euc", runtime.answers().tree, "sh", node_files::DIR, old];
    let tree = running.command(node.as_str(), words)?;
    let mut problem = None;
    let packed = tree.stream_output(|from| {
        let packed = pack(from, program, &path);
        if let Err(error) = &packed {
            problem = Some(error.to_string());
        }
        packed
    });
    let layer = match (packed, problem) {
        (Ok(layer), _) => layer,
        (Err(_), Some(why)) => return Err(bad(why).into()),
        (Err(source), None) => {
            let act = format!("read the image `{old}`");
            let node = node.clone();
            return Err(SwapError::Node { act, node, source }.into());
        }
    };
    let size = fs::metadata(&path).map_err(failed("read", &path))?.len();
    let blob = blobs.join(&layer);
    fs::rename(&path, &blob).map_err(failed("rename", &path))?;
    describe(to, process, &layer, size).map_err(failed("write", to))?;
    Ok(format!("sha256:{layer}"))
}

/// Writes the layer to `to`; gives the hexadecimal digits of its SHA-256.
fn pack(from: &mut dyn Read, program: &Program, to: &Path) -> io::Result<String> {
    let wanted: Vec<PathBuf> = DIRS
        .iter()
        .map(|dir| Path::new(dir).join(&program.name))
        .collect();
    let loader = program.loader.as_deref().and_then(Path::file_name);
    let mut builder = Builder::new(HashingStream::new(File::create(to)?));
    let (mut replaced, mut loads) = (false, loader.is_none());
    for entry in Archive::new(from).entries()? {
        let mut entry = entry?;
        let path: PathBuf = entry.path()?.components().skip_while(is_here).collect();
        let mut header = entry.header().clone();
        loads |= path.file_name() == loader && loader.is_some();
        let xattrs: Vec<(String, Vec<u8>)> = entry
            .pax_extensions()?
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|one| Some((one.key().ok()?.to_owned(), one.value_bytes().to_vec())))
            .filter(|(key, _)| key.starts_with("SCHILY.xattr."))
            .collect();
        if !xattrs.is_empty() {
            builder
                .append_pax_extensions(xattrs.iter().map(|(key, value)| (key.as_str(), value.as_slice())))?;
        }
        let kind = header.entry_type();
        let path = if path.as_os_str().is_empty() {
            PathBuf::from("./")
        } else {
            path
        };
        if kind == EntryType::Regular && wanted.contains(&path) {
            let mut file = File::open(&program.path)?;
            header.set_size(file.metadata()?.len());
            header.set_mtime(0);
            builder.append_data(&mut header, &path, &mut file)?;
            replaced = true;
        } else if let Some(target) = entry.link_name()? {
            let target = match kind {
                EntryType::Link => target.components().skip_while(is_here).collect(),
                _ => target.into_owned(),
            };
            builder.append_link(&mut header, &path, target)?;
        } else {
            builder.append_data(&mut header, &path, &mut entry)?;
        }
    }
    let (mut file, digest, _) = builder.into_inner()?.finish();
    file.flush()?;
    if !replaced {
        return Err(io::Error::other(format!("it has no program `{}`", program.name)));
    }
    if !loads {
        let why = "the file needs a dynamic loader, which it has not; build it with `CGO_ENABLED=0`";
        return Err(io::Error::other(why));
    }
    Ok(digest.hex().to_owned())
}

fn is_here(component: &std::path::Component<'_>) -> bool {
    *component == std::path::Component::CurDir
}

/// Writes what an image layout has beside its layer (OCI image specification 1.1, 'Image Layout').
fn describe(to: &Path, process: &Value, layer: &str, size: u64) -> io::Result<()> {
    let blob = |kind: &str, value: &Value| -> io::Result<Value> {
        let text = serde_json::to_vec(value)?;
        let digest = Digest::of(&text);
        fs::write(to.join("blobs/sha256").join(digest.hex()), &text)?;
        let media_type = format!("application/vnd.oci.image.{kind}.v1+json");
        Ok(json!({"mediaType": media_type, "digest": digest, "size": text.len()}))
    };
    let digest = format!("sha256:{layer}");
    let config = blob(
        "config",
        &json!({
            "created": EPOCH,
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": process,
            "rootfs": { "type": "layers", "diff_ids": [digest] },
            "history": [{ "created": EPOCH, "created_by": "parbake swap" }],
        }),
    )?;
    let media_type = "application/vnd.oci.image.layer.v1.tar";
    let manifest = blob(
        "manifest",
        &json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": [{ "mediaType": media_type, "digest": digest, "size": size }],
        }),
    )?;
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs::write(to.join("index.json"), index.to_string())?;
    fs::write(to.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::io;
    use std::path::Path;

    use parbake_artifact::Digest;
    use parbake_artifact::images;
    use serde_json::json;
    use tar::{Builder, EntryType, Header};

    use super::{describe, is_with, name, pack};
    use crate::swap::Program;

    #[test]
    fn new_images_are_called_by_what_is_in_them() {
        let digest = Digest::of(b"one");
        let mark = format!("swap.{}", &digest.hex()[..12]);
        for (old, new) in [
            (
                "registry.k8s.io/etcd:3.6.5-0",
                format!("registry.k8s.io/etcd:3.6.5-0-{mark}"),
            ),
            (
                "registry.k8s.io/coredns/coredns:v1.12.1-swap.0123456789ab",
                format!("registry.k8s.io/coredns/coredns:v1.12.1-{mark}"),
            ),
            (
                &format!("example.org/a@sha256:{}", "0".repeat(64)),
                format!("example.org/a:{mark}"),
            ),
        ] {
            let made = name(old, &digest).unwrap().to_string();
            assert_eq!(made, new);
            assert!(is_with(&made, &digest) && !is_with(old, &digest));
        }
        assert!(name("A b", &digest).is_err());
    }

    fn tree() -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        let header = |kind: EntryType, size: usize| {
            let mut header = Header::new_ustar();
            header.set_entry_type(kind);
            header.set_mode(0o755);
            header.set_size(size as u64);
            header
        };
        let put = |builder: &mut Builder<Vec<u8>>, path: &str, text: &[u8]| {
            builder
                .append_data(&mut header(EntryType::Regular, text.len()), path, text)
                .unwrap();
        };
        builder
            .append_data(&mut header(EntryType::Directory, 0), "./", io::empty())
            .unwrap();
        let capability: (&str, &[u8]) = ("SCHILY.xattr.security.capability", b"\x01\x00");
        builder.append_pax_extensions([capability]).unwrap();
        put(&mut builder, "./coredns", b"old");
        put(&mut builder, "./etc/coredns", b"no program");
        builder
            .append_link(&mut header(EntryType::Symlink, 0), "./dns", "coredns")
            .unwrap();
        builder.into_inner().unwrap()
    }

    fn program(dir: &Path, loader: Option<&str>) -> Program {
        let path = dir.join("given");
        fs::write(&path, "new, and longer").unwrap();
        Program {
            name: "coredns".to_owned(),
            digest: Digest::of(b"new, and longer"),
            path,
            loader: loader.map(Into::into),
        }
    }

    #[test]
    fn one_file_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let layout = dir.path().join("image");
        fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
        let path = layout.join("blobs/sha256/layer");
        let digest = pack(&mut tree().as_slice(), &program(dir.path(), None), &path).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(Digest::of(&bytes).hex(), digest);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let capability = archive.entries().unwrap().any(|entry| {
            let mut entry = entry.unwrap();
            let named = entry.path().unwrap() == Path::new("coredns");
            let extensions = entry.pax_extensions().unwrap();
            let mut keys = extensions
                .into_iter()
                .flatten()
                .map(|one| one.unwrap().key().unwrap().to_owned());
            named && keys.any(|key| key == "SCHILY.xattr.security.capability")
        });
        assert!(capability, "capabilities of the old file are the new one's");
        fs::rename(&path, layout.join("blobs/sha256").join(&digest)).unwrap();
        let process = json!({"Entrypoint": ["/coredns"]});
        describe(&layout, &process, &digest, bytes.len() as u64).unwrap();
        let name = "example.org/coredns:1".parse().unwrap();
        let archive = images::Archive::examine(&layout, Some(&name)).unwrap();
        assert_eq!(archive.names(), ["example.org/coredns:1"]);
        let out = ["coredns", "etc"].map(|name| dir.path().join(name));
        let wanted = [("/coredns", &out[0]), ("/etc/coredns", &out[1])];
        let wanted: BTreeMap<_, _> = wanted.map(|(inside, to)| (inside.to_owned(), to.clone())).into();
        images::extract_files(&layout, &wanted).unwrap();
        let texts = out.map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(texts, ["new, and longer", "no program"]);
    }

    #[test]
    fn an_image_must_have_the_program_and_what_it_needs() {
        let dir = tempfile::tempdir().unwrap();
        let said = |program: &Program| {
            let packed = pack(&mut tree().as_slice(), program, &dir.path().join("layer"));
            packed.unwrap_err().to_string()
        };
        let dynamic = program(dir.path(), Some("/lib64/ld.so"));
        assert!(said(&dynamic).contains("needs a dynamic loader"));
        let other = Program {
            name: "etcd".to_owned(),
            ..program(dir.path(), None)
        };
        assert_eq!(said(&other), "it has no program `etcd`");
    }
}
