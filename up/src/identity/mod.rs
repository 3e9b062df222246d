//! A new identity for every cluster: authorities, certificates, kubeconfigs, keys, machine ids.
//!
//! Nothing is read: all follows from the [`Description`], the time and chance. What is made is what `kubeadm init`
//! and `kubeadm join` make (Kubernetes 1.34, `cmd/kubeadm/app/phases/certs/certlist.go` and
//! `phases/kubeconfig/kubeconfig.go`), with ECDSA P-256 keys throughout:
//!
//! ```text
//! etc/machine-id
//! etc/kubernetes/
//! ├── kubelet.conf                              points to kubelet-client-current.pem
//! ├── admin.conf, super-admin.conf              control planes only, and all that follows
//! ├── controller-manager.conf, scheduler.conf
//! └── pki/
//!     ├── ca.crt                                workers too
//!     ├── ca.key
//!     ├── apiserver.{crt,key}                   signed by ca
//!     ├── apiserver-kubelet-client.{crt,key}    signed by ca
//!     ├── front-proxy-ca.{crt,key}
//!     ├── front-proxy-client.{crt,key}          signed by front-proxy-ca
//!     ├── apiserver-etcd-client.{crt,key}       signed by etcd/ca
//!     ├── sa.{key,pub}                          signs service accounts' tokens
//!     └── etcd/{ca,server,peer,healthcheck-client}.{crt,key}
//! var/lib/kubelet/pki/
//! ├── kubelet.{crt,key}                         what the kubelet serves with
//! ├── kubelet-client-DATE.pem
//! └── kubelet-client-current.pem                a link to it
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
use parbake_cluster::ca_publish::Authorities;
use parbake_cluster::{Description, Node, NodeName, Role};
use parbake_machine::plan::SeedFile;
use thiserror::Error;
use uuid::Uuid;

use certificate::{Authority, Pair, Usage, Validity};
use control_plane::ControlPlane;
use kubeconfig::Kubeconfig;
pub(crate) use kubeconfig::with_server;
use token::ServiceAccounts;

/// How long authorities live, as kubeadm's do: 10 years.
const AUTHORITY_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// How long all other certificates live unless told otherwise, as kubeadm's do: 1 year.
const VALIDITY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A part of an identity that could not be made.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// A name was asked for that no certificate can hold.
    #[error("`{name}` is neither a DNS name nor an IP address that a certificate could be for")]
    AltName {
        /// The name.
        name: String,
        /// Why not; absent for what looks like no name at all.
        #[source]
        source: Option<rcgen::Error>,
    },
    /// A key or certificate could not be made.
    #[error("could not make the certificate of `{subject}`")]
    Certificate {
        /// The certificate's common name.
        subject: String,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// The time lies outside what certificates can hold.
    #[error("`{now}` is no time that a certificate could begin at; set the clock")]
    Time {
        /// The time.
        now: Timestamp,
    },
}

/// What is left to choose about an identity.
#[derive(Debug, Clone)]
pub struct Options {
    /// Further DNS names and IP addresses that the API's certificate is good for.
    pub extra_sans: Vec<String>,
    /// The time of making. Everything is valid from a little earlier on.
    pub now: Timestamp,
    /// How long certificates live, except for the authorities', which live 10 years.
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

/// The identity of one cluster: every secret that makes it this cluster and no other.
pub struct Identity {
    id: Uuid,
    ca: String,
    front_proxy_ca: String,
    admin: Pair,
    super_admin: Pair,
    service_accounts: ServiceAccounts,
    root_ca_maps: bool,
    files: BTreeMap<NodeName, Vec<SeedFile>>,
}

/// Almost everything in it is secret.
impl fmt::Debug for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Identity")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Makes an identity for `cluster`. No two are alike.
    ///
    /// # Errors
    /// When an extra name or the time cannot stand in a certificate.
    pub fn new(cluster: &Description, options: &Options) -> Result<Self, IdentityError> {
        let forever = Validity::new(options.now, AUTHORITY_VALIDITY)?;
        let validity = Validity::new(options.now, options.validity)?;
        let ca = Authority::new("kubernetes", forever)?;
        let administrator = |name: &str, group: &str| {
            ca.sign(&certificate::Leaf {
                group: Some(group),
                ..certificate::Leaf::new(name, Usage::Client, validity)
            })
        };
        // The group of administrators whose rights can be taken away came with 1.29, and is bound to its role by
        // kubeadm. Before, there was only the group that the API asks for no rights.
        let dialect = cluster.kubernetes().dialect();
        let admins = if dialect.has_super_admin() {
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
            front_proxy_ca: Authority::new("front-proxy-ca", forever)?,
            etcd_ca: Authority::new("etcd-ca", forever)?,
            service_accounts: service_accounts.key(),
            admin: &admin,
            super_admin: dialect.has_super_admin().then_some(&super_admin),
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
        Ok(Self {
            id: Uuid::new_v4(),
            ca: ca.certificate(),
            front_proxy_ca,
            admin,
            super_admin,
            service_accounts,
            root_ca_maps: dialect.has_root_ca_maps(),
            files,
        })
    }

    /// A random name for the cluster, unlike that of any other.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The certificate of the cluster's authority, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca
    }

    /// What the cluster's inhabitants must be told; `api_url` is [`Description::api_url`].
    pub fn authorities<'a>(&'a self, api_url: &'a str) -> Authorities<'a> {
        Authorities {
            cluster: &self.ca,
            front_proxy: &self.front_proxy_ca,
            api_url,
            signer: &self.service_accounts,
            root_ca_maps: self.root_ca_maps,
        }
    }

    /// The files that make `node` a member of this cluster; none for a node of another cluster.
    pub fn files(&self, node: &Node) -> Vec<SeedFile> {
        self.files.get(&node.name).cloned().unwrap_or_default()
    }

    /// A kubeconfig for users. `server` is the URL at which they reach the API.
    pub fn admin_kubeconfig(&self, server: &str) -> String {
        Kubeconfig {
            server,
            ca: &self.ca,
            user: "kubernetes-admin",
        }
        .with_pair(&self.admin)
    }

    /// A kubeconfig for ourselves: the API does not look up this user's rights, so it works from the first moment and
    /// whatever users do to theirs.
    pub fn super_admin_kubeconfig(&self, server: &str) -> String {
        Kubeconfig {
            server,
            ca: &self.ca,
            user: "kubernetes-super-admin",
        }
        .with_pair(&self.super_admin)
    }
}

#[cfg(test)]
mod tests;
