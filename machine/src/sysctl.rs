//! Kernel parameters of one machine: those below `net.`, of which every network namespace has its own.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::netns::NetNs;

/// A kernel parameter that could not be set.
#[derive(Debug, thiserror::Error)]
#[error("could not set the kernel parameter `{name}` to `{value}`: {}", reason(.source))]
pub struct Error {
    /// The parameter, by its name for sysctl(8).
    pub name: String,
    /// What it was to be.
    pub value: String,
    source: io::Error,
}

/// The kernel's answers to a write to `/proc/sys`, in words.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "this host's kernel has no such parameter for a machine of its own".to_owned()
        }
        io::ErrorKind::PermissionDenied => "this host lets no machine have its own".to_owned(),
        io::ErrorKind::InvalidInput => "the kernel does not take the value".to_owned(),
        _ => error.to_string(),
    }
}

/// Tries the parameters in a namespace that is thrown away; gives all that cannot be set.
///
/// # Errors
/// No namespace could be made.
pub fn rehearse(parameters: &BTreeMap<String, String>) -> io::Result<Vec<Error>> {
    if parameters.is_empty() {
        return Ok(Vec::new());
    }
    NetNs::create()?.run(|| {
        let refused = parameters
            .iter()
            .filter_map(|(name, value)| set(name, value).err());
        Ok(refused.collect())
    })
}

/// Sets the parameters in `namespace`.
///
/// # Errors
/// The first that could not be set.
pub(crate) fn set_all(namespace: &NetNs, parameters: &BTreeMap<String, String>) -> io::Result<()> {
    namespace.run(|| {
        parameters
            .iter()
            .try_for_each(|(name, value)| set(name, value).map_err(io::Error::other))
    })
}

fn set(name: &str, value: &str) -> Result<(), Error> {
    fs::write(path(name), value).map_err(|source| Error {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// The file of a parameter. As for sysctl(8), the first separator decides: in `net/ipv4/conf/eth0.1/forwarding` dots are
/// part of names.
fn path(name: &str) -> PathBuf {
    let slashes = name
        .find(['.', '/'])
        .is_some_and(|at| name[at..].starts_with('/'));
    let below = if slashes {
        name.to_owned()
    } else {
        // And the other way round: a slash stands for a dot in a name.
        name.chars()
            .map(|letter| match letter {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect()
    };
    Path::new("/proc/sys").join(below)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use super::{path, rehearse, set_all};
    use crate::netns::NetNs;

    #[test]
    fn names_are_those_of_sysctl() {
        for (name, file) in [
            ("net.core.somaxconn", "net/core/somaxconn"),
            ("net/ipv4/conf/a.1/forwarding", "net/ipv4/conf/a.1/forwarding"),
            ("net.ipv4.conf.a/1.forwarding", "net/ipv4/conf/a.1/forwarding"),
        ] {
            assert_eq!(path(name), Path::new("/proc/sys").join(file), "{name}");
        }
    }

    #[test]
    fn a_namespace_has_its_own() {
        let set = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let file = "/proc/sys/net/ipv4/ip_default_ttl";
        let before = fs::read_to_string(file).unwrap();
        let namespace = NetNs::create().unwrap();
        set_all(&namespace, &set("net.ipv4.ip_default_ttl", "33")).unwrap();
        assert_eq!(namespace.run(|| fs::read_to_string(file)).unwrap().trim(), "33");
        assert_eq!(fs::read_to_string(file).unwrap(), before);
    }

    #[test]
    fn all_that_cannot_be_set_is_found_before() {
        let wanted = [
            ("net.ipv4.ip_default_ttl", "64"),
            ("net.ipv4.ip_default_ttl2", "64"),
            ("net.ipv4.ip_local_port_range", "9 1"),
        ];
        let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let refused = rehearse(&BTreeMap::from(wanted)).unwrap();
        let texts: Vec<String> = refused.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "could not set the kernel parameter `net.ipv4.ip_default_ttl2` to `64`: this host's kernel has no such \
                 parameter for a machine of its own",
                "could not set the kernel parameter `net.ipv4.ip_local_port_range` to `9 1`: the kernel does not take \
                 the value",
            ]
        );
        assert!(rehearse(&BTreeMap::new()).unwrap().is_empty());
    }
}
