//! Connections that wait for a server that does not listen yet.
//!
//! A client that finds a port closed backs off for a second or more. So the port is opened before the server starts:
//! connections wait in the queue of a listening socket. The server listens on the same port (`SO_REUSEPORT`), the first
//! socket is closed, and the kernel moves the waiting connections to the server's queue (`net.ipv4.tcp_migrate_req`, Linux
//! 5.14 and newer).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::Process;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use super::{NetNs, sysctl};

/// Lets the kernel move connections from one listening socket to another.
const MIGRATE: &str = "net.ipv4.tcp_migrate_req";
/// How many connections may wait.
const BACKLOG: i32 = 1024;
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// After this time the port is closed, so that clients get an error.
const SERVER_TIMEOUT: Duration = Duration::from_secs(60);

/// A port on which connections wait.
#[derive(Debug)]
pub(crate) struct EarlyListener {
    port: u16,
    _socket: OwnedFd,
}

impl EarlyListener {
    /// Opens `port` on all addresses inside `namespace`; `None` where the kernel cannot move connections.
    ///
    /// # Errors
    /// The socket could not be created, or the kernel parameter not be set.
    pub(crate) fn open(namespace: &NetNs, port: u16) -> io::Result<Option<Self>> {
        namespace.run(|| {
            if !sysctl::path(MIGRATE).exists() {
                return Ok(None);
            }
            sysctl::set(MIGRATE, "1").map_err(io::Error::other)?;
            // A child that inherited the socket would keep the port open.
            let socket = |family| socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None);
            let socket = match socket(AddressFamily::INET6) {
                Ok(socket) => {
                    sockopt::set_socket_reuseport(&socket, true)?;
                    sockopt::set_ipv6_v6only(&socket, false)?;
                    bind(&socket, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0))?;
                    socket
                }
                // A kernel without IPv6: the server has none either.
                Err(Errno::AFNOSUPPORT) => {
                    let socket = socket(AddressFamily::INET)?;
                    sockopt::set_socket_reuseport(&socket, true)?;
                    bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
                    socket
                }
                Err(errno) => return Err(errno.into()),
            };
            listen(&socket, BACKLOG)?;
            Ok(Some(Self {
                port,
                _socket: socket,
            }))
        })
    }

    /// Closes the port once another socket listens on it in the network namespace of process `pid`. Waits in a thread.
    ///
    /// # Errors
    /// The thread could not be started.
    pub(crate) fn close_when_served(self, pid: u32) -> io::Result<()> {
        let deadline = Instant::now() + SERVER_TIMEOUT;
        thread::Builder::new()
            .name("early-listener".into())
            .spawn(move || {
                while Instant::now() < deadline && !self.is_served(pid) {
                    thread::sleep(POLL_INTERVAL);
                }
            })?;
        Ok(())
    }

    /// True if another socket listens on the port, or that cannot be found out.
    fn is_served(&self, pid: u32) -> bool {
        let listening = |entries: Vec<TcpNetEntry>| {
            let ours = |entry: &&TcpNetEntry| {
                entry.state == TcpState::Listen && entry.local_address.port() == self.port
            };
            entries.iter().filter(ours).count()
        };
        let Some(process) = pid.try_into().ok().and_then(|pid| Process::new(pid).ok()) else {
            return true;
        };
        match (process.tcp(), process.tcp6()) {
            (Ok(four), six) => listening(four) + six.map_or(0, listening) > 1,
            (Err(_), _) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv6Addr, SocketAddrV6, TcpListener, TcpStream};
    use std::process::Command;
    use std::thread;
    use std::time::Duration;

    use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};

    use super::EarlyListener;
    use crate::net::{NetNs, Network};

    /// A server that shares its port, like an API server with `--permit-port-sharing`.
    fn server(namespace: &NetNs, port: u16) -> TcpListener {
        namespace
            .run(|| {
                let socket = socket(AddressFamily::INET6, SocketType::STREAM, None)?;
                sockopt::set_socket_reuseport(&socket, true)?;
                bind(&socket, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0))?;
                listen(&socket, 16)?;
                Ok(TcpListener::from(socket))
            })
            .unwrap()
    }

    #[test]
    fn early_connections_reach_the_server() {
        let network = Network::create(&["10.89.0.1/24".parse().unwrap()], &[]).unwrap();
        let namespace = &network.cluster;
        let listener = EarlyListener::open(namespace, 6443)
            .unwrap()
            .expect("Linux 5.14 or newer");
        // A process in the namespace, whose sockets can be listed.
        let mut sleeper = namespace.run(|| Command::new("sleep").arg("60").spawn()).unwrap();
        listener.close_when_served(sleeper.id()).unwrap();
        let clients: Vec<_> = (0..8_u8)
            .map(|number| {
                let mut client = namespace.run(|| TcpStream::connect("10.89.0.1:6443")).unwrap();
                client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                client.write_all(&[number]).unwrap();
                client
            })
            .collect();
        thread::sleep(Duration::from_millis(50));
        let server = server(namespace, 6443);
        let echo = thread::spawn(move || {
            for _ in 0..8 {
                let mut connection = server.accept().unwrap().0;
                let mut word = [0];
                connection.read_exact(&mut word).unwrap();
                connection.write_all(&word).unwrap();
            }
        });
        for (number, mut client) in (0..8_u8).zip(clients) {
            let mut word = [0xff];
            client.read_exact(&mut word).unwrap();
            assert_eq!(word, [number]);
        }
        echo.join().unwrap();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
}
