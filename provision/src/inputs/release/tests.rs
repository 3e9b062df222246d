//! Tests against a web server and distribution's registry, with small files and images.

mod pins;
mod select;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use parbake_artifact::http::HttpError;
use parbake_artifact::registry::Options;
use parbake_artifact::{Digest, RegistryError};
use tempfile::TempDir;

use self::server::{Registry, WebServer};
use super::plan::Plan;
use super::{Downloads, ReleaseError, ReleaseMirrors, download};
use crate::inputs::cache::Cache;
use crate::inputs::error::Error;
use crate::provider::lock::PinnedFile;

const URL: &str = "https://dl.k8s.io/release/v1/bin/kubelet";
const PATH: &str = "/k8s/release/v1/bin/kubelet";
const ETCD: &str = "registry.k8s.io/etcd:3.6.5-0";

fn options() -> Options {
    Options {
        plain_http: true,
        timeout: Duration::from_secs(5),
        ..Options::default()
    }
}

/// Bytes without repetition at short distances.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|number| (number * number / 7) as u8).collect()
}

fn plan_of(files: &[(&str, &str, &[u8])]) -> Plan {
    let files = files.iter().map(|(name, url, bytes)| {
        let (url, digest) = ((*url).to_owned(), Digest::of(bytes));
        ((*name).to_owned(), PinnedFile { url, digest })
    });
    Plan {
        architecture: "amd64".into(),
        lock: Some("/providers/p/lock.toml".into()),
        files: files.collect(),
        inside: BTreeMap::new(),
        images: BTreeMap::new(),
    }
}

struct Fixture {
    server: WebServer,
    dir: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self {
            server: WebServer::start(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn mirrors(&self, registry: Option<&Registry>) -> ReleaseMirrors {
        ReleaseMirrors {
            binaries: Some(format!("http://{}/k8s/", self.server.address).parse().unwrap()),
            images: registry.map(|registry| registry.address.parse().unwrap()),
        }
    }

    fn download(&self, plan: &Plan, registry: Option<&Registry>) -> Result<Downloads, Error> {
        let cache = Cache::new(self.dir.path()).lock().unwrap();
        download(plan, &self.mirrors(registry), &options(), &cache)
    }

    /// The names of incomplete downloads.
    fn partial(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.dir.path().join("partial")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Asserts that the cache has no binary and no image.
    fn assert_empty_cache(&self) {
        assert!(
            !self.dir.path().join("released").exists(),
            "a binary is in the cache"
        );
        assert!(
            !self.dir.path().join("images").exists(),
            "an image is in the cache"
        );
    }
}

fn archive(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, bytes) in [("LICENSE", &b"free"[..]), (name, bytes)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, bytes).unwrap();
    }
    let mut packed = tar.into_inner().unwrap();
    packed.flush().unwrap();
    packed.finish().unwrap()
}

#[test]
fn files_archives_and_images_are_downloaded_once() {
    let (fixture, registry) = (Fixture::new(), Registry::start());
    let (kubelet, crictl) = (bytes(300_000), archive("crictl", b"I am crictl"));
    let crictl_url = "https://github.example/v1/crictl.tar.gz";
    fixture.server.put(PATH, &kubelet);
    fixture.server.put("/k8s/v1/crictl.tar.gz", &crictl);
    let digest = registry.put(ETCD, "/usr/local/bin/etcdctl", b"I am etcdctl");
    let mut plan = plan_of(&[("kubelet", URL, &kubelet), ("crictl", crictl_url, &crictl)]);
    plan.images = [("etcd".to_owned(), (ETCD.to_owned(), digest.clone()))].into();
    let inside = ("etcd".to_owned(), "/usr/local/bin/etcdctl".to_owned());
    plan.inside = [("etcdctl".to_owned(), inside)].into();
    let is_cached = |plan: &Plan| {
        let cache = Cache::new(fixture.dir.path());
        plan.missing_files(&cache).count() + plan.missing_images(&cache).count() == 0
    };
    assert!(!is_cached(&plan));
    let downloads = fixture.download(&plan, Some(&registry)).unwrap();
    for (name, expected) in [
        ("kubelet", &kubelet[..]),
        ("crictl", b"I am crictl"),
        ("etcdctl", b"I am etcdctl"),
    ] {
        let binary = &downloads.binaries[name];
        assert_eq!(fs::read(&binary.path).unwrap(), expected, "{name}");
        assert_eq!(binary.sha256, Digest::of(expected).hex(), "{name}");
        let mode = fs::metadata(&binary.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "{name}");
    }
    let image = &downloads.images["etcd"];
    assert_eq!(
        (image.reference.as_str(), &image.names[..]),
        (ETCD, &[ETCD.to_owned()][..])
    );
    let names: Vec<_> = downloads
        .downloads
        .iter()
        .map(|download| download.name.as_str())
        .collect();
    assert_eq!(names, [URL, crictl_url, ETCD]);
    assert!(fixture.partial().is_empty(), "{:?}", fixture.partial());
    // From now on nothing is requested.
    assert!(is_cached(&plan));
    drop(registry);
    let asked = fixture.server.state.lock().unwrap().requests.len();
    let again = fixture.download(&plan, None).unwrap();
    assert_eq!(again.binaries, downloads.binaries);
    assert_eq!(fixture.server.state.lock().unwrap().requests.len(), asked);
}

#[test]
fn archive_with_several_binaries_is_downloaded_once() {
    let fixture = Fixture::new();
    let packed = archive("ctr", b"I am ctr");
    fixture.server.put("/k8s/a.tgz", &packed);
    // Every archive of these tests contains `LICENSE`.
    let binaries = ["LICENSE", "ctr"].map(|name| (name, "https://h/a.tgz", &packed[..]));
    let downloads = fixture.download(&plan_of(&binaries), None).unwrap();
    for (name, expected) in [("LICENSE", &b"free"[..]), ("ctr", b"I am ctr")] {
        let binary = &downloads.binaries[name];
        assert_eq!(fs::read(&binary.path).unwrap(), expected, "{name}");
    }
    assert_eq!(fixture.server.starts("/k8s/a.tgz"), [0]);
    assert!(fixture.partial().is_empty(), "{:?}", fixture.partial());
}

#[test]
fn wrong_digest_is_refused() {
    let (fixture, good) = (Fixture::new(), bytes(100_000));
    fixture.server.put(PATH, &bytes(99_999));
    let plan = plan_of(&[("kubelet", URL, &good)]);
    let error = fixture.download(&plan, None).unwrap_err();
    let named = format!("`{URL}` does not have the digest in the lock `/providers/p/lock.toml`");
    assert!(error.to_string().contains(&named), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    let expected = format!("not {}; the data was discarded", Digest::of(&good));
    assert!(source.contains(&expected), "{source}");
    fixture.assert_empty_cache();
    assert!(fixture.partial().is_empty());
    // So is an archive without the file.
    let packed = archive("other", b"");
    fixture.server.put("/k8s/a.tgz", &packed);
    let error = fixture.download(&plan_of(&[("kubelet", "https://h/a.tgz", &packed)]), None);
    assert!(error.unwrap_err().to_string().contains("has no file `kubelet`"));
    fixture.assert_empty_cache();
    fixture.server.put(PATH, &good);
    fixture.download(&plan, None).unwrap();
}

#[test]
fn missing_file_or_image_fails_at_once() {
    let (fixture, registry) = (Fixture::new(), Registry::start());
    let start = Instant::now();
    let error = fixture
        .download(&plan_of(&[("kubelet", URL, b"")]), None)
        .unwrap_err()
        .to_string();
    let url = format!(
        "could not send `http://{}{PATH}`: not found",
        fixture.server.address
    );
    assert!(error.contains(&url), "{error}");
    let mut plan = plan_of(&[]);
    plan.images = [("etcd".to_owned(), (ETCD.to_owned(), Digest::of(b"other")))].into();
    let error = fixture.download(&plan, Some(&registry)).unwrap_err();
    let missing = matches!(
        error,
        Error::Registry(RegistryError::Http(HttpError::NotFound { .. }))
    );
    assert!(missing && error.to_string().contains("etcd:3.6.5-0"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(3), "it was retried");
    fixture.assert_empty_cache();
}

#[test]
fn interrupted_download_resumes() {
    let (fixture, good) = (Fixture::new(), bytes(100_000));
    let plan = plan_of(&[("kubelet", URL, &good)]);
    fixture.server.put(PATH, &good);
    fixture.server.interrupt(40_000, 2);
    fixture.download(&plan, None).unwrap();
    assert_eq!(fixture.server.starts(PATH), [0, 40_000, 80_000]);
}

#[test]
fn partial_file_is_continued_in_the_next_bake() {
    let (fixture, good) = (Fixture::new(), bytes(100_000));
    let plan = plan_of(&[("kubelet", URL, &good)]);
    fixture.server.put(PATH, &good);
    fixture.server.interrupt(60_000, 1);
    let partial = fixture.dir.path().join("partial");
    let part = partial.join(format!("{}.part", Digest::of(&good).hex()));
    fs::create_dir_all(&partial).unwrap();
    fs::write(&part, &good[..30_000]).unwrap();
    fixture.download(&plan, None).unwrap();
    assert_eq!(fixture.server.starts(PATH), [30_000, 90_000]);
    assert!(fixture.partial().is_empty());
    // A partial file with other content, shorter or longer, is downloaded from the start.
    for kept in [50_000, 200_000] {
        let (other, fixture) = (
            bytes(kept).iter().map(|byte| byte ^ 1).collect::<Vec<_>>(),
            Fixture::new(),
        );
        let partial = fixture.dir.path().join("partial");
        fixture.server.put(PATH, &good);
        fs::create_dir_all(&partial).unwrap();
        fs::write(partial.join(part.file_name().unwrap()), other).unwrap();
        fixture.download(&plan, None).unwrap();
        assert_eq!(fixture.server.starts(PATH), [kept, 0]);
    }
}

#[test]
fn server_that_always_fails_is_one_error() {
    let (fixture, good) = (Fixture::new(), bytes(100_000));
    let plan = plan_of(&[("kubelet", URL, &good)]);
    fixture.server.put(PATH, &good);
    fixture.server.interrupt(0, usize::MAX);
    let error = fixture.download(&plan, None).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Release(ReleaseError::Http(HttpError::Interrupted { .. }))
        ),
        "{error}"
    );
    assert_eq!(fixture.server.starts(PATH).len(), 5);
    fixture.assert_empty_cache();
    fixture.server.interrupt(0, 0);
    fixture.download(&plan, None).unwrap();
}
