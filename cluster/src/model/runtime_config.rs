//! The configuration of container runtimes and of the kubelet, adapted to the host.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use parbake_machine::host::HostSettings;
use parbake_machine::plan::SeedFile;
use parbake_machine::process::Cmd;
use toml::{Table, Value};

use crate::error::Error;

/// containerd's configuration on a node.
const CONTAINERD: &str = "etc/containerd/config.toml";
/// CRI-O's configuration, in which nothing depends on the host.
const CRI_O: &str = "etc/crio/crio.conf";
/// The environment of cri-dockerd's unit (systemd.exec(5), `EnvironmentFile`), which is also valid TOML.
const DOCKER: &str = "etc/docker/cri-dockerd";

/// The file with extra flags of the kubelet's unit.
pub const KUBELET_FLAGS: &str = "etc/default/kubelet";

/// The time from a machine's boot until its runtime answers.
const TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Runs `query`, such as `crictl version` on a machine, until it succeeds.
///
/// # Errors
/// The last failure before the timeout.
pub fn wait_until_runtime_answers(query: &Cmd) -> Result<(), parbake_machine::Error> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match query.run() {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(POLL_INTERVAL),
        }
    }
}

/// containerd's configuration in the topmost of `layers` (bottom first) that has one, adapted to the host; `None` if no
/// layer has one.
///
/// # Errors
/// The file cannot be read, or is not TOML.
pub fn containerd_config(layers: &[PathBuf], host: &HostSettings) -> Result<Option<SeedFile>, Error> {
    let Some(path) = topmost_file(layers, CONTAINERD) else {
        return Ok(None);
    };
    let adapted = fs::read_to_string(&path)
        .map_err(|error| error.into())
        .and_then(|text| adapt(&text, host).map_err(|error| error.into()))
        .map_err(|source| Error::RuntimeConfig { path, source })?;
    Ok(Some(SeedFile::public(CONTAINERD, adapted)))
}

/// The image of pods' sandbox containers, from the configuration in the topmost of `layers` (bottom first).
///
/// # Errors
/// There is no configuration, it cannot be read, or it names no such image.
pub fn sandbox_image(layers: &[PathBuf]) -> Result<String, Error> {
    let missing = || Error::RuntimeConfig {
        path: PathBuf::from(CONTAINERD),
        source: "no layer has a configuration with a sandbox image".into(),
    };
    let path = [CONTAINERD, CRI_O, DOCKER]
        .into_iter()
        .find_map(|config| topmost_file(layers, config))
        .ok_or_else(missing)?;
    let config = fs::read_to_string(&path)
        .map_err(|error| error.into())
        .and_then(|text| text.parse::<Table>().map_err(|error| error.into()))
        .map_err(|source| Error::RuntimeConfig { path, source })?;
    find_sandbox_image(&config).ok_or_else(missing)
}

/// `sandbox_image` of `io.containerd.grpc.v1.cri` in containerd 1, `pinned_images` of `io.containerd.cri.v1.images` in
/// containerd 2, `pause_image` of `crio.image` in CRI-O (crio.conf(5)), and a variable of our unit for cri-dockerd.
fn find_sandbox_image(config: &Table) -> Option<String> {
    let cri_o = config
        .get("crio")
        .and_then(|crio| crio.get("image")?.get("pause_image")?.as_str());
    let docker = config.get("PAUSE_IMAGE").and_then(Value::as_str);
    if let Some(image) = cri_o.or(docker) {
        return Some(image.to_owned());
    }
    let containerd = |plugin: &Value| {
        let pinned = || plugin.get("pinned_images")?.get("sandbox");
        let image = plugin.get("sandbox_image").or_else(pinned);
        image?.as_str().map(str::to_owned)
    };
    let plugins = config.get("plugins").and_then(Value::as_table);
    plugins
        .into_iter()
        .flatten()
        .find_map(|(_, plugin)| containerd(plugin))
}

/// The kubelet's extra flags: those that the host requires, and `more`.
pub fn kubelet_flags(host: &HostSettings, more: &[String]) -> SeedFile {
    let mut flags = Vec::new();
    if host.restrict_oom_score_adj {
        // Otherwise it would first try for 200 ms to lower its own.
        flags.push("--oom-score-adj=0".to_owned());
    }
    flags.extend_from_slice(more);
    let flags = flags.join(" ");
    SeedFile::public(KUBELET_FLAGS, format!("KUBELET_EXTRA_ARGS={flags}\n"))
}

fn topmost_file(layers: &[PathBuf], path: &str) -> Option<PathBuf> {
    let mut files = layers.iter().rev().map(|layer| layer.join(path));
    files.find(|path| path.is_file())
}

fn adapt(text: &str, host: &HostSettings) -> Result<String, toml::de::Error> {
    let mut config: Table = text.parse()?;
    // Both settings are in `io.containerd.grpc.v1.cri` of containerd 1, in `io.containerd.cri.v1.runtime` of containerd 2.
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
    use super::{adapt, find_sandbox_image};

    #[test]
    fn sandbox_image_is_found_in_every_format() {
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
                find_sandbox_image(&plugins.parse().unwrap()).as_deref(),
                expected,
                "{plugins}"
            );
        }
    }

    #[test]
    fn only_existing_settings_are_changed() {
        let text = "version = 2\n[plugins.cri]\nrestrict_oom_score_adj = false\n[plugins.other]\nx = 1\n";
        let mut host = parbake_machine::host::Host::probe("/".as_ref()).decide();
        host.restrict_oom_score_adj = true;
        let adapted = adapt(text, &host).unwrap();
        assert!(adapted.contains("restrict_oom_score_adj = true"), "{adapted}");
        assert!(!adapted.contains("disable_apparmor"), "{adapted}");
    }
}
