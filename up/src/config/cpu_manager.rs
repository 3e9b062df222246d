//! Requirements of the kubelet's `static` CPU manager policy (Kubernetes documentation, 'Control CPU Management Policies on
//! the Node').

use parbake_cluster::toml_document::{Finding, ValuePath};

use super::{ArgumentValue, Component, Config};

const POLICY: &str = "cpu-manager-policy";
const RESERVED: &str = "reserved-cpus";

/// Combinations of arguments with which kubelets do not start or do not apply `cpus`.
pub(super) fn validate(config: &Config) -> Vec<Finding> {
    let argument = |name: &str| {
        let own = config.arguments.get(&Component::Kubelet)?;
        let (_, value) = own.iter().find(|(argument, _)| argument.as_str() == name)?;
        Some(ArgumentValue::as_str(value))
    };
    let mut findings = Vec::new();
    let mut report = |name: &str, message: &str| {
        findings.push(Finding::new(
            ValuePath::of(["arguments", "kubelet", name]),
            message,
        ));
    };
    let reserves_cpu = argument("kube-reserved").is_some_and(|reserved| reserved.contains("cpu="));
    // A reservation that follows from `cpus` is not enough: it is not frozen together with the policy.
    if argument(POLICY) == Some("static") && argument(RESERVED).is_none() && !reserves_cpu {
        let message = "the policy `static` needs CPUs that are reserved for the node: also set `reserved-cpus`, or \
                       `kube-reserved`, such as \"cpu=100m\"";
        report(POLICY, message);
    }
    let mut nodes = config.nodes.values().chain([&config.all_nodes]);
    if argument(RESERVED).is_some() && nodes.any(|node| node.cpus.is_some()) {
        let message = "`reserved-cpus` overrides what kubelets reserve because of `cpus`: set only one of them, or \
                       `kube-reserved` in addition to `cpus`";
        report(RESERVED, message);
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn static_policy_needs_reserved_cpus() {
        let kubelet = |text: &str| format!("[arguments.kubelet]\n{text}\n");
        let limited = |text: &str| format!("[nodes.node01]\ncpus = 1\n{}", kubelet(text));
        let (needs, one) = (Some("needs CPUs"), Some("set only one of them"));
        for (text, problem) in [
            (kubelet("cpu-manager-policy = 'static'"), needs),
            (limited("cpu-manager-policy = 'static'"), needs),
            (
                kubelet("cpu-manager-policy = 'static'\nkube-reserved = 'memory=1Gi'"),
                needs,
            ),
            (kubelet("cpu-manager-policy = 'static'\nreserved-cpus = 0"), None),
            (
                limited("cpu-manager-policy = 'static'\nkube-reserved = 'memory=1Gi,cpu=100m'"),
                None,
            ),
            (
                limited("cpu-manager-policy = 'static'\nreserved-cpus = '0-1'"),
                one,
            ),
            (limited("reserved-cpus = 0"), one),
            (limited("cpu-manager-policy = 'none'"), None),
        ] {
            let found = Config::parse(&text).err().map(|problems| problems.to_string());
            match problem {
                Some(problem) => assert!(
                    found.as_ref().is_some_and(|found| found.contains(problem)),
                    "{text}: {found:?}"
                ),
                None => assert_eq!(found, None, "{text}"),
            }
        }
    }
}
