//! The memory allocator.

/// Blocks of at least this many bytes are returned to the kernel when they are freed.
#[cfg(target_env = "gnu")]
const LARGE: i32 = 256 * 1024;

/// Makes freed blocks of 256 KiB and more return to the kernel at once. By default glibc keeps blocks of up to 32 MiB once
/// one of their size was freed (mallopt(3), `M_MMAP_THRESHOLD`), in each thread: the windows of compressors, which are
/// allocated for every layer, would add up to hundreds of megabytes.
pub fn return_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) only sets a parameter of the allocator, under the allocator's lock.
    #[expect(unsafe_code, reason = "there is no other way to set it from within")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
