//! Extended attributes of layers.

use std::collections::BTreeMap;

/// Values by name.
pub(super) type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// Marks an opaque directory (Linux, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
pub(super) const OVERLAY_OPAQUE: &[u8] = b"trusted.overlay.opaque";
/// Its value.
pub(super) const OPAQUE_YES: &[u8] = b"y";

/// Access control lists (acl(5)). Children of a directory inherit its default ACL.
pub(super) const ACL_PREFIX: &[u8] = b"system.posix_acl_";

const OVERLAY_PREFIX: &[u8] = b"trusted.overlay.";
/// How overlay escapes its attributes on a nested overlay; these are content.
const OVERLAY_ESCAPED_PREFIX: &[u8] = b"trusted.overlay.overlay.";

/// Overlay's bookkeeping, such as where a file was copied up from. It is meaningless in another mount.
const OVERLAY_BOOKKEEPING: [&[u8]; 6] = [
    b"trusted.overlay.impure",
    b"trusted.overlay.nlink",
    b"trusted.overlay.origin",
    b"trusted.overlay.protattr",
    b"trusted.overlay.upper",
    b"trusted.overlay.uuid",
];

/// Labels of a host; umoci leaves them out of layers, too.
const HOST_LABELS: [&[u8]; 4] = [
    b"security.evm",
    b"security.ima",
    b"security.selinux",
    b"system.nfs4_acl",
];

/// The meaning of an attribute in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Xattr {
    /// Stored.
    Content,
    /// Makes the directory opaque.
    Opaque,
    /// Left out.
    OverlayBookkeeping,
    /// Left out.
    Host,
    /// Changes the meaning of the tree in a way that layers do not support.
    Unsupported,
}

/// True for overlay's bookkeeping.
pub(crate) fn is_bookkeeping(name: &[u8]) -> bool {
    OVERLAY_BOOKKEEPING.contains(&name)
}

/// Classifies an attribute of a tree.
pub(super) fn classify(name: &[u8], value: &[u8]) -> Xattr {
    if name == OVERLAY_OPAQUE {
        // The other value, `x`, marks a directory with whiteouts that are not devices.
        if value == OPAQUE_YES {
            Xattr::Opaque
        } else {
            Xattr::Unsupported
        }
    } else if is_bookkeeping(name) {
        Xattr::OverlayBookkeeping
    } else if HOST_LABELS.contains(&name) {
        Xattr::Host
    } else if name.starts_with(OVERLAY_PREFIX) && !name.starts_with(OVERLAY_ESCAPED_PREFIX) {
        Xattr::Unsupported
    } else {
        Xattr::Content
    }
}

/// True if an archive may set this attribute: content in a known namespace. Overlay's attributes could make the kernel look for a
/// file's data elsewhere.
pub(crate) fn may_unpack(name: &[u8]) -> bool {
    const SPACES: [&[u8]; 4] = [b"security.", ACL_PREFIX, b"trusted.", b"user."];
    !name.contains(&0)
        && SPACES.iter().any(|space| name.starts_with(space))
        && classify(name, b"") == Xattr::Content
}

#[cfg(test)]
mod tests {
    use super::{Xattr, classify, may_unpack};

    #[test]
    fn attributes_are_classified() {
        assert_eq!(classify(b"user.a", b""), Xattr::Content);
        assert_eq!(classify(b"trusted.overlay.overlay.opaque", b"y"), Xattr::Content);
        assert_eq!(classify(b"trusted.overlay.opaque", b"y"), Xattr::Opaque);
        assert_eq!(classify(b"trusted.overlay.opaque", b"x"), Xattr::Unsupported);
        assert_eq!(classify(b"trusted.overlay.redirect", b"/etc"), Xattr::Unsupported);
        assert_eq!(
            classify(b"trusted.overlay.origin", b""),
            Xattr::OverlayBookkeeping
        );
        assert_eq!(classify(b"security.selinux", b""), Xattr::Host);
    }

    #[test]
    fn only_content_may_be_unpacked() {
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
