//! Starts the machines of a cluster from an artifact. The only way from an artifact to running machines.
//!
//! Every command that boots machines (`up`, `start`, `restart`, `node add`, the settle phase of `freeze`, the benchmark's
//! baseline) takes the same steps:
//!
//! | step | |
//! |---|---|
//! | [`Launcher::for_tag`], [`Launcher::for_record`] | detect the host and require what machines need |
//! | | open the store and find the artifact: by name for a new cluster, by digest for an existing one |
//! | | check the artifact against the signature policy |
//! | [`Launcher::check`] | check that the host runs this version of Kubernetes, and has Internet access if requested |
//! | [`Launcher::stacks`] | look up the unpacked layers of each node |
//! | [`Launcher::start`] | plan addresses, files and limits, and start the supervisor with the machines |
//!
//! Joining nodes replace the last step with [`Launcher::plan_joining`], because their cluster's supervisor runs already.
//!
//! # Signature policy
//! `DIR/policy.toml` applies at every launch, not only when a cluster is created: a cluster whose artifact is not, or no
//! longer, trusted does not start. The error names the policy file and how to get the artifact signed. Signatures are looked up
//! in the store, so the check works offline. `allow-local` applies to an artifact if its name in the store was baked or frozen
//! on this host; once the name was removed from the store, the artifact needs a signature.

use std::path::Path;

use parbake_artifact::{Artifact, Digest, Policy, Store, Tag};
use parbake_cluster::launch::start_machines;
use parbake_cluster::model::machine_plan::{self, Boot, LaunchContext};
use parbake_cluster::{Description, Node};
use parbake_machine::host::{Host, HostSettings, Purpose};
use parbake_machine::plan::{Forward, MachinePlan, Plan, SeedFile};
use parbake_machine::process::Cmd;
use parbake_machine::supervisor::Running;
use parbake_machine::timing::Spans;

use crate::config::{self, Config};
use crate::egress;
use crate::error::Error;
use crate::layer_stacks::LayerStacks;
use crate::state::Record;

/// An artifact that may be launched on this host: all checks that do not depend on the cluster have passed.
pub(crate) struct Launcher {
    host: Host,
    settings: HostSettings,
    pub(crate) store: Store,
    pub(crate) artifact: Artifact,
    /// The cluster as it was baked.
    pub(crate) baked: Description,
}

/// Machines to start.
pub(crate) struct Launch<'a> {
    /// See [`crate::state::host_id`].
    pub(crate) id: &'a str,
    /// The directory of the cluster.
    pub(crate) dir: &'a Path,
    pub(crate) cluster: &'a Description,
    pub(crate) stacks: &'a LayerStacks,
    pub(crate) boot: Boot,
    pub(crate) forwards: Vec<Forward>,
    pub(crate) internet: bool,
    /// End the machines when this process ends.
    pub(crate) end_with_parent: bool,
    /// Files of each node beyond those that every node gets.
    pub(crate) files: &'a dyn Fn(&Node) -> Vec<SeedFile>,
    /// `None` for machines that serve parbake itself.
    pub(crate) config: Option<&'a Config>,
    pub(crate) supervise: &'a Cmd,
}

impl Launcher {
    /// Prepares a launch of the artifact that is called `tag` now.
    pub(crate) fn for_tag(state: &Path, tag: &Tag, spans: &mut Spans) -> Result<Self, Error> {
        Self::prepare(state, tag, None, spans)
    }

    /// Prepares a launch of the artifact that a cluster was created from.
    pub(crate) fn for_record(state: &Path, record: &Record) -> Result<Self, Error> {
        Self::prepare(state, &record.tag, Some(&record.artifact), &mut Spans::default())
    }

    fn prepare(state: &Path, tag: &Tag, digest: Option<&Digest>, spans: &mut Spans) -> Result<Self, Error> {
        let host = spans.time("check the host", || Host::detect(state).require(Purpose::Up))?;
        let (store, artifact) =
            spans.time("look up the artifact", || trusted_artifact(state, tag, digest))?;
        Ok(Self {
            settings: host.decide(),
            host,
            baked: Description::from_artifact(&artifact.config.cluster)?,
            store,
            artifact,
        })
    }

    /// Checks that the host can run `cluster`, with Internet access if requested.
    pub(crate) fn check(&self, cluster: &Description, internet: bool) -> Result<(), Error> {
        cluster.check_host(&self.host)?;
        if internet {
            self.host.require_internet()?;
            egress::require_ipv4(cluster)?;
            egress::warn_of_hidden_networks(cluster);
        }
        Ok(())
    }

    /// The unpacked layers of the nodes of `cluster`.
    pub(crate) fn stacks(&self, cluster: &Description) -> Result<LayerStacks, Error> {
        LayerStacks::of(&self.store, &self.artifact, &self.baked, cluster.nodes())
    }

    /// Starts the machines. They boot in parallel.
    pub(crate) fn start(&self, launch: Launch<'_>) -> Result<(Running, Plan), Error> {
        let Launch { cluster, boot, .. } = launch;
        let context = LaunchContext {
            id: launch.id,
            dir: launch.dir,
            host: &self.settings,
            forwards: launch.forwards,
            internet: launch.internet,
            end_with_parent: launch.end_with_parent,
            boot,
        };
        let configure = |plan| match launch.config {
            Some(config) => Ok::<_, Error>(config::configure(plan, config, cluster, boot)?),
            None => Ok(plan),
        };
        let layers = |node: &Node| launch.stacks.get(node);
        start_machines(
            cluster,
            context,
            layers,
            launch.files,
            configure,
            launch.supervise,
        )
    }

    /// Plans the machines of `nodes`, which are to join the running cluster in `dir`, each with its own `files`.
    pub(crate) fn plan_joining(
        &self,
        dir: &Path,
        cluster: &Description,
        nodes: &[Node],
        internet: bool,
        config: &Config,
        files: impl Fn() -> Vec<SeedFile>,
    ) -> Result<Vec<MachinePlan>, Error> {
        let context = LaunchContext {
            // Belongs to the supervisor, which runs already.
            id: "",
            dir,
            host: &self.settings,
            forwards: Vec::new(),
            internet,
            end_with_parent: false,
            boot: Boot::First,
        };
        let stacks = LayerStacks::of(&self.store, &self.artifact, &self.baked, nodes)?;
        let machine = |node: &Node| {
            let mut machine = machine_plan::machine(cluster, &context, node, stacks.get(node), files())?;
            config::configure_machine(&mut machine, config, cluster, node, &self.settings, Boot::First)?;
            Ok(machine)
        };
        nodes.iter().map(machine).collect()
    }

    /// Notes that the artifact is used. A failure is only logged.
    pub(crate) fn mark_used(&self) {
        mark_used(&self.store, &self.artifact);
    }

    /// Remembers what is known about the host now that it has run a cluster, so that the next launch checks less.
    pub(crate) fn remember_host(self) {
        self.host.remember();
    }
}

/// Opens the store and finds an artifact that the signature policy accepts: the one with `digest`, or else the one that is
/// called `tag` now.
pub(crate) fn trusted_artifact(
    state: &Path,
    tag: &Tag,
    digest: Option<&Digest>,
) -> Result<(Store, Artifact), Error> {
    let store = Store::open(&state.join("store"))?;
    let policy = Policy::load(state).map_err(Box::new)?;
    let Some(digest) = digest else {
        let artifact = store.get(tag)?;
        policy.check(&store, &artifact).map_err(Box::new)?;
        return Ok((store, artifact));
    };
    let mut artifact = store.get_by_digest(tag, digest)?;
    if store.tags()?.contains(tag) {
        artifact.origin = store.origin(tag)?;
        policy.check(&store, &artifact).map_err(Box::new)?;
    } else {
        policy.check_signature(&store, &artifact).map_err(Box::new)?;
    }
    Ok((store, artifact))
}

/// Notes that an artifact is used. A failure is only logged.
pub(crate) fn mark_used(store: &Store, artifact: &Artifact) {
    if let Err(error) = store.mark_used(&artifact.tag) {
        tracing::warn!(%error, "could not record that the artifact is used");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use jiff::Timestamp;
    use parbake_artifact::{Artifact, MachineLayers, NewArtifact, PackOptions, Store, Tag};
    use serde_json::json;

    use super::trusted_artifact;
    use crate::Error;

    fn tag(text: &str) -> Tag {
        text.parse().unwrap()
    }

    fn store(state: &Path) -> Store {
        Store::open(&state.join("store")).unwrap()
    }

    /// An artifact of one machine, made on this host.
    fn artifact(state: &Path, provider: &str) -> Artifact {
        let files = tempfile::tempdir().unwrap();
        let store = store(state);
        let layer = store
            .add_layer("os", files.path(), &PackOptions::default())
            .unwrap();
        let artifact = NewArtifact {
            created: Timestamp::UNIX_EPOCH,
            provider: provider.to_owned(),
            machines: vec![MachineLayers {
                name: "node01".to_owned(),
                layers: vec![layer.digest.clone()],
            }],
            cluster: json!({}),
            layers: vec![layer],
            secrets: None,
        };
        store.put(&tag("k8s"), artifact).unwrap()
    }

    fn write_policy(state: &Path, allow_local: bool) {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        fs::write(state.join("cosign.pub"), key.public_key_pem()).unwrap();
        let policy =
            format!("refuse-unsigned = true\nkeys = [\"cosign.pub\"]\nallow-local = {allow_local}\n");
        fs::write(state.join("policy.toml"), policy).unwrap();
    }

    fn assert_refused<T>(state: &Path, outcome: Result<T, Error>) {
        let Err(Error::Policy(error)) = outcome else {
            panic!("the policy did not refuse it");
        };
        let message = error.to_string();
        let policy = state.join("policy.toml").display().to_string();
        assert!(
            message.contains(&policy) && message.contains("cosign sign"),
            "{message}"
        );
    }

    #[test]
    fn untrusted_artifact_is_refused_for_new_and_existing_clusters() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path();
        let unsigned = artifact(state, "one");
        let by_tag = || trusted_artifact(state, &tag("k8s"), None);
        let by_digest = || trusted_artifact(state, &tag("k8s"), Some(&unsigned.digest));
        assert_eq!(by_tag().unwrap().1, unsigned);
        assert_eq!(by_digest().unwrap().1, unsigned);

        write_policy(state, true);
        assert!(
            by_tag().is_ok() && by_digest().is_ok(),
            "local artifacts are allowed"
        );

        write_policy(state, false);
        assert_refused(state, by_tag());
        assert_refused(state, by_digest());
    }

    #[test]
    fn allow_local_does_not_apply_to_pulled_or_unnamed_artifacts() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path();
        let local = artifact(state, "one");
        write_policy(state, true);
        let (_, manifest) = store(state).manifest_bytes(&tag("k8s")).unwrap();
        let origin = "example.org/k8s:v1".parse().unwrap();
        store(state)
            .import(&tag("pulled"), &manifest, Some(&origin))
            .unwrap();
        assert_refused(state, trusted_artifact(state, &tag("pulled"), None));
        assert_refused(
            state,
            trusted_artifact(state, &tag("pulled"), Some(&local.digest)),
        );
        assert_refused(
            state,
            trusted_artifact(state, &tag("removed"), Some(&local.digest)),
        );

        // A rebuild under the same name does not affect clusters of the former artifact.
        assert_ne!(artifact(state, "two").digest, local.digest);
        assert!(trusted_artifact(state, &tag("k8s"), Some(&local.digest)).is_ok());
    }
}
