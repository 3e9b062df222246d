//! Makes an image from one that a node has, with one program in it replaced.
//!
//! Runtimes discard packed layers, so the image's files are read as containers see them, and become the only layer of the new
//! image. Its configuration (entry point, environment, user) stays.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use parbake_artifact::images::{ImageName, Layout, SingleLayerImage};
use parbake_artifact::{Digest, HashingStream};
use parbake_cluster::{ContainerRuntime, NodeName};
use parbake_machine::executable::ARCHITECTURE;
use parbake_machine::fs::files::failed;
use parbake_machine::supervisor::Running;
use serde_json::Value;
use tar::{Archive, Builder, EntryType};

use super::{Program, SwapError};
use crate::Error;
use crate::recover::node_files;

/// Directories of programs in images.
const DIRS: [&str; 7] = [
    "usr/local/bin",
    "usr/local/sbin",
    "usr/bin",
    "usr/sbin",
    "bin",
    "sbin",
    "",
];
/// Precedes the program's digest in the tag of a new image.
const TAG_MARK: &str = "swap.";
/// Digits of the digest in a tag, which has 128 characters at most.
const SHORT_DIGEST: usize = 12;

/// The name of the image that replaces `old`.
pub(super) fn name(old: &str, digest: &Digest) -> Result<ImageName, SwapError> {
    let bad = |why: String| SwapError::Image {
        image: old.to_owned(),
        why,
    };
    let parsed: ImageName = old.parse().map_err(|error| bad(format!("{error}")))?;
    let (registry, repository) = (parsed.registry(), parsed.repository());
    let tag = match old.contains('@') {
        true => "",
        false => parsed.tag().unwrap_or_default(),
    };
    let tag = match tag.split_once(TAG_MARK) {
        Some((original, _)) => original.trim_end_matches('-'),
        None => tag,
    };
    let dash = if tag.is_empty() { "" } else { "-" };
    format!("{registry}/{repository}:{tag}{dash}{}", suffix(digest))
        .parse()
        .map_err(|error| bad(format!("{error}")))
}

/// True if the image was made with the program of this digest.
pub(super) fn is_with(image: &str, digest: &Digest) -> bool {
    image.ends_with(&suffix(digest))
}

fn suffix(digest: &Digest) -> String {
    format!("{TAG_MARK}{}", &digest.hex()[..SHORT_DIGEST])
}

/// Writes an OCI image layout of the image `old`, which `node` has, with `program` in it, to the directory `to`. Returns the
/// digest of its layer.
pub(super) fn make(
    running: &Running,
    runtime: ContainerRuntime,
    node: &NodeName,
    old: &str,
    program: &Program,
    to: &Path,
) -> Result<Digest, Error> {
    let bad = |why: String| SwapError::Image {
        image: old.to_owned(),
        why,
    };
    crate::state::remove_dir(to)?;
    let blobs = to.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(failed("make", &blobs))?;
    let inspect = ["crictl", "--timeout=10s", "inspecti", "--output=json", old];
    let inspected = running.command(node.as_str(), inspect)?.run();
    let inspected = inspected.map_err(|source| SwapError::Node {
        act: format!("inspect the image `{old}`"),
        node: node.clone(),
        source,
    })?;
    let inspected: Value = serde_json::from_str(&inspected.stdout).map_err(|error| bad(error.to_string()))?;
    let process = inspected.pointer("/info/imageSpec/config");
    let process = process.ok_or_else(|| bad("the runtime does not report its configuration".to_owned()))?;
    let path = blobs.join("layer");
    let words = ["sh", "-euc", runtime.profile().tree, "sh", node_files::DIR, old];
    let tree = running.command(node.as_str(), words)?;
    let mut problem = None;
    let packed = tree.stream_output(|from| {
        let packed = pack(from, program, &path);
        if let Err(error) = &packed {
            problem = Some(error.to_string());
        }
        packed
    });
    let (layer, size) = match (packed, problem) {
        (Ok(packed), _) => packed,
        (Err(_), Some(why)) => return Err(bad(why).into()),
        (Err(source), None) => {
            let act = format!("read the image `{old}`");
            let node = node.clone();
            return Err(SwapError::Node { act, node, source }.into());
        }
    };
    fs::rename(&path, blobs.join(layer.hex())).map_err(failed("rename", &path))?;
    layout(process, &layer, size)
        .write_to_dir(to)
        .map_err(failed("write", to))?;
    Ok(layer)
}

fn layout(process: &Value, layer: &Digest, size: u64) -> Layout {
    Layout::of_single_layer(&SingleLayerImage {
        name: None,
        architecture: ARCHITECTURE,
        process,
        created_by: "parbake swap",
        layer,
        size,
    })
}

/// Writes the layer to `to`. Returns its digest and length in bytes.
fn pack(from: &mut dyn Read, program: &Program, to: &Path) -> io::Result<(Digest, u64)> {
    let wanted: Vec<PathBuf> = DIRS
        .iter()
        .map(|dir| Path::new(dir).join(&program.name))
        .collect();
    let loader = program.loader.as_deref().and_then(Path::file_name);
    let mut builder = Builder::new(HashingStream::new(File::create(to)?));
    let (mut is_replaced, mut has_loader) = (false, loader.is_none());
    for entry in Archive::new(from).entries()? {
        let mut entry = entry?;
        let path = without_dot(&entry.path()?);
        let mut header = entry.header().clone();
        has_loader |= path.file_name() == loader && loader.is_some();
        let xattrs: Vec<(String, Vec<u8>)> = entry
            .pax_extensions()?
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|record| Some((record.key().ok()?.to_owned(), record.value_bytes().to_vec())))
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
            is_replaced = true;
        } else if let Some(target) = entry.link_name()? {
            let target = match kind {
                EntryType::Link => without_dot(&target),
                _ => target.into_owned(),
            };
            builder.append_link(&mut header, &path, target)?;
        } else {
            builder.append_data(&mut header, &path, &mut entry)?;
        }
    }
    let (mut file, digest, size) = builder.into_inner()?.finish();
    file.flush()?;
    if !is_replaced {
        return Err(io::Error::other(format!("it has no program `{}`", program.name)));
    }
    if !has_loader {
        let why = "the file needs a dynamic loader that the image lacks; build it with `CGO_ENABLED=0`";
        return Err(io::Error::other(why));
    }
    Ok((digest, size))
}

fn without_dot(path: &Path) -> PathBuf {
    let is_dot = |component: &Component<'_>| *component == Component::CurDir;
    path.components().skip_while(is_dot).collect()
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

    use super::{is_with, layout, name, pack};
    use crate::swap::Program;

    #[test]
    fn new_images_are_named_after_the_programs_digest() {
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
        let path = dir.join("program");
        fs::write(&path, "new, and longer").unwrap();
        Program {
            name: "coredns".to_owned(),
            digest: Digest::of(b"new, and longer"),
            path,
            loader: loader.map(Into::into),
        }
    }

    #[test]
    fn only_the_program_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("image");
        fs::create_dir_all(to.join("blobs/sha256")).unwrap();
        let path = to.join("blobs/sha256/layer");
        let (digest, size) = pack(&mut tree().as_slice(), &program(dir.path(), None), &path).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (digest.clone(), size));
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
        assert!(capability, "the new file keeps the capabilities of the old one");
        fs::rename(&path, to.join("blobs/sha256").join(digest.hex())).unwrap();
        let process = json!({"Entrypoint": ["/coredns"]});
        layout(&process, &digest, size).write_to_dir(&to).unwrap();
        let name = "example.org/coredns:1".parse().unwrap();
        let archive = images::Archive::examine(&to, Some(&name)).unwrap();
        assert_eq!(archive.names(), ["example.org/coredns:1"]);
        let out = ["coredns", "etc"].map(|name| dir.path().join(name));
        let wanted = [("/coredns", &out[0]), ("/etc/coredns", &out[1])];
        let wanted: BTreeMap<_, _> = wanted.map(|(inside, to)| (inside.to_owned(), to.clone())).into();
        images::extract_files(&to, &wanted).unwrap();
        let texts = out.map(|path| fs::read_to_string(path).unwrap());
        assert_eq!(texts, ["new, and longer", "no program"]);
    }

    #[test]
    fn image_must_have_the_program_and_its_loader() {
        let dir = tempfile::tempdir().unwrap();
        let problem = |program: &Program| {
            let packed = pack(&mut tree().as_slice(), program, &dir.path().join("layer"));
            packed.unwrap_err().to_string()
        };
        let dynamic = program(dir.path(), Some("/lib64/ld.so"));
        assert!(problem(&dynamic).contains("needs a dynamic loader"));
        let other = Program {
            name: "etcd".to_owned(),
            ..program(dir.path(), None)
        };
        assert_eq!(problem(&other), "it has no program `etcd`");
    }
}
