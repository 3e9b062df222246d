//! Models for tests, at a fixed time.

use jiff::{SignedDuration, Timestamp};
use parbake_cluster::api::summary::{NodeSummary, PodSummary};
use parbake_up::events::Event;
use parbake_up::{ClusterListing, ClusterState, NodeStatus, Port, ResourceUsage, Status};

use super::model::{ClusterRow, Model};
use super::update::{Message, update};

pub(super) fn now() -> Timestamp {
    "2026-03-01T10:00:00Z".parse().unwrap()
}

fn before(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

pub(super) fn cluster(name: &str, state: ClusterState, usage: Option<ResourceUsage>) -> ClusterRow {
    let has_api = matches!(
        state,
        ClusterState::Running | ClusterState::Starting | ClusterState::Paused
    );
    ClusterRow {
        listed: ClusterListing {
            name: name.parse().unwrap(),
            state,
            artifact: "k8s-1.34".to_owned(),
            digest: digest(),
            kubernetes: "v1.34.4".to_owned(),
            nodes: 3,
            api: has_api.then(|| "127.0.0.1:40001".parse().unwrap()),
            created: before(7_300),
        },
        usage,
    }
}

fn digest() -> parbake_artifact::Digest {
    parbake_artifact::Digest::of(b"artifact")
}

fn usage(memory_bytes: u64, cpu_seconds: f64) -> ResourceUsage {
    ResourceUsage {
        memory_bytes,
        cpu_seconds,
    }
}

fn node(number: u64, after: f64) -> NodeStatus {
    NodeStatus {
        node: NodeSummary {
            name: format!("node0{number}"),
            ready: number != 3,
            roles: if number == 1 {
                vec!["control-plane".to_owned()]
            } else {
                Vec::new()
            },
            version: "v1.34.4".to_owned(),
            address: format!("10.89.0.1{number}"),
        },
        usage: Some(usage(1_250_000_000 / number, 20.0 + after * 0.3)),
    }
}

fn pod(namespace: &str, name: &str, ready: usize, state: &str) -> PodSummary {
    PodSummary {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ready,
        containers: 1,
        state: state.to_owned(),
        node: Some("node01".to_owned()),
        restarts: 2,
        age_seconds: 7_290,
    }
}

/// The status of cluster `ci`, `after` seconds after the first poll.
pub(super) fn status(state: ClusterState, after: f64) -> Status {
    let pods = [
        pod("kube-system", "coredns-66bc5c9577-abcde", 1, "Running"),
        pod("kube-system", "etcd-node01", 1, "Running"),
        pod("kube-system", "kube-apiserver-node01", 1, "Running"),
        pod("default", "web-5d9c7b8f6-xyz12", 0, "CrashLoopBackOff"),
        pod("kube-system", "kube-proxy-2kx8p", 1, "Running"),
        pod("default", "job-1", 0, "Succeeded"),
    ];
    let port = |host: &str, cluster: &str| Port {
        host: host.parse().unwrap(),
        cluster: cluster.parse().unwrap(),
    };
    Status {
        name: "ci".parse().unwrap(),
        state,
        artifact: "k8s-1.34".to_owned(),
        digest: digest(),
        kubernetes: "v1.34.4".to_owned(),
        created: before(7_300),
        usage: Some(usage(2_410_000_000, 60.0 + after)),
        disk_bytes: 345_000_000,
        ports: vec![
            port("127.0.0.1:40001", "10.89.0.11:6443"),
            port("127.0.0.1:8080", "10.89.0.11:30080"),
        ],
        swapped: Vec::new(),
        internet: false,
        problem: None,
        nodes: (1..=3).map(|number| node(number, after)).collect(),
        pods: pods.into(),
    }
}

/// An event `seconds` ago.
pub(super) fn event(seconds: i64, rest: &str) -> Event {
    serde_json::from_str(&format!(r#"{{"time":"{}",{rest}}}"#, before(seconds))).unwrap()
}

/// The events of a start that began `ago` seconds ago and passed that many milestones; with five it is ready.
pub(super) fn start(ago: i64, passed: usize) -> Vec<Event> {
    let milestones = [("api", 1.9), ("nodes", 3.1), ("dns", 2.8), ("pods", 3.9)].into_iter();
    let milestones = milestones.map(|(name, seconds)| {
        format!(r#""cluster":"ci","event":"passed","milestone":"{name}","seconds":{seconds}"#)
    });
    let first = [
        r#""cluster":"ci","event":"created","artifact":"k8s-1.34","nodes":3"#.to_owned(),
        r#""cluster":"ci","event":"starting","nodes":3"#.to_owned(),
    ];
    let last = [r#""cluster":"ci","event":"ready","seconds":4.04"#.to_owned()];
    let lines = first.into_iter().chain(milestones.chain(last).take(passed));
    lines.map(|line| event(ago, &line)).collect()
}

/// A model before the first poll.
pub(super) fn fresh() -> Model {
    let mut model = Model::new(now(), true);
    model.selected = Some("ci".parse().unwrap());
    model
}

/// A model after several polls of cluster `ci` in a given state, and of others.
pub(super) fn model(state: ClusterState) -> Model {
    let mut model = fresh();
    for poll in 0..10_u32 {
        let at = before(10 - i64::from(poll));
        let step = f64::from(poll);
        let memory = 1_500_000_000 + 100_000_000 * u64::from(poll);
        let clusters = vec![
            cluster("ci", state, Some(usage(memory, step * 0.2 * step))),
            cluster("default", ClusterState::Stopped, None),
            cluster("big-one", ClusterState::Paused, Some(usage(3_000_000_000, 100.0))),
        ];
        update(&mut model, Message::Clusters(at, Ok(clusters)));
        update(&mut model, Message::Status(at, Box::new(status(state, step))));
    }
    model
}
