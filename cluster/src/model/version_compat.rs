//! Differences between Kubernetes versions: the only place that knows them.
//!
//! Everything else is written for the newest version. [`VersionCompat::kubeadm`] and [`VersionCompat::configuration`]
//! convert documents to an older version; the other methods say what a version supports.
//!
//! | since | change |
//! |---|---|
//! | 1.19 | the kubelet supports cgroup v2 |
//! | 1.20 | `--permit-port-sharing` of the API server; `kube-root-ca.crt` in every namespace |
//! | 1.21 | pods get bound tokens; before, they mount tokens from secrets |
//! | 1.21 | dual-stack clusters |
//! | 1.22 | kubeadm's `v1beta3`: patches, `imagePullPolicy`; etcd 3.5 with `etcdutl` and `--unsafe-no-fsync` |
//! | 1.23 | the kubelet supports CRI v1; until 1.25 also v1alpha2 |
//! | 1.23 | pod security admission is on by default; until 1.24 its configuration is `v1beta1` |
//! | 1.26 | the admission plugin `ValidatingAdmissionPolicy`; since 1.32 also `MutatingAdmissionPolicy` |
//! | 1.29 | administrators whose rights can be revoked (`super-admin.conf` is the one whose cannot) |
//! | 1.30 | pods may use swap without a feature gate |
//! | 1.31 | kubeadm's `v1beta4`: arguments as lists, `encryptionAlgorithm`, `timeouts`; the kubelet's `failCgroupV1` |
//! | 1.37 | the kubelet requires the runtime's cgroup driver (`RuntimeConfig` of CRI) |
//!
//! Sources: Kubernetes' change logs, `cmd/kubeadm/app/apis/kubeadm/*/types.go`, `pkg/features/kube_features.go`.

mod check_host;
mod documents;
#[cfg(test)]
mod tests;

use serde_json::Value;

use super::version::KubernetesVersion;

/// What one version of Kubernetes supports, and how to convert documents for it.
#[derive(Debug, Clone, Copy)]
pub struct VersionCompat<'a> {
    version: &'a KubernetesVersion,
}

impl KubernetesVersion {
    pub fn compat(&self) -> VersionCompat<'_> {
        VersionCompat { version: self }
    }
}

/// A version of kubeadm's configuration API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KubeadmApi {
    /// Since 1.15.
    V1Beta2,
    /// Since 1.22.
    V1Beta3,
    /// Since 1.31.
    V1Beta4,
}

impl KubeadmApi {
    /// The `apiVersion` of its documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1Beta2 => "kubeadm.k8s.io/v1beta2",
            Self::V1Beta3 => "kubeadm.k8s.io/v1beta3",
            Self::V1Beta4 => "kubeadm.k8s.io/v1beta4",
        }
    }
}

impl VersionCompat<'_> {
    /// The newest configuration API of the version's kubeadm.
    pub fn kubeadm_api(&self) -> KubeadmApi {
        match self.version {
            version if version.at_least(31) => KubeadmApi::V1Beta4,
            version if version.at_least(22) => KubeadmApi::V1Beta3,
            _ => KubeadmApi::V1Beta2,
        }
    }

    /// Converts a kubeadm document from `v1beta4` to [`VersionCompat::kubeadm_api`]. Newer fields are dropped.
    pub fn kubeadm(&self, document: Value) -> Value {
        documents::kubeadm(self.version, self.kubeadm_api(), document)
    }

    /// The configuration of the kubelet (`v1beta1`) or kube-proxy (`v1alpha1`) without fields that are newer than the
    /// version.
    pub fn configuration(&self, document: Value) -> Value {
        documents::configuration(self.version, document)
    }

    /// True if kubeadm can patch the manifests that it writes. The manifests of older versions need no patches: they have no
    /// startup probes.
    pub fn patches_manifests(&self) -> bool {
        self.kubeadm_api() >= KubeadmApi::V1Beta3
    }

    /// True if every namespace has the certificate authority in the config map `kube-root-ca.crt`.
    pub fn has_root_ca_maps(&self) -> bool {
        self.version.at_least(20)
    }

    /// True if kubeadm creates `super-admin.conf`, and binds the group of other administrators to a role.
    pub fn has_super_admin(&self) -> bool {
        self.version.at_least(29)
    }

    /// The program for the files of a stopped etcd. Before etcd 3.5 `etcdctl` has the same subcommands.
    pub fn etcd_tool(&self) -> &'static str {
        match self.version.at_least(22) {
            true => "etcdutl",
            false => "etcdctl",
        }
    }

    /// True if etcd supports `--unsafe-no-fsync`.
    pub fn etcd_can_skip_fsync(&self) -> bool {
        self.version.at_least(22)
    }

    /// The plugins of admission control by which users can reject requests: webhooks, policies, quotas.
    pub fn rejecting_admission_plugins(&self) -> Vec<&'static str> {
        let plugins = [
            ("MutatingAdmissionWebhook", 0),
            ("ValidatingAdmissionWebhook", 0),
            ("ResourceQuota", 0),
            ("ValidatingAdmissionPolicy", 26),
            ("MutatingAdmissionPolicy", 32),
        ];
        let known = plugins
            .into_iter()
            .filter(|(_, since)| self.version.at_least(*since));
        known.map(|(name, _)| name).collect()
    }

    /// The version of the API server's `PodSecurityConfiguration`; `None` if it has none, or only behind a feature gate.
    pub fn pod_security_api(&self) -> Option<&'static str> {
        match self.version {
            version if version.at_least(25) => Some("pod-security.admission.config.k8s.io/v1"),
            version if version.at_least(23) => Some("pod-security.admission.config.k8s.io/v1beta1"),
            _ => None,
        }
    }

    /// True if the kubelet gives pods swap space without a feature gate.
    pub fn supports_swap(&self) -> bool {
        self.version.at_least(30)
    }

    /// True if the kubelet runs on hosts with cgroup v2 only.
    pub fn supports_cgroup_v2(&self) -> bool {
        self.version.at_least(19)
    }

    /// True if a cluster may be dual-stack without a feature gate.
    pub fn supports_dual_stack(&self) -> bool {
        self.version.at_least(21)
    }

    /// True if the kubelet supports CRI v1.
    pub fn supports_cri_v1(&self) -> bool {
        self.version.at_least(23)
    }

    /// True if the kubelet supports no older CRI than v1.
    pub fn needs_cri_v1(&self) -> bool {
        self.version.at_least(26)
    }

    /// True if the kubelet does not start with a runtime that does not report its cgroup driver (metric
    /// `cri_losing_support` of older kubelets).
    pub fn needs_cgroup_driver_of_runtime(&self) -> bool {
        self.version.at_least(37)
    }
}
