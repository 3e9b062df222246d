//! A disk that fills up.

use std::process::Command;

use crate::child::{command, ended};
use crate::server::Server;
use crate::small::Place;

/// Runs `$@` on a disk of 1 MB at `store`, then, with more room, again. In a mount namespace of its own.
const SCRIPT: &str = r#"
set -eu
mount -t tmpfs -o size=1m,mode=700 none store
if "$@" 2>said; then echo "it was done in spite of a full disk" >&2; exit 1; fi
grep -q "No space left on device" said || { cat said >&2; exit 1; }
test ! -e store/index.json || { cat store/index.json >&2; exit 1; }
mount -o remount,size=64m store
"$@"
cp -a store kept
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_one_error_and_the_next_pull_goes_on() {
    let (server, source, target) = (Server::start(), Place::with_artifact(), Place::empty());
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
    crate::small::check(&kept);
    target.check_without();
}
