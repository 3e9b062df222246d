use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::{ALL, ContainerRuntime, RuntimeProfile};

#[test]
fn names_survive_a_round_trip() {
    for runtime in ALL {
        assert_eq!(runtime.to_string().parse(), Ok(runtime));
        let value = serde_json::to_value(runtime).unwrap();
        assert_eq!(value, runtime.as_str());
        assert_eq!(
            serde_json::from_value::<ContainerRuntime>(value).unwrap(),
            runtime
        );
    }
    for (text, expected) in [
        (
            "podman",
            "`podman` is not a container runtime; choose `containerd`, `cri-o` or `docker`",
        ),
        ("Docker", "`Docker` is not a container runtime; "),
    ] {
        let error = text.parse::<ContainerRuntime>().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn profiles_do_not_collide() {
    let all = ALL.map(ContainerRuntime::profile);
    let different =
        |field: fn(&RuntimeProfile) -> &str| all.map(field).into_iter().collect::<BTreeSet<_>>().len();
    for field in [
        |profile: &RuntimeProfile| profile.unit,
        |profile: &RuntimeProfile| profile.socket,
        |profile: &RuntimeProfile| profile.dir,
        |profile: &RuntimeProfile| profile.log,
    ] {
        assert_eq!(different(field), all.len());
    }
    for profile in all {
        assert!(!profile.dir.starts_with('/') && profile.configuration.starts_with("/etc/"));
        assert!(profile.socket.starts_with("unix:///run/") && profile.unit.ends_with(".service"));
    }
}

#[test]
fn scripts_are_valid_shell() {
    for profile in ALL.map(ContainerRuntime::profile) {
        let scripts = [
            Some(profile.import),
            Some(profile.list),
            Some(profile.tree),
            profile.remove_blob,
            profile.remove_all_blobs,
            Some(profile.remove_pods),
            Some(profile.stop_pod),
        ];
        for script in scripts.into_iter().flatten() {
            let status = Command::new("sh").args(["-n", "-c", script]).status();
            assert!(status.unwrap().success(), "{script}");
        }
    }
}

#[test]
fn imported_references_with_digests_can_be_resolved() {
    let dir = tempfile::tempdir().unwrap();
    let (ctr, log) = (dir.path().join("ctr"), dir.path().join("log"));
    fs::write(&ctr, "#!/bin/sh\necho \"$*\" >> \"$LOG\"\n").unwrap();
    fs::set_permissions(&ctr, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let status = Command::new("sh")
        .args(["-euc", ContainerRuntime::Containerd.profile().import, "sh"])
        .args([
            "docker.io/library/a:1",
            "r.example:5000/b@sha256:0b",
            "r.example:5000/c/d:2@sha256:0d",
            "r.example:5000/e:2@sha256:0e",
        ])
        .env("PATH", path)
        .env("LOG", &log)
        .status();
    assert!(status.unwrap().success());
    assert_eq!(
        fs::read_to_string(log).unwrap(),
        "--namespace=k8s.io images import -\n\
         --namespace=k8s.io images tag --force r.example:5000/c/d:2@sha256:0d r.example:5000/c/d@sha256:0d\n\
         --namespace=k8s.io images tag --force r.example:5000/e:2@sha256:0e r.example:5000/e@sha256:0e\n"
    );
}
