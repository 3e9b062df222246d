use serde_json::{Value, json};

use super::{Description, DescriptionError, Node, Role};
use crate::model::name::NodeName;

fn sample() -> Value {
    json!({
        "kubernetes": "v1.34.4",
        "domain": "cluster.local",
        "networks": {
            "nodes": "10.89.0.0/24", "gateway": "10.89.0.1", "pods": "10.244.0.0/16",
            "services": "10.96.0.0/12", "api": "10.96.0.1", "dns": "10.96.0.10"
        },
        "nodes": [
            {"name": "node01", "role": "control-plane", "address": "10.89.0.11", "pod_cidr": "10.244.0.0/24"},
            {"name": "node02", "role": "worker", "address": "10.89.0.12", "pod_cidr": "10.244.1.0/24"},
            {"name": "node03", "role": "worker", "address": "10.89.0.13", "pod_cidr": "10.244.2.0/24"}
        ]
    })
}

fn read(value: Value) -> Result<Description, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// A node that joins a cluster of three.
pub(crate) fn joining_node() -> Node {
    Node {
        name: NodeName::numbered(4),
        role: Role::Worker,
        address: "10.89.0.14".parse().unwrap(),
        pod_cidr: "10.244.3.0/24".parse().unwrap(),
        second: None,
    }
}

#[test]
fn description_survives_a_round_trip() {
    let description = read(sample()).unwrap();
    assert_eq!(serde_json::to_value(&description).unwrap(), sample());
    assert_eq!(description.api_url(), "https://10.89.0.11:6443");
}

/// The sample as a dual-stack cluster.
fn dual() -> Value {
    let mut value = sample();
    value["networks"]["second"] = json!({
        "nodes": "fd00:10:89::/64", "gateway": "fd00:10:89::1", "pods": "fd00:10:244::/56",
        "services": "fd00:10:96::/112"
    });
    for (number, node) in value["nodes"].as_array_mut().unwrap().iter_mut().enumerate() {
        let (address, pods) = (
            format!("fd00:10:89::{:x}", 11 + number),
            format!("fd00:10:244:{number}::/64"),
        );
        node["second"] = json!({"address": address, "pod_cidr": pods.replace(":0::", "::")});
    }
    value
}

#[test]
fn dual_stack_description_survives_a_round_trip() {
    let description = read(dual()).unwrap();
    assert_eq!(serde_json::to_value(&description).unwrap(), dual());
    let four = description.scaled_to(4).unwrap();
    let fourth = &four.nodes()[3];
    assert_eq!(
        fourth.comma_separated(|place| place.address),
        "10.89.0.14,fd00:10:89::e"
    );
    assert_eq!(
        fourth.comma_separated(|place| place.pod_cidr),
        "10.244.3.0/24,fd00:10:244:3::/64"
    );
    let moved = ["10.244.9.0/24", "fd00:10:244:9::/64"].map(|network| network.parse().unwrap());
    assert!(fourth.with_pod_cidrs(&moved[..1]).is_none());
    let moved = fourth.with_pod_cidrs(&moved).unwrap();
    assert_eq!(
        moved.comma_separated(|place| place.pod_cidr),
        "10.244.9.0/24,fd00:10:244:9::/64"
    );
}

#[test]
fn second_family_is_validated() {
    let cases = [
        (
            "/networks/second/nodes",
            json!("10.90.0.0/24"),
            "of the same families",
        ),
        (
            "/networks/second/gateway",
            json!("fd00::1"),
            "the gateway address `fd00::1`",
        ),
        ("/networks/second/pods", json!("fd00:10:89::/56"), "overlap"),
        ("/nodes/1/second", json!(null), "of the same families"),
        ("/nodes/1/second/address", json!("fd00:10:89::1"), "is used twice"),
        ("/nodes/1/second/address", json!("fd00:10:89::b"), "is used twice"),
        (
            "/nodes/1/second/pod_cidr",
            json!("fd00:10:244::/64"),
            "of node `node02`",
        ),
    ];
    for (path, value, expected) in cases {
        let mut changed = dual();
        *changed.pointer_mut(path).unwrap() = value.clone();
        let error = read(changed).unwrap_err();
        assert!(error.contains(expected), "{path} = {value}: {error}");
    }
}

#[test]
fn builtin_services_survive_every_change_of_nodes() {
    let older = read(sample()).unwrap();
    assert!(older.builtin_services().is_empty() && older.registry().is_none());
    let mut value = sample();
    value["services"] = json!({"dns": true, "registry": true});
    let description = read(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(&description).unwrap(), value);
    let fewer = description.first_nodes(1).unwrap();
    for same in [
        &description,
        &fewer,
        &description.with_nodes(fewer.nodes().to_vec()).unwrap(),
    ] {
        assert_eq!(same.registry().unwrap().to_string(), "10.89.0.11:5000");
    }
    value["services"] = json!({"dns": true, "mail": true});
    assert!(read(value).unwrap_err().contains("mail"));
}

#[test]
fn contradictions_are_rejected() {
    let cases = [
        ("/networks/pods", json!("10.89.0.0/16"), "overlap"),
        (
            "/networks/gateway",
            json!("10.90.0.1"),
            "the gateway address `10.90.0.1` is not a host",
        ),
        ("/networks/gateway", json!("10.89.0.0"), "is not a host"),
        ("/networks/dns", json!("10.89.0.10"), "the DNS service address"),
        ("/nodes/0/role", json!("worker"), "must come first"),
        ("/nodes/2/role", json!("control-plane"), "must come first"),
        ("/nodes", json!([]), "must come first"),
        ("/nodes/1/name", json!("node01"), "`node01` is used twice"),
        (
            "/nodes/1/address",
            json!("10.89.0.11"),
            "`10.89.0.11` is used twice",
        ),
        (
            "/nodes/1/address",
            json!("10.89.0.1"),
            "`10.89.0.1` is used twice",
        ),
        ("/nodes/1/address", json!("10.244.1.1"), "node `node02`'s address"),
        ("/nodes/1/pod_cidr", json!("10.244.0.0/25"), "of node `node02`"),
        ("/nodes/1/pod_cidr", json!("10.0.0.0/8"), "of node `node02`"),
        ("/nodes/1/role", json!("leader"), "unknown variant"),
        ("/kubernetes", json!("1.34"), "is not a Kubernetes version"),
    ];
    for (path, value, expected) in cases {
        let mut changed = sample();
        *changed.pointer_mut(path).unwrap() = value.clone();
        let error = read(changed).unwrap_err();
        assert!(error.contains(expected), "{path} = {value}: {error}");
    }
    for path in ["", "/networks", "/nodes/0"] {
        let mut changed = sample();
        changed.pointer_mut(path).unwrap()["extra"] = json!(1);
        assert!(
            read(changed).unwrap_err().contains("unknown field `extra`"),
            "{path}"
        );
    }
}

#[test]
fn first_nodes_are_kept() {
    let description = read(sample()).unwrap();
    assert_eq!(
        description.first_nodes(2).unwrap().nodes(),
        &description.nodes()[..2]
    );
    assert_eq!(description.first_nodes(3).unwrap(), description);
    for asked in [0, 4] {
        let error = description.first_nodes(asked).unwrap_err();
        assert_eq!(
            error,
            DescriptionError::NodeCount {
                requested: asked,
                baked: 3,
                control_planes: 1
            }
        );
    }
}

#[test]
fn control_planes_cannot_be_left_out() {
    let mut value = sample();
    value["nodes"][1]["role"] = json!("control-plane");
    let description = read(value).unwrap();
    assert!(description.first_nodes(1).is_err());
    assert!(description.first_nodes(2).is_ok());
}

#[test]
fn api_address_of_several_control_planes_is_the_gateway() {
    let mut value = sample();
    value["nodes"][1]["role"] = json!("control-plane");
    value["nodes"][2]["role"] = json!("control-plane");
    let description = read(value).unwrap();
    assert_eq!(description.api_url(), "https://10.89.0.1:6443");
    let servers: Vec<_> = description
        .api_servers()
        .map(|address| address.to_string())
        .collect();
    assert_eq!(servers, ["10.89.0.11:6443", "10.89.0.12:6443", "10.89.0.13:6443"]);
}

#[test]
fn replaced_nodes_are_validated() {
    let description = read(sample()).unwrap();
    let mut nodes = description.nodes().to_vec();
    nodes[2].pod_cidr = "10.244.7.0/24".parse().unwrap();
    assert_eq!(description.with_nodes(nodes.clone()).unwrap().nodes(), nodes);
    nodes[2].pod_cidr = nodes[1].pod_cidr;
    assert!(matches!(
        description.with_nodes(nodes),
        Err(DescriptionError::PodCidr { .. })
    ));
}
