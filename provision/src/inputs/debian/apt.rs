//! apt with its own root, sources and package lists, and the host's other settings.

use std::fs;
use std::path::{Path, PathBuf};

use parbake_machine::fs::files::failed;
use parbake_machine::process::Cmd;

use super::super::error::Error;
use super::mirror::Archives;
use crate::provider::lock::Archive;

/// apt's downloader, which is not in `PATH`.
const HELPER: &str = "/usr/lib/apt/apt-helper";
/// The keys that sign Debian's archives (package `debian-archive-keyring`).
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A command for apt's downloader. It runs as the caller, since apt's own user cannot write to the cache.
pub(super) fn helper() -> Cmd {
    Cmd::new(HELPER).args(["-o", "APT::Sandbox::User=root"])
}

/// A root directory for apt, with the package lists of one release.
pub(super) struct Apt {
    root: PathBuf,
    architecture: String,
}

impl Apt {
    /// Downloads and verifies the package lists of `suite`, its updates and its security updates.
    pub(super) fn update(
        root: &Path,
        archives: &Archives,
        suite: &str,
        architecture: &str,
    ) -> Result<Self, Error> {
        for dir in [
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "etc/apt/sources.list.d",
            "etc/apt/trusted.gpg.d",
            "var/cache/apt/archives/partial",
            "var/lib/apt/lists/partial",
            "var/lib/dpkg",
        ] {
            let dir = root.join(dir);
            fs::create_dir_all(&dir).map_err(failed("create", &dir))?;
        }
        write(&root.join("var/lib/dpkg/status"), "")?;
        write(&root.join("etc/apt/sources.list"), &sources(archives, suite))?;
        let apt = Self {
            root: root.into(),
            architecture: architecture.into(),
        };
        apt.command("apt-get").arg("update").run()?;
        Ok(apt)
    }

    /// The candidate versions of all packages, as paragraphs of a `Packages` index.
    pub(super) fn available(&self) -> Result<String, Error> {
        Ok(self.command("apt-cache").arg("dumpavail").run()?.stdout)
    }

    /// The URIs of `packages` and their dependencies for an empty system, one per line in the format of
    /// `apt-get --print-uris`.
    pub(super) fn uris(&self, packages: &[String]) -> Result<String, Error> {
        let command = self
            .command("apt-get")
            .args(["--print-uris", "-qq", "--yes", "install"]);
        Ok(command.args(packages).run()?.stdout)
    }

    fn command(&self, program: &str) -> Cmd {
        Cmd::new(program)
            .arg(format!("-oDir={}", self.root.display()))
            .arg(format!(
                "-oDir::State::status={}",
                self.root.join("var/lib/dpkg/status").display()
            ))
            .arg(format!("-oAPT::Architecture={}", self.architecture))
            .arg(format!("-oAPT::Architectures={}", self.architecture))
            .args([
                "-oAPT::Install-Recommends=false",
                "-oAPT::Sandbox::User=root",
                "-oAcquire::Languages=none",
            ])
    }
}

fn sources(archives: &Archives, suite: &str) -> String {
    [
        (Archive::Main, ""),
        (Archive::Main, "-updates"),
        (Archive::Security, "-security"),
    ]
    .map(|(archive, suffix)| {
        format!(
            "deb [signed-by={KEYRING}] {} {suite}{suffix} main\n",
            archives.archive(archive)
        )
    })
    .concat()
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    Ok(fs::write(path, text).map_err(failed("write", path))?)
}
