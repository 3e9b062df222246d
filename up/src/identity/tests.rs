//! Checks identities with other implementations than the one that creates them.

mod certificates;
mod files;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parbake_cluster::{ClusterDomain, Description, IpFamilies, Node, NodeName, Role, Subnets};
use parbake_machine::plan::SeedContent;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, ring::ECDSA_P256_SHA256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{Identity, Options};

const NOW: &str = "2026-03-01T10:00:00.5Z";

fn cluster(version: &str, roles: &[Role]) -> Description {
    let [nodes, pods, services] =
        ["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"].map(|net| net.parse().unwrap());
    let nodes_of: Vec<_> = (1..).map(NodeName::numbered).zip(roles.iter().copied()).collect();
    let subnets = Subnets {
        nodes,
        pods,
        services,
    };
    subnets
        .describe(version.parse().unwrap(), ClusterDomain::default(), &nodes_of)
        .unwrap()
}

/// One node with addresses of both families.
fn dual() -> Description {
    let subnets = |networks: [&str; 3]| {
        let [nodes, pods, services] = networks.map(|network| network.parse().unwrap());
        Subnets {
            nodes,
            pods,
            services,
        }
    };
    let stacks = IpFamilies {
        first: subnets(["10.89.0.0/24", "10.244.0.0/16", "10.96.0.0/12"]),
        second: Some(subnets([
            "fd00:10:89::/64",
            "fd00:10:244::/56",
            "fd00:10:96::/112",
        ])),
    };
    let one = [(NodeName::numbered(1), Role::ControlPlane)];
    stacks
        .describe("v1.34.4".parse().unwrap(), ClusterDomain::default(), &one)
        .unwrap()
}

fn small() -> Description {
    cluster("v1.34.4", &[Role::ControlPlane, Role::Worker])
}

fn options() -> Options {
    Options {
        now: NOW.parse().unwrap(),
        extra_sans: vec!["example.test".into(), "192.0.2.7".into()],
        ..Options::default()
    }
}

/// The regular files of a node: mode and text by path.
struct Files(BTreeMap<String, (u32, String)>);

impl Files {
    fn of(identity: &Identity, node: &Node) -> Self {
        let regular = |file: parbake_machine::plan::SeedFile| match file.content {
            SeedContent::File { mode, text } => Some((file.path.to_str().unwrap().to_owned(), (mode, text))),
            SeedContent::Link { .. } | SeedContent::Absent => None,
        };
        Self(identity.files(node).into_iter().filter_map(regular).collect())
    }

    fn text(&self, path: &str) -> &str {
        &self.0.get(path).unwrap_or_else(|| panic!("no file `{path}`")).1
    }

    fn pki(&self, name: &str) -> &str {
        self.text(&format!("etc/kubernetes/pki/{name}"))
    }
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn after(seconds: u64) -> UnixTime {
    let now: jiff::Timestamp = NOW.parse().unwrap();
    UnixTime::since_unix_epoch(Duration::from_secs(
        u64::try_from(now.as_second()).unwrap() + seconds,
    ))
}

/// True if `ca` signed `leaf`, and `leaf` is valid for `usage` at `time`.
fn verifies(leaf: &str, ca: &str, usage: KeyUsage, time: UnixTime) -> bool {
    let (leaf, ca) = (certificate(leaf), certificate(ca));
    let anchors = [anchor_from_trusted_cert(&ca).unwrap()];
    let leaf = EndEntityCert::try_from(&leaf).unwrap();
    leaf.verify_for_usage(&[ECDSA_P256_SHA256], &anchors, &[], time, usage, None, None)
        .is_ok()
}

/// The subject and the alternative names.
fn subject(pem: &str) -> (String, Vec<String>) {
    let der = certificate(pem);
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress([a, b, c, d]) => Ipv4Addr::new(*a, *b, *c, *d).to_string(),
        GeneralName::IPAddress(bytes) => <[u8; 16]>::try_from(*bytes)
            .map(Ipv6Addr::from)
            .unwrap()
            .to_string(),
        other => panic!("{other}"),
    };
    let alt_names = parsed.subject_alternative_name().unwrap();
    let alt_names = alt_names
        .map(|names| names.value.general_names.iter().map(name).collect())
        .unwrap_or_default();
    (parsed.subject().to_string(), alt_names)
}

/// The base64 value of `field` in a kubeconfig.
fn embedded(kubeconfig: &str, field: &str) -> String {
    let prefix = format!("    {field}: ");
    let value = kubeconfig
        .lines()
        .find_map(|line| line.strip_prefix(&prefix))
        .unwrap();
    String::from_utf8(STANDARD.decode(value).unwrap()).unwrap()
}
