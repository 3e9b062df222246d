use std::fs;
use std::process::Command;
use std::thread;

use super::Cgroup;
use crate::host::Host;

fn cgroup(name: &str) -> Cgroup {
    let host = Host::probe("/".as_ref()).decide();
    let id = format!("test-{name}-{}", std::process::id());
    Cgroup::of_cluster(&host.cgroups, &id).unwrap()
}

#[test]
fn clusters_are_created_and_destroyed_in_parallel() {
    thread::scope(|scope| {
        for name in ["one", "two", "three", "four"] {
            scope.spawn(move || {
                for _ in 0..20 {
                    let cgroup = cgroup(name);
                    cgroup.create().unwrap();
                    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
                    for dir in &cgroup.dirs {
                        fs::write(dir.join("cgroup.procs"), child.id().to_string()).unwrap();
                    }
                    // The killed child has to be reaped.
                    let waiting = thread::spawn(move || child.wait());
                    cgroup.destroy().unwrap();
                    waiting.join().unwrap().unwrap();
                }
            });
        }
    });
}

#[test]
fn interrupted_creation_is_completed() {
    let cluster = cgroup("half");
    let node = cluster.child("node");
    for dir in &cluster.dirs {
        fs::create_dir_all(dir).unwrap();
    }
    node.create().unwrap();
    assert!(cluster.dirs.iter().all(|dir| super::is_prepared(dir)));
    cluster.destroy().unwrap();
}
