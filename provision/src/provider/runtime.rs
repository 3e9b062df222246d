//! The container runtimes that a provider offers, and what its nodes have with each.

use std::collections::BTreeMap;

use parbake_cluster::ContainerRuntime;

use super::recipe::{Modules, Os, Recipe};
use super::{Provider, ProviderName};

/// The name of the packages of a node's operating system in a lock, where the runtime is the provider's own.
pub(crate) const OS_SET: &str = "os";
/// What the names of such packages begin with where it is another one.
const OS_OF_RUNTIME: &str = "os/";

/// Whether the packages `set` of a lock are a node's operating system, with whichever runtime.
pub(crate) fn is_os(set: &str) -> bool {
    set == OS_SET || set.starts_with(OS_OF_RUNTIME)
}

/// A runtime that a provider offers beside its own.
///
/// ```toml
/// [runtimes.cri-o]                      # the same nodes with this runtime
/// packages = ["conmon"]                 # what they have beside what `os.packages` names
/// binaries = ["crio", "pinns"]          # and beside what `os.binaries` names
/// without = ["containerd"]              # what they do without: packages or binaries of the operating system
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlternativeRuntime {
    /// The Debian packages that are asked for, all of them.
    pub packages: Vec<String>,
    /// The names of the binaries that nodes have beside the packages, all of them.
    pub binaries: Vec<String>,
    /// What is built for this runtime and for nothing else, by name of the folder under `modules/`.
    pub modules: BTreeMap<String, Modules>,
}

/// A runtime that a provider does not offer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{provider}` does not offer the container runtime `{runtime}`; bake with {}, or add `[runtimes.{runtime}]` to its \
     provider file, with what nodes need for it",
    offered(.known)
)]
pub struct RuntimeNotAvailable {
    /// The provider.
    pub provider: ProviderName,
    /// What was asked for.
    pub runtime: ContainerRuntime,
    /// What it has.
    pub known: Vec<ContainerRuntime>,
}

fn offered(known: &[ContainerRuntime]) -> String {
    let names: Vec<String> = known.iter().map(|runtime| format!("`{runtime}`")).collect();
    names.join(" or ")
}

impl AlternativeRuntime {
    /// What nodes with `os` have when they have `more` and do `without`.
    pub(super) fn beside(os: &Os, more: [&[String]; 2], without: &[String]) -> Self {
        let all = |own: &[String], more: &[String]| {
            let kept = own.iter().filter(|name| !without.contains(name));
            kept.chain(more).cloned().collect()
        };
        Self {
            packages: all(&os.packages, more[0]),
            binaries: all(&os.binaries, more[1]),
            modules: BTreeMap::new(),
        }
    }
}

impl Recipe {
    /// What the lock calls the packages of nodes with `runtime`.
    pub(crate) fn os_set(&self, runtime: ContainerRuntime) -> String {
        match self.runtimes.contains_key(&runtime) {
            true => format!("{OS_OF_RUNTIME}{runtime}"),
            false => OS_SET.to_owned(),
        }
    }

    /// The runtime that nodes have when nobody chooses another, and those that can be chosen beside it.
    pub fn available_runtimes(&self) -> Vec<ContainerRuntime> {
        std::iter::once(self.default_runtime)
            .chain(self.runtimes.keys().copied())
            .collect()
    }
}

impl Provider {
    /// Has its nodes another container runtime than it says.
    ///
    /// # Errors
    /// It does not offer that one.
    pub fn select_runtime(&mut self, runtime: ContainerRuntime) -> Result<(), RuntimeNotAvailable> {
        let recipe = &mut self.recipe;
        if recipe.runtime == runtime {
            return Ok(());
        }
        let Some(offered) = recipe.runtimes.get(&runtime) else {
            return Err(RuntimeNotAvailable {
                provider: self.name.clone(),
                runtime,
                known: recipe.available_runtimes(),
            });
        };
        recipe.os.packages.clone_from(&offered.packages);
        recipe.os.binaries.clone_from(&offered.binaries);
        recipe.modules.extend(offered.modules.clone());
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
    fn another_runtime_changes_the_nodes_and_nothing_else() {
        let (plain, mut chosen) = (provider("k8s-1.34"), provider("k8s-1.34"));
        assert_eq!(plain.recipe.runtime, ContainerRuntime::Containerd);
        assert!(!plain.recipe.modules.contains_key("cri-o"));
        chosen.select_runtime(ContainerRuntime::Containerd).unwrap();
        assert_eq!(chosen, plain);
        chosen.select_runtime(ContainerRuntime::CriO).unwrap();
        let has = |names: &[String], name: &str| names.iter().any(|one| one == name);
        let os = &chosen.recipe.os;
        assert!(has(&os.packages, "conmon") && !has(&os.packages, "containerd") && has(&os.packages, "runc"));
        assert!(has(&os.binaries, "crio") && has(&os.binaries, "kubelet"));
        assert!(chosen.recipe.modules.contains_key("cri-o"));
        assert_eq!(chosen.recipe.images, plain.recipe.images);
        // The lock is of both, whichever is chosen.
        assert_eq!(chosen.package_sets(), plain.package_sets());
        assert!(has(&plain.package_sets()["os/cri-o"], "conmon"));
        assert!(has(&plain.package_sets()["os"], "containerd"));
    }

    #[test]
    fn what_is_not_offered_says_what_to_do() {
        let error = provider("k8s-1.17")
            .select_runtime(ContainerRuntime::CriO)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`k8s-1.17` does not offer the container runtime `cri-o`; bake with `containerd`, or add `[runtimes.cri-o]` to \
             its provider file, with what nodes need for it"
        );
    }
}
