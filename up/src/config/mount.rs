//! Directories and files of the host that are mounted in nodes.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use parbake_cluster::NodeName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::InvalidValue;
use super::name::text_newtype;

/// Directories over which systemd-nspawn mounts its own.
const HIDDEN: [&str; 5] = ["/dev", "/proc", "/run", "/sys", "/tmp"];
/// Directories that a node needs.
const NEEDED: [&str; 15] = [
    "/etc/containerd",
    "/etc/containers",
    "/etc/crio",
    "/etc/docker",
    "/etc/kubernetes",
    "/etc/systemd",
    "/opt/cni/bin",
    "/usr/bin",
    "/usr/lib",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/lib/parbake",
];

/// A directory or file of this host that is mounted in nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mount {
    /// The directory or file on this host, relative to the configuration's directory. It must exist at every start.
    pub host: PathBuf,
    /// Where it is mounted: an absolute path.
    pub path: NodePath,
    /// The node to mount it in; all nodes by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub node: Option<NodeName>,
    /// Mounts it read-only, without what is mounted below the directory on this host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// An absolute path in a node at which a mount hides nothing that the node needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", inline, extend("pattern" = "^/"))]
pub struct NodePath(String);

text_newtype!(NodePath, InvalidValue, check);

impl NodePath {
    /// The path relative to the node's root.
    #[must_use]
    pub fn relative(&self) -> &Path {
        Path::new(self.0.trim_start_matches('/'))
    }
}

fn check(text: &str) -> Result<(), InvalidValue> {
    let path = Path::new(text);
    let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    // `components` skips some dots.
    let dotted = text.split('/').any(|part| part == "." || part == "..");
    if !path.is_absolute() || dotted || !path.components().all(plain) || text.chars().any(char::is_control) {
        return Err(InvalidValue(format!(
            "`{text}` is not an absolute path without `.` and `..`"
        )));
    }
    if let Some(hidden) = HIDDEN.into_iter().find(|hidden| path.starts_with(hidden)) {
        return Err(InvalidValue(format!(
            "`{text}` would be hidden: every node mounts its own `{hidden}` over it; choose another path, such as one below /mnt"
        )));
    }
    match NEEDED
        .into_iter()
        .find(|needed| Path::new(needed).starts_with(path))
    {
        Some(needed) => Err(InvalidValue(format!(
            "`{text}` would hide the node's own `{needed}`; choose another path, such as one below /mnt"
        ))),
        None => Ok(()),
    }
}

/// The value of `--mount`: `HOST:[NODE:]PATH[:ro]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountFlag(pub Mount);

impl FromStr for MountFlag {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let invalid = || {
            InvalidValue(format!(
                "`{text}` is not a mount, such as ./src:/mnt/src, ./src:/mnt/src:ro, or ./src:node02:/mnt/src for one node; a path with a colon must be in a configuration file"
            ))
        };
        let (rest, read_only) = match text.strip_suffix(":ro") {
            Some(rest) => (rest, true),
            None => (text.strip_suffix(":rw").unwrap_or(text), false),
        };
        let parts: Vec<&str> = rest.split(':').collect();
        let (host, node, path) = match parts.as_slice() {
            [host, path] => (host, None, path),
            [host, node, path] => (
                host,
                Some(
                    node.parse()
                        .map_err(|error: parbake_cluster::InvalidValue| InvalidValue(error.to_string()))?,
                ),
                path,
            ),
            _ => return Err(invalid()),
        };
        if host.is_empty() {
            return Err(invalid());
        }
        Ok(Self(Mount {
            host: PathBuf::from(host),
            path: path.parse()?,
            node,
            read_only,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::{Mount, MountFlag, NodePath};

    #[test]
    fn flags_are_host_node_and_path() {
        let mount = |host: &str, node: Option<&str>, path: &str, read_only| Mount {
            host: host.into(),
            node: node.map(|node| node.parse().unwrap()),
            path: path.parse().unwrap(),
            read_only,
        };
        for (text, expected) in [
            ("./a:/mnt/a", mount("./a", None, "/mnt/a", false)),
            ("/a:/mnt/a:ro", mount("/a", None, "/mnt/a", true)),
            ("/a:/mnt/a:rw", mount("/a", None, "/mnt/a", false)),
            ("a:node02:/mnt/a:ro", mount("a", Some("node02"), "/mnt/a", true)),
        ] {
            assert_eq!(text.parse::<MountFlag>().unwrap().0, expected, "{text}");
        }
        for text in ["", "/a", ":/mnt", "/a:b", "/a:/b:/c", "a:b:c:/d"] {
            assert!(text.parse::<MountFlag>().is_err(), "{text}");
        }
    }

    #[test]
    fn mounts_must_not_hide_what_nodes_need() {
        for (path, problem) in [
            ("mnt", "not an absolute path"),
            ("/mnt/../etc", "not an absolute path"),
            ("/mnt/./a", "not an absolute path"),
            ("/tmp/a", "every node mounts its own `/tmp`"),
            ("/run", "every node mounts its own `/run`"),
            ("/", "the node's own `/etc/containerd`"),
            ("/var/lib", "the node's own `/var/lib/containerd`"),
            ("/etc/kubernetes/", "the node's own `/etc/kubernetes`"),
        ] {
            let error = path.parse::<NodePath>().unwrap_err().to_string();
            assert!(error.contains(problem), "{path}: {error}");
        }
        for path in ["/mnt/a", "/etc/kubernetes/audit", "/srv", "/temporary"] {
            assert!(path.parse::<NodePath>().is_ok(), "{path}");
        }
    }
}
