//! A cluster with internet access on a host whose addresses overlap with those of its nodes, pods and services.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::thread;

use parbake_machine::net::NetNs;

use parbake_test_support::leftovers::Leftovers;
use parbake_test_support::place::{Outcome, PROVIDER, Place, check};

/// A server outside (RFC 5737) and its name.
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const NAME: &str = "www.example.org";
/// The host's addresses: those of the cluster's gateway, first node, pods and services, and of a resolver.
const SET_UP: &str = r#"
    ip link set lo up
    ip link add taken type bridge
    ip link set taken up
    for address in 10.89.0.1/24 10.89.0.11/24 10.244.0.1/16 10.96.0.1/12; do
        ip address add "$address" dev taken
    done
    ip address add 203.0.113.7/32 dev lo
    resolver=$(sed -n 's/^nameserver *//p' /etc/resolv.conf | grep -F . | head -n 1)
    case $resolver in 127.*) ;; *) ip address add "$resolver/32" dev lo ;; esac
    echo "$resolver"
"#;
/// Prints the server's greeting or `refused STATUS`.
const DIAL: &str = r#"
    dial() { timeout 5 bash -c "exec 3<>/dev/tcp/$1/$2 && head -c 5 <&3" 2>/dev/null || echo "refused $?"; }
"#;

/// The cluster's host is a network namespace of the test.
pub(crate) fn internet(place: &Place) -> Outcome {
    let before = Leftovers::list(place.dir())?;
    let host = NetNs::create().map_err(|error| error.to_string())?;
    let at = |work: &(dyn Fn() -> Outcome + Sync)| {
        host.run(|| work().map_err(io::Error::other))
            .map_err(|error| error.to_string())
    };
    at(&|| {
        let resolver = sh(SET_UP)?;
        serve(&resolver).map_err(|error| error.to_string())
    })?;
    let addresses =
        || sh("ip -oneline link; ip -4 -brief address; ip -4 route show table all; nft list ruleset");
    at(&|| {
        let as_before = addresses()?;
        place.json(&["up", PROVIDER, "--nodes", "1", "--name", "taken", "--internet"])?;
        let now = addresses()?;
        check(now == as_before, || format!("{as_before} became {now}"))?;
        reaches(place)
    })?;
    at(&|| {
        place.run(&["down", "--name", "taken"])?;
        let left = sh("ip -oneline link | wc -l")?;
        check(left == "2", || format!("{left} interfaces"))
    })?;
    Leftovers::list(place.dir())?.nothing_new_since(&before)
}

fn reaches(place: &Place) -> Outcome {
    let on_node = |line: &str| {
        let line = format!("{DIAL}\n{line}");
        place.run(&["exec", "node01", "--name", "taken", "--", "sh", "-c", &line])
    };
    let nodes = place.run(&["kubectl", "--name", "taken", "get", "nodes", "-o", "name"])?;
    check(nodes == "node/node01\n", || nodes.clone())?;
    let status = place.json(&["status", "--name", "taken"])?;
    check(status["internet"] == true, || format!("{status}"))?;
    // By name, from a node and from a pod.
    for from in ["", "nsenter --net --target $(pgrep -o coredns) "] {
        let message = on_node(&format!("{from}getent ahostsv4 {NAME} | head -n 1"))?;
        check(message.starts_with("203.0.113.7 "), || format!("{from}{message}"))?;
        let dial = format!("{from}bash -c 'exec 3<>/dev/tcp/{NAME}/8080 && head -c 5 <&3'");
        let message = on_node(&dial)?;
        check(message == "hello", || format!("{from}{message}"))?;
    }
    // The cluster's own names still resolve inside, and the host's loopback is not reachable.
    let message = on_node("getent ahostsv4 registry | head -n 1; getent ahostsv4 nowhere || true")?;
    check(
        message.starts_with("10.89.0.11 ") && message.lines().count() == 1,
        || message.clone(),
    )?;
    for last in [1, 2, 3] {
        let message = on_node(&format!("dial 169.254.89.{last} 8081"))?;
        check(message.starts_with("refused 1"), || format!("{last}: {message}"))?;
    }
    Ok(())
}

/// Runs a script in the calling thread's network namespace.
fn sh(script: &str) -> Result<String, String> {
    let output = Command::new("sh").args(["-euc", script]).output();
    let output = output.map_err(|error| error.to_string())?;
    check(output.status.success(), || {
        String::from_utf8_lossy(&output.stderr).into_owned()
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Starts a server outside, one on the host's loopback that must not be reachable, and the host's resolver. They run until
/// the tests end.
fn serve(resolver: &str) -> io::Result<()> {
    for address in [(SERVER, 8080), (Ipv4Addr::LOCALHOST, 8081)] {
        let server = TcpListener::bind(address)?;
        thread::spawn(move || {
            for mut client in server.incoming().flatten() {
                let _ = client.write_all(b"hello");
            }
        });
    }
    let address: Ipv4Addr = resolver.parse().map_err(io::Error::other)?;
    let socket = UdpSocket::bind(SocketAddr::from((address, 53)))?;
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            let _ = socket.send_to(&answer(&query[..length]), client);
        }
    });
    Ok(())
}

/// Answers questions for the address of [`NAME`]; no other name exists (RFC 1035, section 4.1).
fn answer(query: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = NAME
        .split('.')
        .flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat())
        .chain([0])
        .collect();
    // True for a question of type A and class IN.
    let end = 12 + name.len() + 4;
    let mine =
        query.len() >= end && query[12..end].eq_ignore_ascii_case(&[name.as_slice(), &[0, 1, 0, 1]].concat());
    let question = query[12..]
        .iter()
        .position(|byte| *byte == 0)
        .map(|at| 12 + at + 5);
    let question = question.filter(|end| *end <= query.len()).unwrap_or(12);
    let mut answer = query[..2].to_vec();
    // A recursive answer; NXDOMAIN unless it is our name, whatever the type.
    let known = query[12..question].to_ascii_lowercase().starts_with(&name);
    answer.extend([
        0x81,
        if known { 0x80 } else { 0x83 },
        0,
        1,
        0,
        u8::from(mine),
        0,
        0,
        0,
        0,
    ]);
    answer.extend(&query[12..question]);
    if mine {
        // A pointer to the question's name, type A, class IN, TTL 1 s, 4 bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(SERVER.octets());
    }
    answer
}
