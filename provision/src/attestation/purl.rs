//! Package URLs (purl-spec, PURL-SPECIFICATION.rst and PURL-TYPES.rst).

use std::fmt::Write;

use crate::inputs::GoModule;
use crate::provider::lock::Package;

/// Of a Debian package.
pub(super) fn deb(package: &Package, architecture: &str, suite: &str) -> String {
    format!(
        "pkg:deb/debian/{}@{}?arch={}&distro={}",
        encoded(&package.name),
        encoded(&package.version),
        encoded(architecture),
        encoded(suite)
    )
}

/// Of a Go module. Its path keeps its case, as other tools for Go have it: there, other case is another module.
pub(super) fn golang(module: &GoModule) -> String {
    let path: Vec<_> = module.path.split('/').map(encoded).collect();
    format!("pkg:golang/{}@{}", path.join("/"), encoded(&module.version))
}

/// Of Go's standard library.
pub(super) fn go_library(version: &str) -> String {
    format!("pkg:golang/stdlib@{}", encoded(version))
}

/// Everything but unreserved characters (RFC 3986, section 2.3) in percent-encoding.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
