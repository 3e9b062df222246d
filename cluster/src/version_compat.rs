//! What differs between versions of Kubernetes: the only place that knows, by ranges of versions.
//!
//! Everything else is written for the newest version. [`Dialect::kubeadm`] and [`Dialect::configuration`] turn what
//! programs are to be told into the words of their version; the rest are answers to questions. All of it is pure.
//!
//! | since | what |
//! |---|---|
//! | 1.19 | the kubelet knows cgroup v2 |
//! | 1.20 | `--permit-port-sharing` of the API server; `kube-root-ca.crt` in every namespace |
//! | 1.21 | pods get tokens of their own; until then they mount those that are kept in secrets |
//! | 1.21 | nodes, pods and services of both families of addresses |
//! | 1.22 | kubeadm's `v1beta3`: patches, `imagePullPolicy`; etcd 3.5 and its `etcdutl` |
//! | 1.22 | etcd 3.5 also knows `--unsafe-no-fsync` |
//! | 1.23 | the kubelet speaks to runtimes in CRI v1; until 1.25 in v1alpha2 as well |
//! | 1.23 | pod security is checked by default; until 1.24 its configuration is `v1beta1` |
//! | 1.29 | administrators whose rights can be taken away (`super-admin.conf` is for the others) |
//! | 1.30 | pods may swap without a feature gate |
//! | 1.31 | kubeadm's `v1beta4`: arguments as lists, `encryptionAlgorithm`, `timeouts`; the kubelet's `failCgroupV1` |
//! | 1.37 | the kubelet asks the runtime for its cgroup driver (`RuntimeConfig` of CRI) and does without no more |
//!
//! Sources: Kubernetes' change logs, `cmd/kubeadm/app/apis/kubeadm/*/types.go`, `pkg/features/kube_features.go`.

mod host;
#[cfg(test)]
mod tests;
mod words;

use serde_json::Value;

use crate::version::KubernetesVersion;
pub use host::UnfitHost;

/// How one version of Kubernetes is spoken to.
#[derive(Debug, Clone, Copy)]
pub struct Dialect<'a> {
    version: &'a KubernetesVersion,
}

impl KubernetesVersion {
    /// How this version is spoken to.
    pub fn dialect(&self) -> Dialect<'_> {
        Dialect { version: self }
    }
}

/// A version of kubeadm's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KubeadmApi {
    /// From 1.15 on, and the only one until 1.21.
    V1Beta2,
    /// From 1.22 on.
    V1Beta3,
    /// From 1.31 on.
    V1Beta4,
}

impl KubeadmApi {
    /// As documents name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1Beta2 => "kubeadm.k8s.io/v1beta2",
            Self::V1Beta3 => "kubeadm.k8s.io/v1beta3",
            Self::V1Beta4 => "kubeadm.k8s.io/v1beta4",
        }
    }
}

impl Dialect<'_> {
    /// The newest configuration that the version's kubeadm reads.
    pub fn kubeadm_api(&self) -> KubeadmApi {
        match self.version {
            version if version.at_least(31) => KubeadmApi::V1Beta4,
            version if version.at_least(22) => KubeadmApi::V1Beta3,
            _ => KubeadmApi::V1Beta2,
        }
    }

    /// A document for kubeadm, given as `v1beta4` has it, as the version's kubeadm reads it. What came later is left out.
    pub fn kubeadm(&self, document: Value) -> Value {
        words::kubeadm(self.version, self.kubeadm_api(), document)
    }

    /// The kubelet's configuration (`v1beta1`) or that of kube-proxy (`v1alpha1`) without the fields that came later.
    pub fn configuration(&self, document: Value) -> Value {
        words::configuration(self.version, document)
    }

    /// Whether kubeadm patches the manifests that it writes. Those of versions that cannot are good as they are: their
    /// pods have no startup probes, so nothing holds them back.
    pub fn patches_manifests(&self) -> bool {
        self.kubeadm_api() >= KubeadmApi::V1Beta3
    }

    /// Whether every namespace has the certificate authority in the config map `kube-root-ca.crt`.
    pub fn has_root_ca_maps(&self) -> bool {
        self.version.at_least(20)
    }

    /// Whether kubeadm makes `super-admin.conf`, and binds the group of other administrators to its role.
    pub fn has_super_admin(&self) -> bool {
        self.version.at_least(29)
    }

    /// The program that works on the files of an etcd that does not run: `etcdctl` did so before 3.5, with the same words.
    pub fn etcd_tool(&self) -> &'static str {
        if self.version.at_least(22) {
            "etcdutl"
        } else {
            "etcdctl"
        }
    }

    /// Whether etcd can be told not to wait for the disk.
    pub fn etcd_can_skip_fsync(&self) -> bool {
        self.version.at_least(22)
    }

    /// The version of `PodSecurityConfiguration` that the API server reads; nothing where it knows none, or needs a
    /// feature gate for it.
    pub fn pod_security_api(&self) -> Option<&'static str> {
        match self.version {
            version if version.at_least(25) => Some("pod-security.admission.config.k8s.io/v1"),
            version if version.at_least(23) => Some("pod-security.admission.config.k8s.io/v1beta1"),
            _ => None,
        }
    }

    /// Whether the kubelet gives pods swap space without a feature gate.
    pub fn knows_swap(&self) -> bool {
        self.version.at_least(30)
    }

    /// Whether the kubelet works on a host that has cgroup v2 alone.
    pub fn knows_cgroup_v2(&self) -> bool {
        self.version.at_least(19)
    }

    /// Whether a cluster may have addresses of both families without a feature gate.
    pub fn knows_both_families(&self) -> bool {
        self.version.at_least(21)
    }

    /// Whether the kubelet speaks to runtimes in CRI v1.
    pub fn knows_cri_v1(&self) -> bool {
        self.version.at_least(23)
    }

    /// Whether the kubelet speaks to runtimes in nothing older.
    pub fn needs_cri_v1(&self) -> bool {
        self.version.at_least(26)
    }

    /// Whether the kubelet does not start with a runtime that keeps its cgroup driver to itself (metric
    /// `cri_losing_support` of older kubelets).
    pub fn needs_cgroup_driver_of_runtime(&self) -> bool {
        self.version.at_least(37)
    }
}
