//! Add-ons: applied when the cluster is there, and waited for until they are rolled out.

use std::collections::BTreeSet;
use std::time::Duration;

use parbake_artifact::images::runtime_name;
use parbake_cluster::pod_images::{Lack, Named, lacking, named_by, named_in_cluster};
use parbake_cluster::rollout::{Workload, wait_until_rolled_out};
use parbake_cluster::{Client, Node};
use parbake_machine::supervisor::Running;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::Error;
use crate::inputs::ImageArchive;
use crate::provider::Addon;

/// How long an add-on may take until all of it is rolled out.
const ROLLED_OUT: Duration = Duration::from_secs(180);
/// What others can only be made in or of.
const FIRST: [&str; 2] = ["Namespace", "CustomResourceDefinition"];
const DEFINITION: &str = "CustomResourceDefinition";

/// Images that pods will ask for and that the artifact would not have.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}; the artifact would not have {}: bring what is missing with `--image`, or describe it in the add-on's `images`",
    listed(.0),
    if .0.len() == 1 { "it" } else { "them" }
)]
pub struct MissingImages(Vec<Lack>);

fn listed(lacks: &[Lack]) -> String {
    let lacks: Vec<String> = lacks.iter().map(ToString::to_string).collect();
    lacks.join("; ")
}

/// What an artifact with these images has, by the names that runtimes go by.
pub(super) struct Known(BTreeSet<String>);

impl Known {
    pub(super) fn new(images: &[ImageArchive]) -> Self {
        let names = images.iter().flat_map(|image| &image.names);
        Self(names.map(|name| runtime_name(name)).collect())
    }

    /// Whether all that the add-ons themselves say is there. What comes of them later is seen in the cluster.
    pub(super) fn suffice_for(&self, addons: &[Addon]) -> Result<(), MissingImages> {
        let objects = addons
            .iter()
            .flat_map(|addon| addon.objects.iter().flat_map(named_by));
        let also = addons.iter().flat_map(|addon| {
            addon.recipe.also.iter().map(|image| Named {
                by: format!("`also` of the add-on `{}`", addon.name),
                image: image.clone(),
                always: false,
                made: false,
            })
        });
        self.check(&objects.chain(also).collect::<Vec<_>>())
    }

    fn check(&self, named: &[Named]) -> Result<(), MissingImages> {
        let lacks = lacking(named, &self.0, runtime_name);
        if lacks.is_empty() {
            return Ok(());
        }
        Err(MissingImages(lacks))
    }

    /// Whether all that the cluster says is there.
    async fn check_cluster(&self, client: &Client) -> Result<(), Error> {
        let named = named_in_cluster(client).await?;
        Ok(self.check(&named)?)
    }
}

/// Applies `addons` in their order, each when the one before it is rolled out. An image that the artifact does not have
/// ends it before a pod is waited for that cannot start.
pub(super) fn apply(
    running: &Running,
    runtime: &Runtime,
    client: &Client,
    plane: &Node,
    addons: &[Addon],
    known: &Known,
) -> Result<(), Error> {
    for addon in addons {
        let _step = tracing::info_span!("step", what = format!("add {}", addon.name)).entered();
        let (first, rest): (Vec<&Value>, Vec<&Value>) =
            addon.objects.iter().partition(|object| is_one_of(object, &FIRST));
        kubectl_apply(running, plane, &first)?;
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
            kubectl(running, plane, &established)?.run()?;
        }
        kubectl_apply(running, plane, &rest)?;
        runtime.block_on(known.check_cluster(client))?;
        let own = addon.objects.iter().filter_map(Workload::of);
        let workloads: Vec<Workload> = own.chain(addon.recipe.ready.iter().cloned()).collect();
        runtime
            .block_on(wait_until_rolled_out(client, &workloads, ROLLED_OUT))
            .map_err(|timed_out| Error::NotReady(timed_out.into()))?;
    }
    // Pods make pods: only now all of them are seen.
    runtime.block_on(known.check_cluster(client))
}

fn is_one_of(object: &Value, kinds: &[&str]) -> bool {
    object["kind"].as_str().is_some_and(|kind| kinds.contains(&kind))
}

fn kubectl(running: &Running, plane: &Node, words: &[&str]) -> Result<parbake_machine::process::Cmd, Error> {
    let kubectl = ["kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"];
    Ok(running.command(plane.name.as_str(), [kubectl.as_slice(), words].concat())?)
}

fn kubectl_apply(running: &Running, plane: &Node, objects: &[&Value]) -> Result<(), Error> {
    if objects.is_empty() {
        return Ok(());
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    // On the server's side, since the other way writes whole objects into annotations, for which some are too large.
    let words = ["apply", "--server-side", "--field-manager=parbake", "-f", "-"];
    kubectl(running, plane, &words)?.stdin(list.to_string()).run()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::Known;
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

    fn said(addon: &Addon) -> String {
        let digest = format!("example.org/b@sha256:{}", "0".repeat(64));
        let names = ["docker.io/library/a:1", "example.org/b:1", &digest];
        let known = Known::new(&[ImageArchive {
            short_name: "a".to_owned(),
            reference: names[0].to_owned(),
            names: names.map(str::to_owned).into(),
            path: "image.tar".into(),
            key: String::new(),
        }]);
        let checked = known.suffice_for(std::slice::from_ref(addon));
        checked.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn images_are_known_by_all_names_that_pods_may_use() {
        let pinned = format!("example.org/b:9@sha256:{}", "0".repeat(64));
        for image in [
            "a:1",
            "docker.io/a:1",
            "docker.io/library/a:1",
            "example.org/b:1",
            &pinned,
        ] {
            assert_eq!(said(&addon("", &pod(image))), "", "{image}");
        }
    }

    #[test]
    fn what_lacks_is_named_with_who_wants_it() {
        let end = "bring what is missing with `--image`, or describe it in the add-on's `images`";
        assert_eq!(
            said(&addon("", &pod("a:2"))),
            format!("pod `default/p` names the image `a:2`; the artifact would not have it: {end}")
        );
        let both = said(&addon("\"docker.io/library/c:1\"", &pod("a:2")));
        for part in [
            "`also` of the add-on `app` names the image `docker.io/library/c:1`",
            "pod `default/p` names the image `a:2`",
            "would not have them",
        ] {
            assert!(both.contains(part), "{both}");
        }
    }
}
