//! A full disk.

use std::process::Command;

use crate::child::{command, ended};
use crate::fixture::TestStore;
use crate::server::Server;

/// Runs `$@` with a disk of 1 MB at `store`, then again with more space, in its own mount namespace.
const SCRIPT: &str = r#"
set -eu
mount -t tmpfs -o size=1m,mode=700 none store
if "$@" 2>errors; then echo "it succeeded on a full disk" >&2; exit 1; fi
grep -q "No space left on device" errors || { cat errors >&2; exit 1; }
test ! -e store/index.json || { cat store/index.json >&2; exit 1; }
mount -o remount,size=64m store
"$@"
cp -a store kept
"#;

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_is_one_error_and_the_next_pull_resumes() {
    let (server, source, target) = (Server::start(), TestStore::with_artifact(), TestStore::empty());
    let reference = server.reference("full");
    source.publish(&reference).await.unwrap();
    let pull = command(&["pull", &reference.to_string()], target.dir.path(), "{}");
    let mut script = Command::new("unshare");
    script
        .args(["--mount", "sh", "-c", SCRIPT, "sh"])
        .arg(pull.get_program())
        .args(pull.get_args());
    script.current_dir(target.dir.path());
    for (name, value) in pull.get_envs() {
        script.env(name, value.unwrap());
    }
    ended(&script.output().unwrap()).unwrap();
    let kept = parbake_artifact::Store::open(&target.dir.path().join("kept")).unwrap();
    assert_eq!(kept.tags().unwrap().len(), 1);
    crate::fixture::assert_intact(&kept);
    target.assert_no_artifact();
}
