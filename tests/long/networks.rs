//! The add-ons that extend the pod network: network policies and additional networks.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use parbake_test_support::other_state_dir::write;
use parbake_test_support::place::{Outcome, PROVIDER, Place, check, eventually, record_tested};

/// The tag and the cluster.
const NAME: &str = "networks";
/// The artifact frozen after changes.
const AGAIN: &str = "networks-again";
/// Policies and all other objects except pods.
const OBJECTS: &str = include_str!("networks.yaml");
/// Serves the pod's name on both ports.
const SERVE: &str =
    "hostname > /www/page; busybox httpd -p 8080 -h /www; exec busybox httpd -f -p 9090 -h /www";
/// Calls the service `web` by name.
const SERVICE: &str = "web.shop.svc.cluster.local";

/// Namespace, name, node, labels, additional networks.
type Pod = (
    &'static str,
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

const PODS: [Pod; 9] = [
    ("shop", "web", "node01", &[("app", "web")], ""),
    ("shop", "near", "node01", &[("role", "friend")], ""),
    ("shop", "friend", "node02", &[("role", "friend")], ""),
    ("shop", "stranger", "node02", &[], ""),
    ("other", "guest", "node02", &[], ""),
    ("other", "jailed", "node02", &[("role", "jailed")], ""),
    (
        "default",
        "left",
        "node01",
        &[],
        r#"[{"name": "lan", "ips": ["192.168.7.1/24"]}, {"name": "local"}]"#,
    ),
    ("default", "beside", "node01", &[], r#"[{"name": "local"}]"#),
    (
        "default",
        "right",
        "node02",
        &[],
        r#"[{"name": "lan", "ips": ["192.168.7.2/24"]}]"#,
    ),
];

/// Which pod reaches which pod at which port with the baked policies.
const BAKED: [(&str, &str, u16, bool); 12] = [
    // On the same node, and across nodes.
    ("shop/near", "shop/web", 8080, true),
    ("shop/near", "shop/web", 9090, false),
    ("shop/friend", "shop/web", 8080, true),
    ("shop/friend", "shop/web", 9090, false),
    ("shop/stranger", "shop/web", 8080, false),
    ("shop/web", "shop/near", 8080, false),
    ("other/guest", "shop/web", 8080, false),
    ("other/guest", "shop/web", 9090, true),
    // Egress, and ingress to pods without a policy.
    ("other/jailed", "other/guest", 8080, false),
    ("other/jailed", "shop/web", 9090, true),
    ("shop/stranger", "other/guest", 8080, true),
    ("shop/stranger", "other/jailed", 8080, true),
];

fn kubectl(place: &Place, cluster: &str, words: &[&str]) -> Result<String, String> {
    place.run(&[&["kubectl", "--name", cluster], words].concat())
}

/// Bakes both add-ons on two nodes with everything that uses them, so that frozen policies are in effect.
pub(crate) fn baked(place: &Place) -> Outcome {
    fs::create_dir_all(place.dir()).map_err(|error| error.to_string())?;
    let manifest = place.dir().join("networks.yaml");
    let pods = PODS.map(|pod| format!("---\n{}\n", of(&pod))).concat();
    write(&manifest, format!("{OBJECTS}{pods}").as_bytes())?;
    let manifest = manifest.display().to_string();
    place.run(&[
        "provision",
        PROVIDER,
        "--source",
        "modules",
        "--nodes",
        "2",
        "--addon",
        "network-policies",
        "--addon",
        "multus",
        "--manifest",
        &manifest,
        "--tag",
        NAME,
    ])?;
    place.run(&["up", NAME, "--name", NAME]).map(drop)
}

/// A pod, as JSON, which is YAML.
fn of((namespace, name, node, labels, networks): &Pod) -> Value {
    let labels: serde_json::Map<String, Value> = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect();
    let mut metadata = json!({ "name": name, "namespace": namespace, "labels": labels });
    if !networks.is_empty() {
        metadata["annotations"] = json!({ "k8s.v1.cni.cncf.io/networks": networks });
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "nodeSelector": { "kubernetes.io/hostname": node },
            "tolerations": [{ "operator": "Exists" }],
            "containers": [{
                "name": "serve",
                "image": "docker.io/library/local-storage-helper:1.35.0",
                "imagePullPolicy": "Never",
                "command": ["/bin/sh", "-euc", SERVE],
                "ports": [{ "name": "page", "containerPort": 8080 }],
                "readinessProbe": { "httpGet": { "path": "/page", "port": 8080 }, "periodSeconds": 1 },
                "volumeMounts": [{ "name": "www", "mountPath": "/www" }],
            }],
            "volumes": [{ "name": "www", "emptyDir": {} }],
        },
    })
}

/// Policies are in effect when a start is over, and follow changes.
pub(crate) fn policies(place: &Place) -> Outcome {
    // Frozen rules of services were restored, frozen rules of policies were not.
    let state = ["systemctl", "is-active", "parbake-iptables.service"];
    for node in ["node01", "node02"] {
        place.run(&[&["exec", "--name", NAME, node, "--"], &state[..]].concat())?;
    }
    reached(place, NAME, &BAKED)?;
    by_name(place, NAME)?;
    // One label less, and one more.
    kubectl(place, NAME, &["label", "pod", "-n", "shop", "friend", "role-"])?;
    kubectl(
        place,
        NAME,
        &["label", "pod", "-n", "shop", "stranger", "role=friend"],
    )?;
    eventually("other friends", Duration::from_secs(20), || {
        reached(
            place,
            NAME,
            &[
                ("shop/friend", "shop/web", 8080, false),
                ("shop/stranger", "shop/web", 8080, true),
            ],
        )
    })?;
    // Without the allowing policy, nothing gets in.
    kubectl(place, NAME, &["delete", "networkpolicy", "-n", "shop", "friends"])?;
    let nobody = ["shop/near", "shop/stranger", "other/guest"].map(|from| (from, "shop/web", 9090, false));
    eventually("nobody", Duration::from_secs(20), || {
        reached(place, NAME, &nobody)
    })?;
    record_tested(place, NAME, &["bake", "thaw", "network policies"])
}

/// Pods have their additional networks when a start is over.
pub(crate) fn multus(place: &Place) -> Outcome {
    further(place, NAME)?;
    record_tested(place, NAME, &["more networks for pods"])
}

/// After a stop and after a freeze with a new identity everything still holds; without policies all is open.
pub(crate) fn again(place: &Place) -> Outcome {
    let nobody = ["shop/near", "shop/friend", "shop/stranger", "other/guest"];
    place.run(&["restart", "--name", NAME])?;
    reached(place, NAME, &nobody.map(|from| (from, "shop/web", 8080, false)))?;
    further(place, NAME)?;
    place.run(&["freeze", AGAIN, "--name", NAME])?;
    place.run(&["down", "--name", NAME])?;
    place.run(&["up", AGAIN, "--name", AGAIN])?;
    reached(place, AGAIN, &nobody.map(|from| (from, "shop/web", 8080, false)))?;
    reached(
        place,
        AGAIN,
        &[
            ("other/jailed", "other/guest", 8080, false),
            ("shop/web", "other/guest", 8080, true),
        ],
    )?;
    further(place, AGAIN)?;
    for namespace in ["shop", "other"] {
        kubectl(
            place,
            AGAIN,
            &["delete", "networkpolicy", "-n", namespace, "--all"],
        )?;
    }
    let all = BAKED.map(|(from, to, port, _)| (from, to, port, true));
    eventually("all to be open", Duration::from_secs(20), || {
        reached(place, AGAIN, &all)
    })?;
    place.run(&["down", "--name", AGAIN])?;
    record_tested(place, NAME, &["freeze"])?;
    place.run(&["artifact", "remove", AGAIN])?;
    place.run(&["artifact", "remove", NAME]).map(drop)
}

/// Checks each of `cases`: from a pod to a pod and a port, and whether it connects.
fn reached(place: &Place, cluster: &str, cases: &[(&str, &str, u16, bool)]) -> Outcome {
    let query =
        "jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {.status.podIP}{\"\\n\"}{end}";
    let pods = kubectl(place, cluster, &["get", "pods", "-A", "-o", query])?;
    for &(from, to, port, wanted) in cases {
        let address = pods.lines().find_map(|line| line.strip_prefix(to)).map(str::trim);
        let address = address.ok_or_else(|| format!("no pod `{to}`: {pods}"))?;
        let got = ask(place, cluster, from, &format!("{address}:{port}"))?;
        let name = to.rsplit('/').next().unwrap_or_default();
        check(got == if wanted { name } else { "" }, || {
            format!("{from} asked {to} ({address}) at {port} and got `{got}`")
        })?;
    }
    Ok(())
}

/// Through the service, by name: the policy is that of its pod.
fn by_name(place: &Place, cluster: &str) -> Outcome {
    for (from, port, wanted) in [
        ("shop/friend", 80, "web"),
        ("shop/stranger", 80, ""),
        ("other/jailed", 9090, "web"),
        ("other/jailed", 80, ""),
    ] {
        let got = ask(place, cluster, from, &format!("{SERVICE}:{port}"))?;
        check(got == wanted, || {
            format!("{from} asked {SERVICE} at {port} and got `{got}`")
        })?;
    }
    // A name that does not resolve does not count as blocked.
    let (namespace, lookup) = ("other", ["busybox", "nslookup", SERVICE]);
    let words = [&["exec", "-n", namespace, "jailed", "--"], &lookup[..]].concat();
    kubectl(place, cluster, &words).map(drop)
}

/// The output of a pod's connection to an address and port; empty if it could not connect.
fn ask(place: &Place, cluster: &str, from: &str, to: &str) -> Result<String, String> {
    let (namespace, pod) = from.split_once('/').unwrap_or(("default", from));
    let script = format!("busybox timeout 3 busybox wget -q -O - http://{to}/page || echo none");
    let words = ["exec", "-n", namespace, pod, "--", "/bin/sh", "-c", &script];
    let got = kubectl(place, cluster, &words)?;
    let got = got.trim();
    Ok(if got == "none" { "" } else { got }.to_owned())
}

/// Across nodes over the macvlan, and over the bridge on one node, to the addresses that a pod reports.
fn further(place: &Place, cluster: &str) -> Outcome {
    let interfaces = |pod: &str| {
        let query = "go-template={{index .metadata.annotations \"k8s.v1.cni.cncf.io/network-status\"}}";
        let text = kubectl(place, cluster, &["get", "pod", pod, "-o", query])?;
        let status: Value = serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"))?;
        Ok::<_, String>(status)
    };
    let address = |pod: &str, network: &str| {
        let status = interfaces(pod)?;
        let networks = status.as_array().into_iter().flatten();
        let found = networks
            .filter(|one| one["name"] == network)
            .find_map(|one| one["ips"][0].as_str());
        found.map(str::to_owned).ok_or_else(|| format!("{pod}: {status}"))
    };
    for (from, network, to) in [
        ("right", "default/lan", "left"),
        ("left", "default/lan", "right"),
        ("left", "default/local", "beside"),
    ] {
        let address = address(to, network)?;
        let got = ask(place, cluster, from, &format!("{address}:8080"))?;
        check(got == to, || {
            format!("{from} asked {to} ({address}) and got `{got}`")
        })?;
    }
    // A pod without the network does not reach it.
    let got = ask(place, cluster, "beside", "192.168.7.1:8080")?;
    check(got.is_empty(), || format!("beside got `{got}` from the macvlan"))
}
