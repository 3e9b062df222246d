//! Ports of the host that lead into a cluster, without an interface, address or rule on the host.
//!
//! The listeners are made in the host's network namespace, and the thread that serves them is in the cluster's ([`tcp_proxy`]).

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::thread::JoinHandle;

use crate::netns::NetNs;
use crate::plan::Forward;
use crate::tcp_proxy;

/// Listens for `forward` on the host, on another port where that one is taken and the forward may be moved.
///
/// # Errors
/// The port is taken, or may not be listened on.
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
    use crate::netns::NetNs;
    use crate::network::Network;
    use crate::plan::Forward;

    #[test]
    fn a_port_of_the_host_leads_into_the_cluster() {
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
    fn nobody_there_closes_the_connection() {
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
    fn only_what_may_be_moved_makes_way() {
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
