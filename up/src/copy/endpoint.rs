//! The source or destination of a copy, as given on a command line.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use parbake_cluster::NodeName;

/// A path on the host, or `NODE:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Host(PathBuf),
    /// A relative path is below `/root`.
    Node(NodeName, String),
}

impl FromStr for Endpoint {
    type Err = Infallible;

    /// Text with a valid node name before the first colon is a path on that node. `./a:b` is not.
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
    fn node_name_before_the_first_colon_selects_a_node() {
        let host = |path: &str| Endpoint::Host(PathBuf::from(path));
        let node = |path: &str| Endpoint::Node("node01".parse().unwrap(), path.to_owned());
        for (text, endpoint) in [
            ("file", host("file")),
            ("./node01:file", host("./node01:file")),
            ("/a:b", host("/a:b")),
            (":b", host(":b")),
            ("node01:", node("")),
            ("node01:/etc/a:b", node("/etc/a:b")),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap(), endpoint, "{text}");
        }
    }
}
