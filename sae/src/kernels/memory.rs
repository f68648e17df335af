//! The allocator's habits.

/// Makes glibc keep freed memory instead of giving it back at once. To be called first thing in a program's `main`.
///
/// Tensor operations allocate their results; glibc maps and unmaps every block over 32 MiB, so each one would be zeroed by the kernel
/// again, which costs candle's elementwise operations a factor of about 7. Memory freed stays with the process.
#[allow(unsafe_code)]
pub fn keep_freed_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets two thresholds of the allocator and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}
