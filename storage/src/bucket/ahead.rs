//! Who reads a file from front to back, and how far ahead of them it is fetched.

use std::ops::Range;

/// Readers that are remembered at most: columns of a table, threads.
const READERS: usize = 32;
/// Blocks ahead at first, and at most: 1 MiB and 16 MiB.
const WINDOWS: [usize; 2] = [4, 64];
/// Steps to the following block before somebody counts as reading on.
const STEPS: usize = 2;

#[derive(Debug, Clone, Copy)]
struct Stream {
    last: usize,
    steps: usize,
    window: usize,
    /// What has been asked for ahead ends here.
    reached: usize,
}

/// The readers of one file, the newest last.
#[derive(Debug, Default)]
pub(super) struct Streams(Vec<Stream>);

impl Streams {
    /// Takes note of a read of `blocks` and answers what to fetch ahead, of a file of `all` blocks.
    pub fn read(&mut self, blocks: &Range<usize>, all: usize) -> Range<usize> {
        let last = blocks.end.saturating_sub(1);
        let follows = |stream: &Stream| blocks.start == stream.last || blocks.start == stream.last + 1;
        let mut stream = match self.0.iter().rposition(follows) {
            Some(at) => self.0.remove(at),
            None => Stream { last: blocks.start, steps: 0, window: WINDOWS[0], reached: blocks.end },
        };
        stream.steps += usize::from(last > stream.last);
        stream.last = last;
        stream.reached = stream.reached.max(blocks.end);
        let mut ahead = 0..0;
        if stream.steps >= STEPS && stream.reached - blocks.end < stream.window / 2 {
            ahead = stream.reached..(blocks.end + stream.window).min(all).max(stream.reached);
            stream.reached = ahead.end;
            stream.window = (2 * stream.window).min(WINDOWS[1]);
        }
        if self.0.len() == READERS {
            self.0.remove(0);
        }
        self.0.push(stream);
        ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_on_is_fetched_for_and_who_jumps_is_not() {
        let mut streams = Streams::default();
        let mut fetched = 0;
        for block in 0..40 {
            fetched = fetched.max(streams.read(&(block..block + 1), 1000).end);
            assert!(block < STEPS || fetched > block + 1, "block {block}");
        }
        assert!(fetched <= 40 + WINDOWS[1]);
        let mut jumping = Streams::default();
        for block in [5, 90, 30, 200, 30, 5, 7, 90] {
            assert!(jumping.read(&(block..block + 1), 1000).is_empty());
        }
        // Two columns in turns.
        let mut both = Streams::default();
        let ahead: Vec<_> =
            (0..8).map(|i| both.read(&(i / 2 + 500 * (i % 2)..i / 2 + 500 * (i % 2) + 1), 1000)).collect();
        assert!(!ahead[4].is_empty() && ahead[5].start > 500);
        assert_eq!(streams.read(&(999..1000), 1000).len(), 0);
    }
}
