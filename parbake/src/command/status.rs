//! `parbake status`

use parbake_up::{ClusterState, NodeStatus, Port, Status, status};

use crate::args::{ClusterArgs, GlobalArgs, WatchArgs};
use crate::output::{size, table};

/// Show a cluster's state, resource usage, nodes and pods
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    watch: WatchArgs,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let read = || Ok(super::block_on(status(&global.dir, &self.cluster.name))??);
        self.watch.print(global, read, text)
    }
}

fn text(status: &Status) -> String {
    let mut text = format!(
        "cluster `{}` is {}: {}, Kubernetes {}\n",
        status.name, status.state, status.artifact, status.kubernetes
    );
    if let Some(usage) = status.usage {
        let memory = size(usage.memory_bytes);
        text.push_str(&format!("memory {memory}, CPU time {:.1} s, ", usage.cpu_seconds));
    }
    text.push_str(&format!("disk {}\n", size(status.disk_bytes)));
    for Port { host, cluster } in &status.ports {
        text.push_str(&format!("port {host} of the host forwards to {cluster}\n"));
    }
    if status.internet {
        text.push_str("internet access: yes\n");
    }
    for swapped in &status.swapped {
        let version = swapped.version.iter().map(|version| format!(" {version}"));
        let nodes: Vec<&str> = swapped.nodes.iter().map(|node| node.as_str()).collect();
        let version = version.collect::<String>();
        text.push_str(&format!(
            "{}{version} was swapped on {}\n",
            swapped.program,
            nodes.join(", ")
        ));
    }
    if let Some(problem) = &status.problem {
        text.push_str(&format!("the API does not answer: {problem}\n"));
    }
    let api_is_expected = status.problem.is_none()
        && matches!(
            status.state,
            ClusterState::Starting | ClusterState::Running | ClusterState::Broken
        );
    let nodes = status.nodes.iter().map(|node| row(node, api_is_expected));
    let header = ["NODE", "STATUS", "ROLES", "VERSION", "MEMORY", "CPU"];
    text.push_str(&format!("\n{}", table(header, nodes)));
    if !status.pods.is_empty() {
        text.push_str(&format!("\n{}", pods(status)));
    }
    text
}

fn row(NodeStatus { node, usage }: &NodeStatus, api_is_expected: bool) -> [String; 6] {
    let ready = match (api_is_expected, node.ready) {
        (false, _) => "",
        (true, true) => "Ready",
        (true, false) => "NotReady",
    };
    [
        node.name.clone(),
        ready.to_owned(),
        node.roles.join(","),
        node.version.clone(),
        usage.map(|usage| size(usage.memory_bytes)).unwrap_or_default(),
        usage
            .map(|usage| format!("{:.1} s", usage.cpu_seconds))
            .unwrap_or_default(),
    ]
}

fn pods(status: &Status) -> String {
    let rows = status.pods.iter().map(|pod| {
        [
            pod.namespace.clone(),
            pod.name.clone(),
            format!("{}/{}", pod.ready, pod.containers),
            pod.state.clone(),
            pod.restarts.to_string(),
            pod.node.clone().unwrap_or_default(),
        ]
    });
    table(["NAMESPACE", "POD", "READY", "STATUS", "RESTARTS", "NODE"], rows)
}
