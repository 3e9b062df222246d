//! The files of a cluster's [`BuiltinServices`](super::description::BuiltinServices).
//!
//! Programs and units are in the artifact's layers, the same on all nodes; a unit starts only where its configuration is,
//! and that is seeded here.
//!
//! ```text
//! /etc/resolv.conf            on every node
//! /etc/parbake/dnsmasq.conf   on the first node: parbake-dns.service; it serves the names in the node's /etc/hosts
//! /etc/parbake/registry.json  on the first node: parbake-registry.service
//! /var/lib/registry           the registry's contents
//! ```

use std::net::{IpAddr, SocketAddr};

use parbake_machine::net::slirp;
use parbake_machine::plan::SeedFile;

use super::description::{Description, Node};

/// The registry's name, for nodes and pods.
pub(crate) const REGISTRY: &str = "registry";
/// The usual port of registries.
const REGISTRY_PORT: u16 = 5000;
/// The registry's data directory. It is in the machine's upper directory, like the node's other files.
const REGISTRY_DIR: &str = "/var/lib/registry";

impl Description {
    /// Where nodes and pods reach the registry, if there is one.
    pub fn registry(&self) -> Option<SocketAddr> {
        let address = SocketAddr::new(self.nodes()[0].address, REGISTRY_PORT);
        self.builtin_services().registry.then_some(address)
    }

    /// The registry's name and port for nodes and pods, if there is one.
    pub fn registry_name(&self) -> Option<String> {
        self.registry()
            .map(|address| format!("{REGISTRY}:{}", address.port()))
    }

    /// The address of the nodes' DNS server, if there is one.
    pub fn name_server(&self) -> Option<IpAddr> {
        self.builtin_services().dns.then_some(self.nodes()[0].address)
    }
}

/// The files to seed into `node`. `internet` is true if the cluster has a way to the outside.
pub(super) fn files(cluster: &Description, node: &Node, internet: bool) -> Vec<SeedFile> {
    // The gateway runs no DNS server, and rejects queries at once.
    let fallback = match internet {
        true => slirp::RESOLVER.into(),
        false => cluster.networks().gateway,
    };
    let server = cluster.name_server().unwrap_or(fallback);
    let mut files = vec![SeedFile::public(
        "etc/resolv.conf",
        format!("nameserver {server}\n"),
    )];
    if node.name != cluster.nodes()[0].name {
        return files;
    }
    if let Some(server) = cluster.name_server() {
        files.push(SeedFile::public(
            "etc/parbake/dnsmasq.conf",
            dnsmasq(server, internet),
        ));
    }
    if let Some(address) = cluster.registry() {
        files.push(SeedFile::public("etc/parbake/registry.json", registry(address)));
    }
    files
}

/// The configuration of dnsmasq(8): names that are not in `/etc/hosts` do not exist, unless there is a way to the outside;
/// names without a dot are never forwarded.
fn dnsmasq(listen: IpAddr, internet: bool) -> String {
    let other_names = match internet {
        true => format!("server={}", slirp::RESOLVER),
        false => "address=/#/".to_owned(),
    };
    format!("no-resolv\ndomain-needed\nbogus-priv\nlisten-address={listen}\nbind-interfaces\n{other_names}\n")
}

/// The registry's configuration (distribution's documentation, 'configuring a registry'). JSON is YAML.
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

    use super::files;
    use crate::{BuiltinServices, ClusterDomain, Description, NodeName, Role, Subnets};

    fn cluster(services: BuiltinServices) -> Description {
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
        description.unwrap().with_builtin_services(services)
    }

    fn texts(files: Vec<SeedFile>) -> Vec<(String, String)> {
        let text = |file: SeedFile| match file.content {
            SeedContent::File { text, .. } => (file.path.display().to_string(), text),
            SeedContent::Link { .. } | SeedContent::Absent => panic!("not a file"),
        };
        files.into_iter().map(text).collect()
    }

    #[test]
    fn resolv_conf_names_a_reachable_server() {
        let dns = BuiltinServices {
            dns: true,
            registry: false,
        };
        let cases = [
            (BuiltinServices::default(), false, "10.89.0.1"),
            (BuiltinServices::default(), true, "169.254.89.3"),
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
    fn only_the_first_node_is_configured() {
        let cluster = cluster(BuiltinServices {
            dns: true,
            registry: true,
        });
        let [first, second] = cluster.nodes() else {
            panic!("two nodes")
        };
        assert_eq!(files(&cluster, second, false).len(), 1);
        for (internet, forward, absent) in [
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
                found[1].1.contains(forward) && !found[1].1.contains(absent),
                "{}",
                found[1].1
            );
            assert!(found[2].1.contains("\"10.89.0.11:5000\""), "{}", found[2].1);
        }
    }
}
