//! The component versions that a kubeadm needs, from its source (`cmd/kubeadm/app/constants/constants.go`).

use std::fs;

use parbake_cluster::KubernetesVersion;
use parbake_machine::fs::files::failed;
use semver::Version;

use super::go::Go;
use super::modules::MODULE;
use super::{UpgradeError, component};

const FILE: &str = "cmd/kubeadm/app/constants/constants.go";

/// Versions of the components whose images kubeadm uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Constants {
    pub(super) etcd: Version,
    pub(super) coredns: Version,
    pub(super) pause: Version,
}

impl Constants {
    /// Downloads the source of kubeadm `version` and reads its constants.
    pub(super) fn of(go: &Go, version: &KubernetesVersion) -> Result<Self, UpgradeError> {
        let path = go.download(MODULE, &version.to_string())?.dir.join(FILE);
        let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
        Self::parse(&text).map_err(|name| UpgradeError::Constant {
            name,
            version: version.clone(),
        })
    }

    /// Parses the text of the file.
    ///
    /// # Errors
    /// The name of the first missing constant.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let find = |name: &'static str| value(text, name).and_then(component).ok_or(name);
        Ok(Self {
            etcd: find("DefaultEtcdVersion")?,
            coredns: find("CoreDNSVersion")?,
            pause: find("PauseVersion")?,
        })
    }

    /// With the names that provider files use.
    pub(super) fn by_name(&self) -> [(&'static str, &Version); 3] {
        [
            ("coredns", &self.coredns),
            ("etcd", &self.etcd),
            ("pause", &self.pause),
        ]
    }
}

/// The value of a string constant in Go source.
fn value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut lines = text.lines().filter_map(|line| line.trim().strip_prefix(name));
    lines.find_map(|rest| {
        rest.trim_start()
            .strip_prefix('=')?
            .trim()
            .strip_prefix('"')?
            .strip_suffix('"')
    })
}

#[cfg(test)]
mod tests {
    use super::Constants;

    const TEXT: &str = "const (\n\t// DefaultEtcdVersion indicates the default etcd version that kubeadm uses\n\
        \tDefaultEtcdVersion = \"3.6.5-0\"\n\tCoreDNSVersion = \"v1.12.1\"\n\tPauseVersion = \"3.10.1\"\n)\n";

    #[test]
    fn versions_are_parsed_from_the_source() {
        let found = Constants::parse(TEXT).unwrap();
        let found = found.by_name().map(|(name, version)| format!("{name} {version}"));
        assert_eq!(found, ["coredns 1.12.1", "etcd 3.6.5", "pause 3.10.1"]);
        let old = TEXT.replace("3.10.1", "3.1").replace("\"v1", "\"1");
        assert_eq!(Constants::parse(&old).unwrap().pause.to_string(), "3.1.0");
        for name in ["DefaultEtcdVersion", "CoreDNSVersion", "PauseVersion"] {
            let text = TEXT.replace(&format!("\t{name} ="), "\tOther =");
            assert_eq!(Constants::parse(&text).unwrap_err(), name);
        }
    }
}
