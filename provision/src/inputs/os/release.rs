//! What an operating system calls itself (os-release(5)).

use std::io::Read;
use std::path::Path;

use parbake_artifact::rootfs::RootedDir;

/// Where it says so; the first one counts.
const FILES: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];
/// No such file is longer, in bytes.
const LONGEST: u64 = 64 << 10;

/// Names of an operating system; empty where it does not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OsName {
    /// For programs, such as `debian`.
    pub id: String,
    /// Its version for programs, such as `12`.
    pub version: String,
    /// For people, such as `Debian GNU/Linux 12 (bookworm)`.
    pub pretty: String,
}

/// What the operating system in the tree `root` calls itself.
pub fn os_name(root: &Path) -> OsName {
    let Ok(inside) = RootedDir::open(root) else {
        return OsName::default();
    };
    let file = FILES
        .iter()
        .find_map(|path| inside.file(Path::new(path)).ok().flatten());
    let mut text = Vec::new();
    if let Some(file) = file {
        // What cannot be read says nothing.
        let _ = file.take(LONGEST).read_to_end(&mut text);
    }
    named(&String::from_utf8_lossy(&text))
}

fn named(text: &str) -> OsName {
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
    use super::named;

    #[test]
    fn names_are_read() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID='12'\nID=debian\nID_LIKE=x\n";
        let name = named(text);
        assert_eq!(
            (name.id.as_str(), name.version.as_str(), name.pretty.as_str()),
            ("debian", "12", "Debian GNU/Linux 12 (bookworm)")
        );
        assert_eq!(named(""), super::OsName::default());
    }
}
