//! What has to be built.

use std::collections::BTreeSet;

use super::local::Local;
use super::release::{KUBEADM, Plan};
use crate::provider::{ImageRecipe, Provider};

/// The binaries that must be built: those on nodes and in assembled images that are neither local nor downloaded.
pub(super) fn wanted(provider: &Provider, plan: &Plan, local: &Local) -> BTreeSet<String> {
    let (names, images) = (local.names(), local.images());
    let is_assembled = |name: &String, recipe: &ImageRecipe| {
        let is_local = recipe.files.values().any(|binary| names.contains(binary));
        !images.contains(name) && (is_local || !plan.has_image(name))
    };
    let own = provider.recipe.images.iter();
    let of_addons = provider.addons.iter().flat_map(|addon| &addon.recipe.images);
    let all = own.chain(of_addons.map(|(name, image)| (name, &image.recipe)));
    let in_images = all
        .filter(|(name, recipe)| is_assembled(name, recipe))
        .flat_map(|(_, recipe)| recipe.files.values());
    let on_nodes = provider.recipe.os.binaries.iter();
    let mut wanted: BTreeSet<String> = on_nodes.chain(in_images).cloned().collect();
    wanted.insert(KUBEADM.to_owned());
    wanted.retain(|name| !names.contains(name) && !plan.has_binary(name));
    wanted
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::super::local::Local;
    use super::super::release::Plan;
    use super::wanted;
    use crate::provider::Provider;
    use crate::provider::lock::Lock;

    fn provider() -> Provider {
        Provider::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers/k8s-1.34")).unwrap()
    }

    fn plan(provider: &Provider) -> Plan {
        let lock = Lock::load_for(provider, "amd64").unwrap();
        let none = BTreeSet::new();
        let (plan, missing) = Plan::new(provider, &lock, &none, &none).unwrap();
        assert!(missing.is_empty(), "{missing:?}");
        plan
    }

    fn names(wanted: &BTreeSet<String>) -> Vec<&str> {
        wanted.iter().map(String::as_str).collect()
    }

    #[test]
    fn nothing_is_built_if_everything_is_published() {
        let provider = provider();
        assert_eq!(
            names(&wanted(&provider, &plan(&provider), &Local::default())),
            [""; 0]
        );
    }

    #[test]
    fn unpublished_binaries_and_images_are_built() {
        let mut provider = provider();
        let mut plan = plan(&provider);
        plan.clear();
        let all = wanted(&provider, &plan, &Local::default());
        for name in [
            "kubeadm",
            "kube-apiserver",
            "etcdctl",
            "registry",
            "pause",
            "local-path-provisioner",
        ] {
            assert!(all.contains(name), "{name}: {all:?}");
        }
        // Its images are not published.
        provider.select_addon("multus").unwrap();
        let plan = self::plan(&provider);
        let some = wanted(&provider, &plan, &Local::default());
        assert_eq!(names(&some), ["multus-daemon", "multus-shim"]);
    }
}
