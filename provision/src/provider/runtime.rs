//! The container runtimes of a provider, and the packages and binaries of its nodes with each.

use std::collections::BTreeMap;

use parbake_cluster::ContainerRuntime;
use serde::Deserialize;

use super::recipe::{AlternativeRuntime, Os, Recipe};
use super::text::{self, Name, PackageName};
use super::{Provider, ProviderName};

/// The table `[runtimes.RUNTIME]` of a provider file, see [`AlternativeRuntime`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuntimeTable {
    #[serde(default, deserialize_with = "text::list::<PackageName, _>")]
    pub(super) packages: Vec<String>,
    #[serde(default, deserialize_with = "text::list::<Name, _>")]
    pub(super) binaries: Vec<String>,
    #[serde(default, deserialize_with = "text::list::<Name, _>")]
    pub(super) without: Vec<String>,
}

/// A runtime that a provider does not support.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{provider}` does not support the container runtime `{runtime}`; use {}, or add `[runtimes.{runtime}]` to its provider \
     file, with the packages and binaries that nodes need for it",
    quoted(.known)
)]
pub struct RuntimeNotAvailable {
    pub provider: ProviderName,
    pub runtime: ContainerRuntime,
    /// The supported runtimes.
    pub known: Vec<ContainerRuntime>,
}

fn quoted(known: &[ContainerRuntime]) -> String {
    let names: Vec<String> = known.iter().map(|runtime| format!("`{runtime}`")).collect();
    names.join(" or ")
}

impl Recipe {
    /// All runtimes that can be selected, the default one first.
    pub fn available_runtimes(&self) -> Vec<ContainerRuntime> {
        std::iter::once(self.default_runtime)
            .chain(self.runtimes.keys().copied())
            .collect()
    }
}

impl AlternativeRuntime {
    /// Nodes with `os`, additional packages and binaries, and `without` some of their own.
    pub(super) fn new(os: &Os, additional: [&[String]; 2], without: &[String]) -> Self {
        let all = |own: &[String], additional: &[String]| {
            let kept = own.iter().filter(|name| !without.contains(name));
            kept.chain(additional).cloned().collect()
        };
        Self {
            packages: all(&os.packages, additional[0]),
            binaries: all(&os.binaries, additional[1]),
            modules: BTreeMap::new(),
        }
    }
}

impl Recipe {
    /// Adds the alternative runtimes, and moves the modules that only these need into them.
    pub(super) fn add_runtimes(&mut self, tables: &BTreeMap<ContainerRuntime, RuntimeTable>) {
        for (name, table) in tables {
            let additional = [table.packages.as_slice(), &table.binaries];
            let mut runtime = AlternativeRuntime::new(&self.os, additional, &table.without);
            let in_images = self.images.values().flat_map(|image| image.files.values());
            let needed: Vec<String> = self.os.binaries.iter().chain(in_images).cloned().collect();
            let (of_runtime, own) = std::mem::take(&mut self.modules)
                .into_iter()
                .partition(|(_, module)| {
                    module.binaries().any(|binary| table.binaries.contains(binary))
                        && !module.binaries().any(|binary| needed.contains(binary))
                });
            (runtime.modules, self.modules) = (of_runtime, own);
            self.runtimes.insert(*name, runtime);
        }
    }
}

impl Provider {
    /// Selects the container runtime of the nodes.
    ///
    /// # Errors
    /// The provider does not support it.
    pub fn select_runtime(&mut self, runtime: ContainerRuntime) -> Result<(), RuntimeNotAvailable> {
        let recipe = &mut self.recipe;
        if recipe.runtime == runtime {
            return Ok(());
        }
        let Some(alternative) = recipe.runtimes.get(&runtime) else {
            return Err(RuntimeNotAvailable {
                provider: self.name.clone(),
                runtime,
                known: recipe.available_runtimes(),
            });
        };
        recipe.os.packages.clone_from(&alternative.packages);
        recipe.os.binaries.clone_from(&alternative.binaries);
        recipe.modules.extend(alternative.modules.clone());
        recipe.runtime = runtime;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use parbake_cluster::ContainerRuntime;

    use super::super::Provider;

    fn provider(name: &str) -> Provider {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers");
        Provider::load(&dir.join(name)).unwrap()
    }

    #[test]
    fn another_runtime_changes_only_the_nodes() {
        let (default, mut selected) = (provider("k8s-1.34"), provider("k8s-1.34"));
        assert_eq!(default.recipe.runtime, ContainerRuntime::Containerd);
        assert!(!default.recipe.modules.contains_key("cri-o"));
        selected.select_runtime(ContainerRuntime::Containerd).unwrap();
        assert_eq!(selected, default);
        selected.select_runtime(ContainerRuntime::CriO).unwrap();
        let has = |names: &[String], name: &str| names.iter().any(|one| one == name);
        let os = &selected.recipe.os;
        assert!(has(&os.packages, "conmon") && !has(&os.packages, "containerd") && has(&os.packages, "runc"));
        assert!(has(&os.binaries, "crio") && has(&os.binaries, "kubelet"));
        assert!(selected.recipe.modules.contains_key("cri-o"));
        assert_eq!(selected.recipe.images, default.recipe.images);
        // The lock covers both, whichever is selected.
        assert_eq!(selected.package_sets(), default.package_sets());
        assert!(has(&default.package_sets()["os/cri-o"], "conmon"));
        assert!(has(&default.package_sets()["os"], "containerd"));
    }

    #[test]
    fn unsupported_runtime_names_alternatives() {
        let error = provider("k8s-1.17")
            .select_runtime(ContainerRuntime::CriO)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`k8s-1.17` does not support the container runtime `cri-o`; use `containerd`, or add `[runtimes.cri-o]` to its \
             provider file, with the packages and binaries that nodes need for it"
        );
    }
}
