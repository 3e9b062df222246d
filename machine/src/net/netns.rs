//! Network namespaces that live as long as a file descriptor.
//!
//! They have no name and no bind mount: when the last descriptor and the last process are gone, the kernel removes the
//! namespace with its interfaces, routes and rules.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::namespace::unshare;
use crate::process::ProcessId;

/// The file system of namespaces (statfs(2)).
const NSFS_MAGIC: i64 = 0x6e73_6673;

#[derive(Debug)]
pub struct NetNs(OwnedFd);

impl NetNs {
    /// Creates an empty network namespace.
    ///
    /// # Errors
    /// See unshare(2).
    pub fn create() -> io::Result<Self> {
        // In a thread that ends, since it leaves its own namespace.
        on_thread(|| {
            unshare(UnshareFlags::NEWNET)?;
            Ok(Self(File::open("/proc/thread-self/ns/net")?.into()))
        })
    }

    /// The namespace of the process `pid`.
    ///
    /// # Errors
    /// The process is gone, or access is denied.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        Ok(Self(File::open(format!("/proc/{pid}/ns/net"))?.into()))
    }

    /// The namespaces of the pods on the machine whose init process is `machine`, but for pods in the host network. Runtimes
    /// keep what they hand to network plugins in `/run/netns` (CNI specification 1.0, parameter `CNI_NETNS`).
    ///
    /// # Errors
    /// The machine has ended, or its files cannot be read.
    pub fn of_pods(machine: &ProcessId) -> io::Result<Vec<Self>> {
        let entries = match fs::read_dir(format!("/proc/{}/root/run/netns", machine.pid)) {
            Ok(entries) => entries,
            // Created with the first pod.
            Err(error) if error.kind() == io::ErrorKind::NotFound && machine.is_alive() => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        // Skips those that are just being created or removed.
        let open = |entry: io::Result<fs::DirEntry>| Self::at(&entry.ok()?.path()).ok();
        Ok(entries.filter_map(open).collect())
    }

    /// The namespace that is bound to the file `path`.
    ///
    /// # Errors
    /// The file cannot be opened, or no namespace is bound to it.
    pub fn at(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // The file exists before the namespace is bound to it.
        if rustix::fs::fstatfs(&file)?.f_type != NSFS_MAGIC {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self(file.into()))
    }

    /// Another descriptor of the same namespace.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// The path by which other processes can open the namespace while this one lives.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }

    /// Runs `act` in a thread inside the namespace. Sockets that it creates stay in the namespace wherever they are used.
    ///
    /// # Errors
    /// The namespace could not be entered (setns(2)), or the error of `act`.
    pub fn run<T: Send>(&self, act: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        on_thread(|| {
            self.enter()?;
            act()
        })
    }

    /// Moves the calling thread into the namespace permanently.
    ///
    /// # Errors
    /// See setns(2).
    pub fn enter(&self) -> io::Result<()> {
        let kind = Some(LinkNameSpaceType::Network);
        Ok(move_into_link_name_space(self.as_fd(), kind)?)
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
    fn new_namespace_is_isolated() {
        let namespace = NetNs::create().unwrap();
        let error = namespace
            .run(|| std::net::TcpStream::connect("192.0.2.1:80"))
            .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NetworkUnreachable);
    }

    #[test]
    fn same_port_is_free_in_each_namespace() {
        let (one, two) = (NetNs::create().unwrap(), NetNs::create().unwrap());
        let listen = || TcpListener::bind("0.0.0.0:6443");
        let (first, second) = (one.run(listen), two.run(listen));
        assert!(first.is_ok() && second.is_ok());
    }
}
