//! What programs say of their version, which is also whether they run at all.

use std::sync::LazyLock;

use parbake_cluster::NodeName;
use parbake_machine::handle::Running;
use regex::Regex;

use super::{Program, SwapError};
use crate::Error;
use crate::recover::node_files::DIR;

/// What asks a program; others are not asked, since nobody knows what they would do.
const QUESTIONS: [(&str, &[&str]); 16] = [
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

/// The version of the program that was staged on `node`; nothing where it is not known how to ask.
///
/// # Errors
/// It does not run there.
pub(super) fn ask(running: &Running, node: &NodeName, program: &Program) -> Result<Option<String>, Error> {
    let question = QUESTIONS.iter().find(|(name, _)| *name == program.name);
    let Some((_, words)) = question else {
        return Ok(None);
    };
    let path = format!("{DIR}/{}.new", program.name);
    let words = [&["timeout", "30s", path.as_str()], *words].concat();
    let answer = running.command(node.as_str(), words)?.run();
    let answer = answer.map_err(|source| SwapError::Tried {
        path: program.path.clone(),
        node: node.clone(),
        source,
    })?;
    Ok(version(&answer.stdout))
}

fn version(answer: &str) -> Option<String> {
    VERSION.find(answer).map(|found| found.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn a_version_is_the_first_thing_that_looks_like_one() {
        for (answer, expected) in [
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
            assert_eq!(version(answer).as_deref(), Some(expected), "{answer}");
        }
        assert_eq!(version("no number\n"), None);
    }
}
