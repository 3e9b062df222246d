//! Clusters with IPv6, dual-stack and IPv6-only.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use parbake_test_support::place::{Outcome, PROVIDER, Place, check, eventually, record_tested};

const MANIFEST: &str = include_str!("stacks.yaml");
/// The node port of the service.
const NODE_PORT: u16 = 30080;

/// Dual-stack.
pub(crate) fn dual(place: &Place) -> Outcome {
    baked(place, "dual", &[false, true])
}

/// IPv6-only.
pub(crate) fn ipv6(place: &Place) -> Outcome {
    baked(place, "ipv6", &[true])
}

/// A cluster of a stack: for each address family, whether it is IPv6.
struct Stack<'a> {
    place: &'a Place,
    /// The name of the stack, artifact and cluster.
    name: &'static str,
    families: &'static [bool],
}

/// The caller's address as socat prints it on a dual-stack socket.
fn in_full(address: IpAddr) -> String {
    let six = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let groups = six.segments().map(|group| format!("{group:04x}"));
    groups.join(":")
}

fn baked(place: &Place, name: &'static str, families: &'static [bool]) -> Outcome {
    place.run(&[
        "provision",
        PROVIDER,
        "--nodes",
        "2",
        "--stack",
        name,
        "--tag",
        name,
    ])?;
    place.run(&["up", name, "--name", name])?;
    let stack = Stack {
        place,
        name,
        families,
    };
    let outcome = stack.works();
    place.run(&["down", "--name", name])?;
    outcome?;
    record_tested(place, name, &["bake", "thaw", &format!("addresses ({name})")])?;
    place.run(&["artifact", "remove", name]).map(drop)
}

impl Stack<'_> {
    fn works(&self) -> Outcome {
        self.deploy()?;
        self.is_reached(&["node01", "node02"])?;
        // Frozen rules did not contain these; the rules of this start are restored.
        self.place.run(&["restart", "--name", self.name])?;
        self.is_reached(&["node01"])?;
        self.place.run(&["node", "add", "--name", self.name])?;
        self.nodes(3)?;
        self.is_reached(&["node03"])?;
        self.place
            .run(&["node", "remove", "node03", "--name", self.name])?;
        self.nodes(2)
    }

    fn kubectl(&self, words: &[&str]) -> Result<String, String> {
        self.place
            .run(&[&["--name", self.name, "kubectl"], words].concat())
    }

    fn get(&self, words: &[&str]) -> Result<Value, String> {
        let text = self.kubectl(&[&["get", "-o", "json"], words].concat())?;
        serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"))
    }

    fn deploy(&self) -> Outcome {
        self.nodes(2)?;
        let etcd = self.get(&["pod", "-n", "kube-system", "etcd-node01"])?;
        let image = etcd["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap_or_default();
        self.place.feed(
            &["--name", self.name, "kubectl", "apply", "-f", "-"],
            &MANIFEST.replace("@IMAGE@", image),
        )?;
        Ok(())
    }

    /// This many nodes have an address of each family, and so have their pods.
    fn nodes(&self, count: usize) -> Outcome {
        let nodes = self.get(&["nodes"])?;
        let nodes = nodes["items"].as_array().ok_or("no list of nodes")?;
        check(nodes.len() == count, || format!("{nodes:?}"))?;
        for node in nodes {
            let all = node["status"]["addresses"].as_array().ok_or("no addresses")?;
            let own = all.iter().filter(|address| address["type"] == "InternalIP");
            self.of_each_family(own.map(|address| &address["address"]))?;
            let pods = node["spec"]["podCIDRs"].as_array().ok_or("no pod addresses")?;
            let six: Vec<bool> = pods.iter().map(|pods| pods.to_string().contains(':')).collect();
            check(six == self.families, || format!("{pods:?}"))?;
        }
        Ok(())
    }

    fn of_each_family<'v>(&self, values: impl Iterator<Item = &'v Value>) -> Result<Vec<IpAddr>, String> {
        let texts: Vec<&str> = values.filter_map(Value::as_str).collect();
        let addresses: Result<Vec<IpAddr>, _> = texts.iter().map(|text| text.parse()).collect();
        let addresses = addresses.map_err(|error| format!("{error}: {texts:?}"))?;
        let six: Vec<bool> = addresses.iter().map(IpAddr::is_ipv6).collect();
        check(six == self.families, || format!("{addresses:?}"))?;
        Ok(addresses)
    }

    /// The pod, its service and its node port answer a pod on another node and the nodes `from`, in each family.
    fn is_reached(&self, from: &[&str]) -> Outcome {
        self.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"])?;
        self.kubectl(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"])?;
        let pods = self.get(&["pods", "-l", "app=web"])?;
        let ips = pods["items"][0]["status"]["podIPs"]
            .as_array()
            .ok_or("no pod addresses")?;
        let pods = self.of_each_family(ips.iter().map(|ip| &ip["ip"]))?;
        let client = self.get(&["pod", "client"])?;
        let ips = client["status"]["podIPs"].as_array().ok_or("no pod addresses")?;
        let clients = self.of_each_family(ips.iter().map(|ip| &ip["ip"]))?;
        let service = self.get(&["service", "web"])?;
        let ips = service["spec"]["clusterIPs"].as_array().ok_or("no addresses")?;
        let services = self.of_each_family(ips.iter())?;
        for ((pod, service), client) in pods.into_iter().zip(services).zip(clients) {
            let own = format!("called from [{}]", in_full(client));
            for target in [SocketAddr::new(pod, 8080), SocketAddr::new(service, 80)] {
                self.says(&["kubectl", "exec", "client", "--"], target, &own)?;
                for node in from {
                    self.says(&["ssh", node, "--"], target, "called from ")?;
                }
            }
            let first = if service.is_ipv4() {
                "10.89.0.11"
            } else {
                "fd00:10:89::b"
            };
            let port = SocketAddr::new(first.parse().map_err(|_| "no address")?, NODE_PORT);
            self.says(&["ssh", "node02", "--"], port, "called from ")?;
        }
        self.is_named()
    }

    fn says(&self, run: &[&str], target: SocketAddr, expected: &str) -> Outcome {
        let target = format!("TCP:{target}");
        let socat = ["socat", "-T5", "-u", &target, "-"];
        let words = [&["--name", self.name], run, &socat].concat();
        // Service rules follow shortly after pods are ready.
        eventually(&target, Duration::from_secs(15), || {
            let message = self.place.run(&words)?;
            check(message.contains(expected), || format!("{words:?} said {message}"))
        })
    }

    /// Cluster DNS knows the service, and nodes resolve each other, in each family.
    fn is_named(&self) -> Outcome {
        let lookups: [&[&str]; 2] = [
            &[
                "kubectl",
                "exec",
                "client",
                "--",
                "getent",
                "ahosts",
                "web.default.svc.cluster.local",
            ],
            &["ssh", "node01", "--", "getent", "ahosts", "node02"],
        ];
        for lookup in lookups {
            let words = [&["--name", self.name], lookup].concat();
            let found = self.place.run(&words)?;
            let has = |six: bool| {
                found
                    .lines()
                    .any(|line| line.split(' ').next().unwrap_or("").contains(':') == six)
            };
            check(self.families.iter().all(|six| has(*six)), || found.clone())?;
        }
        Ok(())
    }
}
