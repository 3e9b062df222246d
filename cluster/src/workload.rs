//! A sample workload for the benchmark: a namespace with a deployment of one pod, and a service in front of it.
//!
//! The pod runs CoreDNS, whose image every node has, configured to answer for one name. The workload is up when its service
//! address gives that answer. It is not deleted afterwards.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::objects::SYSTEM_NAMESPACE;
use crate::api::response::request_failed;
use crate::error::Error;
use crate::model::description::{Description, Role};
use crate::readiness::{DnsProbe, DnsQuery};
use crate::wait::{Poll, Wait};

/// The name of the namespace and of all objects in it.
const NAME: &str = "parbake-first";
/// The name that the pod answers for.
const QUERY: &str = "first.parbake.test.";
/// The answer, a documentation address (RFC 5737).
const ANSWER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The pod's port; a lower one would need a capability.
const PORT: u16 = 5353;
const SERVICE_PORT: u16 = 53;
/// The deployment whose image is used.
const COREDNS: &str = "coredns";

/// Deploys the workload on a worker, or on the control plane if there is none, and waits until its service answers `probe`.
/// The cluster must be ready.
///
/// # Errors
/// A request failed, or [`Error::TimedOut`] with the last failure.
pub async fn run_first(
    client: &Client,
    cluster: &Description,
    probe: &DnsProbe,
    limit: Duration,
) -> Result<(), Error> {
    let image = coredns_image(client).await?;
    let namespace: Namespace = object(json!({ "metadata": { "name": NAME } }));
    create(&Api::all(client.clone()), "namespace", &namespace).await?;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAME);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAME);
    let services: Api<Service> = Api::namespaced(client.clone(), NAME);
    let (map, deployment, service) = (corefile(), deployment(cluster, &image), service());
    let (_, _, service) = tokio::try_join!(
        create(&maps, "config map", &map),
        create(&deployments, "deployment", &deployment),
        create(&services, "service", &service),
    )?;
    let address = service
        .spec
        .and_then(|spec| spec.cluster_ip?.parse::<IpAddr>().ok());
    let address = address.ok_or_else(|| Error::NoAddress {
        service: NAME.to_owned(),
    })?;
    let query = DnsQuery {
        server: SocketAddr::from((address, SERVICE_PORT)),
        name: QUERY.to_owned(),
        expected: ANSWER.into(),
    };
    let wait = Wait::new("the first pod of a new deployment", limit).interval(Duration::from_millis(50));
    let answered = wait.until(|| async {
        match query.send(probe).await {
            Ok(()) => Poll::Ready(()),
            Err(last) => Poll::Pending(last),
        }
    });
    Ok(answered.await?)
}

async fn coredns_image(client: &Client) -> Result<String, Error> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let deployment = format!("{SYSTEM_NAMESPACE}/{COREDNS}");
    let act = format!("get the deployment `{deployment}`");
    let coredns = api.get(COREDNS).await.map_err(request_failed(act))?;
    let pod = coredns.spec.and_then(|spec| spec.template.spec);
    let container = pod.and_then(|pod| pod.containers.into_iter().next());
    container
        .and_then(|container| container.image)
        .ok_or(Error::NoImage { deployment })
}

async fn create<K>(api: &Api<K>, kind: &str, object: &K) -> Result<K, Error>
where
    K: Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let created = api.create(&PostParams::default(), object).await;
    created.map_err(request_failed(format!("create the {kind} `{NAME}`")))
}

fn corefile() -> ConfigMap {
    let text = format!(".:{PORT} {{\n    hosts {{\n        {ANSWER} {QUERY}\n    }}\n}}\n");
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("Corefile".to_owned(), text)])),
        ..ConfigMap::default()
    }
}

/// Everything else, such as probes and security context, is left at its default, as in most users' deployments.
fn deployment(cluster: &Description, image: &str) -> Deployment {
    let has_worker = cluster.nodes().iter().any(|node| node.role == Role::Worker);
    let tolerations = match has_worker {
        true => json!([]),
        false => json!([{ "key": "node-role.kubernetes.io/control-plane", "operator": "Exists" }]),
    };
    object(json!({
        "metadata": { "name": NAME },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "app": NAME } },
            "template": {
                "metadata": { "labels": { "app": NAME } },
                "spec": {
                    "containers": [{
                        "name": "server",
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "args": ["-conf", "/etc/coredns/Corefile"],
                        "volumeMounts": [{ "name": "config", "mountPath": "/etc/coredns" }],
                    }],
                    "tolerations": tolerations,
                    "volumes": [{ "name": "config", "configMap": { "name": NAME } }],
                },
            },
        },
    }))
}

fn service() -> Service {
    object(json!({
        "metadata": { "name": NAME },
        "spec": {
            "selector": { "app": NAME },
            "ports": [{ "port": SERVICE_PORT, "targetPort": PORT, "protocol": "UDP" }],
        },
    }))
}

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("the objects of this file are valid, which its tests check")
}

#[cfg(test)]
mod tests {
    use super::{NAME, corefile, deployment, service};
    use crate::model::addressing::Subnets;
    use crate::model::description::{Description, Role};
    use crate::model::name::{ClusterDomain, NodeName};

    fn cluster(workers: usize) -> Description {
        let [nodes, pods, services] =
            ["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"].map(|net| net.parse().unwrap());
        let subnets = Subnets {
            nodes,
            pods,
            services,
        };
        let mut names = vec![(NodeName::numbered(1), Role::ControlPlane)];
        names.extend((0..workers).map(|number| (NodeName::numbered(number + 2), Role::Worker)));
        subnets
            .describe("v1.34.4".parse().unwrap(), ClusterDomain::default(), &names)
            .unwrap()
    }

    #[test]
    fn pod_tolerates_the_control_plane_only_without_workers() {
        for (workers, tolerations) in [(0, 1), (2, 0)] {
            let spec = deployment(&cluster(workers), "example/dns:1").spec.unwrap();
            let pod = spec.template.spec.unwrap();
            assert_eq!(pod.tolerations.unwrap().len(), tolerations, "{workers}");
            assert_eq!(pod.containers[0].image.as_deref(), Some("example/dns:1"));
        }
    }

    #[test]
    fn service_selects_the_pod_and_the_pod_mounts_its_configuration() {
        let spec = deployment(&cluster(0), "example/dns:1").spec.unwrap();
        let labels = spec.template.metadata.unwrap().labels.unwrap();
        let service = service();
        assert_eq!(service.spec.unwrap().selector.unwrap(), labels);
        assert_eq!(service.metadata.name.as_deref(), Some(NAME));
        let volumes = spec.template.spec.unwrap().volumes.unwrap();
        let map = corefile();
        assert_eq!(
            Some(&volumes[0].config_map.as_ref().unwrap().name),
            map.metadata.name.as_ref()
        );
        assert_eq!(
            map.data.unwrap()["Corefile"],
            ".:5353 {\n    hosts {\n        192.0.2.1 first.parbake.test.\n    }\n}\n"
        );
    }
}
