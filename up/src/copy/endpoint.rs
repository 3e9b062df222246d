//! One end of a copy, as it is written on a command line.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use parbake_cluster::NodeName;

/// A path on the host, or `NODE:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// On the host.
    Host(PathBuf),
    /// On a node; below `/root` unless it begins with a slash.
    Node(NodeName, String),
}

impl FromStr for Endpoint {
    type Err = Infallible;

    /// What has a node's name before its first colon is on that node; `./a:b` is not.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let node = text
            .split_once(':')
            .and_then(|(node, path)| Some((node.parse().ok()?, path)));
        Ok(match node {
            Some((node, path)) => Self::Node(node, path.to_owned()),
            None => Self::Host(PathBuf::from(text)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::Endpoint;

    #[test]
    fn a_node_stands_before_a_colon() {
        let host = |path: &str| Endpoint::Host(PathBuf::from(path));
        let node = |path: &str| Endpoint::Node("node01".parse().unwrap(), path.to_owned());
        for (text, end) in [
            ("file", host("file")),
            ("./node01:file", host("./node01:file")),
            ("/a:b", host("/a:b")),
            (":b", host(":b")),
            ("node01:", node("")),
            ("node01:/etc/a:b", node("/etc/a:b")),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap(), end, "{text}");
        }
    }
}
