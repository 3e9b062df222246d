//! The Debian mirror: that of the host's apt, or one that the user sets.

use std::env;
use std::str::FromStr;

use parbake_machine::process::Cmd;

use super::super::error::Error;
use crate::provider::lock::Archive;

/// The environment variable that names a mirror.
const SETTING: &str = "PARBAKE_DEBIAN_MIRROR";
/// The output format of apt: one line for each configured index of packages, with tabs between the fields.
const FORMAT: &str = "$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)\t$(ORIGIN)";

/// The Debian mirror: `URL`, or `URL,SECURITY-URL` if security updates are not in `URL-security`. The default is that of the
/// host's apt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::inputs) struct DebianMirrors(Option<Archives>);

/// A text that is not a mirror.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{SETTING}` is `{text}`, which is not a Debian mirror: set it to `URL` or `URL,SECURITY-URL`")]
pub struct InvalidDebianMirrors {
    text: String,
}

impl DebianMirrors {
    /// The mirror in the environment, or else apt's.
    pub(in crate::inputs) fn from_environment() -> Result<Self, InvalidDebianMirrors> {
        match env::var_os(SETTING).filter(|setting| !setting.is_empty()) {
            Some(setting) => setting.to_string_lossy().parse(),
            None => Ok(Self::default()),
        }
    }

    /// The archives; runs apt to find them unless a mirror is set.
    pub(super) fn archives(&self) -> Result<Archives, Error> {
        match &self.0 {
            Some(given) => Ok(given.clone()),
            None => {
                let targets =
                    Cmd::new("apt-get").args(["indextargets", "--format", FORMAT, "Created-By: Packages"]);
                Archives::choose(&targets.run()?.stdout).ok_or(Error::NoMirror)
            }
        }
    }
}

impl FromStr for DebianMirrors {
    type Err = InvalidDebianMirrors;

    fn from_str(text: &str) -> Result<Self, InvalidDebianMirrors> {
        let parts: Vec<&str> = text.split(',').map(|url| url.trim_end_matches('/')).collect();
        let good = parts
            .iter()
            .all(|url| url.contains(":/") && !url.contains(char::is_whitespace));
        match parts[..] {
            [main] if good => Ok(Self(Some(Archives::with_default_security(main)))),
            [main, security] if good => Ok(Self(Some(Archives {
                main: main.into(),
                security: security.into(),
            }))),
            _ => Err(InvalidDebianMirrors {
                text: text.to_owned(),
            }),
        }
    }
}

/// URLs of a stable release and of its security updates, without a trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Archives {
    main: String,
    security: String,
}

impl Archives {
    /// The root URL of an archive, without a trailing slash.
    pub(super) fn archive(&self, archive: Archive) -> &str {
        match archive {
            Archive::Main => &self.main,
            Archive::Security => &self.security,
        }
    }

    /// The URL of a file of an archive.
    pub(super) fn url(&self, archive: Archive, filename: &str) -> String {
        // Like apt: some servers decode a plus sign as a space.
        format!("{}/{}", self.archive(archive), filename.replace('+', "%2b"))
    }

    /// Selects Debian's own archives from those in apt's configuration. An index that was never downloaded has no origin; it
    /// is recognized by the end of its URL.
    fn choose(targets: &str) -> Option<Self> {
        let targets: Vec<Vec<&str>> = targets.lines().map(|line| line.split('\t').collect()).collect();
        let find = |security: bool, folder: &str| {
            targets.iter().find_map(|target| {
                let [url, release, "main", origin] = target[..] else {
                    return None;
                };
                let url = url.trim_end_matches('/');
                let unknown = origin.is_empty() || origin.starts_with("$(");
                let debian = origin == "Debian" || (unknown && url.ends_with(folder));
                (debian && release.contains("-security") == security).then_some(url)
            })
        };
        let main = find(false, "/debian")?;
        Some(match find(true, "/debian-security") {
            Some(security) => Self {
                main: main.into(),
                security: security.into(),
            },
            None => Self::with_default_security(main),
        })
    }

    fn with_default_security(main: &str) -> Self {
        Self {
            main: main.into(),
            security: format!("{main}-security"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Archives, DebianMirrors};
    use crate::provider::lock::Archive;

    fn archives(main: &str, security: &str) -> Archives {
        Archives {
            main: main.into(),
            security: security.into(),
        }
    }

    #[test]
    fn archives_of_debian_are_selected() {
        let cases = [
            (
                "http://other.example/apt/\tbookworm\tmain\tOther\n\
                 http://m.example/debian/\tbookworm-updates\tmain\tDebian\n\
                 http://m.example/debian-security/\tbookworm-security\tmain\tDebian\n",
                Some(archives(
                    "http://m.example/debian",
                    "http://m.example/debian-security",
                )),
            ),
            (
                "http://m.example/debian/\ttrixie\tmain\t$(ORIGIN)\n\
                 http://o.example/x/\tx\tmain\t$(ORIGIN)\n",
                Some(archives(
                    "http://m.example/debian",
                    "http://m.example/debian-security",
                )),
            ),
            ("http://u.example/ubuntu/\tnoble\tmain\tUbuntu\n", None),
            ("http://m.example/debian/\tbookworm\tcontrib\tDebian\n", None),
            ("", None),
        ];
        for (targets, expected) in cases {
            assert_eq!(Archives::choose(targets), expected, "{targets}");
        }
    }

    #[test]
    fn mirror_is_parsed() {
        let parse = |text: &str| text.parse::<DebianMirrors>().ok().and_then(|mirrors| mirrors.0);
        assert_eq!(
            parse("http://m/debian/"),
            Some(archives("http://m/debian", "http://m/debian-security"))
        );
        assert_eq!(
            parse("http://m/d,file:/s"),
            Some(archives("http://m/d", "file:/s"))
        );
        for bad in ["", "m", "http://a,http://b,http://c", "http://a b", "http://a,"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        let error = "m".parse::<DebianMirrors>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`PARBAKE_DEBIAN_MIRROR` is `m`, which is not a Debian mirror: set it to `URL` or `URL,SECURITY-URL`"
        );
    }

    #[test]
    fn plus_signs_are_escaped() {
        let url = archives("http://m/debian", "http://m/s").url(Archive::Main, "pool/main/g/gmp/x_1+2.deb");
        assert_eq!(url, "http://m/debian/pool/main/g/gmp/x_1%2b2.deb");
    }
}
