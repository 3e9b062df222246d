//! A new identity for every cluster: CAs, certificates, kubeconfigs, keys and machine ids.
//!
//! Everything derives from the [`Description`], the time and random numbers; no file is read. The files are those of
//! `kubeadm init` and `kubeadm join` (Kubernetes 1.34, `cmd/kubeadm/app/phases/certs/certlist.go` and
//! `phases/kubeconfig/kubeconfig.go`), with ECDSA P-256 keys throughout:
//!
//! ```text
//! etc/machine-id
//! etc/kubernetes/
//! ├── kubelet.conf                              refers to kubelet-client-current.pem
//! ├── admin.conf, super-admin.conf              from here on, control planes only
//! ├── controller-manager.conf, scheduler.conf
//! └── pki/
//!     ├── ca.crt                                every node
//!     ├── ca.key
//!     ├── apiserver.{crt,key}                   signed by ca
//!     ├── apiserver-kubelet-client.{crt,key}    signed by ca
//!     ├── front-proxy-ca.{crt,key}
//!     ├── front-proxy-client.{crt,key}          signed by front-proxy-ca
//!     ├── apiserver-etcd-client.{crt,key}       signed by etcd/ca
//!     ├── sa.{key,pub}                          signs service account tokens
//!     └── etcd/{ca,server,peer,healthcheck-client}.{crt,key}
//! var/lib/kubelet/pki/
//! ├── kubelet.{crt,key}                         serving certificate
//! ├── kubelet-client-DATE.pem
//! └── kubelet-client-current.pem                symbolic link to it
//! ```

mod certificate;
mod control_plane;
mod kubeconfig;
mod node;
mod token;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use parbake_cluster::sanitize::ca_publish::CertificateAuthorities;
use parbake_cluster::{Description, Node, NodeName, Role};
use parbake_machine::plan::SeedFile;
use thiserror::Error;
use uuid::Uuid;

use certificate::{Authority, Pair, Usage, Validity};
use control_plane::ControlPlane;
use kubeconfig::Kubeconfig;
pub(crate) use kubeconfig::with_server;
use token::ServiceAccounts;

/// Validity of CA certificates: 10 years, as in kubeadm.
const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// The name of parbake's own client of etcd.
const ETCD_USER: &str = "parbake";
/// Default validity of all other certificates: 1 year, as in kubeadm.
const VALIDITY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[derive(Debug, Error)]
pub enum IdentityError {
    #[error("`{name}` is not a DNS name or IP address that a certificate can hold")]
    AltName {
        name: String,
        /// `None` if the name is malformed.
        #[source]
        source: Option<rcgen::Error>,
    },
    #[error("could not create the certificate of `{subject}`")]
    Certificate {
        /// The common name.
        subject: String,
        #[source]
        source: rcgen::Error,
    },
    #[error("a certificate cannot start at `{now}`; set the clock")]
    Time { now: Timestamp },
}

#[derive(Debug, Clone)]
pub struct Options {
    /// Further DNS names and IP addresses for the API server's certificate.
    pub extra_sans: Vec<String>,
    /// The time of creation. Certificates are valid from 5 minutes before.
    pub now: Timestamp,
    /// Validity of all certificates but the CAs'.
    pub validity: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            extra_sans: Vec::new(),
            now: Timestamp::now(),
            validity: VALIDITY,
        }
    }
}

/// The identity of one cluster: all its secrets.
pub struct Identity {
    id: Uuid,
    ca: String,
    front_proxy_ca: String,
    admin: Pair,
    super_admin: Pair,
    etcd_ca: String,
    etcd_client: Pair,
    service_accounts: ServiceAccounts,
    root_ca_maps: bool,
    files: BTreeMap<NodeName, Vec<SeedFile>>,
}

/// Leaves the secrets out.
impl fmt::Debug for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Identity")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Creates a unique identity for `cluster`.
    ///
    /// # Errors
    /// A certificate cannot hold an extra name or the time.
    pub fn new(cluster: &Description, options: &Options) -> Result<Self, IdentityError> {
        let ca_validity = Validity::new(options.now, CA_VALIDITY)?;
        let validity = Validity::new(options.now, options.validity)?;
        let ca = Authority::new("kubernetes", ca_validity)?;
        let administrator = |name: &str, group: &str| {
            ca.sign(&certificate::Leaf {
                group: Some(group),
                ..certificate::Leaf::new(name, Usage::Client, validity)
            })
        };
        // Since 1.29 kubeadm binds the administrators' group to a role, so that their rights can be revoked. Before, the
        // only group was the one that bypasses authorization.
        let compat = cluster.kubernetes().compat();
        let admins = if compat.has_super_admin() {
            "kubeadm:cluster-admins"
        } else {
            "system:masters"
        };
        let admin = administrator("kubernetes-admin", admins)?;
        let super_admin = administrator("kubernetes-super-admin", "system:masters")?;
        let service_accounts = ServiceAccounts::new(certificate::new_key("service accounts")?);
        let control_plane = ControlPlane {
            cluster,
            validity,
            extra_sans: &options.extra_sans,
            admins,
            front_proxy_ca: Authority::new("front-proxy-ca", ca_validity)?,
            etcd_ca: Authority::new("etcd-ca", ca_validity)?,
            service_accounts: service_accounts.key(),
            admin: &admin,
            super_admin: compat.has_super_admin().then_some(&super_admin),
            ca: &ca,
        };
        let files = cluster.nodes().iter().map(|node| {
            let mut files = node::files(&ca, cluster, node, options.now, validity)?;
            if node.role == Role::ControlPlane {
                files.extend(control_plane.files(node)?);
            }
            Ok((node.name.clone(), files))
        });
        let files = files.collect::<Result<_, IdentityError>>()?;
        let front_proxy_ca = control_plane.front_proxy_ca.certificate();
        let etcd_ca = control_plane.etcd_ca.certificate();
        let etcd_client = certificate::Leaf::new(ETCD_USER, Usage::Client, validity);
        let etcd_client = control_plane.etcd_ca.sign(&etcd_client)?;
        Ok(Self {
            id: Uuid::new_v4(),
            ca: ca.certificate(),
            front_proxy_ca,
            admin,
            super_admin,
            etcd_ca,
            etcd_client,
            service_accounts,
            root_ca_maps: compat.has_root_ca_maps(),
            files,
        })
    }

    /// A random identifier of the cluster.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The certificate of the cluster's CA, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca
    }

    /// What must be published inside the cluster; `api_url` is [`Description::api_url`].
    pub fn authorities<'a>(&'a self, api_url: &'a str) -> CertificateAuthorities<'a> {
        CertificateAuthorities {
            cluster: &self.ca,
            front_proxy: &self.front_proxy_ca,
            api_url,
            signer: &self.service_accounts,
            root_ca_maps: self.root_ca_maps,
        }
    }

    /// The identity files of `node`; empty for a node of another cluster.
    pub fn files(&self, node: &Node) -> Vec<SeedFile> {
        self.files.get(&node.name).cloned().unwrap_or_default()
    }

    /// The kubeconfig for users. `server` is the API's URL.
    pub fn admin_kubeconfig(&self, server: &str) -> String {
        Kubeconfig {
            server,
            ca: &self.ca,
            user: "kubernetes-admin",
        }
        .with_pair(&self.admin)
    }

    /// The kubeconfig for parbake itself. Its user bypasses authorization, so it works as soon as the API does, whatever
    /// users change.
    pub fn super_admin_kubeconfig(&self, server: &str) -> String {
        Kubeconfig {
            server,
            ca: &self.ca,
            user: "kubernetes-super-admin",
        }
        .with_pair(&self.super_admin)
    }

    /// The kubeconfig for etcd, for parbake itself. It is not stored. `server` is etcd's URL.
    pub(crate) fn etcd_kubeconfig(&self, server: &str) -> String {
        Kubeconfig {
            server,
            ca: &self.etcd_ca,
            user: ETCD_USER,
        }
        .with_pair(&self.etcd_client)
    }
}

#[cfg(test)]
mod tests;
