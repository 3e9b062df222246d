//! Names of Kubernetes' own objects.

/// The namespace of Kubernetes' own pods, bootstrap tokens and leader leases.
pub(crate) const SYSTEM_NAMESPACE: &str = "kube-system";
/// The namespace of the nodes' leases.
pub(crate) const NODE_LEASES: &str = "kube-node-lease";
/// The namespace and name of the config map that joining nodes verify the API with.
pub(crate) const CLUSTER_INFO: (&str, &str) = ("kube-public", "cluster-info");
/// The annotation of the API's copy of a static pod.
pub(crate) const MIRROR_POD: &str = "kubernetes.io/config.mirror";
