//! The steps of kubeadm: machines booted side by side, `kubeadm init`, `kubeadm join`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use parbake_cluster::join;
use parbake_cluster::machine_plan::{self, LaunchContext};
use parbake_cluster::{Description, Node, Role};
use parbake_machine::fs::files::failed;
use parbake_machine::host::Host;
use parbake_machine::plan::Forward;
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::Running;

use super::super::Error;
use super::super::node_command::{on, shell, wait_for_runtime};
use crate::kubeadm::{self, Profile};

/// Where the administrator's way in stands on a control plane, below its root.
pub(in crate::bake) const ADMIN: &str = "etc/kubernetes/admin.conf";

/// The keys that all control planes share, as text.
const PACK_AUTHORITIES: &str = "cd /etc/kubernetes/pki; \
    tar -c ca.crt ca.key sa.key sa.pub front-proxy-ca.crt front-proxy-ca.key etcd/ca.crt etcd/ca.key | base64";
/// The way back.
const UNPACK_AUTHORITIES: &str = "mkdir -p /etc/kubernetes/pki; base64 -d | tar -x -C /etc/kubernetes/pki";

/// Where a cluster is formed, and of what.
pub(in crate::bake) struct Bootstrap<'a> {
    /// Tells its cgroups from those of others on this host.
    pub(in crate::bake) id: String,
    /// The directory that the cluster owns.
    pub(in crate::bake) dir: PathBuf,
    /// The layers that all machines share, bottom first.
    pub(in crate::bake) layers: Vec<PathBuf>,
    pub(in crate::bake) cluster: &'a Description,
    pub(in crate::bake) host: &'a Host,
    pub(in crate::bake) supervise: &'a Cmd,
    pub(in crate::bake) profile: Profile,
    /// With what nodes join, see [`token`].
    pub(in crate::bake) token: String,
}

impl Bootstrap<'_> {
    /// The control plane that comes first.
    pub(in crate::bake) fn first(&self) -> &Node {
        // A description has a node, and control planes come first.
        &self.cluster.nodes()[0]
    }

    /// All nodes but that one.
    pub(in crate::bake) fn others(&self) -> &[Node] {
        &self.cluster.nodes()[1..]
    }

    /// Boots the machines and waits for their runtimes.
    pub(in crate::bake) fn boot(&self) -> Result<Running, Error> {
        let what = match self.cluster.nodes().len() {
            1 => "boot 1 machine".to_owned(),
            count => format!("boot {count} machines"),
        };
        let _step = tracing::info_span!("step", what).entered();
        let decisions = self.host.decide();
        let surroundings = LaunchContext {
            id: &self.id,
            dir: &self.dir,
            host: &decisions,
            forwards: vec![Forward {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                to: self.cluster.api_server(),
                movable: false,
            }],
            internet: false,
            end_with_parent: true,
            again: false,
        };
        let plan = machine_plan::plan(
            self.cluster,
            surroundings,
            |_| self.layers.clone(),
            |node| kubeadm::init_files(self.cluster, node, &self.token, self.profile),
        )?;
        let running = Running::start(&plan, self.supervise)?;
        for node in self.cluster.nodes() {
            wait_for_runtime(&running, node.name.as_str())?;
        }
        Ok(running)
    }

    /// Runs `kubeadm init` on the first node; gives the hash that lets others trust the new CA.
    pub(in crate::bake) fn init(&self, running: &Running) -> Result<String, Error> {
        let node = self.first().name.as_str();
        let _step = tracing::info_span!("step", what = format!("kubeadm init on {node}")).entered();
        let output = on(running, node, &["kubeadm", "init", "--config", kubeadm::CONFIG])?;
        Ok(output.parse(ca_hash)?)
    }

    /// Runs `kubeadm join` on `node`.
    pub(in crate::bake) fn join(&self, running: &Running, node: &Node, ca_hash: &str) -> Result<(), Error> {
        let name = node.name.as_str();
        let _step = tracing::info_span!("step", what = format!("kubeadm join on {name}")).entered();
        let config = kubeadm::join_config(self.cluster, node, &self.token, ca_hash, self.profile);
        if node.role == Role::ControlPlane {
            self.share_authorities(running, node)?;
        }
        running
            .command(name, ["sh", "-euc", &format!("cat > {}", kubeadm::CONFIG)])?
            .stdin(config)
            .run()?;
        on(running, name, &["kubeadm", "join", "--config", kubeadm::CONFIG])?;
        Ok(())
    }

    /// Gives `node` the keys that all control planes share, as kubeadm's documentation has it ('Creating Highly Available
    /// Clusters with kubeadm', Manual certificate distribution): what goes by no secret is in no database.
    fn share_authorities(&self, running: &Running, node: &Node) -> Result<(), Error> {
        let packed = shell(running, self.first().name.as_str(), PACK_AUTHORITIES)?.stdout;
        running
            .command(node.name.as_str(), ["sh", "-euc", UNPACK_AUTHORITIES])?
            .stdin(packed)
            .run()?;
        Ok(())
    }

    /// The administrator's kubeconfig as kubeadm wrote it, for the use on the host.
    pub(in crate::bake) fn kubeconfig(&self, running: &Running, written: &str) -> String {
        let here = format!("https://{}", running.ports()[0]);
        written.replace(&self.cluster.api_url(), &here)
    }
}

/// The hash of the CA's key, `sha256:HEX`, in the command that `kubeadm init` prints for nodes that are to join.
fn ca_hash(text: &str) -> Result<String, &'static str> {
    let hash = text.split_whitespace().find(|word| word.starts_with("sha256:"));
    hash.map(str::to_owned).ok_or("no hash of the CA's key")
}

/// A new bootstrap token.
pub(in crate::bake) fn token() -> Result<String, Error> {
    let token = join::new_token().map_err(std::io::Error::other);
    Ok(token.map_err(failed("read random bytes from", Path::new("/dev/urandom")))?)
}

#[cfg(test)]
mod tests {
    use super::ca_hash;

    #[test]
    fn the_hash_is_in_what_init_prints() {
        let printed = "Then you can join any number of worker nodes:\n\n\
                       kubeadm join 10.89.0.11:6443 --token a.b \\\n\
                       \t--discovery-token-ca-cert-hash sha256:0abc \n";
        assert_eq!(ca_hash(printed), Ok("sha256:0abc".to_owned()));
        assert!(ca_hash("Your Kubernetes control-plane has initialized").is_err());
    }
}
