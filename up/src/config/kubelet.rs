//! Flags of kubelets, in the two files that the unit reads.
//!
//! Configured arguments go to kubeadm's file and stay with the node. Flags that depend on the size of the host go to a file
//! that is rewritten at every thaw.
//!
//! A kubelet assumes that its node is as large as the host. What exceeds the node's limits is reserved for the system
//! (`--system-reserved`), which lowers the node's allocatable resources and the limit of all its pods. This is Kubernetes'
//! own mechanism; a file mounted over `/proc/meminfo` would affect all programs of the node, and there is no equivalent
//! for CPUs.

use std::path::{Path, PathBuf};

use parbake_cluster::NodeName;
use parbake_cluster::api::join::KubeletSettings;
use parbake_cluster::model::runtime_config;
use parbake_machine::host::HostSettings;
use parbake_machine::plan::SeedFile;
use serde_json::{Map, Value, json};

use super::component::{arguments, set, topmost};
use super::host::HostSize;
use super::{Component, Config, ConfigError, NodeConfig};

/// kubeadm's file with flags of the kubelet.
const FLAGS: &str = "var/lib/kubelet/kubeadm-flags.env";
/// The kubelet's configuration (`kubelet.config.k8s.io/v1beta1`).
const CONFIGURATION: &str = "var/lib/kubelet/config.yaml";
const SWAP_BEHAVIOR: &str = "LimitedSwap";
const VARIABLE: &str = "KUBELET_KUBEADM_ARGS";
const RESERVED: &str = "--system-reserved=";

/// Settings for kubeadm, for a node that joins: it does not have the files below yet.
pub(crate) fn join_settings(config: &Config, node: &NodeName) -> KubeletSettings {
    KubeletSettings {
        arguments: arguments(config, Component::Kubelet),
        configuration: (config.node(node).swap == Some(true)).then(|| swap_settings().into()),
    }
}

/// kubeadm's file with the configured arguments; `None` if there are none.
pub(super) fn flags(config: &Config, stack: &[PathBuf]) -> Result<Option<SeedFile>, ConfigError> {
    let arguments = arguments(config, Component::Kubelet);
    if arguments.is_empty() {
        return Ok(None);
    }
    let Some(before) = read(stack, FLAGS)? else {
        return Ok(None);
    };
    let words = set(words(&before), &arguments).join(" ");
    Ok(Some(SeedFile::public(FLAGS, format!("{VARIABLE}=\"{words}\"\n"))))
}

/// The file with flags for this host, if the node has limits, or had limits when the file was written.
pub(super) fn reservation(
    node: &NodeConfig,
    size: impl FnOnce() -> Result<HostSize, ConfigError>,
    stack: &[PathBuf],
    host: &HostSettings,
) -> Result<Option<SeedFile>, ConfigError> {
    let limited = node.cpus.is_some() || node.memory.is_some();
    if limited {
        let flags: Vec<String> = reserved(node, &size()?).into_iter().collect();
        return Ok(Some(runtime_config::kubelet_flags(host, &flags)));
    }
    let before = read(stack, runtime_config::KUBELET_FLAGS)?.unwrap_or_default();
    let stale = before.contains(RESERVED);
    Ok(stale.then(|| runtime_config::kubelet_flags(host, &[])))
}

/// The flag that reserves what a host of that size has beyond the node's limits.
fn reserved(node: &NodeConfig, size: &HostSize) -> Option<String> {
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

/// The kubelet's configuration with swap on or off; `None` if it stays the same. Swap depends on the host, so it is turned
/// off again when an artifact of a cluster with swap starts without it.
pub(super) fn swap(node: &NodeConfig, stack: &[PathBuf]) -> Result<Option<SeedFile>, ConfigError> {
    let swap = node.swap == Some(true);
    let Some(before) = read(stack, CONFIGURATION)?.filter(|text| swap || text.contains(SWAP_BEHAVIOR)) else {
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
        .ok_or_else(|| failed("it is not an object".into()))?;
    if swap {
        fields.extend(swap_settings());
    } else {
        fields.remove("memorySwap");
    }
    Ok((after != before).then(|| SeedFile::public(CONFIGURATION, format!("{after:#}\n"))))
}

/// The fields of the kubelet's configuration that let pods use swap.
fn swap_settings() -> Map<String, Value> {
    let fields = [
        ("failSwapOn", Value::Bool(false)),
        ("memorySwap", json!({ "swapBehavior": SWAP_BEHAVIOR })),
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
    use super::{CONFIGURATION, FLAGS, HostSize, flags, join_settings, reservation, reserved, swap};

    fn text(seed: SeedFile) -> String {
        match seed.content {
            SeedContent::File { text, .. } => text,
            SeedContent::Link { .. } | SeedContent::Absent => panic!("{seed:?}"),
        }
    }

    #[test]
    fn resources_beyond_the_limits_are_reserved() {
        let size = HostSize {
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
    fn reservation_is_removed_with_the_limit() {
        let layer = tempfile::tempdir().unwrap();
        let stack = [layer.path().to_owned()];
        let host = parbake_machine::host::Host::probe("/".as_ref()).decide();
        let size = HostSize {
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
            reservation(&none, || panic!("size was read"), stack, &host).unwrap()
        };
        assert_eq!(unlimited(&stack), None);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, written).unwrap();
        let written = text(unlimited(&stack).unwrap());
        assert!(!written.contains("--system-reserved"), "{written}");
    }

    #[test]
    fn swap_is_turned_on_and_off() {
        let layer = tempfile::tempdir().unwrap();
        let stack = [layer.path().to_owned()];
        let node = |text: &str| Config::parse(&format!("[all-nodes]\n{text}")).unwrap().all_nodes;
        // A node that has not joined has no configuration yet.
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
    fn arguments_are_merged_with_those_of_kubeadm() {
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
    fn joining_nodes_get_the_same_settings() {
        let empty = tempfile::tempdir().unwrap();
        let text = "[arguments.kubelet]\nmax-pods = 20\n[nodes.node04]\nswap = true\n";
        let config = Config::parse(text).unwrap();
        assert_eq!(flags(&config, &[empty.path().to_owned()]).unwrap(), None);
        let settings = join_settings(&config, &"node04".parse().unwrap());
        assert_eq!(settings.arguments["max-pods"], "20");
        assert_eq!(settings.configuration.unwrap()["failSwapOn"], false);
        let settings = join_settings(&config, &"node05".parse().unwrap());
        assert_eq!(settings.configuration, None);
    }
}
