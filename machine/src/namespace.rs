//! Namespaces of the calling thread.

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Moves the calling thread into new namespaces, or gives it its own working directory and umask.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: only `FILES` is unsafe, since other threads could not use the descriptors of this one.
    #[expect(unsafe_code, reason = "one flag of many is unsafe")]
    unsafe {
        Ok(unshare_unsafe(flags)?)
    }
}
