//! Paths inside a layer.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::WHITEOUT_PREFIX;

/// Maximum length of file names and paths on Linux in bytes (`NAME_MAX`, and `PATH_MAX` without its zero byte).
const NAME_MAX: usize = 255;
const PATH_MAX: usize = 4095;
/// Maximum number of names in a path: several times that of real trees, and safe for code that uses one open directory or stack
/// frame per level.
const DEPTH_MAX: usize = 256;

/// A path below a layer's root that cannot leave it: names joined by `/`, none of them empty, `.` or `..`.
/// The root itself is the empty path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct LayerPath(Vec<u8>);

/// Why bytes are not a valid path in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    #[error("the path is absolute")]
    Absolute,
    #[error("the path has a `..`")]
    Parent,
    #[error("the path has an empty name, a `.` or a zero byte")]
    Irregular,
    /// A name of more than 255 or a path of more than 4095 bytes.
    #[error("the path is too long")]
    TooLong,
    #[error("the path has more than {DEPTH_MAX} names")]
    TooDeep,
}

impl LayerPath {
    pub(super) fn root() -> Self {
        Self(Vec::new())
    }

    /// Parses the path of an archive entry; `./` is the root, and a directory may end in `/`. The name of a whiteout may exceed the
    /// limit by its prefix.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PathProblem> {
        if bytes == b"./" || bytes == b"." {
            return Ok(Self::root());
        }
        if bytes.starts_with(b"/") {
            return Err(PathProblem::Absolute);
        }
        let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
        if bytes.len() > PATH_MAX + WHITEOUT_PREFIX.len() {
            return Err(PathProblem::TooLong);
        }
        for (depth, name) in bytes.split(|byte| *byte == b'/').enumerate() {
            match name {
                b".." => return Err(PathProblem::Parent),
                b"" | b"." => return Err(PathProblem::Irregular),
                name if name.contains(&0) => return Err(PathProblem::Irregular),
                name if name.strip_prefix(WHITEOUT_PREFIX).unwrap_or(name).len() > NAME_MAX => {
                    return Err(PathProblem::TooLong);
                }
                _ if depth >= DEPTH_MAX => return Err(PathProblem::TooDeep),
                _ => {}
            }
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The path of the child `name`, which comes from a directory listing.
    pub(super) fn join(&self, name: &[u8]) -> Self {
        let mut path = self.0.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        Self(path)
    }

    /// Parent and name; `None` for the root.
    pub(super) fn split(&self) -> Option<(Self, &[u8])> {
        if self.0.is_empty() {
            return None;
        }
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => Some((Self(self.0[..slash].to_vec()), &self.0[slash + 1..])),
            None => Some((Self::root(), &self.0)),
        }
    }

    /// True if `other` is below this path; everything is below the root, even the root itself.
    pub(super) fn contains(&self, other: &Self) -> bool {
        match other.0.strip_prefix(&self.0[..]) {
            Some(rest) => self.0.is_empty() || rest.starts_with(b"/"),
            None => false,
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Relative to the layer's root.
    pub(super) fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::{LayerPath, PathProblem};

    #[test]
    fn paths_outside_the_root_are_rejected() {
        let problem = |bytes: &[u8]| LayerPath::parse(bytes).unwrap_err();
        assert_eq!(problem(b"/etc/passwd"), PathProblem::Absolute);
        assert_eq!(problem(b"/"), PathProblem::Absolute);
        for bytes in [&b".."[..], b"../x", b"a/../../x", b"a/.."] {
            assert_eq!(problem(bytes), PathProblem::Parent);
        }
        for bytes in [&b""[..], b"a//b", b"a//", b"./a", b"a/./b", b"a\0b"] {
            assert_eq!(problem(bytes), PathProblem::Irregular);
        }
        assert_eq!(problem(&[b'x'; 256]), PathProblem::TooLong);
        let whiteout = |length| [b".wh.".to_vec(), vec![b'x'; length]].concat();
        assert!(LayerPath::parse(&whiteout(255)).is_ok());
        assert_eq!(problem(&whiteout(256)), PathProblem::TooLong);
        assert_eq!(problem(&b"x/".repeat(2051)), PathProblem::TooLong);
        assert_eq!(problem(&b"x/".repeat(257)), PathProblem::TooDeep);
        assert!(LayerPath::parse(&b"x/".repeat(256)).is_ok());
    }

    #[test]
    fn containment_goes_by_names() {
        let path = |text: &str| LayerPath::parse(text.as_bytes()).unwrap();
        for (above, below) in [("./", "./"), ("./", "a"), ("a", "a/b"), ("a", "a/b/c")] {
            assert!(path(above).contains(&path(below)), "{above} {below}");
        }
        for (other, path_of) in [("a", "./"), ("a", "a"), ("a", "ab"), ("a/b", "a"), ("b", "a/b")] {
            assert!(!path(other).contains(&path(path_of)), "{other} {path_of}");
        }
    }

    #[test]
    fn split_and_join_are_inverse() {
        let path = LayerPath::parse(b"a/b\xff/c/").unwrap();
        let (parent, name) = path.split().unwrap();
        assert_eq!((parent.as_bytes(), name), (&b"a/b\xff"[..], &b"c"[..]));
        assert_eq!(parent.join(name), path);
        let (root, name) = LayerPath::parse(b"a")
            .unwrap()
            .split()
            .map(|(p, n)| (p, n.to_vec()))
            .unwrap();
        assert_eq!(root, LayerPath::root());
        assert_eq!(root.join(&name).as_bytes(), b"a");
        assert_eq!(LayerPath::parse(b"./").unwrap(), LayerPath::root());
        assert!(LayerPath::root().split().is_none());
    }
}
