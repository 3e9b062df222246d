//! Asks programs for their version, which also checks that they run.

use std::sync::LazyLock;

use parbake_cluster::NodeName;
use parbake_machine::supervisor::Running;
use regex::Regex;

use super::{Program, SwapError};
use crate::Error;
use crate::recover::node_files::DIR;

/// The arguments with which known programs print their version. Other programs are not run.
const VERSION_ARGS: [(&str, &[&str]); 16] = [
    ("containerd", &["--version"]),
    ("coredns", &["-version"]),
    ("cri-dockerd", &["--version"]),
    ("crictl", &["--version"]),
    ("crio", &["--version"]),
    ("etcd", &["--version"]),
    ("kube-apiserver", &["--version"]),
    ("kube-controller-manager", &["--version"]),
    ("kube-proxy", &["--version"]),
    ("kube-scheduler", &["--version"]),
    ("kubeadm", &["version", "--output=short"]),
    ("kubectl", &["version", "--client"]),
    ("kubelet", &["--version"]),
    ("metrics-server", &["--version"]),
    ("registry", &["--version"]),
    ("runc", &["--version"]),
];

static VERSION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\bv?[0-9]+\.[0-9]+[^\s,]*").expect("the pattern is a constant that a test compiles")
});

/// The version of the program that is staged on `node`; `None` for unknown programs.
///
/// # Errors
/// The program does not run there.
pub(super) fn ask(running: &Running, node: &NodeName, program: &Program) -> Result<Option<String>, Error> {
    let Some((_, args)) = VERSION_ARGS.iter().find(|(name, _)| *name == program.name) else {
        return Ok(None);
    };
    let path = format!("{DIR}/{}.new", program.name);
    let command = [&["timeout", "30s", path.as_str()], *args].concat();
    let output = running.command(node.as_str(), command)?.run();
    let output = output.map_err(|source| SwapError::DoesNotRun {
        path: program.path.clone(),
        node: node.clone(),
        source,
    })?;
    Ok(parse_version(&output.stdout))
}

fn parse_version(output: &str) -> Option<String> {
    VERSION.find(output).map(|found| found.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn version_is_the_first_match_in_the_output() {
        for (output, expected) in [
            ("Kubernetes v1.34.4\n", "v1.34.4"),
            (
                "Kubernetes v1.34.4-3+0123456789abcd-dirty\n",
                "v1.34.4-3+0123456789abcd-dirty",
            ),
            (
                "etcd Version: 3.6.5\nGit SHA: GitNotFound\nGo Version: go1.26.8\n",
                "3.6.5",
            ),
            ("CoreDNS-1.12.1\nlinux/amd64, go1.26.8, \n", "1.12.1"),
            (
                "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1\n",
                "1.6.20~ds1",
            ),
            ("Client Version: v1.34.4\nKustomize Version: v5.7.1\n", "v1.34.4"),
            ("crictl version v1.30.0\n", "v1.30.0"),
            ("runc version 1.1.5+ds1\n", "1.1.5+ds1"),
        ] {
            assert_eq!(parse_version(output).as_deref(), Some(expected), "{output}");
        }
        assert_eq!(parse_version("no number\n"), None);
    }
}
