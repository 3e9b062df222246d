//! Ports of the gateway whose connections go to one of several servers.
//!
//! Connections are distributed round-robin. A server that refused a connection or did not answer is tried last for a
//! while.

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::NetNs;
use super::tcp_proxy::{self, Target};

/// How long a server may take to accept a connection before the next one is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a server that did not answer is tried last.
const FAILURE_BACKOFF: Duration = Duration::from_secs(5);

/// A TCP port of the gateway that leads to one of several servers in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balancer {
    /// Where the cluster's network namespace listens.
    pub listen: SocketAddr,
    /// The servers.
    pub to: Vec<SocketAddr>,
}

/// Listens for `balancer` inside the namespace of the calling thread.
fn listen(balancer: &Balancer) -> io::Result<(StdListener, Servers)> {
    let listener = StdListener::bind(balancer.listen)?;
    listener.set_nonblocking(true)?;
    Ok((listener, Servers::new(&balancer.to)))
}

/// Serves the balancers from a thread inside `cluster`, as long as this process lives.
///
/// # Errors
/// A port is in use, or the thread could not be started.
pub(crate) fn serve(cluster: &NetNs, balancers: &[Balancer]) -> io::Result<Option<JoinHandle<()>>> {
    if balancers.is_empty() {
        return Ok(None);
    }
    let cluster = cluster.try_clone()?;
    let balancers = cluster.run(|| balancers.iter().map(listen).collect::<io::Result<Vec<_>>>())?;
    let lost = "connections to the control planes are no longer balanced";
    tcp_proxy::serve("balance", lost, cluster, balancers).map(Some)
}

/// The servers behind a balancer.
struct Servers {
    all: Vec<Server>,
    /// The index of the server that gets the next connection.
    next: Cell<usize>,
}

struct Server {
    address: SocketAddr,
    /// When it last failed to answer.
    failed: Cell<Option<Instant>>,
}

impl Servers {
    fn new(addresses: &[SocketAddr]) -> Self {
        let server = |&address| Server {
            address,
            failed: Cell::new(None),
        };
        Self {
            all: addresses.iter().map(server).collect(),
            next: Cell::new(0),
        }
    }

    /// The servers in the order in which the next connection tries them.
    fn next_order(&self, now: Instant) -> Vec<&Server> {
        let first = self.next.get() % self.all.len().max(1);
        self.next.set(first + 1);
        let (after, before) = (&self.all[first..], &self.all[..first]);
        let mut order: Vec<&Server> = after.iter().chain(before).collect();
        order.sort_by_key(|server| server.is_backing_off(now));
        order
    }
}

impl Target for Servers {
    async fn connect(&self) -> Option<TcpStream> {
        for server in self.next_order(Instant::now()) {
            if let Ok(Ok(connection)) = timeout(CONNECT_TIMEOUT, TcpStream::connect(server.address)).await {
                server.failed.set(None);
                return Some(connection);
            }
            server.failed.set(Some(Instant::now()));
        }
        None
    }
}

impl Server {
    fn is_backing_off(&self, now: Instant) -> bool {
        self.failed
            .get()
            .is_some_and(|failed| now.saturating_duration_since(failed) < FAILURE_BACKOFF)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::{FAILURE_BACKOFF, Servers, serve};
    use crate::net::{Balancer, Network};

    const ADDRESSES: [&str; 3] = ["10.89.0.11:6443", "10.89.0.12:6443", "10.89.0.13:6443"];

    fn addresses() -> Vec<SocketAddr> {
        ADDRESSES.map(|address| address.parse().unwrap()).to_vec()
    }

    #[test]
    fn servers_take_turns_and_failed_ones_come_last() {
        let servers = Servers::new(&addresses());
        let now = Instant::now();
        let hosts = |now| -> Vec<String> {
            let order = servers.next_order(now).into_iter();
            order.map(|server| server.address.ip().to_string()).collect()
        };
        assert_eq!(hosts(now), ["10.89.0.11", "10.89.0.12", "10.89.0.13"]);
        assert_eq!(hosts(now), ["10.89.0.12", "10.89.0.13", "10.89.0.11"]);
        servers.all[2].failed.set(Some(now));
        assert_eq!(hosts(now), ["10.89.0.11", "10.89.0.12", "10.89.0.13"]);
        assert_eq!(hosts(now), ["10.89.0.11", "10.89.0.12", "10.89.0.13"]);
        let later = now + FAILURE_BACKOFF + Duration::from_millis(1);
        assert_eq!(hosts(later), ["10.89.0.12", "10.89.0.13", "10.89.0.11"]);
    }

    #[test]
    fn connection_goes_to_a_server_that_answers() {
        let network = Network::create(&["10.89.0.1/24".parse().unwrap()], &[]).unwrap();
        // Of two servers on the gateway's own address one listens.
        let server = network
            .cluster
            .run(|| TcpListener::bind("10.89.0.1:7002"))
            .unwrap();
        let balancer = Balancer {
            listen: "10.89.0.1:6443".parse().unwrap(),
            to: vec![
                "10.89.0.1:7001".parse().unwrap(),
                "10.89.0.1:7002".parse().unwrap(),
            ],
        };
        serve(&network.cluster, &[balancer]).unwrap();
        let echo = thread::spawn(move || {
            for _ in 0..3 {
                let mut connection = server.accept().unwrap().0;
                let mut word = [0; 5];
                connection.read_exact(&mut word).unwrap();
                connection.write_all(&word).unwrap();
            }
        });
        for _ in 0..3 {
            let client = network.cluster.run(|| TcpStream::connect("10.89.0.1:6443"));
            let mut client = client.unwrap();
            client.write_all(b"hello").unwrap();
            let mut answer = [0; 5];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"hello");
        }
        echo.join().unwrap();
        // No server is left: the connection is closed.
        let client = network.cluster.run(|| TcpStream::connect("10.89.0.1:6443"));
        assert_eq!(client.unwrap().read(&mut [0; 1]).unwrap_or(0), 0);
    }
}
