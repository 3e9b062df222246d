//! Directories and files of the host that nodes see.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use parbake_cluster::NodeName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::name::text_newtype;

/// What systemd-nspawn mounts over, so that nothing mounted there before could be seen.
const HIDDEN: [&str; 5] = ["/dev", "/proc", "/run", "/sys", "/tmp"];
/// What a node cannot do without.
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

/// A directory or file of this host that nodes see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mount {
    /// The directory or file on this host, relative to the configuration's directory. It must exist at every start.
    pub host: PathBuf,
    /// Where nodes see it: an absolute path.
    pub path: NodePath,
    /// The node that sees it; all of them if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub node: Option<NodeName>,
    /// Whether it can only be read there. What is mounted below the directory on this host is not seen then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// A path inside of a node: absolute, and in nobody's way there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", inline, extend("pattern" = "^/"))]
pub struct NodePath(String);

/// A text that is no path for a mount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMount {
    /// It is no plain absolute path.
    #[error("`{0}` is no absolute path without `.` and `..`")]
    Path(String),
    /// Nothing there could be seen.
    #[error(
        "`{path}` would not be seen: every node mounts its own `{hidden}` over it; choose another path, as below /mnt"
    )]
    Hidden {
        /// The path.
        path: String,
        /// What is mounted over it.
        hidden: &'static str,
    },
    /// It would hide what the node is made of.
    #[error("`{path}` would hide the node's own `{needed}`; choose another path, as below /mnt")]
    Needed {
        /// The path.
        path: String,
        /// What would be hidden.
        needed: &'static str,
    },
    /// A flag that is none.
    #[error(
        "`{0}` is no mount such as ./src:/mnt/src, ./src:/mnt/src:ro, or ./src:node02:/mnt/src for one node; a path with \
         a colon can only stand in a configuration file"
    )]
    Flag(String),
    /// A node that is none.
    #[error(transparent)]
    Node(#[from] parbake_cluster::InvalidName),
}

text_newtype!(NodePath, InvalidMount, check);

impl NodePath {
    /// The path relative to the node's root.
    #[must_use]
    pub fn relative(&self) -> &Path {
        Path::new(self.0.trim_start_matches('/'))
    }
}

fn check(text: &str) -> Result<(), InvalidMount> {
    let path = Path::new(text);
    let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    // `components` passes over some dots.
    let dotted = text.split('/').any(|part| part == "." || part == "..");
    if !path.is_absolute() || dotted || !path.components().all(plain) || text.chars().any(char::is_control) {
        return Err(InvalidMount::Path(text.to_owned()));
    }
    if let Some(hidden) = HIDDEN.into_iter().find(|hidden| path.starts_with(hidden)) {
        return Err(InvalidMount::Hidden {
            path: text.to_owned(),
            hidden,
        });
    }
    match NEEDED
        .into_iter()
        .find(|needed| Path::new(needed).starts_with(path))
    {
        Some(needed) => Err(InvalidMount::Needed {
            path: text.to_owned(),
            needed,
        }),
        None => Ok(()),
    }
}

/// A mount as a flag has it: `HOST:[NODE:]PATH[:ro]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountFlag(pub Mount);

impl FromStr for MountFlag {
    type Err = InvalidMount;

    fn from_str(text: &str) -> Result<Self, InvalidMount> {
        let wrong = || InvalidMount::Flag(text.to_owned());
        let (rest, read_only) = match text.strip_suffix(":ro") {
            Some(rest) => (rest, true),
            None => (text.strip_suffix(":rw").unwrap_or(text), false),
        };
        let parts: Vec<&str> = rest.split(':').collect();
        let (host, node, path) = match parts.as_slice() {
            [host, path] => (host, None, path),
            [host, node, path] => (host, Some(node.parse()?), path),
            _ => return Err(wrong()),
        };
        if host.is_empty() {
            return Err(wrong());
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
    fn a_mount_is_in_nobodys_way() {
        for (path, problem) in [
            ("mnt", "no absolute path"),
            ("/mnt/../etc", "no absolute path"),
            ("/mnt/./a", "no absolute path"),
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
