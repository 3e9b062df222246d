//! A first workload: what a user does with a cluster that is ready, and waits for.
//!
//! A namespace with a deployment of one pod and a service in front of it. The pod is of an image that every cluster has
//! on all nodes, CoreDNS, told to answer for a name of its own; so it is reached when the service's address gives that
//! answer. Nothing is taken away afterwards.

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
use thiserror::Error;

use crate::api_error::ApiError;
use crate::description::{Description, Role};
use crate::readiness::{DnsProbe, Question};
use crate::wait::{Poll, TimedOut, Wait};

/// The namespace, and the name of everything in it.
const NAME: &str = "parbake-first";
/// What is asked for through the service.
const QUESTION: &str = "first.parbake.test.";
/// What is answered: an address that is nobody's (RFC 5737).
const ANSWER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Where the pod listens; a lower port would take a capability.
const PORT: u16 = 5353;
/// Where the service does.
const SERVICE_PORT: u16 = 53;
/// The deployment whose image is used, and its namespace.
const DNS: (&str, &str) = ("kube-system", "coredns");

/// A first workload that did not come up.
#[derive(Debug, Error)]
pub enum WorkloadError {
    /// The API refused something.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The cluster has no image to run.
    #[error("the deployment `{}/{}` names no image", DNS.0, DNS.1)]
    NoImage,
    /// The service got no address.
    #[error("the service `{NAME}` was given no address")]
    NoAddress,
    /// The service's address did not answer.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
}

/// Deploys the workload on a worker, or on the control plane where there is none, and waits until its service answers
/// `vantage`. The cluster is ready.
///
/// # Errors
/// What the API refused, or [`TimedOut`] with what came last instead of the answer.
pub async fn run_first(
    client: &Client,
    cluster: &Description,
    vantage: &DnsProbe,
    limit: Duration,
) -> Result<(), WorkloadError> {
    let image = image(client).await?;
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
    let question = Question {
        server: SocketAddr::from((address.ok_or(WorkloadError::NoAddress)?, SERVICE_PORT)),
        name: QUESTION.to_owned(),
        answer: ANSWER.into(),
    };
    let wait = Wait::new("the first pod of a new deployment", limit).pause(Duration::from_millis(50));
    let answered = wait.until(|| async {
        match question.ask(vantage).await {
            Ok(()) => Poll::Seen(()),
            Err(last) => Poll::Pending(last),
        }
    });
    Ok(answered.await?)
}

async fn image(client: &Client) -> Result<String, WorkloadError> {
    let (namespace, name) = DNS;
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let act = format!("read the deployment `{namespace}/{name}`");
    let dns = api.get(name).await.map_err(ApiError::new(act))?;
    let pod = dns.spec.and_then(|spec| spec.template.spec);
    let container = pod.and_then(|pod| pod.containers.into_iter().next());
    container
        .and_then(|container| container.image)
        .ok_or(WorkloadError::NoImage)
}

async fn create<K>(api: &Api<K>, kind: &str, object: &K) -> Result<K, ApiError>
where
    K: Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let created = api.create(&PostParams::default(), object).await;
    created.map_err(ApiError::new(format!("make the {kind} `{NAME}`")))
}

fn corefile() -> ConfigMap {
    let text = format!(".:{PORT} {{\n    hosts {{\n        {ANSWER} {QUESTION}\n    }}\n}}\n");
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("Corefile".to_owned(), text)])),
        ..ConfigMap::default()
    }
}

/// All that is not named is as users leave it: token, probes, security context.
fn deployment(cluster: &Description, image: &str) -> Deployment {
    let alone = cluster.nodes().iter().all(|node| node.role == Role::ControlPlane);
    let tolerated = json!([{ "key": "node-role.kubernetes.io/control-plane", "operator": "Exists" }]);
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
                    "tolerations": if alone { tolerated } else { json!([]) },
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
    serde_json::from_value(value).expect("what stands in this file is of its kind's shape; its tests try it")
}

#[cfg(test)]
mod tests {
    use super::{NAME, corefile, deployment, service};
    use crate::addressing::Subnets;
    use crate::description::{Description, Role};
    use crate::name::{ClusterDomain, NodeName};

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
    fn it_runs_on_a_worker_where_there_is_one() {
        for (workers, tolerations) in [(0, 1), (2, 0)] {
            let spec = deployment(&cluster(workers), "example/dns:1").spec.unwrap();
            let pod = spec.template.spec.unwrap();
            assert_eq!(pod.tolerations.unwrap().len(), tolerations, "{workers}");
            assert_eq!(pod.containers[0].image.as_deref(), Some("example/dns:1"));
        }
    }

    #[test]
    fn the_service_leads_to_the_pod_and_the_pod_to_its_configuration() {
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
