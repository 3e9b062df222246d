use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use super::{Outside, RESOLVER};
use crate::cgroup::Cgroup;
use crate::host::Host;
use crate::netns::NetNs;
use crate::network::{Endpoint, Network};
use crate::overlay;
use crate::process::Cmd;

/// An address outside of every cluster (RFC 5737).
const SERVER: &str = "203.0.113.7";

/// A host of the test's own, with a server outside and one on loopback, which is its resolver too.
fn host() -> NetNs {
    let host = NetNs::create().unwrap();
    host.run(|| {
        for words in [
            ["link", "set", "lo", "up"].as_slice(),
            &["address", "add", SERVER, "dev", "lo"],
        ] {
            Cmd::new("ip").args(words).run().map_err(io::Error::other)?;
        }
        for address in [SERVER, "127.0.0.1"] {
            let server = TcpListener::bind((address, 8080))?;
            thread::spawn(move || {
                for mut client in server.incoming().flatten() {
                    let _ = client.write_all(b"hello");
                }
            });
        }
        Ok(())
    })
    .unwrap();
    host
}

fn said(address: &str) -> io::Result<String> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let mut server = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    server.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut word = [0; 5];
    server.read_exact(&mut word)?;
    Ok(String::from_utf8_lossy(&word).into_owned())
}

#[test]
fn a_way_out_leads_to_the_outside_and_not_to_the_hosts_loopback() {
    let host = host();
    let node = Endpoint {
        name: "node01".into(),
        address: "10.89.0.11/24".parse().unwrap(),
        second: None,
        behind: vec!["10.244.1.0/24".parse().unwrap()],
    };
    let network = Network::create(&["10.89.0.1/24".parse().unwrap()], &[node]).unwrap();
    let inside = |address: &str| network.machines[0].run(|| said(address));
    let server = format!("{SERVER}:8080");
    let refused = inside(&server).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::HostUnreachable, "{refused}");

    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let name = format!("test-outside-{}", std::process::id());
    let all = Cgroup::of_cluster(&Host::probe(dir.path()).decide().cgroups, &name).unwrap();
    let own = all.child("outside");
    own.create().unwrap();
    // The process works in the network of the thread that starts it, and ends with that thread.
    thread::scope(|scope| {
        let served = scope.spawn(|| {
            host.enter().unwrap();
            let outside = Outside::open(&network.cluster, own, &log).unwrap();
            assert_eq!(inside(&server).unwrap(), "hello");
            // From an address of a pod, too.
            let pod = "10.244.1.9/32".parse().unwrap();
            super::inside(&network.machines[0], async |netlink| {
                let lo = super::index(&netlink, "lo").await?;
                super::address(&netlink, lo, pod).await
            })
            .unwrap();
            let from_pod = network.machines[0].run(|| {
                let curl = "curl --silent --max-time 5 --http0.9 --interface 10.244.1.9";
                // 56: the server hangs up before it has read the request.
                let line = format!("{curl} http://{server}/ || test $? = 56");
                let output = Cmd::new("sh").args(["-c", &line]).run();
                Ok(output.map_err(io::Error::other)?.stdout)
            });
            assert_eq!(from_pod.unwrap(), "hello");
            for closed in [
                format!("{}:8080", super::GATEWAY),
                format!("{RESOLVER}:8080"),
                "169.254.89.1:8080".to_owned(),
            ] {
                let refused = inside(&closed).unwrap_err();
                let at_once = [ErrorKind::HostUnreachable, ErrorKind::ConnectionRefused];
                assert!(at_once.contains(&refused.kind()), "{closed}: {refused}");
            }
            drop(outside);
        });
        served.join().unwrap();
    });
    // Refused at once again; the kernel does so once a second for everybody who was refused (ip_error() in net/ipv4/route.c).
    thread::sleep(Duration::from_millis(1100));
    let socket = network.machines[0]
        .run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))
        .unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.connect(&server).unwrap();
    socket.send(b"anyone?").unwrap();
    let refused = socket.recv(&mut [0; 1]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::HostUnreachable, "{refused}");
    all.destroy().unwrap();
}

#[test]
fn what_slirp4netns_says_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let name = format!("test-outside-log-{}", std::process::id());
    let all = Cgroup::of_cluster(&Host::probe(dir.path()).decide().cgroups, &name).unwrap();
    let own = all.child("outside");
    own.create().unwrap();
    let network = Network::create(&["10.89.0.1/24".parse().unwrap()], &[]).unwrap();
    let error = thread::scope(|scope| {
        let failed = scope.spawn(|| {
            unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).unwrap();
            overlay::private_mounts().unwrap();
            // A host without the device.
            Cmd::new("mount")
                .args(["-t", "tmpfs", "none", "/dev/net"])
                .run()
                .unwrap();
            Outside::open(&network.cluster, own, &log).unwrap_err()
        });
        failed.join().unwrap()
    });
    let said = error.to_string();
    assert!(
        said.starts_with("slirp4netns made no interface: ") && said.len() > 40,
        "{said}"
    );
    all.destroy().unwrap();
}
