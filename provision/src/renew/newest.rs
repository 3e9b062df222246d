//! The newest patch release of a minor version that can be had.

use parbake_cluster::KubernetesVersion;
use semver::Version;

use super::go::Go;
use super::modules::{API, MODULE, staging};
use super::{RenewError, modules};
use crate::provider::Provider;

/// How many numbers after the newest known one are tried: one may have been skipped.
const TRIED: u64 = 3;

/// The newest patch release of the provider's minor version that Go's module mirror has, its own at least. Lists of
/// versions are incomplete there, so the numbers that follow are tried, too.
///
/// # Errors
/// `go` cannot be asked.
pub fn newest(provider: &Provider) -> Result<KubernetesVersion, RenewError> {
    let _step = tracing::info_span!("step", what = "look for the newest patch release").entered();
    let toolchain = provider.recipe.modules.get(modules::KUBERNETES);
    let go = Go::new(toolchain.map(|modules| &modules.go));
    let listed = go
        .command(&["list", "-m", "-versions", MODULE], false)
        .current_dir("/")
        .run()?;
    let own = version(&provider.recipe.kubernetes);
    let listed = listed
        .stdout
        .split_whitespace()
        .filter_map(|word| word.strip_prefix('v')?.parse().ok());
    let found = climb(&own, listed, |version| {
        // What Kubernetes is made of is published a little later than itself.
        go.has(MODULE, &format!("v{version}")) && go.has(API, &staging(version))
    });
    found
        .to_string()
        .parse()
        .or(Ok(provider.recipe.kubernetes.clone()))
}

/// A version by its numbers.
pub(super) fn version(kubernetes: &KubernetesVersion) -> Version {
    let text = kubernetes.to_string();
    // It was read as one.
    text.trim_start_matches('v')
        .parse()
        .unwrap_or(Version::new(0, 0, 0))
}

/// The newest release of the minor version of `own` among the `listed` ones, and those after it that `has` knows.
fn climb(own: &Version, listed: impl Iterator<Item = Version>, has: impl Fn(&Version) -> bool) -> Version {
    let same = |version: &Version| {
        version.pre.is_empty() && (version.major, version.minor) == (own.major, own.minor)
    };
    let mut newest = listed
        .filter(same)
        .chain([own.clone()])
        .max()
        .unwrap_or(own.clone());
    let mut tried = 1;
    while tried <= TRIED {
        let next = Version::new(newest.major, newest.minor, newest.patch + tried);
        if has(&next) {
            newest = next;
            tried = 1;
        } else {
            tried += 1;
        }
    }
    newest
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::climb;

    #[test]
    fn numbers_after_the_list_are_tried() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        let newest = |own: &str, listed: &[&str], there: &[&str]| {
            let there: Vec<Version> = there.iter().map(|text| version(text)).collect();
            let listed = listed.iter().map(|text| version(text));
            climb(&version(own), listed, |version| there.contains(version)).to_string()
        };
        let listed = ["1.34.0", "1.34.3", "1.34.6-rc.0", "1.35.9", "1.3.99"];
        assert_eq!(newest("1.34.2", &listed, &[]), "1.34.3");
        assert_eq!(newest("1.34.4", &listed, &[]), "1.34.4");
        assert_eq!(newest("1.34.4", &listed, &["1.34.5", "1.34.6"]), "1.34.6");
        // One is missing, and then none for long.
        assert_eq!(
            newest("1.34.4", &listed, &["1.34.5", "1.34.7", "1.34.12"]),
            "1.34.7"
        );
        assert_eq!(newest("1.36.0", &listed, &["1.36.1"]), "1.36.1");
    }
}
