//! Where a cluster has a program.

use parbake_cluster::swap::{Runs, containers, short_name};
use parbake_cluster::{Client, Description, NodeName, Role};
use parbake_machine::handle::Running;
use serde_json::Value;

use super::{Program, SwapError, image};
use crate::Error;
use crate::recover::node_files as node;

/// Where kubelets find their static pods.
const MANIFESTS: &str = "/etc/kubernetes/manifests";
/// Units that run a program, beside the runtime's.
const UNITS: [(&str, &str); 3] = [
    ("dnsmasq", "parbake-dns.service"),
    ("kubelet", "kubelet.service"),
    ("registry", "parbake-registry.service"),
];

/// Where a program belongs.
pub(super) enum Place {
    /// A file of the nodes themselves.
    Node {
        nodes: Vec<NodeName>,
        /// The same on each.
        path: String,
        unit: Option<String>,
    },
    /// The image of a static pod; a manifest for each node.
    Pods {
        nodes: Vec<NodeName>,
        manifests: Vec<Manifest>,
    },
    /// The image of what the API runs.
    Workloads { runs: Vec<Runs> },
}

/// A static pod's manifest.
pub(super) struct Manifest {
    program: String,
    node: NodeName,
    pod: Value,
    /// The image of its program.
    pub(super) image: String,
}

/// The nodes that are meant; the cluster's first one comes first.
pub(super) fn chosen(cluster: &Description, named: &[NodeName]) -> Result<Vec<NodeName>, Error> {
    let all: Vec<NodeName> = cluster.nodes().iter().map(|node| node.name.clone()).collect();
    if let Some(unknown) = named.iter().find(|name| !all.contains(name)) {
        return Err(Error::node_not_found(unknown, &all));
    }
    let meant = |name: &NodeName| named.is_empty() || named.contains(name);
    Ok(all.into_iter().filter(meant).collect())
}

/// Where the cluster has `program`, on those of `nodes` that have another; nothing where all have this one.
pub(super) async fn place(
    running: &Running,
    client: &Client,
    cluster: &Description,
    program: &Program,
    nodes: &[NodeName],
    narrowed: bool,
) -> Result<Option<Place>, Error> {
    let name = program.name.as_str();
    let planes = cluster
        .nodes()
        .iter()
        .filter(|node| node.role == Role::ControlPlane);
    let mut pods = Vec::new();
    let mut elsewhere = false;
    for plane in planes {
        if let Some(manifest) = Manifest::read(running, &plane.name, name)? {
            if nodes.contains(&plane.name) {
                pods.push(manifest);
            } else {
                elsewhere = true;
            }
        }
    }
    if !pods.is_empty() {
        return Ok(of_pods(pods, program));
    }
    let all = containers(client).await?;
    let runs: Vec<Runs> = all
        .iter()
        .filter(|run| short_name(&run.image) == name)
        .cloned()
        .collect();
    if !runs.is_empty() {
        return of_workloads(runs, program, narrowed);
    }
    if !elsewhere && let Some(place) = of_nodes(running, cluster, program, nodes)? {
        return Ok(place);
    }
    if elsewhere || (narrowed && of_nodes(running, cluster, program, &chosen(cluster, &[])?)?.is_some()) {
        return Err(SwapError::Elsewhere {
            name: name.to_owned(),
            nodes: nodes.iter().map(NodeName::to_string).collect(),
        }
        .into());
    }
    let mut known: Vec<String> = all.iter().map(|run| short_name(&run.image).to_owned()).collect();
    known.extend(Manifest::names(running, &cluster.nodes()[0].name)?);
    known.sort();
    known.dedup();
    Err(SwapError::Unknown {
        name: name.to_owned(),
        known,
    }
    .into())
}

fn of_pods(mut pods: Vec<Manifest>, program: &Program) -> Option<Place> {
    pods.retain(|manifest| !image::is_with(&manifest.image, &program.digest));
    let nodes: Vec<NodeName> = pods.iter().map(|manifest| manifest.node.clone()).collect();
    (!pods.is_empty()).then_some(Place::Pods {
        nodes,
        manifests: pods,
    })
}

fn of_workloads(mut runs: Vec<Runs>, program: &Program, narrowed: bool) -> Result<Option<Place>, Error> {
    if narrowed {
        return Err(SwapError::Everywhere(program.name.clone()).into());
    }
    runs.retain(|run| !image::is_with(&run.image, &program.digest));
    Ok((!runs.is_empty()).then_some(Place::Workloads { runs }))
}

/// Nothing where no node has it; nothing inside where all have this one.
fn of_nodes(
    running: &Running,
    cluster: &Description,
    program: &Program,
    nodes: &[NodeName],
) -> Result<Option<Option<Place>>, Error> {
    let mut path = None;
    let mut with_another = Vec::new();
    for name in nodes {
        let Some((found, digest)) = node::look(running, name, &program.name)? else {
            continue;
        };
        if let Some(loader) = &program.loader
            && !node::has(running, name, loader)?
        {
            return Err(SwapError::NotRunnable {
                path: program.path.clone(),
                why: format!(
                    "it needs the loader `{}`, which `{name}` has not; build it with `CGO_ENABLED=0`",
                    loader.display()
                ),
            }
            .into());
        }
        if digest != program.digest.hex() {
            with_another.push(name.clone());
        }
        path = Some(found);
    }
    let Some(path) = path else { return Ok(None) };
    let own = cluster.runtime().answers();
    let mut units = UNITS.into_iter().chain([(own.program, own.unit)]);
    let unit = units.find(|(name, _)| *name == program.name);
    Ok(Some((!with_another.is_empty()).then_some(Place::Node {
        nodes: with_another,
        path,
        unit: unit.map(|(_, unit)| unit.to_owned()),
    })))
}

impl Manifest {
    /// The manifest of `program` on `node`, if there is one.
    fn read(running: &Running, node: &NodeName, program: &str) -> Result<Option<Self>, Error> {
        let path = path(program);
        let Some(text) = node::text(running, node, &path)? else {
            return Ok(None);
        };
        let damaged = |source| SwapError::Manifest {
            path: path.clone(),
            node: node.clone(),
            source,
        };
        let pod: Value = serde_saphyr::from_str(&text).map_err(|error| damaged(error.into()))?;
        let image = container(&pod, program).and_then(|at| pod.pointer(&format!("{at}/image"))?.as_str());
        let image = image
            .ok_or_else(|| damaged("it names no image".into()))?
            .to_owned();
        Ok(Some(Self {
            program: program.to_owned(),
            node: node.clone(),
            pod,
            image,
        }))
    }

    /// The names of all that `node` has.
    fn names(running: &Running, node: &NodeName) -> Result<Vec<String>, Error> {
        let names = node::list(running, node, MANIFESTS)?;
        Ok(names
            .iter()
            .filter_map(|name| name.strip_suffix(".yaml"))
            .map(str::to_owned)
            .collect())
    }

    pub(super) fn path(&self) -> String {
        path(&self.program)
    }

    /// The manifest with another image, as JSON, which is YAML too.
    pub(super) fn with(&self, image: &str) -> Result<String, SwapError> {
        let damaged = |source| SwapError::Manifest {
            path: self.path(),
            node: self.node.clone(),
            source,
        };
        let mut pod = self.pod.clone();
        let at = container(&pod, &self.program).and_then(|at| pod.pointer_mut(&format!("{at}/image")));
        *at.ok_or_else(|| damaged("it names no image".into()))? = image.into();
        let text = serde_json::to_string_pretty(&pod).map_err(|error| damaged(error.into()))?;
        Ok(text + "\n")
    }
}

fn path(program: &str) -> String {
    format!("{MANIFESTS}/{program}.yaml")
}

/// Where a pod has the container that is called like the program, or else its first one.
fn container(pod: &Value, program: &str) -> Option<String> {
    let containers = pod.pointer("/spec/containers")?.as_array()?;
    let named = containers
        .iter()
        .position(|container| container["name"] == program);
    (!containers.is_empty()).then(|| format!("/spec/containers/{}", named.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use parbake_cluster::NodeName;
    use serde_json::{Value, json};

    use super::Manifest;

    #[test]
    fn a_manifest_differs_in_its_image_alone() {
        let pod = json!({"spec": {"containers": [
            {"name": "helper", "image": "a:1"},
            {"name": "etcd", "image": "b:1", "env": [{"name": "GOGC", "value": "400"}]},
        ]}});
        let manifest = Manifest {
            program: "etcd".to_owned(),
            node: NodeName::numbered(1),
            pod: pod.clone(),
            image: "b:1".to_owned(),
        };
        let changed: Value = serde_json::from_str(&manifest.with("b:2").unwrap()).unwrap();
        let mut expected = pod;
        expected["spec"]["containers"][1]["image"] = json!("b:2");
        assert_eq!(changed, expected);
        assert_eq!(manifest.path(), "/etc/kubernetes/manifests/etcd.yaml");
        let empty = Manifest {
            pod: json!({"spec": {"containers": []}}),
            ..manifest
        };
        assert_eq!(
            empty.with("b:2").unwrap_err().to_string(),
            "could not read the manifest `/etc/kubernetes/manifests/etcd.yaml` of `node01`"
        );
    }
}
