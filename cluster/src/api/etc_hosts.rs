//! The names of other nodes in `/etc/hosts` of running nodes.
//!
//! Every node gets the names of all nodes at its first boot (see [`crate::model::machine_plan`]); after that only these
//! lines are added and removed, because users may have added their own.

use futures::future::join_all;
use parbake_machine::supervisor::Running;
use tokio::task::spawn_blocking;

use crate::error::Error;
use crate::model::description::Node;
use crate::model::machine_plan::etc_hosts_lines;

/// Adds each argument as a line unless it exists. The nodes' DNS server reads the file again.
const ADD: &str = r#"
cp -p /etc/hosts /etc/hosts.parbake
[ -z "$(tail -c 1 /etc/hosts.parbake)" ] || echo >> /etc/hosts.parbake
for line do
    grep -qxF -e "$line" /etc/hosts.parbake || echo "$line" >> /etc/hosts.parbake
done
mv /etc/hosts.parbake /etc/hosts
if systemctl is-active --quiet parbake-dns; then systemctl reload parbake-dns; fi
"#;
/// Removes each line that is an argument. grep exits with 1 if nothing is left.
const REMOVE: &str = r#"
cp -p /etc/hosts /etc/hosts.parbake
printf '%s\n' "$@" | grep -vxF -f - /etc/hosts > /etc/hosts.parbake || [ $? = 1 ]
mv /etc/hosts.parbake /etc/hosts
if systemctl is-active --quiet parbake-dns; then systemctl reload parbake-dns; fi
"#;

/// Adds the names of the nodes `added` on the running nodes `on`.
///
/// # Errors
/// The first node that failed; all are tried.
pub async fn add(running: &Running, on: &[Node], added: &[Node]) -> Result<(), Error> {
    change(running, on, ADD, added).await
}

/// Removes the names of the nodes `removed` on the running nodes `on`.
///
/// # Errors
/// The first node that failed; all are tried.
pub async fn remove(running: &Running, on: &[Node], removed: &[Node]) -> Result<(), Error> {
    change(running, on, REMOVE, removed).await
}

async fn change(running: &Running, on: &[Node], script: &str, nodes: &[Node]) -> Result<(), Error> {
    let mut changes = Vec::new();
    for node in on {
        let words = ["sh", "-euc", script, "hosts"].map(str::to_owned);
        let lines = nodes.iter().flat_map(etc_hosts_lines);
        let command = running.command(node.name.as_str(), words.into_iter().chain(lines))?;
        changes.push(spawn_blocking(move || command.run()));
    }
    let mut outcome = Ok(());
    for (node, changed) in on.iter().zip(join_all(changes).await) {
        let changed = changed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        outcome = outcome.and(changed.map(drop).map_err(|source| Error::OnNode {
            act: "change `/etc/hosts`",
            node: node.name.to_string(),
            source,
        }));
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::{ADD, REMOVE};

    /// The contents of a file after a script ran.
    fn run(script: &str, before: &str, lines: &[&str]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        fs::write(&path, before).unwrap();
        let script = script.replace("/etc/hosts", path.to_str().unwrap());
        let status = Command::new("sh")
            .args(["-euc", &script, "hosts"])
            .args(lines)
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn other_lines_are_kept() {
        let before = "127.0.0.1 localhost\n10.89.0.11 node01\n192.0.2.7 mine";
        let (four, five) = ("10.89.0.14 node04", "10.89.0.15 node05");
        let after = run(ADD, before, &[four, five]);
        assert_eq!(after, format!("{before}\n{four}\n{five}\n"));
        assert_eq!(run(ADD, &after, &[five]), after);
        // Lines are compared as text, not as regular expressions.
        let alike = after.clone() + "10x89.0.14 node04\n";
        assert_eq!(
            run(REMOVE, &alike, &[four, "10.89.0.16 node06"]),
            format!("{before}\n{five}\n10x89.0.14 node04\n")
        );
        assert_eq!(run(REMOVE, "10.89.0.14 node04\n", &[four]), "");
    }
}
