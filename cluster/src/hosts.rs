//! Nodes' names on nodes, in `/etc/hosts`: those of nodes that come and go while others run.
//!
//! Every node gets the names of all at its first boot ([`crate::machine_plan`]); from then on the file is its users', who may
//! have lines of their own in it.

use futures::future::join_all;
use parbake_machine::supervisor::Running;
use thiserror::Error;
use tokio::task::spawn_blocking;

use crate::description::Node;

/// Adds each line that is given, unless it is there. Whoever answers questions for names reads the file anew.
const ADD: &str = r#"
cp -p /etc/hosts /etc/hosts.parbake
[ -z "$(tail -c 1 /etc/hosts.parbake)" ] || echo >> /etc/hosts.parbake
for line do
    grep -qxF -e "$line" /etc/hosts.parbake || echo "$line" >> /etc/hosts.parbake
done
mv /etc/hosts.parbake /etc/hosts
if systemctl is-active --quiet parbake-dns; then systemctl reload parbake-dns; fi
"#;
/// Removes each line that is given. grep says 1 where nothing is left.
const REMOVE: &str = r#"
cp -p /etc/hosts /etc/hosts.parbake
printf '%s\n' "$@" | grep -vxF -f - /etc/hosts > /etc/hosts.parbake || [ $? = 1 ]
mv /etc/hosts.parbake /etc/hosts
if systemctl is-active --quiet parbake-dns; then systemctl reload parbake-dns; fi
"#;

/// A node that could not be told of others.
#[derive(Debug, Error)]
pub enum HostsError {
    /// Its machine does not run.
    #[error(transparent)]
    Machine(#[from] parbake_machine::Error),
    /// Its file could not be changed.
    #[error("could not change the names that node `{node}` knows")]
    Command {
        /// The node.
        node: String,
        /// Why.
        #[source]
        source: parbake_machine::Error,
    },
}

/// The lines of a node, one for each of its addresses.
pub(crate) fn lines(node: &Node) -> Vec<String> {
    let line = |address| format!("{address} {}", node.name);
    node.addresses().map(line).collect()
}

/// Has the nodes `on`, which run, know those of `new`. What they know already stays as it is.
///
/// # Errors
/// The first node that could not be told; all are tried.
pub async fn add(running: &Running, on: &[Node], new: &[Node]) -> Result<(), HostsError> {
    change(running, on, ADD, new).await
}

/// Has the nodes `on`, which run, forget those of `gone`.
///
/// # Errors
/// The first node that could not be told; all are tried.
pub async fn remove(running: &Running, on: &[Node], gone: &[Node]) -> Result<(), HostsError> {
    change(running, on, REMOVE, gone).await
}

async fn change(running: &Running, on: &[Node], script: &str, nodes: &[Node]) -> Result<(), HostsError> {
    let mut changes = Vec::new();
    for node in on {
        let words = ["sh", "-euc", script, "hosts"].map(str::to_owned);
        let command = running.command(
            node.name.as_str(),
            words.into_iter().chain(nodes.iter().flat_map(lines)),
        )?;
        changes.push(spawn_blocking(move || command.run()));
    }
    let mut outcome = Ok(());
    for (node, changed) in on.iter().zip(join_all(changes).await) {
        let changed = changed.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        outcome = outcome.and(changed.map(drop).map_err(|source| HostsError::Command {
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

    /// What a script makes of a file.
    fn changed(script: &str, before: &str, lines: &[&str]) -> String {
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
    fn lines_of_users_stay() {
        let before = "127.0.0.1 localhost\n10.89.0.11 node01\n192.0.2.7 mine";
        let (four, five) = ("10.89.0.14 node04", "10.89.0.15 node05");
        let after = changed(ADD, before, &[four, five]);
        assert_eq!(after, format!("{before}\n{four}\n{five}\n"));
        assert_eq!(changed(ADD, &after, &[five]), after);
        // A dot is a dot.
        let alike = after.clone() + "10x89.0.14 node04\n";
        assert_eq!(
            changed(REMOVE, &alike, &[four, "10.89.0.16 node06"]),
            format!("{before}\n{five}\n10x89.0.14 node04\n")
        );
        assert_eq!(changed(REMOVE, "10.89.0.14 node04\n", &[four]), "");
    }
}
