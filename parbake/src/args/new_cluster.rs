//! The arguments of `up` and `create`.

use std::str::FromStr;

use parbake_artifact::{Reference, Tag};
use parbake_up::config::ConfigRequest;

use super::resolve_artifact;
use super::{ClusterArgs, ClusterConfigArgs, DeltaArgs, GlobalArgs, RegistryArgs};

/// An artifact in the store or in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ArtifactName {
    Stored(Tag),
    Remote(Reference),
}

impl FromStr for ArtifactName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return text.parse().map(Self::Remote).map_err(|error| format!("{error}"));
        }
        text.parse().map(Self::Stored).map_err(|error| format!("{error}"))
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct NewClusterArgs {
    /// The artifact's name in the store, such as k8s-1.34, or REGISTRY/REPOSITORY[:TAG][@DIGEST], which
    /// is pulled if the store does not have it [default: pinned in the project's parbake.toml]
    artifact: Option<ArtifactName>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Give the cluster internet access, at every start
    #[arg(long)]
    pub(crate) internet: bool,
    #[command(flatten)]
    config: ClusterConfigArgs,
    #[command(flatten)]
    deltas: DeltaArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl NewClusterArgs {
    /// Reads the configuration, then pulls the artifact if necessary.
    pub(crate) fn resolve(self, global: &GlobalArgs) -> anyhow::Result<(Tag, ConfigRequest)> {
        let config = self.config.request()?;
        let registry = self.registry.pull(global, self.deltas.enabled())?;
        let tag = resolve_artifact::resolve(global, self.artifact, registry)?;
        Ok((tag, config))
    }
}

#[cfg(test)]
mod tests {
    use super::ArtifactName;

    #[test]
    fn names_with_a_slash_are_references() {
        let stored = "k8s-1.34".parse();
        assert!(matches!(stored, Ok(ArtifactName::Stored(tag)) if tag.as_str() == "k8s-1.34"));
        let remote = "example.org/clusters/k8s:v5".parse();
        assert!(matches!(remote, Ok(ArtifactName::Remote(reference)) if reference.tag() == Some("v5")));
        for (text, problem) in [
            ("../etc", "reference"),
            ("clusters/k8s", "registry"),
            ("a b", "artifact name"),
        ] {
            let error = text.parse::<ArtifactName>().unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }
}
