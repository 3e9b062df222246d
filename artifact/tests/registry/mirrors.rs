//! Mirrors from the host's registries configuration.

use std::fs;

use crate::child::{command, ended};
use crate::fixture::{TestStore, assert_intact, tag};
use crate::proxy::{Fault, Proxy};
use crate::server::{Server, free_address};

/// Pulls `reference` in a process that has `mirrors` of `registry`, all of them without TLS.
pub(crate) fn pull(
    target: &TestStore,
    reference: &str,
    registry: &str,
    mirrors: &[&str],
) -> Result<(), String> {
    let mut conf = format!("[[registry]]\nlocation = \"{registry}\"\ninsecure = true\n");
    for mirror in mirrors {
        conf += &format!("[[registry.mirror]]\nlocation = \"{mirror}\"\ninsecure = true\n");
    }
    let file = target.dir.path().join("registries.conf");
    fs::write(&file, conf).unwrap();
    let mut command = command(&["pull", reference], target.dir.path(), "{}");
    command.env("CONTAINERS_REGISTRIES_CONF", file);
    ended(&command.output().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn first_mirror_with_the_artifact_is_used() {
    let (mirror, source, target) = (Server::start(), TestStore::with_artifact(), TestStore::empty());
    source.publish(&mirror.reference("cache/small")).await.unwrap();
    // Neither the first mirror nor the registry itself can be reached.
    let (absent, registry) = (free_address(), free_address());
    let reference = format!("{registry}/small:latest");
    let cache = format!("{}/cache", mirror.address);
    pull(&target, &reference, &registry, &[&absent, &cache]).unwrap();
    target.assert_intact();
    let origin = target.store.get(&tag()).unwrap().origin.unwrap();
    assert_eq!(
        origin.to_string(),
        reference,
        "the origin is the reference that the user gave"
    );
    let without_mirrors = TestStore::empty();
    let error = pull(&without_mirrors, &reference, &registry, &[]).unwrap_err();
    assert!(
        error.contains(&format!("cannot reach the registry `{registry}`")),
        "{error}"
    );
    without_mirrors.assert_no_artifact();
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_is_used_where_a_mirror_lacks_the_artifact() {
    let (registry, empty, source, target) = (
        Server::start(),
        Server::start(),
        TestStore::with_artifact(),
        TestStore::empty(),
    );
    let reference = registry.reference("small");
    source.publish(&reference).await.unwrap();
    pull(
        &target,
        &reference.to_string(),
        &registry.address,
        &[&empty.address],
    )
    .unwrap();
    target.assert_intact();
}

/// The mirror has the manifest, but its blobs fail.
#[tokio::test(flavor = "multi_thread")]
async fn registry_is_used_where_a_mirror_fails() {
    let (registry, source) = (Server::start(), TestStore::with_artifact());
    let reference = registry.reference("small");
    source.publish(&reference).await.unwrap();
    for fault in [
        Fault::Flip(100),
        Fault::Truncate(1000),
        Fault::Status(404, ""),
        Fault::Cut(100_000),
    ] {
        let target = TestStore::empty();
        let mirror = Proxy::start(&registry.address, move |request| {
            match (request.kind(), request.number) {
                ("blob", 1..) => fault.clone(),
                _ => Fault::None,
            }
        });
        pull(
            &target,
            &reference.to_string(),
            &registry.address,
            &[&mirror.address()],
        )
        .unwrap();
        assert!(
            mirror
                .seen()
                .iter()
                .filter(|request| request.kind() == "blob")
                .count()
                > 1
        );
        target.assert_intact();
        assert_intact(&target.store);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocked_registry_is_an_error() {
    let (registry, target) = (Server::start(), TestStore::empty());
    let reference = registry.reference("small").to_string();
    let file = target.dir.path().join("registries.conf");
    fs::write(
        &file,
        format!(
            "[[registry]]\nlocation = \"{}\"\nblocked = true\n",
            registry.address
        ),
    )
    .unwrap();
    let mut command = command(&["pull", &reference], target.dir.path(), "{}");
    let output = command.env("CONTAINERS_REGISTRIES_CONF", file).output().unwrap();
    let error = ended(&output).unwrap_err();
    assert!(error.contains("is blocked by"), "{error}");
}
