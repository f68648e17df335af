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

/// Asks for large pages under `memory`, which is about to be used for long: rows that are read in no order cost an address translation
/// each, and the processor remembers those of a few megabytes in small pages. A hint; nothing depends on it.
#[allow(unsafe_code)]
pub fn prefer_large_pages<T>(memory: &mut [T]) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 2 << 20;
        let bytes = memory.as_mut_ptr_range();
        let (start, end) = (bytes.start as usize, bytes.end as usize);
        let first = start.next_multiple_of(PAGE);
        let last = end / PAGE * PAGE;
        if first < last {
            // SAFETY: the pages lie within a slice that is borrowed; the advice changes neither what is in them nor who may use them.
            unsafe {
                libc::madvise(first as *mut libc::c_void, last - first, libc::MADV_HUGEPAGE);
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}
