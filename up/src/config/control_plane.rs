//! Applies a configuration to a control plane: arguments of its components, and files that the API server reads.
//!
//! The files have the same paths on the node and in the API server's pod:
//!
//! ```text
//! /etc/kubernetes/parbake/admission.json        admission of pods, if `pod-security` is set
//! /etc/kubernetes/parbake/audit-policy.yaml     the audit policy, if `audit` is set
//! /var/log/kubernetes/audit/audit.log           the audit log and its rotated files
//! ```

use parbake_cluster::model::version_compat::VersionCompat;
use parbake_cluster::sanitize::node_files::ETCD_DIR;
use parbake_machine::plan::{InMemory, SeedFile};
use serde_json::json;

use super::component::{Change, HostDir, arguments};
use super::{Audit, Component, Config, ConfigError, PodSecurity, audit};

/// The components of a control plane with configurable arguments.
const COMPONENTS: [Component; 3] = [
    Component::KubeApiserver,
    Component::KubeControllerManager,
    Component::KubeScheduler,
];
/// In bytes: twice etcd's default quota for its database (etcd documentation, 'Storage size limit'), to leave room for the
/// log.
const ETCD_MEMORY: u64 = 4 << 30;
const NO_FSYNC: &str = "unsafe-no-fsync";
pub(super) const ADMISSION: &str = "admission-control-config-file";
/// The arguments of the audit log: policy, path, maximum size of a file in megabytes, and number of rotated files.
pub(super) const AUDIT: [&str; 4] = [
    "audit-policy-file",
    "audit-log-path",
    "audit-log-maxsize",
    "audit-log-maxbackup",
];
const AUDIT_SIZES: [&str; 2] = ["20", "4"];

const FILES: HostDir = HostDir {
    name: "parbake-files",
    path: "/etc/kubernetes/parbake",
    read_only: true,
};
const LOG: HostDir = HostDir {
    name: "parbake-audit",
    path: "/var/log/kubernetes/audit",
    read_only: false,
};
const ADMISSION_FILE: &str = "admission.json";
const POLICY_FILE: &str = "audit-policy.yaml";
const LOG_FILE: &str = "audit.log";

/// The changes to each component of a control plane.
pub(super) fn changes(config: &Config) -> Vec<(&'static str, Change)> {
    let mut changes = vec![("etcd", etcd(config))];
    changes.extend(COMPONENTS.map(|component| {
        let mut change = match component {
            Component::KubeApiserver => api_server(config),
            _ => Change::default(),
        };
        // Explicit arguments take precedence over options.
        change.arguments.extend(arguments(config, component));
        (component.as_str(), change)
    }));
    changes.retain(|(_, change)| *change != Change::default());
    changes
}

fn etcd(config: &Config) -> Change {
    let mut change = Change::default();
    match config.etcd.fsync {
        Some(true) => change.removed.push(NO_FSYNC),
        Some(false) => change.set(NO_FSYNC, "true"),
        None => {}
    }
    change
}

fn api_server(config: &Config) -> Change {
    let mut change = Change::default();
    match &config.api_server.audit {
        Some(Audit::Off) => change.removed.extend(AUDIT),
        Some(Audit::Default | Audit::Policy(_)) => {
            let paths = [FILES.file(POLICY_FILE), LOG.file(LOG_FILE)];
            let sizes = AUDIT_SIZES.map(str::to_owned);
            for (name, value) in AUDIT.into_iter().zip(paths.into_iter().chain(sizes)) {
                change.set(name, value);
            }
            change.mounts.push(LOG);
        }
        None => {}
    }
    if config.api_server.pod_security.is_some() {
        change.set(ADMISSION, FILES.file(ADMISSION_FILE));
    }
    if !change.arguments.is_empty() {
        change.mounts.push(FILES);
    }
    change
}

/// The directories that are kept in memory while the cluster runs.
pub(super) fn in_memory(config: &Config) -> Vec<InMemory> {
    let data = (config.etcd.in_memory == Some(true)).then(|| InMemory {
        path: ETCD_DIR.into(),
        bytes: ETCD_MEMORY,
    });
    data.into_iter().collect()
}

/// The files that the API server reads.
pub(super) fn files(config: &Config, compat: VersionCompat<'_>) -> Result<Vec<SeedFile>, ConfigError> {
    let file = |name: &str, text: String| SeedFile::public(FILES.file(name).trim_start_matches('/'), text);
    let policy = audit::policy(config)?.map(|text| file(POLICY_FILE, text));
    let standard = config.api_server.pod_security.zip(compat.pod_security_api());
    let admission = standard.map(|(standard, api)| file(ADMISSION_FILE, admission(standard, api)));
    Ok(policy.into_iter().chain(admission).collect())
}

/// The API server's `AdmissionConfiguration` (`apiserver.config.k8s.io/v1`). It exempts the control plane's own pods; other
/// baked pods are exempted by labels of their namespaces, see [`parbake_cluster::api::pod_security`].
fn admission(standard: PodSecurity, api: &str) -> String {
    let standard = standard.as_str();
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [{
            "name": "PodSecurity",
            "configuration": {
                "apiVersion": api,
                "kind": "PodSecurityConfiguration",
                "defaults": {
                    "enforce": standard, "enforce-version": "latest",
                    "audit": standard, "audit-version": "latest",
                    "warn": standard, "warn-version": "latest",
                },
                "exemptions": { "usernames": [], "runtimeClasses": [], "namespaces": ["kube-system"] },
            },
        }],
    });
    format!("{configuration:#}\n")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use parbake_cluster::KubernetesVersion;
    use parbake_machine::plan::SeedContent;
    use serde_json::Value;

    use super::super::Config;
    use super::super::component::manifest;
    use super::{changes, files, in_memory};

    const MANIFEST: &str = "\
apiVersion: v1
kind: Pod
spec:
  containers:
  - command:
    - PROGRAM
    - --secure-port=6443
    volumeMounts:
    - mountPath: /etc/kubernetes/pki
      name: k8s-certs
      readOnly: true
  volumes:
  - hostPath:
      path: /etc/kubernetes/pki
      type: DirectoryOrCreate
    name: k8s-certs
";

    /// The manifests of a node after one start with each of the configurations.
    fn after(configs: &[&str]) -> Vec<(&'static str, Value)> {
        let layer = tempfile::tempdir().unwrap();
        let stack = [layer.path().to_owned()];
        let dir = layer.path().join("etc/kubernetes/manifests");
        fs::create_dir_all(&dir).unwrap();
        let programs = [
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
        ];
        let path = |program: &str| dir.join(format!("{program}.yaml"));
        for program in programs {
            fs::write(path(program), MANIFEST.replace("PROGRAM", program)).unwrap();
        }
        for config in configs {
            for (program, change) in changes(&Config::parse(config).unwrap()) {
                if let Some(seed) = manifest(program, &change, &stack).unwrap() {
                    let SeedContent::File { text, .. } = seed.content else {
                        panic!("{program}")
                    };
                    fs::write(path(program), text).unwrap();
                }
            }
        }
        let pods = programs.map(|program| {
            let text = fs::read_to_string(path(program)).unwrap();
            (program, serde_saphyr::from_str(&text).unwrap())
        });
        pods.into()
    }

    fn words(pods: &[(&str, Value)], program: &str) -> Vec<String> {
        let (_, pod) = pods.iter().find(|(name, _)| *name == program).unwrap();
        let words = pod["spec"]["containers"][0]["command"].as_array().unwrap();
        words[2..]
            .iter()
            .map(|word| word.as_str().unwrap().to_owned())
            .collect()
    }

    const ALL: &str = "[etcd]\nfsync = false\n[api-server]\naudit = true\npod-security = 'restricted'\n";

    #[test]
    fn options_become_arguments_files_and_mounts() {
        let pods = after(&[ALL]);
        assert_eq!(words(&pods, "etcd"), ["--unsafe-no-fsync=true"]);
        assert!(words(&pods, "kube-scheduler").is_empty());
        let expected = [
            "--admission-control-config-file=/etc/kubernetes/parbake/admission.json",
            "--audit-log-maxbackup=4",
            "--audit-log-maxsize=20",
            "--audit-log-path=/var/log/kubernetes/audit/audit.log",
            "--audit-policy-file=/etc/kubernetes/parbake/audit-policy.yaml",
        ];
        assert_eq!(words(&pods, "kube-apiserver"), expected);
        let spec = &pods[1].1["spec"];
        let mounts = spec["containers"][0]["volumeMounts"].as_array().unwrap();
        let mounted = |mount: &Value| {
            let text = |field: &str| mount[field].as_str().unwrap().to_owned();
            (text("name"), text("mountPath"), mount["readOnly"] == true)
        };
        let found: Vec<_> = mounts.iter().map(mounted).collect();
        let mount = |name: &str, path: &str, read_only| (name.to_owned(), path.to_owned(), read_only);
        let expected = [
            mount("k8s-certs", "/etc/kubernetes/pki", true),
            mount("parbake-audit", "/var/log/kubernetes/audit", false),
            mount("parbake-files", "/etc/kubernetes/parbake", true),
        ];
        assert_eq!(found, expected);
        let volumes = spec["volumes"].as_array().unwrap();
        for (volume, (name, path, _)) in volumes.iter().zip(expected) {
            assert_eq!(
                (&volume["name"], &volume["hostPath"]["path"]),
                (&name.into(), &path.into())
            );
            assert_eq!(volume["hostPath"]["type"], "DirectoryOrCreate");
        }
        assert_eq!(volumes.len(), 3);
        // Another start changes nothing.
        assert_eq!(after(&[ALL, ALL]), pods);
    }

    #[test]
    fn options_that_are_turned_off_are_removed() {
        let off = "[etcd]\nfsync = true\n[api-server]\naudit = false\n";
        let pods = after(&[ALL, off]);
        assert!(words(&pods, "etcd").is_empty());
        let left = ["--admission-control-config-file=/etc/kubernetes/parbake/admission.json"];
        assert_eq!(words(&pods, "kube-apiserver"), left);
        // Unchanged manifests are not written, so that the static pod prestart still applies.
        assert_eq!(after(&[off]), after(&[]));
    }

    #[test]
    fn etcd_data_is_in_memory_only_on_request() {
        for (text, paths) in [
            ("", &[][..]),
            ("[etcd]\nin-memory = false\n", &[]),
            ("[etcd]\nin-memory = true\n", &["var/lib/etcd"]),
        ] {
            let dirs = in_memory(&Config::parse(text).unwrap());
            let found: Vec<_> = dirs.iter().filter_map(|dir| dir.path.to_str()).collect();
            assert_eq!(found, paths, "{text}");
        }
    }

    #[test]
    fn explicit_arguments_override_audit_sizes() {
        let own = "[arguments.kube-apiserver]\naudit-log-maxsize = 1\n";
        let words = words(&after(&[&format!("{ALL}{own}")]), "kube-apiserver");
        assert!(words.contains(&"--audit-log-maxsize=1".to_owned()), "{words:?}");
    }

    #[test]
    fn files_use_the_api_version_of_the_kubernetes_version() {
        let config = Config::parse(ALL).unwrap();
        for (version, api) in [("v1.24.0", "v1beta1"), ("v1.34.4", "v1")] {
            let version: KubernetesVersion = version.parse().unwrap();
            let files = files(&config, version.compat()).unwrap();
            let texts: Vec<_> = files
                .iter()
                .map(|file| match &file.content {
                    SeedContent::File { text, .. } => (file.path.to_str().unwrap(), text),
                    SeedContent::Link { .. } | SeedContent::Absent => panic!("{file:?}"),
                })
                .collect();
            let [(policy_path, policy), (path, text)] = texts.as_slice() else {
                panic!("{files:?}")
            };
            assert_eq!(*policy_path, "etc/kubernetes/parbake/audit-policy.yaml");
            assert!(policy.contains("level: Metadata"));
            assert_eq!(*path, "etc/kubernetes/parbake/admission.json");
            let admission: Value = serde_json::from_str(text).unwrap();
            let own = &admission["plugins"][0]["configuration"];
            assert_eq!(
                own["apiVersion"],
                format!("pod-security.admission.config.k8s.io/{api}")
            );
            assert_eq!(own["defaults"]["enforce"], "restricted");
            assert_eq!(own["exemptions"]["namespaces"][0], "kube-system");
        }
        let version: KubernetesVersion = "v1.34.4".parse().unwrap();
        assert!(files(&Config::default(), version.compat()).unwrap().is_empty());
    }
}
