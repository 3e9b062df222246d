//! Processors that containers have for themselves: what a kubelet's `static` policy needs beside it (Kubernetes
//! documentation, 'Control CPU Management Policies on the Node').

use super::check::{Problem, at};
use super::{ArgumentValue, Component, Config};

const POLICY: &str = "cpu-manager-policy";
const RESERVED: &str = "reserved-cpus";

/// What kubelets would not start with, or would not do.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let argument = |name: &str| {
        let own = config.arguments.get(&Component::Kubelet)?;
        let (_, value) = own.iter().find(|(argument, _)| argument.as_str() == name)?;
        Some(ArgumentValue::as_str(value))
    };
    let mut problems = Vec::new();
    let mut problem = |name: &str, message: &str| {
        problems.push((at(["arguments", "kubelet", name]), message.to_owned()));
    };
    let kept = argument("kube-reserved").is_some_and(|kept| kept.contains("cpu="));
    // What follows from `cpus` will do for this host, but is not frozen with the policy.
    if argument(POLICY) == Some("static") && argument(RESERVED).is_none() && !kept {
        let message = "the policy `static` needs processors that are for the node itself: set `reserved-cpus`, or \
                       `kube-reserved` such as \"cpu=100m\", too";
        problem(POLICY, message);
    }
    let mut nodes = config.nodes.values().chain([&config.all_nodes]);
    if argument(RESERVED).is_some() && nodes.any(|node| node.cpus.is_some()) {
        let message = "`reserved-cpus` takes the place of what kubelets reserve because of `cpus`: set only one of them, \
                       or `kube-reserved` beside `cpus`";
        problem(RESERVED, message);
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn a_static_policy_has_processors_to_spare() {
        let kubelet = |text: &str| format!("[arguments.kubelet]\n{text}\n");
        let limited = |text: &str| format!("[nodes.node01]\ncpus = 1\n{}", kubelet(text));
        let (needs, one) = (Some("needs processors"), Some("set only one of them"));
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
