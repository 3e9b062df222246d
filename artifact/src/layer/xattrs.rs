//! Which extended attributes a layer holds.

use std::collections::BTreeMap;

/// Extended attributes: values by name.
pub(super) type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// Marks an opaque directory (Linux, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
pub(super) const OVERLAY_OPAQUE: &[u8] = b"trusted.overlay.opaque";
/// Its value.
pub(super) const OPAQUE_YES: &[u8] = b"y";

/// Access control lists (acl(5)), of which a directory's default one goes to what is made in it.
pub(super) const ACL_PREFIX: &[u8] = b"system.posix_acl_";

const OVERLAY_PREFIX: &[u8] = b"trusted.overlay.";
/// An overlay's own attributes when they are stored on another overlay are escaped so, and are plain content.
const OVERLAY_ESCAPED_PREFIX: &[u8] = b"trusted.overlay.overlay.";

/// Overlay's memory of where a file was copied up from, and the like: true of one mount, useless in a layer.
const OVERLAY_BOOKKEEPING: [&[u8]; 6] = [
    b"trusted.overlay.impure",
    b"trusted.overlay.nlink",
    b"trusted.overlay.origin",
    b"trusted.overlay.protattr",
    b"trusted.overlay.upper",
    b"trusted.overlay.uuid",
];

/// Labels by which a host knows its own files; umoci leaves them out of layers too.
const OF_THE_HOST: [&[u8]; 4] = [
    b"security.evm",
    b"security.ima",
    b"security.selinux",
    b"system.nfs4_acl",
];

/// What to do with an attribute found in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Xattr {
    /// Content: store it.
    Content,
    /// Makes the directory opaque.
    Opaque,
    /// Book-keeping of a mount, leave it out.
    OverlayBookkeeping,
    /// Of the host, leave it out.
    OfTheHost,
    /// Changes what the tree means in a way that layers cannot say.
    Unsupported,
}

/// Whether overlay noted it for itself.
pub(crate) fn is_bookkeeping(name: &[u8]) -> bool {
    OVERLAY_BOOKKEEPING.contains(&name)
}

/// Sorts an attribute of a tree.
pub(super) fn sort(name: &[u8], value: &[u8]) -> Xattr {
    if name == OVERLAY_OPAQUE {
        // The other value, `x`, announces whiteouts that are no devices.
        if value == OPAQUE_YES {
            Xattr::Opaque
        } else {
            Xattr::Unsupported
        }
    } else if is_bookkeeping(name) {
        Xattr::OverlayBookkeeping
    } else if OF_THE_HOST.contains(&name) {
        Xattr::OfTheHost
    } else if name.starts_with(OVERLAY_PREFIX) && !name.starts_with(OVERLAY_ESCAPED_PREFIX) {
        Xattr::Unsupported
    } else {
        Xattr::Content
    }
}

/// Whether an archive may set this attribute: content, in a name space that content is in. Overlay's would make the
/// kernel look for a file's data elsewhere.
pub(crate) fn may_unpack(name: &[u8]) -> bool {
    const SPACES: [&[u8]; 4] = [b"security.", ACL_PREFIX, b"trusted.", b"user."];
    !name.contains(&0)
        && SPACES.iter().any(|space| name.starts_with(space))
        && sort(name, b"") == Xattr::Content
}

#[cfg(test)]
mod tests {
    use super::{Xattr, may_unpack, sort};

    #[test]
    fn sorts() {
        assert_eq!(sort(b"user.a", b""), Xattr::Content);
        assert_eq!(sort(b"trusted.overlay.overlay.opaque", b"y"), Xattr::Content);
        assert_eq!(sort(b"trusted.overlay.opaque", b"y"), Xattr::Opaque);
        assert_eq!(sort(b"trusted.overlay.opaque", b"x"), Xattr::Unsupported);
        assert_eq!(sort(b"trusted.overlay.redirect", b"/etc"), Xattr::Unsupported);
        assert_eq!(sort(b"trusted.overlay.origin", b""), Xattr::OverlayBookkeeping);
        assert_eq!(sort(b"security.selinux", b""), Xattr::OfTheHost);
    }

    #[test]
    fn archives_set_content_only() {
        for name in [
            "user.a",
            "security.capability",
            "trusted.a",
            "system.posix_acl_default",
        ] {
            assert!(may_unpack(name.as_bytes()), "{name}");
        }
        for name in [
            "",
            "a",
            "system.x",
            "user.a\0",
            "trusted.overlay.opaque",
            "trusted.overlay.metacopy",
        ] {
            assert!(!may_unpack(name.as_bytes()), "{name}");
        }
    }
}
