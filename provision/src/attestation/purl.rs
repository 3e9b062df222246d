//! Package URLs (purl-spec, PURL-SPECIFICATION.rst and PURL-TYPES.rst).

use std::fmt::Write;

use crate::inputs::GoModule;
use crate::provider::lock::Package;

/// The URL of a Debian package.
pub(super) fn deb(package: &Package, architecture: &str, suite: &str) -> String {
    format!(
        "pkg:deb/debian/{}@{}?arch={}&distro={}",
        encoded(&package.name),
        encoded(&package.version),
        encoded(architecture),
        encoded(suite)
    )
}

/// The URL of a Go module. The case of its path is preserved, as in other tools for Go, where it is significant.
pub(super) fn golang(module: &GoModule) -> String {
    let path: Vec<_> = module.path.split('/').map(encoded).collect();
    format!("pkg:golang/{}@{}", path.join("/"), encoded(&module.version))
}

/// The URL of Go's standard library.
pub(super) fn go_library(version: &str) -> String {
    format!("pkg:golang/stdlib@{}", encoded(version))
}

/// Percent-encodes all but unreserved characters (RFC 3986, section 2.3).
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
