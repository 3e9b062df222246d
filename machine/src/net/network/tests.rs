use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Duration;

use super::{Endpoint, Network};

/// A dual-stack network.
fn network() -> Network {
    let endpoint = |n: u8| Endpoint {
        name: format!("node{n:02}"),
        address: format!("10.89.0.{}/24", 10 + n).parse().unwrap(),
        second_address: Some(format!("fd00:10:89::{}/64", 10 + n).parse().unwrap()),
        pod_networks: [format!("10.244.{n}.0/24"), format!("fd00:10:244:{n}::/64")]
            .map(|network| network.parse().unwrap())
            .into(),
    };
    let gateways = ["10.89.0.1/24", "fd00:10:89::1/64"].map(|gateway| gateway.parse().unwrap());
    Network::create(&gateways, &[endpoint(1), endpoint(2)]).unwrap()
}

#[test]
fn machines_reach_each_other() {
    let network = network();
    for (any, one_address, two_address) in [
        ("0.0.0.0:7000", "10.89.0.11:7000", "10.89.0.12:7000"),
        // Another port: a child that a parallel test has just forked keeps the first sockets open until it executes its program.
        ("[::]:7001", "[fd00:10:89::11]:7001", "[fd00:10:89::12]:7001"),
    ] {
        let inside = |n: usize| network.machines[n].run(|| UdpSocket::bind(any)).unwrap();
        let (one, two) = (inside(0), inside(1));
        two.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        one.send_to(b"hello", two_address).unwrap();
        let mut buffer = [0; 16];
        let (length, from) = two.recv_from(&mut buffer).unwrap();
        assert_eq!(
            (&buffer[..length], from.to_string().as_str()),
            (&b"hello"[..], one_address)
        );
    }
}

#[test]
fn network_has_ipv6_only_if_a_gateway_has() {
    let without = Network::create(&["10.89.0.1/24".parse().unwrap()], &[]).unwrap();
    let bind = || UdpSocket::bind("[::1]:0");
    without.cluster.run(bind).unwrap_err();
    network().cluster.run(bind).unwrap();
}

#[test]
fn packets_to_the_outside_are_rejected_at_once() {
    let network = network();
    // `prohibited` is a different error in each address family (ip(7), RFC 4443 section 3.1 code 1).
    for (any, outside, kind) in [
        ("0.0.0.0:0", "192.0.2.1:53", ErrorKind::HostUnreachable),
        ("[::]:0", "[2001:db8::1]:53", ErrorKind::PermissionDenied),
    ] {
        let socket = network.machines[0].run(|| UdpSocket::bind(any)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.connect(outside).unwrap();
        socket.send(b"anyone?").unwrap();
        let error = socket.recv(&mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
}
