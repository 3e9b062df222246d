//! The add-ons that change the pod network: policies for it, and more networks beside it.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use parbake_test_support::other_state_dir::write;
use parbake_test_support::place::{Outcome, PROVIDER, Place, check, eventually, record_tested};

/// The tag, and the cluster.
const NAME: &str = "networks";
/// What was changed while it ran, frozen and thawed again.
const AGAIN: &str = "networks-again";
/// Policies, and everything else but pods.
const OBJECTS: &str = include_str!("networks.yaml");
/// What serves a pod's name at both ports.
const SERVE: &str =
    "hostname > /www/page; busybox httpd -p 8080 -h /www; exec busybox httpd -f -p 9090 -h /www";
/// The service `web`, by its name.
const SERVICE: &str = "web.shop.svc.cluster.local";

/// Namespace, name, node, labels, further networks.
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

/// Who reaches whom at which port, with the policies that were baked.
const BAKED: [(&str, &str, u16, bool); 12] = [
    // On the same node, and from another.
    ("shop/near", "shop/web", 8080, true),
    ("shop/near", "shop/web", 9090, false),
    ("shop/friend", "shop/web", 8080, true),
    ("shop/friend", "shop/web", 9090, false),
    ("shop/stranger", "shop/web", 8080, false),
    ("shop/web", "shop/near", 8080, false),
    ("other/guest", "shop/web", 8080, false),
    ("other/guest", "shop/web", 9090, true),
    // The way out of pods, and into pods that no policy is for.
    ("other/jailed", "other/guest", 8080, false),
    ("other/jailed", "shop/web", 9090, true),
    ("shop/stranger", "other/guest", 8080, true),
    ("shop/stranger", "other/jailed", 8080, true),
];

fn kubectl(place: &Place, cluster: &str, words: &[&str]) -> Result<String, String> {
    place.run(&[&["kubectl", "--name", cluster], words].concat())
}

/// Both add-ons on two nodes, and all that is in them: what is frozen has policies in force.
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

/// A pod, which is YAML, too.
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

/// Policies hold as soon as a start is over, and follow what is changed.
pub(crate) fn policies(place: &Place) -> Outcome {
    // Rules of services were restored: those of policies, which would be refused, were not among them.
    let state = ["systemctl", "is-active", "parbake-iptables.service"];
    for node in ["node01", "node02"] {
        place.run(&[&["exec", "--name", NAME, node, "--"], &state[..]].concat())?;
    }
    reached(place, NAME, &BAKED)?;
    by_name(place, NAME)?;
    // One friend less, and one more.
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
    // Without the one that lets something in, nobody gets in.
    kubectl(place, NAME, &["delete", "networkpolicy", "-n", "shop", "friends"])?;
    let nobody = ["shop/near", "shop/stranger", "other/guest"].map(|from| (from, "shop/web", 9090, false));
    eventually("nobody", Duration::from_secs(20), || {
        reached(place, NAME, &nobody)
    })?;
    record_tested(place, NAME, &["bake", "thaw", "network policies"])
}

/// Pods have their further networks as soon as a start is over.
pub(crate) fn multus(place: &Place) -> Outcome {
    further(place, NAME)?;
    record_tested(place, NAME, &["more networks for pods"])
}

/// The same after a stop, and of what a user froze, under a new identity; without policies all is open.
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

/// Checks each of `cases`: from a pod to a pod and a port, and whether that is reached.
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

/// Through the service, by its name: the policy is that for the pod behind it.
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
    // A name that is not found is not what a policy forbids.
    let (namespace, lookup) = ("other", ["busybox", "nslookup", SERVICE]);
    let words = [&["exec", "-n", namespace, "jailed", "--"], &lookup[..]].concat();
    kubectl(place, cluster, &words).map(drop)
}

/// What a pod gets from an address and port: nothing where it cannot connect.
fn ask(place: &Place, cluster: &str, from: &str, to: &str) -> Result<String, String> {
    let (namespace, pod) = from.split_once('/').unwrap_or(("default", from));
    let script = format!("busybox timeout 3 busybox wget -q -O - http://{to}/page || echo none");
    let words = ["exec", "-n", namespace, pod, "--", "/bin/sh", "-c", &script];
    let got = kubectl(place, cluster, &words)?;
    let got = got.trim();
    Ok(if got == "none" { "" } else { got }.to_owned())
}

/// From node to node over the macvlan, and over the bridge of one node, with what a pod says that it has.
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
    // Nobody else is there: a pod without the network is not.
    let got = ask(place, cluster, "beside", "192.168.7.1:8080")?;
    check(got.is_empty(), || format!("beside got `{got}` from the macvlan"))
}
