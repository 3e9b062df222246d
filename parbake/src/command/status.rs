//! `parbake status`

use parbake_up::{ClusterState, NodeStatus, Port, Status, status};

use crate::cli::Global;
use crate::output::{Watch, size, table};

/// Show how a cluster is: its state, what it takes, its nodes and pods
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    watch: Watch,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let look = || Ok(super::block_on(status(&global.dir, &global.name))??);
        self.watch.print(global.output, look, text)
    }
}

fn text(status: &Status) -> String {
    let mut text = format!(
        "cluster `{}` is {}: {}, Kubernetes {}\n",
        status.name, status.state, status.artifact, status.kubernetes
    );
    if let Some(taken) = status.usage {
        let memory = size(taken.memory_bytes);
        text.push_str(&format!(
            "memory {memory}, processor time {:.1} s, ",
            taken.cpu_seconds
        ));
    }
    text.push_str(&format!("disk {}\n", size(status.disk_bytes)));
    for Port { host, cluster } in &status.ports {
        text.push_str(&format!("port {host} of the host leads to {cluster}\n"));
    }
    if status.internet {
        text.push_str("it has a way to the outside\n");
    }
    for one in &status.swapped {
        let version = one.version.iter().map(|version| format!(" {version}"));
        let nodes: Vec<&str> = one.nodes.iter().map(|node| node.as_str()).collect();
        let version = version.collect::<String>();
        text.push_str(&format!(
            "{}{version} was swapped in on {}\n",
            one.program,
            nodes.join(", ")
        ));
    }
    if let Some(problem) = &status.problem {
        text.push_str(&format!("the API has no answer: {problem}\n"));
    }
    let asked = status.problem.is_none()
        && matches!(
            status.state,
            ClusterState::Starting | ClusterState::Running | ClusterState::Broken
        );
    let nodes = status.nodes.iter().map(|node| row(node, asked));
    let header = ["NODE", "STATUS", "ROLES", "VERSION", "MEMORY", "CPU"];
    text.push_str(&format!("\n{}", table(header, nodes)));
    if !status.pods.is_empty() {
        text.push_str(&format!("\n{}", pods(status)));
    }
    text
}

fn row(NodeStatus { node, usage }: &NodeStatus, asked: bool) -> [String; 6] {
    let ready = match (asked, node.ready) {
        (false, _) => "",
        (true, true) => "Ready",
        (true, false) => "NotReady",
    };
    [
        node.name.clone(),
        ready.to_owned(),
        node.roles.join(","),
        node.version.clone(),
        usage.map(|taken| size(taken.memory_bytes)).unwrap_or_default(),
        usage
            .map(|taken| format!("{:.1} s", taken.cpu_seconds))
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
