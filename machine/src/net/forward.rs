//! Ports of the host that lead into a cluster, without an interface, address or rule on the host.
//!
//! The listeners are created in the host's network namespace, and served by a thread in the cluster's ([`tcp_proxy`]).

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use super::NetNs;
use super::tcp_proxy;

/// A TCP port of the host that leads into the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// Where the host listens; port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// Where connections go, in the cluster's network namespace.
    pub to: SocketAddr,
    /// Any other port may be used if this one is in use.
    #[serde(default)]
    pub movable: bool,
}

/// Listens for `forward` on the host.
///
/// # Errors
/// The port is in use, or the address is not allowed.
pub(crate) fn listen(forward: &Forward) -> io::Result<(StdListener, SocketAddr)> {
    let listener = match StdListener::bind(forward.listen) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && forward.movable => {
            StdListener::bind(SocketAddr::new(forward.listen.ip(), 0))?
        }
        listener => listener?,
    };
    listener.set_nonblocking(true)?;
    Ok((listener, forward.to))
}

/// Serves the listeners from a thread inside `cluster`, as long as this process lives.
pub(crate) fn serve(cluster: NetNs, listeners: Vec<(StdListener, SocketAddr)>) -> io::Result<JoinHandle<()>> {
    tcp_proxy::serve("forward", "ports are no longer forwarded", cluster, listeners)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::{listen, serve};
    use crate::net::{Forward, NetNs, Network};

    #[test]
    fn host_port_leads_into_the_cluster() {
        let network = Network::create(&["10.89.0.1/24".parse().unwrap()], &[]).unwrap();
        let server = network
            .cluster
            .run(|| TcpListener::bind("10.89.0.1:6443"))
            .unwrap();
        let echo = thread::spawn(move || {
            let mut connection = server.accept().unwrap().0;
            let mut word = [0; 5];
            connection.read_exact(&mut word).unwrap();
            connection.write_all(&word).unwrap();
        });
        let (listener, to) = listen(&Forward {
            listen: "127.0.0.1:0".parse().unwrap(),
            to: "10.89.0.1:6443".parse().unwrap(),
            movable: false,
        })
        .unwrap();
        let port = listener.local_addr().unwrap();
        serve(network.cluster, vec![(listener, to)]).unwrap();
        let mut client = TcpStream::connect(port).unwrap();
        client.write_all(b"hello").unwrap();
        let mut answer = [0; 5];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
        echo.join().unwrap();
    }

    #[test]
    fn connection_without_a_server_is_closed() {
        let namespace = NetNs::create().unwrap();
        let (listener, to) = listen(&Forward {
            listen: "127.0.0.1:0".parse().unwrap(),
            to: "10.89.0.1:6443".parse().unwrap(),
            movable: false,
        })
        .unwrap();
        let port = listener.local_addr().unwrap();
        serve(namespace, vec![(listener, to)]).unwrap();
        let mut client = TcpStream::connect(port).unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap_or(0), 0);
    }

    #[test]
    fn only_movable_forwards_move_to_another_port() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut forward = Forward {
            listen: taken.local_addr().unwrap(),
            to: "10.89.0.1:6443".parse().unwrap(),
            movable: false,
        };
        let error = listen(&forward).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
        forward.movable = true;
        let moved = listen(&forward).unwrap().0.local_addr().unwrap();
        assert_eq!(moved.ip(), forward.listen.ip());
        assert_ne!(moved.port(), forward.listen.port());
    }
}
