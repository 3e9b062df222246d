//! The shutdown of a node before its power-off: first the kubelet, which would restart everything, then users' pods, then
//! the cluster's own, and etcd last.
//!
//! Running pods are removed with their containers, so that the next start resembles the first. Completed pods stay, so that
//! their logs can still be read. `preStop` hooks are not called, as in any power-off of a node.

/// `stop_pods PODS SECONDS` stops the containers of pods, with a grace period.
const FUNCTIONS: &str = r#"
ctl() { crictl --timeout=60s "$@"; }
stop_pods() {
    for pod in $1; do
        for container in $(ctl ps -q --pod "$pod"); do
            ctl stop --timeout="$2" "$container" &
        done
    done
    wait
}
system=$(ctl pods -q --state ready --namespace '^kube-system$')
etcd=$(ctl pods -q --state ready --namespace '^kube-system$' --name '^etcd-')
"#;
const USER_PODS: &str = r#"
systemctl stop kubelet
stop_pods "$(ctl pods -q --state ready | grep -vxF "$system")" 10
"#;
/// Except for etcd, the cluster's own pods have no data to lose.
const SYSTEM_PODS: &str = r#"
stop_pods "$(echo "$system" | grep -vxF "$etcd")" 2
"#;
const ETCD: &str = r#"
stop_pods "$etcd" 20
pods=$(ctl pods -q --state ready)
if [ -n "$pods" ]; then ctl rmp -f $pods; fi
"#;

/// The commands to run on all nodes, one after the other.
pub(super) fn stages() -> Vec<Vec<String>> {
    let stage = |script: &str| {
        ["sh", "-uc", &format!("{FUNCTIONS}{script}")]
            .map(str::to_owned)
            .into()
    };
    [USER_PODS, SYSTEM_PODS, ETCD].map(stage).into()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::stages;

    /// A runtime with four pods, each with a container of its name in capitals, that logs what it is asked to stop.
    const CRICTL: &str = r#"#!/bin/sh
shift
case "$*" in
"pods -q --state ready") printf 'etcd\nweb\ndns\njob\n' ;;
"pods -q --state ready --namespace ^kube-system$") printf 'etcd\ndns\n' ;;
"pods -q --state ready --namespace ^kube-system$ --name ^etcd-") echo etcd ;;
"ps -q --pod "*) echo "$4" | tr a-z A-Z ;;
*) echo "$*" >> "$LOG" ;;
esac
"#;

    #[test]
    fn etcd_stops_last() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        for (name, text) in [
            ("crictl", CRICTL),
            ("systemctl", "#!/bin/sh\necho \"$*\" >> \"$LOG\"\n"),
        ] {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
        let commands: Vec<String> = stages()
            .iter()
            .map(|stage| {
                let _ = fs::remove_file(&log);
                let mut command = Command::new(&stage[0]);
                command.args(&stage[1..]).env("PATH", &path).env("LOG", &log);
                assert!(command.status().unwrap().success());
                let text = fs::read_to_string(&log).unwrap();
                let mut lines: Vec<&str> = text.lines().collect();
                lines.sort_unstable();
                lines.join("; ")
            })
            .collect();
        assert_eq!(
            commands,
            [
                "stop --timeout=10 JOB; stop --timeout=10 WEB; stop kubelet",
                "stop --timeout=2 DNS",
                "rmp -f etcd web dns job; stop --timeout=20 ETCD",
            ]
        );
    }
}
