//! What this process does with memory that it is done with.

/// Blocks of this many bytes and more go back to the kernel when they are freed.
#[cfg(target_env = "gnu")]
const LARGE: i32 = 256 * 1024;

/// Lets every large block of memory go back to the kernel as soon as it is freed. By itself the C library of GNU keeps
/// blocks of up to 32 MiB once one of their size was freed (mallopt(3), `M_MMAP_THRESHOLD`), for each thread: the windows
/// of compressors, which come and go with every layer, add up to hundreds of megabytes then.
pub fn give_large_blocks_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) only sets a parameter of the allocator, under the allocator's lock.
    #[expect(unsafe_code, reason = "there is no other way to set it from within")]
    unsafe {
        nix::libc::mallopt(nix::libc::M_MMAP_THRESHOLD, LARGE);
    }
}
