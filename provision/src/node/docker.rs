//! Docker: Debian's engine, with cri-dockerd, which is built from its Go module, as the kubelet's interface.
//!
//! The engine starts its own containerd. Its networks are disabled: cri-dockerd sets up those of CNI.

use super::{RUNC, UnusableRuntime, require};
use crate::provider::Recipe;
use crate::provider::lock::Lock;

const BINARY: &str = "cri-dockerd";
/// The required Debian packages. The import of images calls `jq`.
const PACKAGES: [&str; 3] = ["docker.io", "jq", "runc"];

/// Its files, by path below a node's root. The empty units mask those of Debian, which would be started (systemd.unit(5)).
pub(super) const FILES: [(&str, &str); 7] = [
    ("etc/docker/daemon.json", include_str!("files/docker-daemon.json")),
    ("etc/docker/cri-dockerd", include_str!("files/cri-dockerd")),
    (
        "etc/systemd/system/docker.service",
        include_str!("files/docker.service"),
    ),
    (
        "etc/systemd/system/cri-docker.service",
        include_str!("files/cri-docker.service"),
    ),
    ("etc/systemd/system/containerd.service", ""),
    ("etc/systemd/system/docker.socket", ""),
    RUNC,
];

/// Checks that `recipe`, with the packages of `lock`, has all parts of Docker.
///
/// # Errors
/// The first missing part.
pub(super) fn check(recipe: &Recipe, lock: &Lock) -> Result<(), UnusableRuntime> {
    require(recipe, lock, &[BINARY], &PACKAGES)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use parbake_cluster::ContainerRuntime;

    use super::{FILES, UnusableRuntime, check};
    use crate::node::with_pause;
    use crate::provider::Provider;
    use crate::provider::lock::Lock;

    #[test]
    fn missing_parts_are_reported() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers/k8s-1.34");
        let mut provider = Provider::load(&dir).unwrap();
        let plain = Lock::load(&provider).unwrap();
        provider.select_runtime(ContainerRuntime::Docker).unwrap();
        let lock = plain.clone().for_runtime(&provider.recipe);
        assert_eq!(check(&provider.recipe, &lock), Ok(()));
        // The lock of nodes with containerd.
        let error = check(&provider.recipe, &plain).unwrap_err();
        assert!(
            matches!(
                error,
                UnusableRuntime::Lacks {
                    part: "docker.io",
                    ..
                }
            ),
            "{error}"
        );
        provider
            .recipe
            .os
            .binaries
            .retain(|binary| binary != "cri-dockerd");
        let error = check(&provider.recipe, &lock).unwrap_err();
        assert!(
            matches!(
                error,
                UnusableRuntime::Lacks {
                    part: "cri-dockerd",
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn configuration_files_are_valid() {
        let files = with_pause(&FILES, "example/pause:3");
        let text = |name: &str| &files.iter().find(|(path, _)| path.ends_with(name)).unwrap().1;
        let daemon: serde_json::Value = serde_json::from_str(text("daemon.json")).unwrap();
        let runtime = daemon["default-runtime"].as_str().unwrap();
        assert_eq!(daemon["runtimes"][runtime]["path"], "/usr/lib/parbake/runc");
        let own = ContainerRuntime::Docker.profile();
        assert_eq!(daemon["data-root"], format!("/{}", own.dir));
        assert!(
            text("cri-docker.service").contains(&format!("--container-runtime-endpoint={} ", own.socket))
        );
        let variables: toml::Table = text("cri-dockerd").parse().unwrap();
        assert_eq!(variables["PAUSE_IMAGE"].as_str(), Some("example/pause:3"));
    }
}
