//! Tests of the selection of what is downloaded.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use parbake_artifact::Digest;

use super::server::{Registry, WebServer};
use super::{ETCD, Fixture, PATH, URL, options, plan_of};
use crate::inputs::cache::Cache;
use crate::inputs::release::plan::Plan;
use crate::inputs::release::{ReleaseError, ReleaseMirrors, remove_unreachable};
use crate::inputs::source::Source;

/// What `auto` downloads of a plan, and how long the choice takes.
fn choose(plan: &Plan, mirrors: &ReleaseMirrors, cache: &Path) -> (Plan, Duration) {
    let start = Instant::now();
    let chosen = Source::Auto
        .select(plan.clone(), Vec::new(), mirrors, &options(), &Cache::new(cache))
        .unwrap();
    let name = if chosen.plan.is_empty() {
        "modules"
    } else {
        "release"
    };
    assert_eq!(chosen.name(), name);
    (chosen.plan, start.elapsed())
}

#[test]
fn auto_chooses_what_can_be_reached() {
    let (fixture, registry) = (Fixture::new(), Registry::start());
    let digest = registry.put(ETCD, "/etcd", b"");
    let mut plan = plan_of(&[("kubelet", URL, b"kubelet")]);
    plan.images = [("etcd".to_owned(), (ETCD.to_owned(), digest))].into();
    plan.inside = [("etcdctl".to_owned(), ("etcd".to_owned(), "/etcd".to_owned()))].into();
    fixture.server.put(PATH, b"kubelet");
    let mirrors = fixture.mirrors(Some(&registry));
    assert_eq!(choose(&plan, &mirrors, fixture.dir.path()).0, plan);
    // Not found; connection refused; no answer.
    let other = Fixture::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let at = |address: String| ReleaseMirrors {
        binaries: Some(format!("http://{address}").parse().unwrap()),
        images: mirrors.images.clone(),
    };
    for mirrors in [
        other.mirrors(Some(&registry)),
        at(refusing.to_string()),
        at(silent.local_addr().unwrap().to_string()),
    ] {
        let (chosen, time) = choose(&plan, &mirrors, fixture.dir.path());
        assert!(
            chosen.files.is_empty() && chosen.images == plan.images,
            "{chosen:?}"
        );
        assert!(time < Duration::from_secs(5), "{time:?}");
    }
    let without_images = ReleaseMirrors {
        images: Some(refusing.to_string().parse().unwrap()),
        ..mirrors.clone()
    };
    let (chosen, _) = choose(&plan, &without_images, fixture.dir.path());
    assert!(chosen.images.is_empty() && chosen.inside.is_empty() && chosen.files == plan.files);
    // No server is needed for what is in the cache.
    fixture.download(&plan, Some(&registry)).unwrap();
    assert_eq!(
        choose(&plan, &at(refusing.to_string()), fixture.dir.path()).0,
        plan
    );
    let missing = vec![ReleaseError::NoLocation { binary: "x".into() }];
    let cache = Cache::new(fixture.dir.path());
    let refused = Source::Release.select(plan, missing, &mirrors, &options(), &cache);
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("where `x` is published")
    );
}

/// A manifest in a registry that is a plain web server, and its digest.
fn put_manifest(server: &WebServer, text: &str) -> Digest {
    let digest = Digest::of(text.as_bytes());
    server.put(&format!("/v2/etcd/manifests/{digest}"), text.as_bytes());
    digest
}

#[test]
fn all_hosts_are_checked_in_parallel() {
    let (good, registry) = (WebServer::start(), WebServer::start());
    let cache = tempfile::tempdir().unwrap();
    good.put("/kubelet", b"kubelet");
    let silent: Vec<TcpListener> = (0..4)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let silent: Vec<String> = silent
        .iter()
        .map(|listener| listener.local_addr().unwrap().to_string())
        .collect();
    let [first, second, third, fourth] = silent.as_slice() else {
        unreachable!()
    };
    let urls = [&good.address, first, second].map(|host| format!("http://{host}/kubelet"));
    let files = urls
        .each_ref()
        .map(|url| (url.as_str(), url.as_str(), &b"kubelet"[..]));
    let mut plan = plan_of(&files);
    // A registry without the blobs of its image.
    let config = Digest::of(b"config");
    let manifest = format!(r#"{{"config": {{"digest": "{config}", "size": 6}}, "layers": []}}"#);
    let digest = put_manifest(&registry, &manifest);
    for (name, host) in [("a", third), ("b", fourth), ("c", &registry.address)] {
        plan.images
            .insert(name.to_owned(), (format!("{host}/etcd:1"), digest.clone()));
    }
    let start = Instant::now();
    let cache = Cache::new(cache.path());
    let unreachable = remove_unreachable(&mut plan, &ReleaseMirrors::default(), &options(), &cache).unwrap();
    let time = start.elapsed();
    assert!(time < Duration::from_secs(4), "{time:?}");
    let mut expected = silent.clone();
    expected.push(registry.address.clone());
    expected.sort();
    assert_eq!(unreachable.keys().cloned().collect::<Vec<_>>(), expected);
    assert!(
        unreachable[first]
            .to_string()
            .contains("did not answer within 3 s")
    );
    assert!(plan.files.len() == 1 && plan.images.is_empty(), "{plan:?}");
}

#[test]
fn wrong_manifest_is_no_reason_to_build() {
    let (server, cache) = (WebServer::start(), tempfile::tempdir().unwrap());
    let digest = Digest::of(b"right");
    server.put(&format!("/v2/etcd/manifests/{digest}"), b"wrong");
    let name = format!("{}/etcd:1", server.address);
    let mut plan = plan_of(&[]);
    plan.images = [("etcd".to_owned(), (name.clone(), digest))].into();
    let cache = Cache::new(cache.path());
    let error = Source::Auto
        .select(plan, Vec::new(), &ReleaseMirrors::default(), &options(), &cache)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!(
            "`{name}` does not have the digest in the lock `/providers/p/lock.toml`"
        )),
        "{error}"
    );
}
