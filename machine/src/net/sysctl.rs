//! Kernel parameters below `net.`, of which every network namespace has its own.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::net::NetNs;

/// Tries the parameters in a temporary namespace and returns an error for each one that cannot be set.
///
/// # Errors
/// The namespace could not be created.
pub fn check(parameters: &BTreeMap<String, String>) -> io::Result<Vec<Error>> {
    if parameters.is_empty() {
        return Ok(Vec::new());
    }
    NetNs::create()?.run(|| {
        let errors = parameters
            .iter()
            .filter_map(|(name, value)| set(name, value).err());
        Ok(errors.collect())
    })
}

/// Sets the parameters in `namespace`.
pub(crate) fn set_all(namespace: &NetNs, parameters: &BTreeMap<String, String>) -> io::Result<()> {
    namespace.run(|| {
        parameters
            .iter()
            .try_for_each(|(name, value)| set(name, value).map_err(io::Error::other))
    })
}

/// Sets the parameter `name` (as for sysctl(8)) of the calling thread's namespace, unless it has the value.
pub(crate) fn set(name: &str, value: &str) -> Result<(), Error> {
    set_at(&path(name), name, value)
}

/// Sets the parameter `name` in the file `path`, unless it has the value: `/proc/sys` is read-only in many containers.
fn set_at(path: &Path, name: &str, value: &str) -> Result<(), Error> {
    let current = fs::read_to_string(path);
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    if current
        .as_ref()
        .is_ok_and(|current| words(current) == words(value))
    {
        return Ok(());
    }
    fs::write(path, value).map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => "this host's kernel has no such parameter per machine".to_owned(),
            io::ErrorKind::PermissionDenied => "this host does not allow it per machine".to_owned(),
            io::ErrorKind::InvalidInput => "the kernel rejects the value".to_owned(),
            io::ErrorKind::ReadOnlyFilesystem => {
                let current = current.as_deref().unwrap_or("unknown").trim();
                format!("it is `{current}`, and `/proc/sys` is read-only; set it on the host, or run the container privileged")
            }
            _ => error.to_string(),
        };
        Error::message(format!("could not set the kernel parameter `{name}` to `{value}`: {reason}"))
    })
}

/// The file of a parameter. As in sysctl(8), the first separator decides: in `net/ipv4/conf/eth0.1/forwarding` dots are
/// part of names, and in `net.ipv4.conf.eth0/1.forwarding` a slash stands for such a dot.
pub(super) fn path(name: &str) -> PathBuf {
    let has_slashes = name
        .find(['.', '/'])
        .is_some_and(|at| name[at..].starts_with('/'));
    let relative = if has_slashes {
        name.to_owned()
    } else {
        let swapped = name.chars().map(|letter| match letter {
            '.' => '/',
            '/' => '.',
            other => other,
        });
        swapped.collect()
    };
    Path::new("/proc/sys").join(relative)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;
    use std::thread;

    use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind, mount_change, mount_remount};
    use rustix::thread::UnshareFlags;

    use super::{check, path, set, set_all};
    use crate::namespace::unshare;
    use crate::net::NetNs;

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
    fn parameters_are_set_in_one_namespace_only() {
        let file = "/proc/sys/net/ipv4/ip_default_ttl";
        let before = fs::read_to_string(file).unwrap();
        let namespace = NetNs::create().unwrap();
        let parameters = BTreeMap::from([("net.ipv4.ip_default_ttl".to_owned(), "33".to_owned())]);
        set_all(&namespace, &parameters).unwrap();
        assert_eq!(namespace.run(|| fs::read_to_string(file)).unwrap().trim(), "33");
        assert_eq!(fs::read_to_string(file).unwrap(), before);
    }

    #[test]
    fn check_finds_every_parameter_that_cannot_be_set() {
        let parameters = [
            ("net.ipv4.ip_default_ttl", "64"),
            ("net.ipv4.ip_default_ttl2", "64"),
            ("net.ipv4.ip_local_port_range", "9 1"),
        ];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let errors = check(&BTreeMap::from(parameters)).unwrap();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "could not set the kernel parameter `net.ipv4.ip_default_ttl2` to `64`: this host's kernel has no such \
                 parameter per machine",
                "could not set the kernel parameter `net.ipv4.ip_local_port_range` to `9 1`: the kernel rejects the value",
            ]
        );
        assert!(check(&BTreeMap::new()).unwrap().is_empty());
    }

    #[test]
    fn read_only_parameter_with_the_wanted_value_is_accepted() {
        thread::scope(|scope| {
            scope.spawn(|| {
                unshare(UnshareFlags::FS | UnshareFlags::NEWNS | UnshareFlags::NEWNET).unwrap();
                mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
                let dir = "/proc/sys/net/ipv4";
                mount_bind(dir, dir).unwrap();
                mount_remount(dir, MountFlags::BIND | MountFlags::RDONLY, "").unwrap();
                let current = fs::read_to_string(format!("{dir}/ip_default_ttl")).unwrap();
                set("net.ipv4.ip_default_ttl", current.trim()).unwrap();
                let error = set("net.ipv4.ip_default_ttl", "33").unwrap_err().to_string();
                let expected = format!(
                    "could not set the kernel parameter `net.ipv4.ip_default_ttl` to `33`: it is `{}`, and `/proc/sys` is \
                     read-only",
                    current.trim()
                );
                assert!(error.starts_with(&expected), "{error}");
            });
        });
    }
}
