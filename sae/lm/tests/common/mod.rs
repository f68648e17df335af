//! Damaging files, and counting what reading them costs.

#![allow(dead_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// The system's allocator, counting bytes that are alive and the most that ever were.
struct Counting;

static ALIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn more(bytes: usize) {
    let alive = ALIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(alive, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; the counters are atomic and allocate nothing.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: as the caller promised to us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised to us.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: as the caller promised to us.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        more(size);
        ALIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised to us.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Cases of one thread.
const THREAD: u64 = 1000;

/// Cases of a run: `SAE_FUZZ_CASES`, or a short run.
pub fn cases(short: u64) -> u64 {
    std::env::var("SAE_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(short)
}

/// True if this reader is to be tested: any, or the one that `SAE_FUZZ_READER` names.
pub fn wanted(name: &str) -> bool {
    std::env::var("SAE_FUZZ_READER").map_or(true, |reader| reader == name)
}

/// Panics inside libraries that a reader turns into errors print nothing: their messages would fill the screen, and the names of places
/// in them cost more memory than any file. Those of the tests, and all in the one case of `SAE_FUZZ_CASE`, are printed.
pub fn only_own_panics() {
    if std::env::var_os("SAE_FUZZ_CASE").is_some() {
        return;
    }
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.location().is_none_or(|place| !place.file().contains("/registry/")) {
            usual(panic);
        }
    }));
}

/// Files that are damaged, and what reading them may cost.
pub struct Subject<'a> {
    /// For messages.
    pub name: &'a str,
    /// Whole files.
    pub whole: &'a [Vec<u8>],
    /// Bytes at the front that are changed most.
    pub header: usize,
    /// Bytes that reading may allocate whatever the file.
    pub fixed: usize,
    /// … and for every byte of the file.
    pub each: usize,
}

/// Reads whole files and `cases` damaged ones: `read` gives whether a file was read. No case panics, none
/// costs more than allowed. Nothing is done for a reader that is not [`wanted`].
///
/// `SAE_FUZZ_CASE` runs one case alone and says what it costs.
///
/// Cases are read in threads of a thousand. The `tokenizers` crate keeps the words that a tokenizer has cut
/// in a table of the thread, one entry a tokenizer, until the thread ends: over many cases in one thread the
/// table grows, and doubles in a case that has nothing to do with it.
pub fn hostile(subject: &Subject<'_>, cases: u64, mut read: impl FnMut(Vec<u8>) -> bool + Send) {
    let Subject { name, whole, .. } = *subject;
    if !wanted(name) {
        return;
    }
    // Threads and caches of libraries are made once, now.
    rayon::broadcast(|_| drop(std::hint::black_box(vec![0u8; 4096])));
    for bytes in whole.iter().chain(whole) {
        assert!(read(bytes.clone()), "{name}: the file that is to be changed must be whole");
    }
    let one = std::env::var("SAE_FUZZ_CASE").ok().and_then(|n| n.parse::<u64>().ok());
    let (started, alive) = (Instant::now(), ALIVE.load(Ordering::Relaxed));
    let (mut good, mut dearest) = (0, (0usize, 0u64));
    let all = one.map_or(0..cases, |case| case..case + 1);
    for first in all.clone().step_by(THREAD as usize) {
        let some = first..(first + THREAD).min(all.end);
        let mut thread = || {
            let results = some.clone().map(|case| read_one(subject, case, &mut read));
            results.fold((0, (0, 0)), |(n, most), (good, cost)| (n + u64::from(good), most.max(cost)))
        };
        let (n, most) = match std::thread::scope(|scope| scope.spawn(&mut thread).join()) {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        (good, dearest) = (good + n, dearest.max(most));
    }
    let seconds = started.elapsed().as_secs_f64();
    let kept = ALIVE.load(Ordering::Relaxed) as i64 - alive as i64;
    println!(
        "{name}: {cases} cases, {good} of them read, {seconds:.1} s; the dearest, {}, cost {} bytes; {kept} bytes stay",
        dearest.1, dearest.0
    );
    assert!(kept < 1 << 20, "{name}: {kept} bytes stay");
    if one.is_none() {
        // Some changes do no harm and most do some; a run where one of the two never comes tests nothing.
        assert!(good > 0 && good < cases, "{name}: {good} of {cases} were read");
    }
}

/// One case: whether it was read, what it cost, and its number.
fn read_one(
    subject: &Subject<'_>,
    case: u64,
    read: &mut impl FnMut(Vec<u8>) -> bool,
) -> (bool, (usize, u64)) {
    let bytes = damaged(subject.whole, subject.header, case);
    let (name, length) = (subject.name, bytes.len());
    let before = ALIVE.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let outcome = catch_unwind(AssertUnwindSafe(|| read(bytes)));
    let cost = MOST.load(Ordering::Relaxed).saturating_sub(before);
    let good = outcome.unwrap_or_else(|_| panic!("{name}: case {case} panicked"));
    let allowed = subject.fixed + subject.each * length;
    assert!(cost <= allowed, "{name}: case {case}, {length} bytes, cost {cost} bytes; allowed are {allowed}");
    (good, (cost, case))
}

/// Case number `case`: the same bytes every time.
fn damaged(whole: &[Vec<u8>], header: usize, case: u64) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(case);
    let mut bytes = whole[rng.random_range(0..whole.len())].clone();
    let changes = [1, 1, 2, 4][rng.random_range(0..4)];
    for _ in 0..changes {
        change(&mut rng, &mut bytes, header);
    }
    bytes
}

/// Numbers at which arithmetic goes wrong.
fn nasty(rng: &mut ChaCha8Rng, len: usize) -> u64 {
    let some = [
        0,
        1,
        2,
        7,
        8,
        12,
        31,
        32,
        33,
        255,
        256,
        1 << 16,
        1 << 24,
        1 << 31,
        u64::from(u32::MAX),
        1 << 32,
        1 << 40,
    ];
    let more =
        [1 << 62, 1 << 63, u64::MAX, u64::MAX - 7, u64::MAX - 31, u64::MAX / 2, len as u64, len as u64 * 8];
    match rng.random_range(0..4) {
        0 => some[rng.random_range(0..some.len())],
        1 => more[rng.random_range(0..more.len())],
        2 => rng.random_range(0..2 * len.max(1) as u64),
        _ => rng.next_u64() >> rng.random_range(0..64),
    }
}

/// One change somewhere; `header` bytes at the front are changed most.
fn change(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>, header: usize) {
    if bytes.is_empty() {
        return;
    }
    let end = header.clamp(1, bytes.len());
    let front = end == bytes.len() || rng.random_bool(0.8);
    let at = if front { rng.random_range(0..end) } else { rng.random_range(end..bytes.len()) };
    let number = nasty(rng, bytes.len());
    match rng.random_range(0..9) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 => bytes[at] = rng.random(),
        2 => bytes.truncate(rng.random_range(0..bytes.len())),
        3 => overwrite(bytes, at, &number.to_le_bytes()),
        4 => overwrite(bytes, at, &(number as u32).to_le_bytes()),
        5 => {
            let from = rng.random_range(0..bytes.len());
            let piece = bytes[from..(from + rng.random_range(1..64)).min(bytes.len())].to_vec();
            overwrite(bytes, at, &piece);
        }
        6 => {
            let piece: Vec<u8> =
                (0..rng.random_range(1..32)).map(|_| bytes[rng.random_range(0..end)]).collect();
            bytes.splice(at..at, piece);
        }
        7 => {
            bytes.drain(at..(at + rng.random_range(1..32)).min(bytes.len()));
        }
        // A number in text, if there is one from here on.
        _ => {
            let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|i| at + i) else { return };
            let digits = bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count();
            bytes.splice(start..start + digits, number.to_string().into_bytes());
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, new: &[u8]) {
    let len = new.len().min(bytes.len() - at);
    bytes[at..at + len].copy_from_slice(&new[..len]);
}
