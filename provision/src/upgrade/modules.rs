//! Changes folders of Go modules to other versions of what they build.
//!
//! A `go.mod` of a provider requires the modules that it builds, repeats their replacements, which are only effective in main
//! modules, and replaces Kubernetes' staging modules by published ones. `go` adds all other requirements itself.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use parbake_cluster::KubernetesVersion;
use parbake_machine::fs::files::failed;
use semver::Version;

use super::UpgradeError;
use super::go::{Go, GoMod, Module, Replace};
use super::newest::version;
use crate::provider::{Modules, Recipe};

/// The folder that builds Kubernetes.
pub(super) const KUBERNETES: &str = "kubernetes";
pub(super) const MODULE: &str = "k8s.io/kubernetes";
/// A staging module that is published with each release.
pub(super) const API: &str = "k8s.io/api";

/// The version of the staging modules of a Kubernetes release.
pub(super) fn staging(kubernetes: &Version) -> String {
    format!("v0.{}.{}", kubernetes.minor, kubernetes.patch)
}

/// Writes `go.mod` and `go.sum` of all folders whose versions differ between `old` and `new`.
pub(super) fn upgrade(go: &Go, dir: &Path, old: &Recipe, new: &Recipe) -> Result<(), UpgradeError> {
    for (name, modules) in &new.modules {
        let versions = match name.as_str() {
            KUBERNETES => [&old.kubernetes, &new.kubernetes].map(KubernetesVersion::to_string),
            _ => match (old.components.get(name), new.components.get(name)) {
                (Some(old), Some(new)) => [old, new].map(|version| format!("v{version}")),
                _ => continue,
            },
        };
        if versions[0] == versions[1] {
            continue;
        }
        let what = format!("resolve the modules of {name} {}", versions[1]);
        let _step = tracing::info_span!("step", what).entered();
        let kubernetes = (name == KUBERNETES).then(|| version(&new.kubernetes));
        let folder = Folder {
            name,
            dir: &dir.join("modules").join(name),
            modules,
            go: &go.with_toolchain(Some(&modules.go)),
        };
        folder.upgrade(&versions[0], &versions[1], kubernetes.as_ref())?;
    }
    Ok(())
}

struct Folder<'a> {
    name: &'a str,
    dir: &'a Path,
    modules: &'a Modules,
    go: &'a Go,
}

impl Folder<'_> {
    fn upgrade(&self, old: &str, new: &str, kubernetes: Option<&Version>) -> Result<(), UpgradeError> {
        let own = self.go.read(&self.dir.join("go.mod"))?;
        let built = self.built(&own)?;
        let (mut before, mut after, mut first) = (Vec::new(), Vec::new(), None);
        for module in &built {
            let download = |version: &str| -> Result<GoMod, UpgradeError> {
                // A module that is published under another path has its versions there.
                let replaced = own.replaces().iter().find(|replace| replace.old.path == *module);
                let path = replaced.map_or(module, |replace| &replace.new.path);
                Ok(self.go.read(&self.go.download(path, version)?.go_mod)?)
            };
            before.extend_from_slice(download(old)?.replaces());
            let theirs = download(new)?;
            after.extend_from_slice(theirs.replaces());
            first.get_or_insert(theirs);
        }
        let mut edits = edits(&own, &built, old, new, kubernetes, [&before, &after]);
        if let Some(theirs) = first {
            edits.extend(theirs.go.map(|go| format!("-go={go}")));
            if own.go_debug.is_some() {
                let debug = theirs.go_debug.into_iter().flatten();
                edits.extend(debug.map(|debug| format!("-godebug={}={}", debug.key, debug.value)));
            }
        }
        let arguments: Vec<&str> = ["mod", "edit"]
            .into_iter()
            .chain(edits.iter().map(String::as_str))
            .collect();
        self.run(&arguments, true)?;
        let sums = self.dir.join("go.sum");
        match fs::remove_file(&sums) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &sums)(error).into());
            }
            _ => {}
        }
        self.list(false)?;
        // Checks that builds, which are read-only, have all they need.
        self.list(true)
    }

    /// The required modules that contain the packages.
    fn built(&self, own: &GoMod) -> Result<Vec<String>, UpgradeError> {
        let mut built = Vec::new();
        for package in self.packages() {
            let has = |module: &&Module| {
                package
                    .strip_prefix(module.path.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let found = own
                .requires()
                .iter()
                .filter(has)
                .max_by_key(|module| module.path.len());
            let found = found.ok_or_else(|| UpgradeError::NoModule {
                folder: self.name.to_owned(),
                package: package.clone(),
            })?;
            if !built.contains(&found.path) {
                built.push(found.path.clone());
            }
        }
        Ok(built)
    }

    fn packages(&self) -> impl Iterator<Item = &String> {
        self.modules.commands.values().chain(self.modules.tests.values())
    }

    /// Makes `go` resolve all dependencies of the packages.
    fn list(&self, readonly: bool) -> Result<(), UpgradeError> {
        let mut words = vec!["list", "-deps"];
        words.extend(self.modules.commands.values().map(String::as_str));
        if !self.modules.commands.is_empty() {
            self.run(&words, readonly)?;
        }
        let mut words = vec!["list", "-deps", "-test"];
        words.extend(self.modules.tests.values().map(String::as_str));
        if !self.modules.tests.is_empty() {
            self.run(&words, readonly)?;
        }
        Ok(())
    }

    fn run(&self, words: &[&str], readonly: bool) -> Result<(), UpgradeError> {
        let ran = self.go.command(words, readonly).current_dir(self.dir).run();
        ran.map(drop).map_err(|source| UpgradeError::Modules {
            folder: self.name.to_owned(),
            source,
        })
    }
}

/// The flags of `go mod edit` that change `own`. `before` and `after` are the replacements of the built modules in both
/// versions.
fn edits(
    own: &GoMod,
    built: &[String],
    old: &str,
    new: &str,
    kubernetes: Option<&Version>,
    [before, after]: [&[Replace]; 2],
) -> Vec<String> {
    let mut edits: Vec<String> = Vec::new();
    edits.extend(
        own.requires()
            .iter()
            .map(|module| format!("-droprequire={}", module.path)),
    );
    // The folder's own replacements stay and take precedence over those of its modules.
    let repeated = |replace: &Replace| before.iter().any(|other| other.old == replace.old);
    let (dropped, kept): (Vec<&Replace>, Vec<&Replace>) = own
        .replaces()
        .iter()
        .partition(|replace| repeated(replace) && !renamed(replace));
    edits.extend(
        dropped
            .iter()
            .map(|replace| format!("-dropreplace={}", replace.old.argument())),
    );
    let mut targets: BTreeMap<String, String> = BTreeMap::new();
    for replace in after {
        let target = match (replace.is_local(), kubernetes) {
            (false, _) => replace.new.argument(),
            (true, Some(version)) => format!("{}@{}", replace.old.path, staging(version)),
            (true, None) => continue,
        };
        targets.insert(replace.old.argument(), target);
    }
    for replace in kept {
        targets.remove(&replace.old.argument());
        if renamed(replace) && replace.new.version == old {
            targets.insert(replace.old.argument(), format!("{}@{new}", replace.new.path));
        }
    }
    edits.extend(
        targets
            .into_iter()
            .map(|(old, target)| format!("-replace={old}={target}")),
    );
    edits.extend(built.iter().map(|module| format!("-require={module}@{new}")));
    edits
}

/// True if a module is published under another path.
fn renamed(replace: &Replace) -> bool {
    !replace.is_local() && replace.old.path != replace.new.path
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::super::go::{GoMod, Module, Replace};
    use super::{edits, staging};

    fn replace(old: &str, new: &str, version: &str) -> Replace {
        let module = |path: &str, version: &str| Module {
            path: path.to_owned(),
            version: version.to_owned(),
        };
        Replace {
            old: module(old, ""),
            new: module(new, version),
        }
    }

    fn own(requires: &[(&str, &str)], replaces: &[Replace]) -> GoMod {
        let module = |(path, version): &(&str, &str)| Module {
            path: (*path).to_owned(),
            version: (*version).to_owned(),
        };
        GoMod {
            go: None,
            go_debug: None,
            require: Some(requires.iter().map(module).collect()),
            replace: Some(replaces.to_vec()),
        }
    }

    #[test]
    fn staging_modules_get_the_new_version() {
        let version = Version::new(1, 34, 5);
        assert_eq!(staging(&version), "v0.34.5");
        let own = own(
            &[("k8s.io/kubernetes", "v1.34.4"), ("k8s.io/api", "v0.34.4")],
            &[
                replace("k8s.io/api", "k8s.io/api", "v0.34.4"),
                replace("k8s.io/gone", "k8s.io/gone", "v0.34.4"),
                replace("example.org/a", "example.org/a", "v1.0.0"),
                replace("vbom.ml/util", "github.com/fvbommel/util", "v0.0.1"),
            ],
        );
        let before = [
            replace("k8s.io/api", "./staging/src/k8s.io/api", ""),
            replace("k8s.io/gone", "./staging/src/k8s.io/gone", ""),
            replace("example.org/a", "example.org/a", "v1.0.0"),
        ];
        let after = [
            replace("k8s.io/api", "./staging/src/k8s.io/api", ""),
            replace("k8s.io/new", "./staging/src/k8s.io/new", ""),
            replace("example.org/a", "example.org/a", "v1.1.0"),
        ];
        let built = ["k8s.io/kubernetes".to_owned()];
        assert_eq!(
            edits(
                &own,
                &built,
                "v1.34.4",
                "v1.34.5",
                Some(&version),
                [&before, &after]
            ),
            [
                "-droprequire=k8s.io/kubernetes",
                "-droprequire=k8s.io/api",
                "-dropreplace=k8s.io/api",
                "-dropreplace=k8s.io/gone",
                "-dropreplace=example.org/a",
                "-replace=example.org/a=example.org/a@v1.1.0",
                "-replace=k8s.io/api=k8s.io/api@v0.34.5",
                "-replace=k8s.io/new=k8s.io/new@v0.34.5",
                "-require=k8s.io/kubernetes@v1.34.5",
            ]
        );
    }

    #[test]
    fn renamed_modules_keep_their_path() {
        let name = "github.com/kubernetes-sigs/cri-tools";
        let own = own(
            &[(name, "v1.30.0")],
            &[replace(name, "sigs.k8s.io/cri-tools", "v1.30.0")],
        );
        let local = [replace("example.org/x", "./x", "")];
        assert_eq!(
            edits(
                &own,
                &[name.to_owned()],
                "v1.30.0",
                "v1.33.0",
                None,
                [&[], &local]
            ),
            [
                format!("-droprequire={name}"),
                format!("-replace={name}=sigs.k8s.io/cri-tools@v1.33.0"),
                format!("-require={name}@v1.33.0"),
            ]
        );
    }
}
