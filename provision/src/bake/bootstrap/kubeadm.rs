//! Boots the machines and runs `kubeadm init` and `kubeadm join` on them.

use std::path::{Path, PathBuf};

use parbake_cluster::api::join;
use parbake_cluster::launch;
use parbake_cluster::model::machine_plan::{Boot, LaunchContext};
use parbake_cluster::{Description, Node, Role};
use parbake_machine::fs::files::failed;
use parbake_machine::host::Host;
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::Running;

use super::super::Error;
use super::super::node_command::{run_on, run_script, wait_for_runtime};
use crate::kubeadm::{self, Profile};

/// The administrator's kubeconfig on a control plane, below its root.
pub(in crate::bake) const ADMIN: &str = "etc/kubernetes/admin.conf";

/// Prints the keys that all control planes share, as a tar archive in base64.
const PACK_AUTHORITIES: &str = "cd /etc/kubernetes/pki; \
    tar -c ca.crt ca.key sa.key sa.pub front-proxy-ca.crt front-proxy-ca.key etcd/ca.crt etcd/ca.key | base64";
const UNPACK_AUTHORITIES: &str = "mkdir -p /etc/kubernetes/pki; base64 -d | tar -x -C /etc/kubernetes/pki";

/// The machines and settings of a cluster to bootstrap.
pub(in crate::bake) struct Bootstrap<'a> {
    /// The cluster's name on the host, for cgroups and network namespaces.
    pub(in crate::bake) id: String,
    /// The cluster's directory.
    pub(in crate::bake) dir: PathBuf,
    /// The shared layers, bottom first.
    pub(in crate::bake) layers: Vec<PathBuf>,
    pub(in crate::bake) cluster: &'a Description,
    pub(in crate::bake) host: &'a Host,
    pub(in crate::bake) supervise: &'a Cmd,
    pub(in crate::bake) profile: Profile,
    /// The bootstrap token.
    pub(in crate::bake) token: String,
}

impl Bootstrap<'_> {
    /// The first control plane.
    pub(in crate::bake) fn first(&self) -> &Node {
        // A description has at least one node, and control planes come first.
        &self.cluster.nodes()[0]
    }

    /// All other nodes.
    pub(in crate::bake) fn others(&self) -> &[Node] {
        &self.cluster.nodes()[1..]
    }

    /// Boots the machines in parallel and waits for their container runtimes.
    pub(in crate::bake) fn boot(&self) -> Result<Running, Error> {
        let context = LaunchContext {
            id: &self.id,
            dir: &self.dir,
            host: &self.host.decide(),
            forwards: vec![launch::api_port(self.cluster, None)],
            internet: false,
            end_with_parent: true,
            boot: Boot::First,
        };
        let (running, _plan) = launch::start_machines(
            self.cluster,
            context,
            |_| self.layers.clone(),
            |node| kubeadm::init_files(self.cluster, node, &self.token, self.profile),
            Ok::<_, Error>,
            self.supervise,
        )?;
        for node in self.cluster.nodes() {
            wait_for_runtime(&running, node.name.as_str())?;
        }
        Ok(running)
    }

    /// Runs `kubeadm init` on the first node. Returns the hash by which the others verify the new CA.
    pub(in crate::bake) fn init(&self, running: &Running) -> Result<String, Error> {
        let node = self.first().name.as_str();
        let _step = tracing::info_span!("step", what = format!("kubeadm init on {node}")).entered();
        let output = run_on(running, node, &["kubeadm", "init", "--config", kubeadm::CONFIG])?;
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
        run_on(running, name, &["kubeadm", "join", "--config", kubeadm::CONFIG])?;
        Ok(())
    }

    /// Copies the keys that all control planes share to `node` (kubeadm documentation, 'Creating Highly Available Clusters with
    /// kubeadm', Manual certificate distribution). Unlike kubeadm's upload, this leaves no secret in the database.
    fn share_authorities(&self, running: &Running, node: &Node) -> Result<(), Error> {
        let packed = run_script(running, self.first().name.as_str(), PACK_AUTHORITIES)?.stdout;
        running
            .command(node.name.as_str(), ["sh", "-euc", UNPACK_AUTHORITIES])?
            .stdin(packed)
            .run()?;
        Ok(())
    }

    /// The administrator's kubeconfig that kubeadm wrote, changed for use on the host.
    pub(in crate::bake) fn kubeconfig(&self, running: &Running, written: &str) -> String {
        let url = format!("https://{}", running.ports()[0]);
        written.replace(&self.cluster.api_url(), &url)
    }
}

/// Finds the hash of the CA's key, `sha256:HEX`, in the join command that `kubeadm init` prints.
fn ca_hash(text: &str) -> Result<String, &'static str> {
    let hash = text.split_whitespace().find(|word| word.starts_with("sha256:"));
    hash.map(str::to_owned).ok_or("it has no hash of the CA's key")
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
    fn ca_hash_is_found_in_the_join_command() {
        let printed = "Then you can join any number of worker nodes:\n\n\
                       kubeadm join 10.89.0.11:6443 --token a.b \\\n\
                       \t--discovery-token-ca-cert-hash sha256:0abc \n";
        assert_eq!(ca_hash(printed), Ok("sha256:0abc".to_owned()));
        assert!(ca_hash("Your Kubernetes control-plane has initialized").is_err());
    }
}
