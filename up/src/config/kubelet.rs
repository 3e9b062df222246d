//! A kubelet's flags, in the two files that its unit reads: what its user wants of it goes where kubeadm keeps what it
//! wants, and stays with the node; what follows from the size of the host goes where every thaw writes anew.
//!
//! A kubelet believes that its node is as large as the host. What the node may not take is reserved for the system
//! (`--system-reserved`): allocatable, and the limit of all pods together, are what is left. That is Kubernetes' own way
//! to keep a part of a machine from pods; a file mounted over `/proc/meminfo` would lie to all programs of the node, and
//! there is no such file for processors.

use std::path::{Path, PathBuf};

use parbake_cluster::join::KubeletSettings;
use parbake_cluster::machine_plan::public_file;
use parbake_cluster::{NodeName, runtime_config};
use parbake_machine::host::HostSettings;
use parbake_machine::plan::SeedFile;
use serde_json::{Map, Value, json};

use super::component::{arguments, set, topmost};
use super::host::Size;
use super::{Component, Config, ConfigError, NodeConfig};

/// Where kubeadm keeps a kubelet's flags.
const FLAGS: &str = "var/lib/kubelet/kubeadm-flags.env";
/// Its configuration (`kubelet.config.k8s.io/v1beta1`).
const CONFIGURATION: &str = "var/lib/kubelet/config.yaml";
/// What that says where pods may swap.
const SWAP: &str = "LimitedSwap";
const VARIABLE: &str = "KUBELET_KUBEADM_ARGS";
const RESERVED: &str = "--system-reserved=";

/// What the kubelet of a node that joins is told: it has none of the files below yet that kubeadm writes.
pub(crate) fn join_settings(config: &Config, node: &NodeName) -> KubeletSettings {
    KubeletSettings {
        arguments: arguments(config, Component::Kubelet),
        configuration: (config.node(node).swap == Some(true)).then(|| swapping().into()),
    }
}

/// The file with the arguments that the configuration sets, if it sets any.
pub(super) fn flags(config: &Config, stack: &[PathBuf]) -> Result<Option<SeedFile>, ConfigError> {
    let wanted = arguments(config, Component::Kubelet);
    if wanted.is_empty() {
        return Ok(None);
    }
    let Some(before) = read(stack, FLAGS)? else {
        return Ok(None);
    };
    let words = set(words(&before), &wanted).join(" ");
    Ok(Some(public_file(FLAGS, format!("{VARIABLE}=\"{words}\"\n"))))
}

/// The file with what follows from the host, if a node's limits have a say in it, or had when it was written.
pub(super) fn reservation(
    node: &NodeConfig,
    size: impl FnOnce() -> Result<Size, ConfigError>,
    stack: &[PathBuf],
    host: &HostSettings,
) -> Result<Option<SeedFile>, ConfigError> {
    let limited = node.cpus.is_some() || node.memory.is_some();
    if limited {
        let flags: Vec<String> = reserved(node, &size()?).into_iter().collect();
        return Ok(Some(runtime_config::kubelet_flags(host, &flags)));
    }
    let before = read(stack, runtime_config::KUBELET)?.unwrap_or_default();
    let stale = before.contains(RESERVED);
    Ok(stale.then(|| runtime_config::kubelet_flags(host, &[])))
}

/// What a host of that size has and the node may not take.
fn reserved(node: &NodeConfig, size: &Size) -> Option<String> {
    let cpu = node.cpus.map(|cpus| size.millicpus.saturating_sub(cpus.millis()));
    let memory = node
        .memory
        .map(|memory| size.memory.saturating_sub(memory.bytes()));
    let cpu = cpu.filter(|cpu| *cpu > 0).map(|cpu| format!("cpu={cpu}m"));
    let memory = memory
        .filter(|memory| *memory > 0)
        .map(|bytes| format!("memory={bytes}"));
    let parts: Vec<String> = cpu.into_iter().chain(memory).collect();
    (!parts.is_empty()).then(|| format!("{RESERVED}{}", parts.join(",")))
}

/// The kubelet's configuration with or without swap space, if that is something new. It is the host's: an artifact of a
/// cluster that had some starts without.
pub(super) fn swap(node: &NodeConfig, stack: &[PathBuf]) -> Result<Option<SeedFile>, ConfigError> {
    let swap = node.swap == Some(true);
    let Some(before) = read(stack, CONFIGURATION)?.filter(|text| swap || text.contains(SWAP)) else {
        return Ok(None);
    };
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| ConfigError::Component {
        component: Component::Kubelet.as_str(),
        path: CONFIGURATION.into(),
        source,
    };
    let before: Value = serde_saphyr::from_str(&before).map_err(|error| failed(error.into()))?;
    let mut after = before.clone();
    let fields = after
        .as_object_mut()
        .ok_or_else(|| failed("it is no object".into()))?;
    if swap {
        fields.extend(swapping());
    } else {
        fields.remove("memorySwap");
    }
    Ok((after != before).then(|| public_file(CONFIGURATION, format!("{after:#}\n"))))
}

/// What is in the configuration where pods may swap.
fn swapping() -> Map<String, Value> {
    let fields = [
        ("failSwapOn", Value::Bool(false)),
        ("memorySwap", json!({ "swapBehavior": SWAP })),
    ];
    fields
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
}

fn read(stack: &[PathBuf], path: &str) -> Result<Option<String>, ConfigError> {
    topmost(stack, Path::new(path)).map_err(|error| ConfigError::Component {
        component: Component::Kubelet.as_str(),
        path: path.into(),
        source: error.into(),
    })
}

fn words(file: &str) -> Vec<String> {
    let value = file
        .lines()
        .find_map(|line| line.strip_prefix(VARIABLE)?.strip_prefix('='));
    let value = value.unwrap_or_default().trim().trim_matches('"');
    value.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use parbake_machine::plan::{SeedContent, SeedFile};
    use serde_json::Value;

    use super::super::Config;
    use super::{CONFIGURATION, FLAGS, Size, flags, join_settings, reservation, reserved, swap};

    fn text(seed: SeedFile) -> String {
        match seed.content {
            SeedContent::File { text, .. } => text,
            SeedContent::Link { .. } | SeedContent::Absent => panic!("{seed:?}"),
        }
    }

    #[test]
    fn what_a_node_may_not_take_is_reserved() {
        let size = Size {
            millicpus: 4000,
            memory: 8 << 30,
        };
        for (node, flag) in [
            (
                "cpus = 1.5\nmemory = '2GiB'",
                Some("--system-reserved=cpu=2500m,memory=6442450944"),
            ),
            ("cpus = 1", Some("--system-reserved=cpu=3000m")),
            ("cpus = 4\nmemory = '8GiB'", None),
            ("", None),
        ] {
            let config = Config::parse(&format!("[all-nodes]\n{node}")).unwrap();
            assert_eq!(reserved(&config.all_nodes, &size).as_deref(), flag, "{node}");
        }
    }

    #[test]
    fn a_limit_that_is_gone_is_no_longer_reserved() {
        let layer = tempfile::tempdir().unwrap();
        let stack = [layer.path().to_owned()];
        let host = parbake_machine::host::Host::probe("/".as_ref()).decide();
        let size = Size {
            millicpus: 2000,
            memory: 1 << 40,
        };
        let config = Config::parse("[all-nodes]\nmemory = '1GiB'").unwrap();
        let written = reservation(&config.all_nodes, || Ok(size), &stack, &host)
            .unwrap()
            .unwrap();
        let path = layer.path().join(&written.path);
        let written = text(written);
        assert!(written.contains("--system-reserved=memory="), "{written}");
        let unlimited = |stack: &[_]| {
            let none = Config::default().all_nodes;
            reservation(&none, || panic!("nobody asks"), stack, &host).unwrap()
        };
        assert_eq!(unlimited(&stack), None);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, written).unwrap();
        let written = text(unlimited(&stack).unwrap());
        assert!(!written.contains("--system-reserved"), "{written}");
    }

    #[test]
    fn swap_is_in_the_configuration_and_goes_again() {
        let layer = tempfile::tempdir().unwrap();
        let stack = [layer.path().to_owned()];
        let node = |text: &str| Config::parse(&format!("[all-nodes]\n{text}")).unwrap().all_nodes;
        // A node that is to join has none yet.
        assert_eq!(swap(&node("swap = true"), &stack).unwrap(), None);
        let path = layer.path().join(CONFIGURATION);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(
            &path,
            "failSwapOn: false\nmemorySwap: {}\nmaxPods: 110\nclusterDNS: [10.96.0.10]\n",
        )
        .unwrap();
        assert_eq!(swap(&node(""), &stack).unwrap(), None);
        assert_eq!(swap(&node("swap = false"), &stack).unwrap(), None);
        let written = text(swap(&node("swap = true"), &stack).unwrap().unwrap());
        let kubelet: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(kubelet["memorySwap"]["swapBehavior"], "LimitedSwap");
        assert_eq!(
            (&kubelet["maxPods"], &kubelet["clusterDNS"][0]),
            (&110.into(), &"10.96.0.10".into())
        );
        fs::write(&path, written).unwrap();
        assert_eq!(swap(&node("swap = true"), &stack).unwrap(), None);
        for without in ["", "swap = false"] {
            let written = text(swap(&node(without), &stack).unwrap().unwrap());
            assert!(
                written.contains("maxPods") && !written.contains("memorySwap"),
                "{written}"
            );
        }
    }

    #[test]
    fn arguments_stand_beside_kubeadms_own() {
        let layer = tempfile::tempdir().unwrap();
        let stack = [layer.path().to_owned()];
        fs::create_dir_all(layer.path().join("var/lib/kubelet")).unwrap();
        fs::write(
            layer.path().join(FLAGS),
            "KUBELET_KUBEADM_ARGS=\"--node-ip=10.0.0.1 --max-pods=9\"\n",
        )
        .unwrap();
        let config =
            Config::parse("feature-gates = {A = true}\n[arguments.kubelet]\nmax-pods = 20\n").unwrap();
        let written = text(flags(&config, &stack).unwrap().unwrap());
        assert_eq!(
            written,
            "KUBELET_KUBEADM_ARGS=\"--node-ip=10.0.0.1 --feature-gates=A=true --max-pods=20\"\n"
        );
        assert_eq!(flags(&Config::default(), &stack).unwrap(), None);
    }

    #[test]
    fn a_node_that_joins_is_told_the_same() {
        let empty = tempfile::tempdir().unwrap();
        let text = "[arguments.kubelet]\nmax-pods = 20\n[nodes.node04]\nswap = true\n";
        let config = Config::parse(text).unwrap();
        assert_eq!(flags(&config, &[empty.path().to_owned()]).unwrap(), None);
        let told = join_settings(&config, &"node04".parse().unwrap());
        assert_eq!(told.arguments["max-pods"], "20");
        assert_eq!(told.configuration.unwrap()["failSwapOn"], false);
        let told = join_settings(&config, &"node05".parse().unwrap());
        assert_eq!(told.configuration, None);
    }
}
