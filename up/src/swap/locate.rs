//! Finds where a cluster runs a program from.

use parbake_cluster::api::workload_images::{WorkloadContainer, image_name, list_containers};
use parbake_cluster::{Client, Description, NodeName, Role};
use parbake_machine::supervisor::Running;
use serde_json::Value;

use super::{Program, SwapError, image};
use crate::Error;
use crate::recover::node_files;

/// The directory of static pod manifests.
const MANIFESTS: &str = "/etc/kubernetes/manifests";
/// Units by program, in addition to the runtime's.
const UNITS: [(&str, &str); 3] = [
    ("dnsmasq", "parbake-dns.service"),
    ("kubelet", "kubelet.service"),
    ("registry", "parbake-registry.service"),
];

/// Where a program runs from.
pub(super) enum Location {
    /// Installed on the nodes.
    Installed {
        nodes: Vec<NodeName>,
        /// The same path on each node.
        path: String,
        unit: Option<String>,
    },
    /// The image of a static pod, with one manifest per node.
    StaticPods {
        nodes: Vec<NodeName>,
        manifests: Vec<Manifest>,
    },
    /// The image of a workload's containers.
    Workloads { runs: Vec<WorkloadContainer> },
}

/// The manifest of a static pod.
pub(super) struct Manifest {
    program: String,
    node: NodeName,
    pod: Value,
    /// The image of its program.
    pub(super) image: String,
}

/// The nodes in `named`, or all if there are none, in the order of the cluster.
pub(super) fn select_nodes(cluster: &Description, named: &[NodeName]) -> Result<Vec<NodeName>, Error> {
    let all: Vec<NodeName> = cluster.nodes().iter().map(|node| node.name.clone()).collect();
    if let Some(unknown) = named.iter().find(|name| !all.contains(name)) {
        return Err(Error::node_not_found(unknown, &all));
    }
    let selected = |name: &NodeName| named.is_empty() || named.contains(name);
    Ok(all.into_iter().filter(selected).collect())
}

/// Where `program` runs from, on those of `nodes` that have another file. `None` if all have this one. `is_subset` says
/// that the user named the nodes.
pub(super) async fn locate(
    running: &Running,
    client: &Client,
    cluster: &Description,
    program: &Program,
    nodes: &[NodeName],
    is_subset: bool,
) -> Result<Option<Location>, Error> {
    let name = program.name.as_str();
    let control_planes = cluster
        .nodes()
        .iter()
        .filter(|node| node.role == Role::ControlPlane);
    let mut pods = Vec::new();
    let mut on_other_nodes = false;
    for node in control_planes {
        if let Some(manifest) = Manifest::read(running, &node.name, name)? {
            if nodes.contains(&node.name) {
                pods.push(manifest);
            } else {
                on_other_nodes = true;
            }
        }
    }
    if !pods.is_empty() {
        return Ok(in_static_pods(pods, program));
    }
    let all = list_containers(client).await?;
    let runs: Vec<WorkloadContainer> = all
        .iter()
        .filter(|run| image_name(&run.image) == name)
        .cloned()
        .collect();
    if !runs.is_empty() {
        return in_workloads(runs, program, is_subset);
    }
    if !on_other_nodes && let Some(location) = installed(running, cluster, program, nodes)? {
        return Ok(location);
    }
    if on_other_nodes
        || (is_subset && installed(running, cluster, program, &select_nodes(cluster, &[])?)?.is_some())
    {
        return Err(SwapError::OtherNodes {
            name: name.to_owned(),
            nodes: nodes.iter().map(NodeName::to_string).collect(),
        }
        .into());
    }
    let mut known: Vec<String> = all.iter().map(|run| image_name(&run.image).to_owned()).collect();
    known.extend(Manifest::names(running, &cluster.nodes()[0].name)?);
    known.sort();
    known.dedup();
    Err(SwapError::Unknown {
        name: name.to_owned(),
        known,
    }
    .into())
}

fn in_static_pods(mut pods: Vec<Manifest>, program: &Program) -> Option<Location> {
    pods.retain(|manifest| !image::is_with(&manifest.image, &program.digest));
    let nodes: Vec<NodeName> = pods.iter().map(|manifest| manifest.node.clone()).collect();
    (!pods.is_empty()).then_some(Location::StaticPods {
        nodes,
        manifests: pods,
    })
}

fn in_workloads(
    mut runs: Vec<WorkloadContainer>,
    program: &Program,
    is_subset: bool,
) -> Result<Option<Location>, Error> {
    if is_subset {
        return Err(SwapError::RunsOnAllNodes(program.name.clone()).into());
    }
    runs.retain(|run| !image::is_with(&run.image, &program.digest));
    Ok((!runs.is_empty()).then_some(Location::Workloads { runs }))
}

/// `None` if no node has the program installed, `Some(None)` if all that do have this file.
fn installed(
    running: &Running,
    cluster: &Description,
    program: &Program,
    nodes: &[NodeName],
) -> Result<Option<Option<Location>>, Error> {
    let mut path = None;
    let mut outdated = Vec::new();
    for node in nodes {
        let Some((found, digest)) = node_files::find_program(running, node, &program.name)? else {
            continue;
        };
        if let Some(loader) = &program.loader
            && !node_files::exists(running, node, loader)?
        {
            return Err(SwapError::NotRunnable {
                path: program.path.clone(),
                why: format!(
                    "it needs the dynamic loader `{}`, which `{node}` does not have; build it with `CGO_ENABLED=0`",
                    loader.display()
                ),
            }
            .into());
        }
        if digest != program.digest.hex() {
            outdated.push(node.clone());
        }
        path = Some(found);
    }
    let Some(path) = path else { return Ok(None) };
    let runtime = cluster.runtime().profile();
    let mut units = UNITS.into_iter().chain([(runtime.program, runtime.unit)]);
    let unit = units.find(|(name, _)| *name == program.name);
    Ok(Some((!outdated.is_empty()).then_some(Location::Installed {
        nodes: outdated,
        path,
        unit: unit.map(|(_, unit)| unit.to_owned()),
    })))
}

impl Manifest {
    /// Reads the manifest of `program` on `node`, if there is one.
    fn read(running: &Running, node: &NodeName, program: &str) -> Result<Option<Self>, Error> {
        let path = path(program);
        let Some(text) = node_files::read(running, node, &path)? else {
            return Ok(None);
        };
        let invalid = |source| SwapError::Manifest {
            path: path.clone(),
            node: node.clone(),
            source,
        };
        let pod: Value = serde_saphyr::from_str(&text).map_err(|error| invalid(error.into()))?;
        let image =
            container_pointer(&pod, program).and_then(|at| pod.pointer(&format!("{at}/image"))?.as_str());
        let image = image.ok_or_else(|| invalid("it has no image".into()))?.to_owned();
        Ok(Some(Self {
            program: program.to_owned(),
            node: node.clone(),
            pod,
            image,
        }))
    }

    /// The names of all static pods of `node`.
    fn names(running: &Running, node: &NodeName) -> Result<Vec<String>, Error> {
        let names = node_files::list(running, node, MANIFESTS)?;
        Ok(names
            .iter()
            .filter_map(|name| name.strip_suffix(".yaml"))
            .map(str::to_owned)
            .collect())
    }

    pub(super) fn path(&self) -> String {
        path(&self.program)
    }

    /// The manifest with another image, as JSON, which is valid YAML.
    pub(super) fn with_image(&self, image: &str) -> Result<String, SwapError> {
        let invalid = |source| SwapError::Manifest {
            path: self.path(),
            node: self.node.clone(),
            source,
        };
        let mut pod = self.pod.clone();
        let at =
            container_pointer(&pod, &self.program).and_then(|at| pod.pointer_mut(&format!("{at}/image")));
        *at.ok_or_else(|| invalid("it has no image".into()))? = image.into();
        let text = serde_json::to_string_pretty(&pod).map_err(|error| invalid(error.into()))?;
        Ok(text + "\n")
    }
}

fn path(program: &str) -> String {
    format!("{MANIFESTS}/{program}.yaml")
}

/// JSON pointer to the container with the program's name, otherwise to the first one.
fn container_pointer(pod: &Value, program: &str) -> Option<String> {
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
    fn with_image_changes_only_the_image() {
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
        let changed: Value = serde_json::from_str(&manifest.with_image("b:2").unwrap()).unwrap();
        let mut expected = pod;
        expected["spec"]["containers"][1]["image"] = json!("b:2");
        assert_eq!(changed, expected);
        assert_eq!(manifest.path(), "/etc/kubernetes/manifests/etcd.yaml");
        let empty = Manifest {
            pod: json!({"spec": {"containers": []}}),
            ..manifest
        };
        assert_eq!(
            empty.with_image("b:2").unwrap_err().to_string(),
            "could not read the manifest `/etc/kubernetes/manifests/etcd.yaml` of `node01`"
        );
    }
}
