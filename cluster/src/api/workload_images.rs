//! The images that workloads run, and how to change them.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::response::request_failed;
use super::rollout::{Kind, Workload};
use crate::error::Error;

/// A container in the pod template of a workload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadContainer {
    pub workload: Workload,
    pub container: String,
    pub image: String,
}

/// The last part of an image's name, without tag and digest: `coredns` of `registry.k8s.io/coredns/coredns:v1.12.1`.
pub fn image_name(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or(image);
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split(':').next().unwrap_or(last)
}

/// Lists the containers of all deployments, daemon sets and stateful sets.
///
/// # Errors
/// A request failed.
pub async fn list_containers(client: &Client) -> Result<Vec<WorkloadContainer>, Error> {
    let all = ListParams::default();
    let deployments: Api<Deployment> = Api::all(client.clone());
    let daemon_sets: Api<DaemonSet> = Api::all(client.clone());
    let stateful_sets: Api<StatefulSet> = Api::all(client.clone());
    let (deployments, daemon_sets, stateful_sets) = tokio::try_join!(
        deployments.list(&all),
        daemon_sets.list(&all),
        stateful_sets.list(&all)
    )
    .map_err(request_failed("list workloads"))?;
    let mut found = Vec::new();
    for object in &deployments.items {
        let template = object.spec.as_ref().map(|spec| &spec.template);
        found.extend(containers_of(Kind::Deployment, &object.metadata, template));
    }
    for object in &daemon_sets.items {
        let template = object.spec.as_ref().map(|spec| &spec.template);
        found.extend(containers_of(Kind::DaemonSet, &object.metadata, template));
    }
    for object in &stateful_sets.items {
        let template = object.spec.as_ref().map(|spec| &spec.template);
        found.extend(containers_of(Kind::StatefulSet, &object.metadata, template));
    }
    found.sort();
    Ok(found)
}

fn containers_of(
    kind: Kind,
    meta: &ObjectMeta,
    template: Option<&PodTemplateSpec>,
) -> Vec<WorkloadContainer> {
    let workload = Workload {
        kind,
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    };
    let spec = template.and_then(|template| template.spec.as_ref());
    let containers = spec.into_iter().flat_map(|spec| &spec.containers);
    let found = containers.map(|container| WorkloadContainer {
        workload: workload.clone(),
        container: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
    });
    found.collect()
}

/// Changes the image of a workload's container.
///
/// # Errors
/// The request failed.
pub async fn set_image(
    client: &Client,
    workload: &Workload,
    container: &str,
    image: &str,
) -> Result<(), Error> {
    let containers = json!([{ "name": container, "image": image }]);
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let patched = workload
        .api(client)
        .patch(&workload.name, &PatchParams::default(), &Patch::Strategic(&patch))
        .await;
    patched.map_err(request_failed(format!("change the image of `{workload}`")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::image_name;

    #[test]
    fn image_name_is_the_last_part() {
        for (image, short) in [
            ("registry.k8s.io/coredns/coredns:v1.12.1", "coredns"),
            ("registry.example:5000/etcd", "etcd"),
            ("example.org/a/b@sha256:00", "b"),
            ("example.org/a/b:1@sha256:00", "b"),
            ("busybox", "busybox"),
        ] {
            assert_eq!(image_name(image), short);
        }
    }
}
