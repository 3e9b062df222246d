//! How a node's work ends before the node is powered off: the kubelet first, which would start everything anew, then what
//! users run, then what users' programs may call while they end, and the database last.
//!
//! Pods that were started as long as the node ran go with their containers, so that the next start is like the first. What
//! has run to its end stays, and its logs can be read again. Hooks (`preStop`) are not called, as by a node that is
//! powered off.

/// Ends the containers that run in `$1` pods; those that do not care are killed after `$2` seconds.
const FUNCTIONS: &str = r#"
ctl() { crictl --timeout=60s "$@"; }
end() {
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
/// Users' pods have 10 s to end.
const USERS: &str = r#"
systemctl stop kubelet
end "$(ctl pods -q --state ready | grep -vxF "$system")" 10
"#;
/// The cluster's own pods hold nothing that could be lost, but for the database.
const SYSTEM: &str = r#"
end "$(echo "$system" | grep -vxF "$etcd")" 2
"#;
/// The database is closed.
const REST: &str = r#"
end "$etcd" 20
pods=$(ctl pods -q --state ready)
if [ -n "$pods" ]; then ctl rmp -f $pods; fi
"#;

/// The commands to be run on all nodes, one after the other.
pub(crate) fn stages() -> Vec<Vec<String>> {
    let stage = |own: &str| {
        ["sh", "-uc", &format!("{FUNCTIONS}{own}")]
            .map(str::to_owned)
            .into()
    };
    [USERS, SYSTEM, REST].map(stage).into()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::stages;

    /// A runtime with four pods, each with a container of its name in capitals, that writes down what it is asked to end.
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
    fn the_database_is_the_last_to_end() {
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
        let said: Vec<String> = stages()
            .iter()
            .map(|words| {
                let _ = fs::remove_file(&log);
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]).env("PATH", &path).env("LOG", &log);
                assert!(command.status().unwrap().success());
                let text = fs::read_to_string(&log).unwrap();
                let mut lines: Vec<&str> = text.lines().collect();
                lines.sort_unstable();
                lines.join("; ")
            })
            .collect();
        assert_eq!(
            said,
            [
                "stop --timeout=10 JOB; stop --timeout=10 WEB; stop kubelet",
                "stop --timeout=2 DNS",
                "rmp -f etcd web dns job; stop --timeout=20 ETCD",
            ]
        );
    }
}
