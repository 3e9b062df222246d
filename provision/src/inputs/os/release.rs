//! The name of an OS (os-release(5)).

use std::io::Read;
use std::path::Path;

use parbake_artifact::rootfs::RootedDir;

/// In order of precedence.
const FILES: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];
/// In bytes.
const MAX_SIZE: u64 = 64 << 10;

/// The name of an OS; unknown fields are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OsName {
    /// Such as `debian`.
    pub id: String,
    /// Such as `12`.
    pub version: String,
    /// Such as `Debian GNU/Linux 12 (bookworm)`.
    pub pretty: String,
}

/// Reads the name of the OS in the tree `root`.
pub fn os_name(root: &Path) -> OsName {
    let Ok(inside) = RootedDir::open(root) else {
        return OsName::default();
    };
    let file = FILES
        .iter()
        .find_map(|path| inside.file(Path::new(path)).ok().flatten());
    let mut text = Vec::new();
    if let Some(file) = file {
        // An unreadable file counts as empty.
        let _ = file.take(MAX_SIZE).read_to_end(&mut text);
    }
    parse(&String::from_utf8_lossy(&text))
}

fn parse(text: &str) -> OsName {
    let field = |name: &str| {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let value = value.unwrap_or_default().trim();
        let plain: String = value.chars().filter(|char| !char.is_control()).collect();
        plain.trim_matches(['"', '\'']).to_owned()
    };
    OsName {
        id: field("ID"),
        version: field("VERSION_ID"),
        pretty: field("PRETTY_NAME"),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn os_release_is_parsed() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID='12'\nID=debian\nID_LIKE=x\n";
        let name = parse(text);
        assert_eq!(
            (name.id.as_str(), name.version.as_str(), name.pretty.as_str()),
            ("debian", "12", "Debian GNU/Linux 12 (bookworm)")
        );
        assert_eq!(parse(""), super::OsName::default());
    }
}
