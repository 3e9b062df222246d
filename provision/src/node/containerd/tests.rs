use std::collections::BTreeMap;

use super::{Containerd, UnusableRuntime, upstream};
use crate::provider::lock::{Archive, Lock, Package, PackageSet};
use crate::provider::{Provider, Recipe};

impl Containerd {
    pub(crate) fn packaged(version: &str) -> Self {
        Self {
            version: version.parse().unwrap(),
            packaged: true,
        }
    }

    pub(in crate::node) fn built(version: &str) -> Self {
        Self {
            version: version.parse().unwrap(),
            packaged: false,
        }
    }
}

const HEAD: &str = r#"nodes = [{ name = "node01", role = "control-plane" }]

[network]
nodes = "10.89.0.0/24"
pods = "10.244.0.0/16"
services = "10.96.0.0/12"

[components]
runtime = "2.4.2"

[modules.runtime]
go = "1.26.8"

[modules.runtime.commands]
containerd = "c/cmd/containerd"
containerd-shim-runc-v2 = "c/cmd/containerd-shim-runc-v2"
ctr = "c/cmd/ctr"

[os]
suite = "bookworm"
packages = ["systemd-sysv"]
"#;

/// The containerd of nodes with `binaries` and the package of containerd in the version `package`.
fn found(binaries: &str, package: Option<&str>) -> Result<Containerd, UnusableRuntime> {
    let text = format!("kubernetes = \"1.36.4\"\n{HEAD}binaries = [{binaries}]\n");
    let recipe = Recipe::parse(&text).unwrap();
    let packages = package.map(|version| Package {
        name: "containerd".into(),
        version: version.into(),
        archive: Archive::Main,
        filename: "pool/c.deb".into(),
        size: 1,
        sha256: "0".repeat(64),
    });
    let packages: BTreeMap<_, _> = packages
        .into_iter()
        .map(|package| (package.name.clone(), package))
        .collect();
    let set = PackageSet {
        requested: recipe.os.packages.clone(),
        packages: packages.keys().cloned().collect(),
    };
    let provider = Provider {
        name: "k8s-1.36".parse().unwrap(),
        dir: "/".into(),
        recipe,
        addons: Vec::new(),
        optional: Vec::new(),
        variant: None,
    };
    let lock = Lock::new("amd64".into(), &provider, [("os".into(), set)].into(), packages);
    Containerd::of(&provider.recipe, &lock)
}

#[test]
fn containerd_is_either_packaged_or_built() {
    let all = r#""containerd", "containerd-shim-runc-v2", "ctr""#;
    let debian = Some("1.6.20~ds1-1+deb12u3");
    for (binaries, package, expected) in [
        ("", debian, Ok(Containerd::packaged("1.6.20"))),
        ("\"ctr\"", debian, Ok(Containerd::packaged("1.6.20"))),
        (all, None, Ok(Containerd::built("2.4.2"))),
        (all, debian, Err(UnusableRuntime::Twice)),
        ("", None, Err(UnusableRuntime::Missing)),
        ("\"ctr\"", None, Err(UnusableRuntime::Missing)),
        (
            "\"containerd\", \"ctr\"",
            None,
            Err(UnusableRuntime::Part("containerd-shim-runc-v2")),
        ),
        ("", Some("git"), Err(UnusableRuntime::Version("git".into()))),
    ] {
        assert_eq!(found(binaries, package), expected, "{binaries} {package:?}");
    }
}

#[test]
fn upstream_version_is_found_in_package_version() {
    for (package, version) in [
        ("1.6.20~ds1-1+deb12u3", Some("1.6.20")),
        ("1.7.24~ds1-6+b4", Some("1.7.24")),
        ("2:2.0-1", Some("2.0.0")),
        ("2.4.2", Some("2.4.2")),
        ("2", None),
        ("", None),
    ] {
        let found = upstream(package).map(|version| version.to_string());
        assert_eq!(found.as_deref(), version, "{package}");
    }
}

#[test]
fn configuration_matches_the_version() {
    let old = "version = 2\n";
    let new = "version = 3\n";
    for (version, head, cni) in [
        ("1.6.20", old, "\nbin_dir = \"/usr/lib/cni\"\n"),
        ("1.7.24", old, "\nbin_dir = \"/usr/lib/cni\"\n"),
        ("2.0.0", new, "\nbin_dir = \"/usr/lib/cni\"\n"),
        ("2.1.0", new, "\nbin_dirs = [\"/usr/lib/cni\"]\n"),
        ("2.4.2", new, "\nbin_dirs = [\"/usr/lib/cni\"]\n"),
    ] {
        let text = Containerd::built(version).configuration();
        assert!(text.starts_with(head) && text.contains(cni), "{version}: {text}");
        // Every start adapts these settings to the host.
        let parsed: toml::Table = text.parse().unwrap();
        let plugins = parsed["plugins"].as_table().unwrap();
        for key in ["disable_apparmor", "restrict_oom_score_adj"] {
            let with = plugins.values().filter(|plugin| plugin.get(key).is_some());
            assert_eq!(with.count(), 1, "{version} {key}");
        }
    }
}

#[test]
fn incompatible_versions_are_refused() {
    for (kubernetes, runtime, expected) in [
        ("1.17.17", "1.6.20", ""),
        (
            "1.17.17",
            "2.0.0",
            "needs containerd before 2.0, and nodes have 2.0.0",
        ),
        ("1.22.0", "2.4.2", "before 2.0"),
        ("1.23.0", "2.4.2", ""),
        ("1.25.0", "1.5.0", ""),
        (
            "1.26.0",
            "1.5.0",
            "needs containerd 1.6 or newer, and nodes have 1.5.0",
        ),
        ("1.34.4", "1.6.20", ""),
        ("1.36.4", "1.7.24", ""),
        ("1.36.4", "2.4.2", ""),
        ("1.37.0-alpha.1", "1.7.24", "needs containerd 2.0 or newer"),
        ("1.37.0", "2.0.0", ""),
    ] {
        let suited = Containerd::packaged(runtime).check_compatible(&kubernetes.parse().unwrap());
        let output = suited.err().map(|error| error.to_string()).unwrap_or_default();
        let right = if expected.is_empty() {
            output.is_empty()
        } else {
            output.contains(expected)
        };
        assert!(right, "{kubernetes} with {runtime}: {output}");
    }
}
