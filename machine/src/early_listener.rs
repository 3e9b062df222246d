//! Connections that wait for a server which does not listen yet.
//!
//! A client that finds a port closed backs off, for a second or more, and so do all the others. So the port is opened
//! before the server is started: connections wait in the queue of a listening socket that nobody accepts from. The
//! server listens on the same port (`SO_REUSEPORT`), the first socket is closed, and the kernel moves what waits in its
//! queue over to the server's (`net.ipv4.tcp_migrate_req`, Linux 5.14 and newer). Nothing is relayed.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::Process;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::netns::NetNs;

/// What lets the kernel move connections from one listening socket to another.
const MIGRATE: &str = "/proc/sys/net/ipv4/tcp_migrate_req";
/// How many connections may wait.
const BACKLOG: i32 = 1024;
/// How often it is looked whether the server listens.
const PAUSE: Duration = Duration::from_millis(5);
/// A server that does not come by then is not to be waited for: clients learn that nobody listens.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port on which connections wait.
#[derive(Debug)]
pub(crate) struct Hold {
    port: u16,
    _socket: OwnedFd,
}

impl Hold {
    /// Opens `port` inside `namespace` on all its addresses; nothing where the kernel cannot move connections.
    ///
    /// # Errors
    /// What making the socket says.
    pub(crate) fn open(namespace: &NetNs, port: u16) -> io::Result<Option<Self>> {
        namespace.run(|| {
            match fs::write(MIGRATE, "1") {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                outcome => outcome?,
            }
            // A child that inherited the socket would hold the port for ever.
            let socket = |family| socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None);
            let socket = match socket(AddressFamily::INET6) {
                Ok(socket) => {
                    sockopt::set_socket_reuseport(&socket, true)?;
                    sockopt::set_ipv6_v6only(&socket, false)?;
                    bind(&socket, &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0))?;
                    socket
                }
                // A kernel without IPv6: then the server has none either.
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

    /// Closes the port once somebody else listens on it too, in the network namespace of process `pid`; waits for that
    /// in a thread of its own.
    ///
    /// # Errors
    /// The thread could not be started.
    pub(crate) fn until_served(self, pid: u32) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        thread::Builder::new().name("hold".into()).spawn(move || {
            while Instant::now() < deadline && !self.is_served(pid) {
                thread::sleep(PAUSE);
            }
        })?;
        Ok(())
    }

    /// Whether there is another listening socket. Where that cannot be told the port is given up.
    fn is_served(&self, pid: u32) -> bool {
        let listening = |entries: Vec<TcpNetEntry>| {
            let ours = |entry: &&TcpNetEntry| {
                entry.state == TcpState::Listen && entry.local_address.port() == self.port
            };
            entries.iter().filter(ours).count()
        };
        let Ok(process) = pid
            .try_into()
            .map_err(|_| ())
            .and_then(|pid| Process::new(pid).map_err(|_| ()))
        else {
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

    use super::Hold;
    use crate::netns::NetNs;
    use crate::network::Network;

    /// A server that shares its port, as an API server with `--permit-port-sharing` does.
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
    fn who_comes_early_is_served_late() {
        let network = Network::create(&["10.89.0.1/24".parse().unwrap()], &[]).unwrap();
        let namespace = &network.cluster;
        let hold = Hold::open(namespace, 6443).unwrap().expect("Linux 5.14 or newer");
        // Some process that is in the namespace, whose sockets can be looked at.
        let mut sleeper = namespace.run(|| Command::new("sleep").arg("60").spawn()).unwrap();
        hold.until_served(sleeper.id()).unwrap();
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
