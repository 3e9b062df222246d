//! Tests against a web server and distribution's registry, with small files and images.

mod pins;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use parbake_artifact::registry::Options;
use parbake_artifact::{Digest, RegistryError};
use tempfile::TempDir;

use self::server::{Registry, WebServer};
use super::plan::Plan;
use super::{Downloads, ReleaseError, ReleaseMirrors, download};
use crate::inputs::cache::Cache;
use crate::inputs::error::Error;
use crate::inputs::source::{Chosen, Source};
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

/// Bytes that no two places have in common.
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
        files: files.collect(),
        inside: BTreeMap::new(),
        images: BTreeMap::new(),
    }
}

struct Place {
    server: WebServer,
    dir: TempDir,
}

impl Place {
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

    /// The names of what is on its way.
    fn partial(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.dir.path().join("partial")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// Nothing that could be used is there.
    fn check_nothing(&self) {
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
fn files_archives_and_images_come_once() {
    let (place, registry) = (Place::new(), Registry::start());
    let (kubelet, crictl) = (bytes(300_000), archive("crictl", b"I am crictl"));
    let crictl_url = "https://github.example/v1/crictl.tar.gz";
    place.server.put(PATH, &kubelet);
    place.server.put("/k8s/v1/crictl.tar.gz", &crictl);
    let digest = registry.put(ETCD, "/usr/local/bin/etcdctl", b"I am etcdctl");
    let mut plan = plan_of(&[("kubelet", URL, &kubelet), ("crictl", crictl_url, &crictl)]);
    plan.images = [("etcd".to_owned(), (ETCD.to_owned(), digest.clone()))].into();
    let inside = ("etcd".to_owned(), "/usr/local/bin/etcdctl".to_owned());
    plan.inside = [("etcdctl".to_owned(), inside)].into();
    assert!(!plan.is_cached(&Cache::new(place.dir.path())));
    let obtained = place.download(&plan, Some(&registry)).unwrap();
    for (name, expected) in [
        ("kubelet", &kubelet[..]),
        ("crictl", b"I am crictl"),
        ("etcdctl", b"I am etcdctl"),
    ] {
        let binary = &obtained.binaries[name];
        assert_eq!(fs::read(&binary.path).unwrap(), expected, "{name}");
        assert_eq!(binary.sha256, Digest::of(expected).hex(), "{name}");
        let mode = fs::metadata(&binary.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "{name}");
    }
    let image = &obtained.images["etcd"];
    assert_eq!(
        (image.reference.as_str(), &image.names[..]),
        (ETCD, &[ETCD.to_owned()][..])
    );
    let names: Vec<_> = obtained
        .downloads
        .iter()
        .map(|download| download.name.as_str())
        .collect();
    assert_eq!(names, [URL, crictl_url, ETCD]);
    assert!(place.partial().is_empty(), "{:?}", place.partial());
    // From now on nobody is asked for anything.
    assert!(plan.is_cached(&Cache::new(place.dir.path())));
    drop(registry);
    let asked = place.server.state.lock().unwrap().seen.len();
    let again = place.download(&plan, None).unwrap();
    assert_eq!(again.binaries, obtained.binaries);
    assert_eq!(place.server.state.lock().unwrap().seen.len(), asked);
}

#[test]
fn an_archive_with_several_binaries_comes_once() {
    let place = Place::new();
    let packed = archive("ctr", b"I am ctr");
    place.server.put("/k8s/a.tgz", &packed);
    // What is in every archive of these tests passes for another binary.
    let binaries = ["LICENSE", "ctr"].map(|name| (name, "https://h/a.tgz", &packed[..]));
    let obtained = place.download(&plan_of(&binaries), None).unwrap();
    for (name, expected) in [("LICENSE", &b"free"[..]), ("ctr", b"I am ctr")] {
        let binary = &obtained.binaries[name];
        assert_eq!(fs::read(&binary.path).unwrap(), expected, "{name}");
    }
    assert_eq!(place.server.starts("/k8s/a.tgz"), [0]);
    assert!(place.partial().is_empty(), "{:?}", place.partial());
}

#[test]
fn other_bytes_than_pinned_are_refused() {
    let (place, good) = (Place::new(), bytes(100_000));
    place.server.put(PATH, &bytes(99_999));
    let plan = plan_of(&[("kubelet", URL, &good)]);
    let error = place.download(&plan, None).unwrap_err();
    assert!(
        matches!(error, Error::Release(ReleaseError::Wrong { .. })),
        "{error}"
    );
    let expected = format!("not {} as pinned; nothing of it was used", Digest::of(&good));
    assert!(error.to_string().contains(&expected), "{error}");
    place.check_nothing();
    assert!(place.partial().is_empty());
    // An archive without the file is no better.
    let packed = archive("other", b"");
    place.server.put("/k8s/a.tgz", &packed);
    let error = place.download(&plan_of(&[("kubelet", "https://h/a.tgz", &packed)]), None);
    assert!(error.unwrap_err().to_string().contains("has no file `kubelet`"));
    place.check_nothing();
    place.server.put(PATH, &good);
    place.download(&plan, None).unwrap();
}

#[test]
fn what_is_missing_is_said_at_once() {
    let (place, registry) = (Place::new(), Registry::start());
    let begun = Instant::now();
    let error = place
        .download(&plan_of(&[("kubelet", URL, b"")]), None)
        .unwrap_err()
        .to_string();
    let url = format!("`http://{}{PATH}` is not there", place.server.address);
    assert!(error.contains(&url), "{error}");
    let mut plan = plan_of(&[]);
    plan.images = [("etcd".to_owned(), (ETCD.to_owned(), Digest::of(b"other")))].into();
    let error = place.download(&plan, Some(&registry)).unwrap_err();
    let missing = matches!(error, Error::Registry(RegistryError::NotFound { .. }));
    assert!(missing && error.to_string().contains("etcd:3.6.5-0"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3), "it was tried again");
    place.check_nothing();
}

#[test]
fn what_breaks_off_goes_on_where_it_was() {
    let (place, good) = (Place::new(), bytes(100_000));
    let plan = plan_of(&[("kubelet", URL, &good)]);
    place.server.put(PATH, &good);
    place.server.breaks(40_000, 2);
    place.download(&plan, None).unwrap();
    assert_eq!(place.server.starts(PATH), [0, 40_000, 80_000]);
}

#[test]
fn what_is_cut_for_good_goes_on_in_the_next_bake() {
    let (place, good) = (Place::new(), bytes(100_000));
    let plan = plan_of(&[("kubelet", URL, &good)]);
    place.server.put(PATH, &good);
    place.server.breaks(60_000, 1);
    // Only the first answer has anything.
    let partial = place.dir.path().join("partial");
    let part = partial.join(format!("{}.part", Digest::of(&good).hex()));
    fs::create_dir_all(&partial).unwrap();
    fs::write(&part, &good[..30_000]).unwrap();
    place.download(&plan, None).unwrap();
    assert_eq!(place.server.starts(PATH), [30_000, 90_000]);
    assert!(place.partial().is_empty());
    // What was kept is something else's, shorter or longer: it is fetched anew.
    for kept in [50_000, 200_000] {
        let (other, place) = (
            bytes(kept).iter().map(|byte| byte ^ 1).collect::<Vec<_>>(),
            Place::new(),
        );
        let partial = place.dir.path().join("partial");
        place.server.put(PATH, &good);
        fs::create_dir_all(&partial).unwrap();
        fs::write(partial.join(part.file_name().unwrap()), other).unwrap();
        place.download(&plan, None).unwrap();
        assert_eq!(place.server.starts(PATH), [kept, 0]);
    }
}

#[test]
fn a_server_that_always_breaks_is_one_error_and_what_came_is_kept() {
    let (place, good) = (Place::new(), bytes(100_000));
    let plan = plan_of(&[("kubelet", URL, &good)]);
    place.server.put(PATH, &good);
    place.server.breaks(0, usize::MAX);
    let error = place.download(&plan, None).unwrap_err();
    assert!(
        matches!(error, Error::Release(ReleaseError::Broken { .. })),
        "{error}"
    );
    assert_eq!(place.server.starts(PATH).len(), 5);
    place.check_nothing();
    place.server.breaks(0, 0);
    place.download(&plan, None).unwrap();
}

/// What `auto` comes to with a plan, on a place with nothing in its cache.
fn choose(plan: Result<Plan, ReleaseError>, mirrors: &ReleaseMirrors, cache: &Path) -> (Chosen, Duration) {
    let begun = Instant::now();
    let chosen = Source::Auto
        .choose(|| plan, mirrors, &options(), &Cache::new(cache))
        .unwrap();
    (chosen, begun.elapsed())
}

#[test]
fn auto_takes_what_is_published_where_it_can() {
    let (place, registry) = (Place::new(), Registry::start());
    let digest = registry.put(ETCD, "/etcd", b"");
    let mut plan = plan_of(&[("kubelet", URL, b"kubelet")]);
    plan.images = [("etcd".to_owned(), (ETCD.to_owned(), digest))].into();
    place.server.put(PATH, b"kubelet");
    let mirrors = place.mirrors(Some(&registry));
    let (chosen, _) = choose(Ok(plan.clone()), &mirrors, place.dir.path());
    assert_eq!(chosen, Chosen::Release(plan.clone()));
    // Not pinned; not there; nobody listens; somebody listens and says nothing.
    let not_pinned = ReleaseError::NotPinned {
        provider: "p".into(),
        what: "it".into(),
    };
    let other = Place::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let at = |address: String| ReleaseMirrors {
        binaries: Some(format!("http://{address}").parse().unwrap()),
        images: mirrors.images.clone(),
    };
    for (plan, mirrors) in [
        (Err(not_pinned), mirrors.clone()),
        (Ok(plan.clone()), other.mirrors(Some(&registry))),
        (Ok(plan.clone()), at(nobody.to_string())),
        (Ok(plan.clone()), at(silent.local_addr().unwrap().to_string())),
    ] {
        let (chosen, time) = choose(plan, &mirrors, place.dir.path());
        assert_eq!(chosen, Chosen::Modules);
        assert!(time < Duration::from_secs(6), "{time:?}");
    }
    // What is in the cache needs nobody.
    place.download(&plan, Some(&registry)).unwrap();
    let (chosen, _) = choose(Ok(plan.clone()), &at(nobody.to_string()), place.dir.path());
    assert_eq!(chosen, Chosen::Release(plan));
    let refused = Source::Release.choose(
        || Err(ReleaseError::NoPlace { binary: "x".into() }),
        &mirrors,
        &options(),
        &Cache::new(place.dir.path()),
    );
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("where `x` is published")
    );
}
