//! The identity files of control plane nodes.

use parbake_cluster::{Description, Node};
use parbake_machine::plan::SeedFile;
use rcgen::KeyPair;

use super::IdentityError;
use super::certificate::{Authority, Leaf, Pair, Usage, Validity};
use super::kubeconfig::Kubeconfig;
use super::node::{api_url, pair_files, public, secret};

const PKI: &str = "etc/kubernetes/pki";

/// The identity that the control planes of a cluster share.
pub(super) struct ControlPlane<'a> {
    pub(super) cluster: &'a Description,
    pub(super) validity: Validity,
    pub(super) extra_sans: &'a [String],
    /// The administrators' group.
    pub(super) admins: &'a str,
    pub(super) ca: &'a Authority,
    pub(super) front_proxy_ca: Authority,
    pub(super) etcd_ca: Authority,
    /// The key that signs service account tokens.
    pub(super) service_accounts: &'a KeyPair,
    pub(super) admin: &'a Pair,
    /// `None` for versions before 1.29.
    pub(super) super_admin: Option<&'a Pair>,
}

impl ControlPlane<'_> {
    /// The files of the control plane `node`, in addition to those of every node.
    pub(super) fn files(&self, node: &Node) -> Result<Vec<SeedFile>, IdentityError> {
        let mut files = self.pki(node)?;
        let ca = self.ca.certificate();
        let server = &api_url(self.cluster, node);
        let kubeconfig = |user: &str, pair: &Pair| {
            Kubeconfig {
                server,
                ca: &ca,
                user,
            }
            .with_pair(pair)
        };
        let mut add = |name: &str, user: &str, pair: &Pair| {
            files.push(secret(
                &format!("etc/kubernetes/{name}.conf"),
                kubeconfig(user, pair),
            ));
        };
        add("admin", "kubernetes-admin", self.admin);
        if let Some(pair) = self.super_admin {
            add("super-admin", "kubernetes-super-admin", pair);
        }
        for component in ["controller-manager", "scheduler"] {
            let user = format!("system:kube-{component}");
            add(
                component,
                &user,
                &self.ca.sign(&Leaf::new(&user, Usage::Client, self.validity))?,
            );
        }
        Ok(files)
    }

    fn pki(&self, node: &Node) -> Result<Vec<SeedFile>, IdentityError> {
        let Self {
            ca,
            front_proxy_ca,
            etcd_ca,
            ..
        } = self;
        let client = |name| Leaf::new(name, Usage::Client, self.validity);
        let pairs = [
            ("front-proxy-ca", front_proxy_ca.pair()),
            ("etcd/ca", etcd_ca.pair()),
            ("apiserver", ca.sign(&self.api_server(node))?),
            (
                "apiserver-kubelet-client",
                ca.sign(&Leaf {
                    group: Some(self.admins),
                    ..client("kube-apiserver-kubelet-client")
                })?,
            ),
            (
                "front-proxy-client",
                front_proxy_ca.sign(&client("front-proxy-client"))?,
            ),
            (
                "apiserver-etcd-client",
                etcd_ca.sign(&client("kube-apiserver-etcd-client"))?,
            ),
            ("etcd/server", etcd_ca.sign(&self.etcd(node))?),
            ("etcd/peer", etcd_ca.sign(&self.etcd(node))?),
            (
                "etcd/healthcheck-client",
                etcd_ca.sign(&client("kube-etcd-healthcheck-client"))?,
            ),
        ];
        let mut files: Vec<SeedFile> = pairs
            .into_iter()
            .flat_map(|(name, pair)| pair_files(&format!("{PKI}/{name}"), pair))
            .collect();
        // The certificate is among the files of every node.
        files.push(secret(&format!("{PKI}/ca.key"), ca.pair().key));
        files.push(secret(
            &format!("{PKI}/sa.key"),
            self.service_accounts.serialize_pem(),
        ));
        files.push(public(
            &format!("{PKI}/sa.pub"),
            self.service_accounts.public_key_pem(),
        ));
        Ok(files)
    }

    /// The API server's certificate, for every name that clients use: inside the cluster, on the node, and through a
    /// forwarded port of the host.
    fn api_server(&self, node: &Node) -> Leaf<'_> {
        let mut alt_names = vec![
            node.name.to_string(),
            "kubernetes".to_owned(),
            "kubernetes.default".to_owned(),
            "kubernetes.default.svc".to_owned(),
            format!("kubernetes.default.svc.{}", self.cluster.domain()),
            "localhost".to_owned(),
            self.cluster.networks().api.to_string(),
            node.address.to_string(),
            "127.0.0.1".to_owned(),
        ];
        let balanced = self.cluster.api_server().ip().to_string();
        let second = node.second.map(|place| place.address.to_string());
        for name in self.extra_sans.iter().chain([&balanced]).chain(&second) {
            if !alt_names.contains(name) {
                alt_names.push(name.clone());
            }
        }
        Leaf {
            alt_names,
            ..Leaf::new("kube-apiserver", Usage::Server, self.validity)
        }
    }

    fn etcd<'a>(&self, node: &'a Node) -> Leaf<'a> {
        let (name, address) = (node.name.to_string(), node.address.to_string());
        let alt_names = vec![
            name,
            "localhost".to_owned(),
            address,
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        Leaf {
            alt_names,
            ..Leaf::new(node.name.as_str(), Usage::Both, self.validity)
        }
    }
}
