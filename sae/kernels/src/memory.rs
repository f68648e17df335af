//! What is asked of the allocator and of the system's memory.

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

/// Asks the system to keep `numbers` in pages of 2 MiB. A hint: it changes no number, and where there are no such pages nothing.
///
/// Rows that are gathered from a large matrix lie on a page of their own each, if pages have 4 KiB; finding them costs as much as
/// reading them, and the processor does not fetch ahead from one page to the next.
pub fn use_large_pages<T>(numbers: &[T]) {
    advise(numbers.as_ptr().cast(), size_of_val(numbers));
}

/// `numbers.resize(n, value)`, in large pages if there has to be new memory.
pub fn resize<T: Clone>(numbers: &mut Vec<T>, n: usize, value: T) {
    if n > numbers.capacity() {
        numbers.reserve_exact(n - numbers.len());
        // Before anything is written: then pages are large from the beginning.
        advise(numbers.as_ptr().cast(), n * size_of::<T>());
    }
    numbers.resize(n, value);
}

/// Advice for whole large pages among `bytes` bytes from `first` on: others are shared with somebody else's numbers.
#[allow(unsafe_code)]
fn advise(first: *const u8, bytes: usize) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 2 << 20;
        let skipped = first.align_offset(PAGE);
        let pages = bytes.saturating_sub(skipped) / PAGE * PAGE;
        if pages > 0 {
            let start = first.wrapping_add(skipped).cast_mut().cast();
            // SAFETY: both are hints about memory that the caller has; they change neither its contents nor where it lies. The second
            // is for pages that are in use already (Linux 6.1; an older one refuses it, which may be ignored as every refusal may).
            unsafe {
                libc::madvise(start, pages, libc::MADV_HUGEPAGE);
                libc::madvise(start, pages, libc::MADV_COLLAPSE);
            }
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (first, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_what_they_are() {
        let mut numbers: Vec<u32> = (0..3_000_000).collect();
        use_large_pages(&numbers);
        resize(&mut numbers, 5_000_000, 7);
        use_large_pages(&numbers[1000..]);
        assert!(numbers[..3_000_000].iter().copied().eq(0..3_000_000));
        assert!(numbers[3_000_000..].iter().all(|&n| n == 7) && numbers.len() == 5_000_000);
        resize(&mut numbers, 2, 0);
        use_large_pages(&numbers);
        use_large_pages::<u32>(&[]);
        assert_eq!(numbers, [0, 1]);
    }

    /// What the kernel says of the memory it gave: /proc/self/smaps.
    #[test]
    #[cfg(target_os = "linux")]
    fn large_arrays_lie_in_large_pages() {
        let allowed =
            std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
        let forbidden = std::fs::read_to_string("/proc/self/status").unwrap().contains("THP_enabled:\t0");
        if forbidden || !allowed.contains("[madvise]") && !allowed.contains("[always]") {
            eprintln!("SKIPPED: this system gives no large pages ({})", allowed.trim());
            return;
        }
        let mut numbers = Vec::new();
        resize(&mut numbers, 16 << 20, 1.0_f32);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let huge: u64 = maps
            .lines()
            .filter_map(|line| line.strip_prefix("AnonHugePages:"))
            .filter_map(|size| size.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
            .sum();
        assert!(huge >= 32 << 10, "{huge} KiB of 65536 are in large pages");
        assert_eq!(numbers[numbers.len() - 1], 1.0);
    }
}
