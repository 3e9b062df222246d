//! What a cluster's first control plane runs for nodes and their users beside Kubernetes: a DNS server for nodes, and a
//! registry.
//!
//! Programs and units are in the artifact's layers, the same for all nodes; a unit starts where its configuration is, and
//! that is seeded here.
//!
//! ```text
//! /etc/resolv.conf            on every node: who is asked for names
//! /etc/parbake/dnsmasq.conf   on the first node: parbake-dns.service; its names are those of the node's /etc/hosts
//! /etc/parbake/registry.json  on the first node: parbake-registry.service
//! /var/lib/registry           what was pushed
//! ```

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use parbake_machine::net::slirp;
use parbake_machine::plan::SeedFile;
use serde::{Deserialize, Serialize};

use crate::description::{Description, Node};
use crate::machine_plan::public_file;
use crate::readiness::{DnsProbe, Question};
use crate::wait::{Poll, TimedOut, Wait};

/// The registry's name, for nodes and pods.
pub(crate) const REGISTRY: &str = "registry";
/// The registry's port, as everybody has it.
const REGISTRY_PORT: u16 = 5000;
/// Where what was pushed is kept: on the machine's own upper directory, so it stays and goes as the node's files do.
const REGISTRY_DIR: &str = "/var/lib/registry";

/// The services of a cluster. Artifacts of older bakes have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Offered {
    /// Names of nodes, by dnsmasq.
    pub dns: bool,
    /// A registry for container images, by distribution's `registry`.
    pub registry: bool,
}

impl Offered {
    /// Whether there is none.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Description {
    /// Where nodes and pods reach the registry; nothing where there is none.
    pub fn registry(&self) -> Option<SocketAddr> {
        let address = SocketAddr::new(self.nodes()[0].address, REGISTRY_PORT);
        self.offered().registry.then_some(address)
    }

    /// The name by which nodes and pods know the registry, with its port; nothing where there is none.
    pub fn registry_name(&self) -> Option<String> {
        self.registry()
            .map(|address| format!("{REGISTRY}:{}", address.port()))
    }

    /// Whom nodes ask for names; nothing where nobody answers.
    pub fn name_server(&self) -> Option<IpAddr> {
        self.offered().dns.then_some(self.nodes()[0].address)
    }
}

/// Waits until every one of `vantages` was told the first node's address by the name server, if there is one.
///
/// # Errors
/// [`TimedOut`] with what was heard instead.
pub async fn names_answer(
    cluster: &Description,
    vantages: &[DnsProbe],
    limit: Duration,
) -> Result<(), TimedOut> {
    let Some(server) = cluster.name_server() else {
        return Ok(());
    };
    let question = Question {
        server: SocketAddr::from((server, 53)),
        name: format!("{}.", cluster.nodes()[0].name),
        answer: cluster.nodes()[0].address,
    };
    let wait = Wait::new("the DNS server of the nodes", limit);
    wait.until(|| async {
        for vantage in vantages {
            if let Err(problem) = question.ask(vantage).await {
                return Poll::Pending(problem);
            }
        }
        Poll::Seen(())
    })
    .await
}

/// What is seeded into `node` for the services of `cluster`, which has a way to the outside or not.
pub(crate) fn files(cluster: &Description, node: &Node, internet: bool) -> Vec<SeedFile> {
    // Nobody answers at the gateway, but it says so at once.
    let nobody = match internet {
        true => slirp::RESOLVER.into(),
        false => cluster.networks().gateway,
    };
    let server = cluster.name_server().unwrap_or(nobody);
    let mut files = vec![public_file("etc/resolv.conf", format!("nameserver {server}\n"))];
    if node.name != cluster.nodes()[0].name {
        return files;
    }
    if let Some(server) = cluster.name_server() {
        files.push(public_file("etc/parbake/dnsmasq.conf", dnsmasq(server, internet)));
    }
    if let Some(address) = cluster.registry() {
        files.push(public_file("etc/parbake/registry.json", registry(address)));
    }
    files
}

/// dnsmasq(8): what is not in `/etc/hosts` does not exist, and a name without a dot is never asked for outside.
fn dnsmasq(own: IpAddr, internet: bool) -> String {
    let others = match internet {
        true => format!("server={}", slirp::RESOLVER),
        false => "address=/#/".to_owned(),
    };
    format!("no-resolv\ndomain-needed\nbogus-priv\nlisten-address={own}\nbind-interfaces\n{others}\n")
}

/// The registry's configuration (distribution's documentation, 'configuring a registry'); JSON is YAML.
fn registry(address: SocketAddr) -> String {
    let config = serde_json::json!({
        "version": 0.1,
        "log": { "level": "warn", "accesslog": { "disabled": true } },
        "storage": {
            "filesystem": { "rootdirectory": REGISTRY_DIR },
            "delete": { "enabled": true },
        },
        "http": { "addr": address.to_string() },
    });
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    use parbake_machine::plan::{SeedContent, SeedFile};

    use super::{Offered, files};
    use crate::{ClusterDomain, Description, NodeName, Role, Subnets};

    fn cluster(services: Offered) -> Description {
        let [nodes, pods, services_net] =
            ["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"].map(|net| net.parse().unwrap());
        let subnets = Subnets {
            nodes,
            pods,
            services: services_net,
        };
        let names = [
            (NodeName::numbered(1), Role::ControlPlane),
            (NodeName::numbered(2), Role::Worker),
        ];
        let description = subnets.describe("v1.34.4".parse().unwrap(), ClusterDomain::default(), &names);
        description.unwrap().offering(services)
    }

    fn texts(files: Vec<SeedFile>) -> Vec<(String, String)> {
        let text = |file: SeedFile| match file.content {
            SeedContent::File { text, .. } => (file.path.display().to_string(), text),
            SeedContent::Link { .. } | SeedContent::Absent => panic!("no file"),
        };
        files.into_iter().map(text).collect()
    }

    #[test]
    fn names_are_asked_where_somebody_answers() {
        let dns = Offered {
            dns: true,
            registry: false,
        };
        let cases = [
            (Offered::default(), false, "10.89.0.1"),
            (Offered::default(), true, "169.254.89.3"),
            (dns, false, "10.89.0.11"),
            (dns, true, "10.89.0.11"),
        ];
        for (services, internet, server) in cases {
            let cluster = cluster(services);
            for node in cluster.nodes() {
                let found = texts(files(&cluster, node, internet));
                let expected = ("etc/resolv.conf".to_owned(), format!("nameserver {server}\n"));
                assert_eq!(found[0], expected);
            }
        }
    }

    #[test]
    fn only_the_first_node_runs_them() {
        let cluster = cluster(Offered {
            dns: true,
            registry: true,
        });
        let [first, second] = cluster.nodes() else {
            panic!("two nodes")
        };
        assert_eq!(files(&cluster, second, false).len(), 1);
        for (internet, others, never) in [
            (false, "address=/#/", "server="),
            (true, "server=169.254.89.3", "#"),
        ] {
            let found = texts(files(&cluster, first, internet));
            let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
            let expected = [
                "etc/resolv.conf",
                "etc/parbake/dnsmasq.conf",
                "etc/parbake/registry.json",
            ];
            assert_eq!(paths, expected);
            assert!(
                found[1].1.contains(others) && !found[1].1.contains(never),
                "{}",
                found[1].1
            );
            assert!(found[2].1.contains("\"10.89.0.11:5000\""), "{}", found[2].1);
        }
    }
}
