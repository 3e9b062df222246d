//! Network namespaces that live as long as a file descriptor of theirs.
//!
//! No name, no bind mount: when the last descriptor and the last process are gone, so is the namespace with its
//! interfaces, routes and rules.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// The file system of namespaces (statfs(2)).
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// A network namespace.
#[derive(Debug)]
pub struct NetNs(OwnedFd);

impl NetNs {
    /// Makes a new, empty network namespace.
    ///
    /// # Errors
    /// What unshare(2) or opening `/proc/thread-self/ns/net` says.
    pub fn create() -> io::Result<Self> {
        // A thread of its own, since a thread that left its namespace is of no use to anyone else.
        on_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(Self(File::open("/proc/thread-self/ns/net")?.into()))
        })
    }

    /// The namespace that process `pid` is in.
    ///
    /// # Errors
    /// What opening `/proc/PID/ns/net` says: the process is gone, or the caller may not look.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        Ok(Self(File::open(format!("/proc/{pid}/ns/net"))?.into()))
    }

    /// The namespace that is bound to the file `path`.
    ///
    /// # Errors
    /// What opening it says, or that it is an ordinary file.
    pub fn at(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // A namespace is bound to a file that was made before, and looks like any other until then.
        if rustix::fs::fstatfs(&file)?.f_type != NSFS_MAGIC {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self(file.into()))
    }

    /// Another descriptor of the same namespace.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Runs `act` in a thread inside the namespace. Sockets made there stay in the namespace wherever they are used.
    ///
    /// # Errors
    /// What setns(2) says, or `act`.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        on_thread(|| {
            self.enter()?;
            act()
        })
    }

    /// Moves the calling thread into the namespace, for good.
    ///
    /// # Errors
    /// What setns(2) says.
    pub fn enter(&self) -> io::Result<()> {
        Ok(setns(self, CloneFlags::CLONE_NEWNET)?)
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn on_thread<T: Send>(act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        scope
            .spawn(act)
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the namespace thread panicked")))
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::NetNs;

    #[test]
    fn a_new_namespace_has_no_way_out() {
        let namespace = NetNs::create().unwrap();
        let error = namespace
            .run(|| std::net::TcpStream::connect("192.0.2.1:80"))
            .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NetworkUnreachable);
    }

    #[test]
    fn a_socket_made_inside_is_not_seen_outside() {
        let (one, two) = (NetNs::create().unwrap(), NetNs::create().unwrap());
        let listen = || TcpListener::bind("0.0.0.0:6443");
        let (first, second) = (one.run(listen), two.run(listen));
        assert!(
            first.is_ok() && second.is_ok(),
            "the same port is free in each namespace"
        );
    }
}
