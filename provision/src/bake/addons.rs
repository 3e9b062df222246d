//! Applies add-ons to the cluster and waits until they are rolled out.

use std::collections::BTreeSet;
use std::time::Duration;

use parbake_artifact::images::runtime_name;
use parbake_cluster::api::pod_images::{
    ImageProblem, ImageReference, find_problems, images_in_cluster, images_in_object,
};
use parbake_cluster::api::rollout::{Workload, wait_until_rolled_out};
use parbake_cluster::{Client, Node};
use parbake_machine::supervisor::Running;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::Error;
use super::node_command::kubectl;
use crate::inputs::ImageArchive;
use crate::provider::Addon;

/// The time limit for the rollout of an add-on.
const ROLLOUT_TIMEOUT: Duration = Duration::from_secs(180);
/// Kinds that other objects depend on.
const FIRST: [&str; 2] = ["Namespace", "CustomResourceDefinition"];
const DEFINITION: &str = "CustomResourceDefinition";

/// Images that pods need and the artifact would lack.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}; the artifact would not have {}: add the image with `--image`, or list it in the add-on's `images`",
    listed(.0),
    if .0.len() == 1 { "it" } else { "them" }
)]
pub struct MissingImages(Vec<ImageProblem>);

fn listed(lacks: &[ImageProblem]) -> String {
    let lacks: Vec<String> = lacks.iter().map(ToString::to_string).collect();
    lacks.join("; ")
}

/// The names that container runtimes give to the images of an artifact.
pub(super) struct AvailableImages(BTreeSet<String>);

impl AvailableImages {
    pub(super) fn new(images: &[ImageArchive]) -> Self {
        let names = images.iter().flat_map(|image| &image.names);
        Self(names.map(|name| runtime_name(name)).collect())
    }

    /// Checks the images that the add-ons' manifests name. Those of objects that controllers create later are checked in the
    /// cluster.
    pub(super) fn check_addons(&self, addons: &[Addon]) -> Result<(), MissingImages> {
        let objects = addons
            .iter()
            .flat_map(|addon| addon.objects.iter().flat_map(images_in_object));
        let also = addons.iter().flat_map(|addon| {
            addon.recipe.extra_images.iter().map(|image| ImageReference {
                object: format!("`also` of the add-on `{}`", addon.name),
                image: image.clone(),
                pulls_always: false,
                is_generated: false,
            })
        });
        self.check(&objects.chain(also).collect::<Vec<_>>())
    }

    fn check(&self, named: &[ImageReference]) -> Result<(), MissingImages> {
        let lacks = find_problems(named, &self.0, runtime_name);
        if lacks.is_empty() {
            return Ok(());
        }
        Err(MissingImages(lacks))
    }

    /// Checks the images that the cluster's objects name.
    async fn check_cluster(&self, client: &Client) -> Result<(), Error> {
        let named = images_in_cluster(client).await?;
        Ok(self.check(&named)?)
    }
}

/// Applies `addons` in order, each after the rollout of the previous one. Fails for a missing image before waiting for a
/// pod that needs it.
pub(super) fn apply(
    running: &Running,
    runtime: &Runtime,
    client: &Client,
    control_plane: &Node,
    addons: &[Addon],
    available: &AvailableImages,
) -> Result<(), Error> {
    for addon in addons {
        let _step = tracing::info_span!("step", what = format!("add {}", addon.name)).entered();
        let (first, rest): (Vec<&Value>, Vec<&Value>) =
            addon.objects.iter().partition(|object| is_one_of(object, &FIRST));
        kubectl_apply(running, control_plane, &first)?;
        let definitions = first.iter().filter(|object| is_one_of(object, &[DEFINITION]));
        for definition in definitions {
            let name = definition["metadata"]["name"].as_str().unwrap_or_default();
            let established = [
                "wait",
                "--for=condition=Established",
                "--timeout=60s",
                "crd",
                name,
            ];
            kubectl(running, control_plane, &established)?.run()?;
        }
        kubectl_apply(running, control_plane, &rest)?;
        runtime.block_on(available.check_cluster(client))?;
        let own = addon.objects.iter().filter_map(Workload::from_object);
        let workloads: Vec<Workload> = own.chain(addon.recipe.ready.iter().cloned()).collect();
        runtime
            .block_on(wait_until_rolled_out(client, &workloads, ROLLOUT_TIMEOUT))
            .map_err(|timed_out| Error::NotReady(timed_out.into()))?;
    }
    // Operators create further pods, which exist only now.
    runtime.block_on(available.check_cluster(client))
}

fn is_one_of(object: &Value, kinds: &[&str]) -> bool {
    object["kind"].as_str().is_some_and(|kind| kinds.contains(&kind))
}

fn kubectl_apply(running: &Running, control_plane: &Node, objects: &[&Value]) -> Result<(), Error> {
    if objects.is_empty() {
        return Ok(());
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    // Server-side apply, since client-side apply stores each object in an annotation, for which some are too large.
    let args = ["apply", "--server-side", "--field-manager=parbake", "-f", "-"];
    kubectl(running, control_plane, &args)?
        .stdin(list.to_string())
        .run()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::AvailableImages;
    use crate::inputs::ImageArchive;
    use crate::provider::Addon;

    fn addon(also: &str, manifest: &str) -> Addon {
        let dir = tempfile::tempdir().unwrap();
        let head = "version = \"1.0.0\"\ndescription = \"d\"\nstatus = \"untested\"\n";
        fs::write(dir.path().join("addon.toml"), format!("{head}also = [{also}]\n")).unwrap();
        fs::write(dir.path().join("a.yaml"), manifest).unwrap();
        let mut addon = Addon::load(dir.path(), &BTreeMap::new()).unwrap();
        addon.name = "app".to_owned();
        addon
    }

    fn pod(image: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{ name: p }}\nspec: {{ containers: [{{ name: c, image: \"{image}\" }}] }}\n"
        )
    }

    fn message(addon: &Addon) -> String {
        let digest = format!("example.org/b@sha256:{}", "0".repeat(64));
        let names = ["docker.io/library/a:1", "example.org/b:1", &digest];
        let available = AvailableImages::new(&[ImageArchive {
            short_name: "a".to_owned(),
            reference: names[0].to_owned(),
            names: names.map(str::to_owned).into(),
            path: "image.tar".into(),
            key: String::new(),
        }]);
        let checked = available.check_addons(std::slice::from_ref(addon));
        checked.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn every_name_of_an_available_image_is_accepted() {
        let pinned = format!("example.org/b:9@sha256:{}", "0".repeat(64));
        for image in [
            "a:1",
            "docker.io/a:1",
            "docker.io/library/a:1",
            "example.org/b:1",
            &pinned,
        ] {
            assert_eq!(message(&addon("", &pod(image))), "", "{image}");
        }
    }

    #[test]
    fn missing_image_is_named_with_its_user() {
        let end = "add the image with `--image`, or list it in the add-on's `images`";
        assert_eq!(
            message(&addon("", &pod("a:2"))),
            format!("pod `default/p` names the image `a:2`; the artifact would not have it: {end}")
        );
        let both = message(&addon("\"docker.io/library/c:1\"", &pod("a:2")));
        for part in [
            "`also` of the add-on `app` names the image `docker.io/library/c:1`",
            "pod `default/p` names the image `a:2`",
            "would not have them",
        ] {
            assert!(both.contains(part), "{both}");
        }
    }
}
