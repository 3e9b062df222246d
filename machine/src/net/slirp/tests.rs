use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use rustix::thread::UnshareFlags;

use super::{RESOLVER, Slirp};
use crate::cgroup::Cgroup;
use crate::fs::mount::private_mounts;
use crate::host::Host;
use crate::namespace::unshare;
use crate::net::network::{add_address, find_link, inside};
use crate::net::{Endpoint, NetNs, Network};
use crate::process::Cmd;

/// An address outside of every cluster (RFC 5737).
const SERVER: &str = "203.0.113.7";

/// A simulated host with a server on an outside address and on loopback.
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

/// What the server at `address` sends.
fn receive(address: &str) -> io::Result<String> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let mut server = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    server.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut word = [0; 5];
    server.read_exact(&mut word)?;
    Ok(String::from_utf8_lossy(&word).into_owned())
}

fn cgroup(name: &str) -> Cgroup {
    let id = format!("test-{name}-{}", std::process::id());
    Cgroup::of_cluster(&Host::probe("/".as_ref()).decide().cgroups, &id).unwrap()
}

#[test]
fn cluster_reaches_the_outside_but_not_the_hosts_loopback() {
    let host = host();
    let node = Endpoint {
        name: "node01".into(),
        address: "10.89.0.11/24".parse().unwrap(),
        second_address: None,
        pod_networks: vec!["10.244.1.0/24".parse().unwrap()],
    };
    let network = Network::create(&["10.89.0.1/24".parse().unwrap()], &[node]).unwrap();
    let from_machine = |address: &str| network.machines[0].run(|| receive(address));
    let server = format!("{SERVER}:8080");
    let rejected = from_machine(&server).unwrap_err();
    assert_eq!(rejected.kind(), ErrorKind::HostUnreachable, "{rejected}");

    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let all = cgroup("slirp");
    let own = all.child("slirp");
    own.create().unwrap();
    // The process uses the network of the thread that starts it, and ends with that thread.
    thread::scope(|scope| {
        let served = scope.spawn(|| {
            host.enter().unwrap();
            let slirp = Slirp::start(&network.cluster, own, &log).unwrap();
            assert_eq!(from_machine(&server).unwrap(), "hello");
            let pod = "10.244.1.9/32".parse().unwrap();
            inside(&network.machines[0], async |netlink| {
                let lo = find_link(&netlink, "lo").await?;
                add_address(&netlink, lo, pod).await
            })
            .unwrap();
            let from_pod = network.machines[0].run(|| {
                let curl = "curl --silent --max-time 5 --http0.9 --interface 10.244.1.9";
                // 56: the server closes the connection before it has read the request.
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
                let rejected = from_machine(&closed).unwrap_err();
                let at_once = [ErrorKind::HostUnreachable, ErrorKind::ConnectionRefused];
                assert!(at_once.contains(&rejected.kind()), "{closed}: {rejected}");
            }
            drop(slirp);
        });
        served.join().unwrap();
    });
    // Rejected at once again; the kernel does so once a second for a sender (ip_error() in net/ipv4/route.c).
    thread::sleep(Duration::from_millis(1100));
    let socket = network.machines[0]
        .run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))
        .unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.connect(&server).unwrap();
    socket.send(b"anyone?").unwrap();
    let rejected = socket.recv(&mut [0; 1]).unwrap_err();
    assert_eq!(rejected.kind(), ErrorKind::HostUnreachable, "{rejected}");
    all.destroy().unwrap();
}

#[test]
fn error_contains_the_last_output_of_slirp4netns() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let all = cgroup("slirp-log");
    let own = all.child("slirp");
    own.create().unwrap();
    let network = Network::create(&["10.89.0.1/24".parse().unwrap()], &[]).unwrap();
    let error = thread::scope(|scope| {
        let failed = scope.spawn(|| {
            unshare(UnshareFlags::FS | UnshareFlags::NEWNS).unwrap();
            private_mounts().unwrap();
            // A host without the tun device.
            Cmd::new("mount")
                .args(["-t", "tmpfs", "none", "/dev/net"])
                .run()
                .unwrap();
            Slirp::start(&network.cluster, own, &log).unwrap_err()
        });
        failed.join().unwrap()
    });
    let text = error.to_string();
    assert!(
        text.starts_with("slirp4netns created no interface: ") && text.len() > 40,
        "{text}"
    );
    all.destroy().unwrap();
}
