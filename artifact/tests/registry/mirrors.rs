//! Mirrors, as this host's configuration of registries has them.

use std::fs;

use crate::child::{command, ended};
use crate::proxy::{Fault, Proxy};
use crate::server::{Server, free_address};
use crate::small::{Place, check, tag};

/// Pulls `reference` with mirrors of `registry`, which are spoken to without TLS like itself; an error is what was said.
pub(crate) fn pull(target: &Place, reference: &str, registry: &str, mirrors: &[&str]) -> Result<(), String> {
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
async fn the_first_mirror_that_has_it_gives_it() {
    let (mirror, source, target) = (Server::start(), Place::with_artifact(), Place::empty());
    source.publish(&mirror.reference("cache/small")).await.unwrap();
    // Neither the first mirror nor the registry itself is there.
    let (absent, registry) = (free_address(), free_address());
    let reference = format!("{registry}/small:latest");
    let cache = format!("{}/cache", mirror.address);
    pull(&target, &reference, &registry, &[&absent, &cache]).unwrap();
    target.check();
    let origin = target.store.get(&tag()).unwrap().origin.unwrap();
    assert_eq!(
        origin.to_string(),
        reference,
        "it is called what its user called it"
    );
    let alone = Place::empty();
    let error = pull(&alone, &reference, &registry, &[]).unwrap_err();
    assert!(
        error.contains(&format!("cannot reach the registry `{registry}`")),
        "{error}"
    );
    alone.check_without();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mirror_has_not_comes_from_the_registry() {
    let (registry, empty, source, target) = (
        Server::start(),
        Server::start(),
        Place::with_artifact(),
        Place::empty(),
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
    target.check();
}

/// A mirror that has the manifest, but fails with its blobs in one way or the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_mirror_is_no_harm() {
    let (registry, source) = (Server::start(), Place::with_artifact());
    let reference = registry.reference("small");
    source.publish(&reference).await.unwrap();
    for fault in [
        Fault::Flip(100),
        Fault::Short(1000),
        Fault::Status(404, ""),
        Fault::Cut(100_000),
    ] {
        let target = Place::empty();
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
        target.check();
        check(&target.store);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_registry_is_one_error() {
    let (registry, target) = (Server::start(), Place::empty());
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
