//! Tests of the add-ons in this repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use parbake_artifact::images::runtime_name;
use parbake_cluster::api::pod_images::{ImageReference, find_problems, images_in_object};

use super::{Addon, Status};
use crate::provider::Provider;

fn providers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers")
}

fn shipped() -> Vec<Addon> {
    let folder = Addon::folder(&providers());
    let names = Addon::list(&folder).unwrap();
    assert!(names.len() >= 4, "{names:?}");
    let find = |name: &String| Addon::find(name, &folder, &BTreeMap::new()).unwrap();
    names.iter().map(find).collect()
}

#[test]
fn every_image_in_manifests_is_built_or_published() {
    for addon in shipped() {
        let made = addon.recipe.images.values();
        let made: BTreeSet<String> = made.map(|image| image.reference.clone()).collect();
        let named: Vec<ImageReference> = addon.objects.iter().flat_map(images_in_object).collect();
        let lacks = find_problems(&named, &made, runtime_name);
        assert!(lacks.is_empty(), "{}: {lacks:?}", addon.name);
        for also in &addon.recipe.extra_images {
            assert!(made.contains(also), "{}: {also}", addon.name);
        }
    }
}

#[test]
fn every_addon_has_modules_and_documentation() {
    for addon in shipped() {
        for module in addon.recipe.modules.keys() {
            for file in ["go.mod", "go.sum"] {
                let path = addon.dir.join("modules").join(module).join(file);
                assert!(path.is_file(), "{}", path.display());
            }
        }
        let page = std::fs::read_to_string(addon.dir.join("README.md")).unwrap();
        assert!(page.starts_with(&format!("# {}\n", addon.name)), "{page}");
        for option in addon.options.keys() {
            assert!(page.contains(&format!("`{option}`")), "{}: {option}", addon.name);
        }
        // Only untested add-ons say that they are.
        let untested = page.lines().any(|line| line.starts_with("Not tested"));
        assert_eq!(
            untested,
            addon.recipe.status == Status::Untested,
            "{}",
            addon.name
        );
    }
}

#[test]
fn every_addon_is_available_in_a_provider() {
    let provider = Provider::find("k8s-1.34", &providers()).unwrap();
    let recipe = &provider.recipe;
    for addon in shipped() {
        let named = recipe.addons.contains(&addon.name) || recipe.optional.contains(&addon.name);
        assert!(named, "{}", addon.name);
    }
}
