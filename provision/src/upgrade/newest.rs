//! The newest available patch release of a minor version.

use parbake_cluster::KubernetesVersion;
use semver::Version;

use super::go::Go;
use super::modules::{API, MODULE, staging};
use super::{UpgradeError, modules};
use crate::provider::Provider;

/// How many numbers after the newest known release are tried, since releases may be skipped.
const LOOKAHEAD: u64 = 3;

/// The newest patch release of the provider's minor version on Go's module mirror, or its own version. The mirror's list is
/// incomplete, so the following numbers are tried, too.
///
/// # Errors
/// `go` cannot be run.
pub fn newest(provider: &Provider) -> Result<KubernetesVersion, UpgradeError> {
    let _step = tracing::info_span!("step", what = "look for the newest patch release").entered();
    let toolchain = provider.recipe.modules.get(modules::KUBERNETES);
    let go = Go::new(&[]).with_toolchain(toolchain.map(|modules| &modules.go));
    newest_of(&go, &provider.recipe.kubernetes)
}

/// See [`newest`].
pub(super) fn newest_of(go: &Go, kubernetes: &KubernetesVersion) -> Result<KubernetesVersion, UpgradeError> {
    let listed = go
        .command(&["list", "-m", "-versions", MODULE], false)
        .current_dir("/")
        .run()?;
    let own = version(kubernetes);
    let listed = listed
        .stdout
        .split_whitespace()
        .filter_map(|word| word.strip_prefix('v')?.parse().ok());
    let found = newer_releases(&own, listed, |version| go.has(MODULE, &format!("v{version}")));
    for version in found {
        // The checksum database may not know a listed version yet, and staging modules are published a little later than
        // Kubernetes.
        let downloaded = go
            .download(MODULE, &format!("v{version}"))
            .and_then(|_| go.download(API, &staging(&version)));
        match (downloaded, version.to_string().parse()) {
            (Ok(_), Ok(newest)) => return Ok(newest),
            (Err(error), _) => tracing::info!("skipping v{version}: {error}"),
            (Ok(_), Err(_)) => {}
        }
    }
    Ok(kubernetes.clone())
}

/// The semantic version.
pub(super) fn version(kubernetes: &KubernetesVersion) -> Version {
    let text = kubernetes.to_string();
    // A `KubernetesVersion` is always valid.
    text.trim_start_matches('v')
        .parse()
        .unwrap_or(Version::new(0, 0, 0))
}

/// Newer releases of the minor version of `own`, newest first: the `listed` ones, and following numbers for which `has` is
/// true.
fn newer_releases(
    own: &Version,
    listed: impl Iterator<Item = Version>,
    has: impl Fn(&Version) -> bool,
) -> Vec<Version> {
    let newer = |version: &Version| {
        let same = (version.major, version.minor) == (own.major, own.minor);
        version.pre.is_empty() && same && version > own
    };
    let mut found: Vec<Version> = listed.filter(newer).collect();
    let mut newest = found.iter().max().unwrap_or(own).clone();
    let mut offset = 1;
    while offset <= LOOKAHEAD {
        let next = Version::new(newest.major, newest.minor, newest.patch + offset);
        if has(&next) {
            found.push(next.clone());
            newest = next;
            offset = 1;
        } else {
            offset += 1;
        }
    }
    found.sort();
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::newer_releases;

    #[test]
    fn numbers_after_the_listed_ones_are_tried() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        let newest = |own: &str, listed: &[&str], there: &[&str]| {
            let there: Vec<Version> = there.iter().map(|text| version(text)).collect();
            let listed = listed.iter().map(|text| version(text));
            let found = newer_releases(&version(own), listed, |version| there.contains(version));
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            found.join(" ")
        };
        let listed = ["1.34.0", "1.34.3", "1.34.6-rc.0", "1.35.9", "1.3.99"];
        assert_eq!(newest("1.34.2", &listed, &[]), "1.34.3");
        assert_eq!(newest("1.34.4", &listed, &[]), "");
        assert_eq!(newest("1.34.4", &listed, &["1.34.5", "1.34.6"]), "1.34.6 1.34.5");
        // A gap of one is skipped, a longer one ends the search.
        assert_eq!(
            newest("1.34.4", &listed, &["1.34.5", "1.34.7", "1.34.12"]),
            "1.34.7 1.34.5"
        );
        assert_eq!(newest("1.36.0", &listed, &["1.36.1"]), "1.36.1");
    }
}
