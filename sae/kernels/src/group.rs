//! From the features of each row to the rows of each feature: a counting sort, so the order is fixed.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

/// Groups entries by feature, rows ascending within a feature.
///
/// `rows` yields each row's features; `place(slot, row, i)` is told that entry `i` of `row` belongs at `slot` of the grouped
/// arrays. Returns the offsets `[features + 1]` of each feature's slots. One pass to count, one to place; sequential.
///
/// # Panics
/// If a feature is not below `features`.
pub fn by_feature<'a, I>(features: usize, rows: I, mut place: impl FnMut(usize, usize, usize)) -> Vec<usize>
where
    I: Iterator<Item = &'a [u32]> + Clone,
{
    let mut offsets = vec![0_usize; features + 1];
    for &feature in rows.clone().flatten() {
        offsets[feature as usize + 1] += 1;
    }
    for i in 0..features {
        offsets[i + 1] += offsets[i];
    }
    let mut next = offsets.clone();
    for (row, list) in rows.enumerate() {
        for (i, &feature) in list.iter().enumerate() {
            let slot = &mut next[feature as usize];
            place(*slot, row, i);
            *slot += 1;
        }
    }
    offsets
}

/// Rows and what they list, a chunk of rows.
pub trait Chunk: Sync {
    /// The features of each row.
    fn rows(&self) -> impl Iterator<Item = &[u32]>;
}

/// The same as [`by_feature`] for chunks of rows, by all threads.
#[derive(Debug, Default)]
pub struct Grouping {
    offsets: Vec<usize>,
    /// The entry at each place: its row above 32 bits, where it is in the row's list below. Each place is written once, by whoever has
    /// the entry; atomic because those are several threads.
    entries: Vec<AtomicU64>,
    parts: Vec<Part>,
    /// Part of each chunk, and how many entries of the part come before the chunk.
    chunks: Vec<(usize, usize)>,
}

/// Chunks that one thread groups.
#[derive(Debug, Default)]
struct Part {
    /// Of each feature: first how many entries the part has, then where the next one goes.
    next: Vec<usize>,
    /// Where each entry went, in the order of the lists; empty if nobody asks.
    places: Vec<usize>,
}

impl Grouping {
    /// Groups the entries of `chunks`, each of `chunk_rows` rows but for the last one. With `keep_places`, [`Self::places`] knows them.
    ///
    /// # Panics
    /// If a feature is not below `features`.
    pub fn set<C: Chunk>(&mut self, features: usize, chunks: &[C], chunk_rows: usize, keep_places: bool) {
        let Self { offsets, entries, parts, chunks: whose } = self;
        let several = chunks.len().div_ceil(rayon::current_num_threads()).max(1);
        parts.resize_with(chunks.len().div_ceil(several), Part::default);
        let counted: Vec<Vec<usize>> = (parts.par_iter_mut(), chunks.par_chunks(several))
            .into_par_iter()
            .map(|(p, c)| p.count(features, c))
            .collect();
        whose.clear();
        whose.extend(
            counted.iter().enumerate().flat_map(|(part, before)| before.iter().map(move |b| (part, *b))),
        );
        offsets.clear();
        let mut total = 0;
        for f in 0..features {
            offsets.push(total);
            for part in &mut *parts {
                let count = part.next[f];
                part.next[f] = total;
                total += count;
            }
        }
        offsets.push(total);
        entries.resize_with(total, AtomicU64::default);
        let entries = &*entries;
        (parts.par_iter_mut(), chunks.par_chunks(several)).into_par_iter().enumerate().for_each(
            |(i, (part, chunks))| {
                part.place(chunks, i * several, chunk_rows, entries, keep_places);
            },
        );
    }

    /// Forgets all entries and features.
    pub fn clear(&mut self) {
        self.offsets.clear();
        self.entries.clear();
    }

    /// Where the entries of each feature begin, `[F + 1]`.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Row and place in its list of every entry, by feature.
    pub fn entries(&self) -> &[AtomicU64] {
        &self.entries
    }

    /// Where the entries of chunk `chunk` from its `start`-th to its `end`-th are among [`Self::entries`].
    pub fn places(&self, chunk: usize, start: usize, end: usize) -> &[usize] {
        let (part, before) = self.chunks[chunk];
        &self.parts[part].places[before + start..before + end]
    }
}

/// Row and place in its list of an entry.
pub fn row_and_place(entry: &AtomicU64) -> (usize, usize) {
    let entry = entry.load(Ordering::Relaxed);
    ((entry >> 32) as usize, entry as u32 as usize)
}

impl Part {
    /// Counts the entries of each feature. Returns how many entries come before each chunk.
    fn count<C: Chunk>(&mut self, features: usize, chunks: &[C]) -> Vec<usize> {
        self.next.clear();
        self.next.resize(features, 0);
        let mut total = 0;
        let count = |chunk: &C| {
            let before = total;
            for &feature in chunk.rows().flatten() {
                self.next[feature as usize] += 1;
                total += 1;
            }
            before
        };
        chunks.iter().map(count).collect()
    }

    fn place<C: Chunk>(
        &mut self,
        chunks: &[C],
        first: usize,
        chunk_rows: usize,
        entries: &[AtomicU64],
        keep: bool,
    ) {
        self.places.clear();
        for (chunk, first_row) in chunks.iter().zip((first * chunk_rows..).step_by(chunk_rows.max(1))) {
            for (row, list) in chunk.rows().enumerate() {
                for (i, &feature) in list.iter().enumerate() {
                    let next = &mut self.next[feature as usize];
                    entries[*next].store(((first_row + row) as u64) << 32 | i as u64, Ordering::Relaxed);
                    if keep {
                        self.places.push(*next);
                    }
                    *next += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_in_row_order() {
        let rows: [&[u32]; 4] = [&[1, 3], &[], &[0, 1], &[1]];
        let mut grouped = vec![(9, 9); 5];
        let offsets = by_feature(5, rows.iter().copied(), |slot, row, i| grouped[slot] = (row, i));
        assert_eq!(offsets, [0, 1, 4, 4, 5, 5]);
        assert_eq!(grouped, [(2, 0), (0, 0), (2, 1), (3, 0), (0, 1)]);
    }

    impl Chunk for Vec<Vec<u32>> {
        fn rows(&self) -> impl Iterator<Item = &[u32]> {
            self.iter().map(Vec::as_slice)
        }
    }

    #[test]
    fn any_number_of_threads_groups_alike() {
        let rows: Vec<Vec<u32>> = (0..50_u32)
            .map(|row| (0..40).filter(|f| (f * 7 + row * 3).is_multiple_of(row % 9 + 2)).collect())
            .collect();
        let mut expected = Vec::new();
        let offsets =
            by_feature(40, rows.iter().map(Vec::as_slice), |slot, row, i| expected.push((slot, (row, i))));
        expected.sort_unstable();
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut grouped = Grouping::default();
            // The second time with what the first left.
            for chunk_rows in [7, 50] {
                let chunks: Vec<Vec<Vec<u32>>> = rows.chunks(chunk_rows).map(<[_]>::to_vec).collect();
                pool.install(|| grouped.set(40, &chunks, chunk_rows, true));
                assert_eq!(grouped.offsets(), offsets);
                let got = grouped.entries().iter().map(row_and_place).enumerate();
                assert!(got.eq(expected.iter().copied()), "{threads} threads, {chunk_rows} rows");
                for (c, chunk) in chunks.iter().enumerate() {
                    let mut entry = 0;
                    for (i, list) in chunk.iter().enumerate() {
                        let places = grouped.places(c, entry, entry + list.len());
                        entry += list.len();
                        let back = places.iter().map(|&place| row_and_place(&grouped.entries()[place]));
                        assert!(back.eq((0..list.len()).map(|place| (c * chunk_rows + i, place))));
                    }
                }
            }
            pool.install(|| grouped.set(3, &[] as &[Vec<Vec<u32>>], 7, true));
            assert!(grouped.offsets() == [0; 4] && grouped.entries().is_empty());
        }
    }
}
