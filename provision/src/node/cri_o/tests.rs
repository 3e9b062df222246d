use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use parbake_cluster::ContainerRuntime;

use super::{CriO, UnusableRuntime};
use crate::provider::Provider;
use crate::provider::lock::Lock;

impl CriO {
    pub(in crate::node) fn built(version: &str) -> Self {
        Self {
            version: version.parse().unwrap(),
        }
    }
}

fn chosen() -> (Provider, Lock) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers/k8s-1.34");
    let mut provider = Provider::load(&dir).unwrap();
    provider.select_runtime(ContainerRuntime::CriO).unwrap();
    let lock = Lock::load(&provider).unwrap().for_runtime(&provider.recipe);
    (provider, lock)
}

#[test]
fn missing_parts_and_other_minor_versions_are_refused() {
    let (provider, lock) = chosen();
    let found = CriO::of(&provider.recipe, &lock).unwrap();
    assert_eq!(found, CriO::built("1.34.0"));
    for (version, compatible) in [("v1.34.4", true), ("v1.33.9", false), ("v1.35.0", false)] {
        let check_compatible = found.check_compatible(&version.parse().unwrap());
        assert_eq!(check_compatible.is_ok(), compatible, "{version}");
    }
    let mut lacking = provider.recipe.clone();
    lacking.os.binaries.retain(|binary| binary != "copyimg");
    let error = CriO::of(&lacking, &lock).unwrap_err();
    assert!(
        matches!(error, UnusableRuntime::Lacks { part: "copyimg", .. }),
        "{error}"
    );
    let error = CriO::of(&provider.recipe, &Lock::load(&provider).unwrap());
    // The lock of nodes with containerd.
    assert!(matches!(
        error.unwrap_err(),
        UnusableRuntime::Lacks { part: "conmon", .. }
    ));
}

/// Runs the wrapper on a container's configuration as conmon does, with a `runc` that prints its arguments. Returns the output
/// and the changed configuration.
fn run_wrapper(args: &[&str], name: &str, config: &str) -> (String, String) {
    let dir = tempfile::tempdir().unwrap();
    let runc = dir.path().join("runc");
    fs::write(&runc, "#!/bin/sh\necho \"$@\"\n").unwrap();
    fs::set_permissions(&runc, fs::Permissions::from_mode(0o755)).unwrap();
    let file = dir.path().join(name);
    fs::write(&file, config).unwrap();
    let given = match name {
        "config.json" => dir.path(),
        _ => &file,
    };
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-c", include_str!("../files/runc.sh"), "runc"])
        .args(args)
        .arg(given)
        .arg("name")
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let output = String::from_utf8(output.stdout).unwrap();
    (output, fs::read_to_string(file).unwrap())
}

#[test]
fn wrapper_drops_what_the_host_does_not_allow() {
    let bounding = fs::read_to_string("/proc/self/status").unwrap();
    let bounding = bounding
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .unwrap();
    let bounding = u64::from_str_radix(bounding.trim(), 16).unwrap();
    let has = |number: u32| bounding >> number & 1 == 1;
    // 24 is CAP_SYS_RESOURCE, 0 CAP_CHOWN, 40 CAP_CHECKPOINT_RESTORE (linux/capability.h).
    let all = [
        (0, "CAP_CHOWN"),
        (24, "CAP_SYS_RESOURCE"),
        (40, "CAP_CHECKPOINT_RESTORE"),
    ];
    let config = serde_json::json!({
        "process": {
            "env": [r#"A="oomScoreAdj": -5 "CAP_SYS_RESOURCE", "hugepageLimits": [1]"#],
            "oomScoreAdj": -1000,
            "capabilities": {
                "bounding": all.map(|(_, name)| name),
                "effective": ["CAP_SYS_RESOURCE"],
            },
        },
        "linux": { "resources": { "hugepageLimits": [{ "pageSize": "2MB", "limit": 0 }], "pids": { "limit": 1 } } },
    });
    let (output, edited) = run_wrapper(
        &["create", "--bundle"],
        "config.json",
        &serde_json::to_string_pretty(&config).unwrap(),
    );
    assert!(
        output.starts_with("create --bundle ") && output.ends_with(" name\n"),
        "{output}"
    );
    let edited: serde_json::Value = serde_json::from_str(&edited).unwrap();
    let left: Vec<&str> = all
        .into_iter()
        .filter(|(number, _)| has(*number))
        .map(|(_, name)| name)
        .collect();
    assert_eq!(
        edited["process"]["capabilities"]["bounding"],
        serde_json::json!(left)
    );
    let effective: &[&str] = if has(24) { &["CAP_SYS_RESOURCE"] } else { &[] };
    assert_eq!(
        edited["process"]["capabilities"]["effective"],
        serde_json::json!(effective)
    );
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let lowest = if has(24) {
        -1000
    } else {
        own.trim().parse().unwrap()
    };
    assert_eq!(edited["process"]["oomScoreAdj"], lowest);
    let version_2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let kept = version_2 || Path::new("/sys/fs/cgroup/hugetlb").is_dir();
    let limits = edited["linux"]["resources"]["hugepageLimits"].as_array().unwrap();
    assert_eq!(limits.len(), usize::from(kept));
    // Lookalikes in strings are kept.
    assert_eq!(edited["process"]["env"], config["process"]["env"]);
    assert_eq!(edited["linux"]["resources"]["pids"]["limit"], 1);

    // The configuration of `runc exec` is edited in the same way.
    let process = serde_json::to_string(&config["process"]).unwrap();
    let args = ["--root", "/run/runc", "exec", "--pid-file", "p", "--process"];
    let (output, edited_process) = run_wrapper(&args, "exec-process-1", &process);
    assert!(
        output.starts_with("--root /run/runc exec --pid-file p --process "),
        "{output}"
    );
    let edited_process: serde_json::Value = serde_json::from_str(&edited_process).unwrap();
    assert_eq!(edited_process, edited["process"]);
}
