//! The container runtime's configuration, fitted to the host.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use parbake_machine::host::HostSettings;
use parbake_machine::plan::SeedFile;
use parbake_machine::process::Cmd;
use toml::{Table, Value};

use crate::machine_plan::public_file;

/// Where containerd's configuration stands on a node.
const CONFIG: &str = "etc/containerd/config.toml";
/// Where CRI-O's does, which has nothing in it that depends on the host.
const CRI_O_CONFIG: &str = "etc/crio/crio.conf";
/// Where cri-dockerd's unit takes its variables from (systemd.exec(5), `EnvironmentFile`), which is TOML as well.
const DOCKER_CONFIG: &str = "etc/docker/cri-dockerd";

/// Where the kubelet's unit takes more flags from.
pub const KUBELET: &str = "etc/default/kubelet";

/// How long a machine may take from its boot to a runtime that answers.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// The runtime's configuration in a layer that cannot be fitted.
#[derive(Debug, thiserror::Error)]
#[error("could not read the runtime's configuration `{}`", path.display())]
pub struct Error {
    path: PathBuf,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Asks a machine's runtime with `question`, such as `crictl version` there, until it answers.
///
/// # Errors
/// What the last question said when it was time to give up.
pub fn wait_until_it_answers(question: &Cmd) -> Result<(), parbake_machine::Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match question.run() {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// The configuration of the topmost of `layers` (bottom first) that has one of containerd, with what the host asks for;
/// nothing where none has one.
///
/// # Errors
/// It cannot be read, or is no TOML.
pub fn config(layers: &[PathBuf], host: &HostSettings) -> Result<Option<SeedFile>, Error> {
    let Some(path) = config_file(layers, CONFIG) else {
        return Ok(None);
    };
    let fitted = fs::read_to_string(&path)
        .map_err(|error| error.into())
        .and_then(|text| fit(&text, host).map_err(|error| error.into()))
        .map_err(|source| Error { path, source })?;
    Ok(Some(public_file(CONFIG, fitted)))
}

/// The image that holds a pod's namespaces, as the topmost of `layers` (bottom first) with a configuration has it.
///
/// # Errors
/// There is none, it cannot be read, or names no such image.
pub fn sandbox_image(layers: &[PathBuf]) -> Result<String, Error> {
    let missing = || Error {
        path: PathBuf::from(CONFIG),
        source: "no layer has one that names the image of sandboxes".into(),
    };
    let mut files = [CONFIG, CRI_O_CONFIG, DOCKER_CONFIG].into_iter();
    let path = files
        .find_map(|config| config_file(layers, config))
        .ok_or_else(missing)?;
    let config = fs::read_to_string(&path)
        .map_err(|error| error.into())
        .and_then(|text| text.parse::<Table>().map_err(|error| error.into()))
        .map_err(|source| Error { path, source })?;
    sandbox_of(&config).ok_or_else(missing)
}

/// containerd 1 has it as `sandbox_image` of `io.containerd.grpc.v1.cri`, containerd 2 among the `pinned_images` of
/// `io.containerd.cri.v1.images`, CRI-O as `pause_image` of `crio.image` (crio.conf(5)), and cri-dockerd gets it from a
/// variable of ours.
fn sandbox_of(config: &Table) -> Option<String> {
    let of_cri_o = config
        .get("crio")
        .and_then(|crio| crio.get("image")?.get("pause_image")?.as_str());
    let of_docker = config.get("PAUSE_IMAGE").and_then(Value::as_str);
    if let Some(image) = of_cri_o.or(of_docker) {
        return Some(image.to_owned());
    }
    let plugins = config.get("plugins").and_then(Value::as_table);
    let named = |plugin: &Value| {
        let pinned = || plugin.get("pinned_images")?.get("sandbox");
        let image = plugin.get("sandbox_image").or_else(pinned);
        image?.as_str().map(str::to_owned)
    };
    plugins
        .into_iter()
        .flatten()
        .find_map(|(_, plugin)| named(plugin))
}

/// The flags of the kubelet that the host asks for, and `more`.
pub fn kubelet_flags(host: &HostSettings, more: &[String]) -> SeedFile {
    let own = if host.restrict_oom_score_adj {
        // It would try for 200 ms to lower its own, before anything else.
        vec!["--oom-score-adj=0".to_owned()]
    } else {
        Vec::new()
    };
    let flags = [own.as_slice(), more].concat().join(" ");
    public_file(KUBELET, format!("KUBELET_EXTRA_ARGS={flags}\n"))
}

fn config_file(layers: &[PathBuf], config: &str) -> Option<PathBuf> {
    let mut files = layers.iter().rev().map(|layer| layer.join(config));
    files.find(|path| path.is_file())
}

fn fit(text: &str, host: &HostSettings) -> Result<String, toml::de::Error> {
    let mut config: Table = text.parse()?;
    // containerd 1 keeps both in `io.containerd.grpc.v1.cri`, containerd 2 in `io.containerd.cri.v1.runtime`.
    let plugins = config.get_mut("plugins").and_then(Value::as_table_mut);
    for (_, plugin) in plugins.into_iter().flatten() {
        let Some(plugin) = plugin.as_table_mut() else {
            continue;
        };
        for (key, value) in [
            ("disable_apparmor", host.disable_apparmor),
            ("restrict_oom_score_adj", host.restrict_oom_score_adj),
        ] {
            if let Some(setting) = plugin.get_mut(key) {
                *setting = Value::Boolean(value);
            }
        }
    }
    Ok(config.to_string())
}

#[cfg(test)]
mod tests {
    use super::{fit, sandbox_of};

    #[test]
    fn the_image_of_sandboxes_is_known_in_all_forms() {
        for (plugins, expected) in [
            (
                "[plugins.cri]\nsandbox_image = \"a/pause:1\"\n",
                Some("a/pause:1"),
            ),
            (
                "[plugins.images]\nsnapshotter = \"x\"\n[plugins.images.pinned_images]\nsandbox = \"a/pause:2\"\n",
                Some("a/pause:2"),
            ),
            ("[crio.image]\npause_image = \"a/pause:3\"\n", Some("a/pause:3")),
            ("PAUSE_IMAGE=\"a/pause:4\"\n", Some("a/pause:4")),
            ("[plugins.images.pinned_images]\nother = \"a/b:1\"\n", None),
            ("", None),
        ] {
            assert_eq!(
                sandbox_of(&plugins.parse().unwrap()).as_deref(),
                expected,
                "{plugins}"
            );
        }
    }

    #[test]
    fn only_what_the_file_has_is_set() {
        let text = "version = 2\n[plugins.cri]\nrestrict_oom_score_adj = false\n[plugins.other]\nx = 1\n";
        let mut host = parbake_machine::host::Host::probe("/".as_ref()).decide();
        host.restrict_oom_score_adj = true;
        let fitted = fit(text, &host).unwrap();
        assert!(fitted.contains("restrict_oom_score_adj = true"), "{fitted}");
        assert!(!fitted.contains("disable_apparmor"), "{fitted}");
    }
}
