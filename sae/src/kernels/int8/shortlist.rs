//! For each row the columns that may be among its k largest.
//!
//! A pass over all tiles with a running floor for each row: a column enters a row's list if its upper bound reaches the floor. A full
//! list is cut: the k-th largest lower bound in it is a floor that the k-th largest of all columns cannot lie under, whatever comes.
//! What is left at the end are the columns whose upper bound reaches the k-th largest lower bound of all, so the lists depend neither on
//! the order of the pass nor on how it is cut into pieces.

use super::MARGIN;
use super::panels::{Bounds, COLUMNS, Panels};
use super::rows::Rows;
use super::tile::{Instructions, ROWS, Sums, tile};

/// Upper bounds of a tile.
#[derive(Debug, Clone, PartialEq)]
#[repr(align(64))]
struct Upper([[f32; COLUMNS]; ROWS]);

/// What a row contributes to its bounds.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    scale: f32,
    /// [`MARGIN`] · ‖δx‖/√d.
    error: f32,
    /// [`MARGIN`] · ‖x‖/√d.
    norm: f32,
}

/// Candidates of one row, by column: panels go by in order.
#[derive(Debug, Default, Clone)]
struct List {
    /// An upper bound's bits above, the column below.
    keys: Vec<u64>,
    /// Bits of the lower bounds; 0 for those that are not positive.
    lower: Vec<u32>,
    floor: f32,
    /// Length at which it is cut.
    limit: usize,
}

/// Share of the last block's rows whose floors lie under the guess for the next block, and what the guess is shortened by: nearly all
/// rows of a block begin with a floor that is almost theirs, and few begin with one that is too high.
const GUESS_QUANTILE: f32 = 0.05;
const GUESS_FACTOR: f32 = 0.9;

/// The candidates of a block of rows; keep one per thread and reuse it.
#[derive(Debug, Default)]
pub struct Shortlist {
    lists: Vec<List>,
    sorted: Vec<u32>,
    /// A floor, in norms of the row; 0 if nothing is known. It saves time and never changes a list: a row that began too high is done
    /// again.
    guess: f32,
    /// Rows that began too high, with lists of their own.
    again: Vec<u32>,
    again_rows: Rows,
    again_lists: Vec<List>,
}

impl Shortlist {
    /// Finds the candidates for the `k` largest positive `x·w + bias` of every row.
    ///
    /// # Panics
    /// If rows and panels differ in width.
    pub fn find(&mut self, rows: &Rows, panels: &Panels, k: usize, instructions: Instructions) {
        assert_eq!(rows.words(), panels.words(), "rows and columns of one width");
        let Self { lists, sorted, guess, again, again_rows, again_lists } = self;
        pass(lists, rows, panels, Best::OfEachRow { k, guess: *guess }, instructions, sorted);
        again.clear();
        let began_too_high = |i: &u32| {
            let list = &lists[*i as usize];
            *guess > 0.0 && (list.keys.len() < k || list.floor <= *guess * rows.norm[*i as usize])
        };
        again.extend((0..rows.len() as u32).filter(began_too_high));
        if !again.is_empty() {
            rows.pick(again, ROWS, again_rows);
            pass(again_lists, again_rows, panels, Best::OfEachRow { k, guess: 0.0 }, instructions, sorted);
            for (&i, list) in again.iter().zip(again_lists) {
                std::mem::swap(&mut lists[i as usize], list);
            }
        }
        *guess = guess_from(&lists[..rows.len()], &rows.norm, sorted);
    }

    /// Finds the candidates for the `limit` largest positive `x·w + bias` of all rows together, if it is known that none below `floor`
    /// is one of them. Returns the floor that was found: of this block's candidates none below it can be one of the `limit` largest of
    /// this block and any others.
    ///
    /// # Panics
    /// If rows and panels differ in width.
    pub fn find_all(
        &mut self,
        rows: &Rows,
        panels: &Panels,
        limit: usize,
        floor: f32,
        instructions: Instructions,
    ) -> f32 {
        assert_eq!(rows.words(), panels.words(), "rows and columns of one width");
        pass(&mut self.lists, rows, panels, Best::OfAll { limit, floor }, instructions, &mut self.sorted);
        self.lists[..rows.len()].iter().map(|list| list.floor).fold(floor, f32::max)
    }

    /// Upper and lower bounds of the candidates of row `i` and who they are, by column.
    pub fn bounds(&self, i: usize) -> impl ExactSizeIterator<Item = (f32, f32, u32)> {
        let list = &self.lists[i];
        let keys = list.keys.iter().zip(&list.lower);
        keys.map(|(&key, &lower)| (f32::from_bits((key >> 32) as u32), f32::from_bits(lower), key as u32))
    }

    /// The candidates of row `i`, ascending.
    pub fn row(&self, i: usize) -> impl ExactSizeIterator<Item = u32> {
        self.lists[i].keys.iter().map(|&key| key as u32)
    }
}

/// Whose best are looked for.
#[derive(Debug, Clone, Copy)]
enum Best {
    /// Those of each row, whose floor begins at `guess` norms of the row.
    OfEachRow { k: usize, guess: f32 },
    /// Those of all rows together; nothing below `floor` is of use.
    OfAll { limit: usize, floor: f32 },
}

impl Best {
    /// The floor that row `i` begins with.
    fn floor(self, rows: &Rows, i: usize) -> f32 {
        // Rows that only fill a tile reach nothing.
        let Some(norm) = rows.norm.get(i) else { return f32::INFINITY };
        match self {
            Self::OfEachRow { k: 0, .. } | Self::OfAll { limit: 0, .. } => f32::INFINITY,
            Self::OfEachRow { guess, .. } => (guess * norm).max(f32::MIN_POSITIVE),
            Self::OfAll { floor, .. } => floor.max(f32::MIN_POSITIVE),
        }
    }
}

/// All tiles once.
fn pass(
    lists: &mut Vec<List>,
    rows: &Rows,
    panels: &Panels,
    best: Best,
    instructions: Instructions,
    sorted: &mut Vec<u32>,
) {
    let n = rows.len();
    lists.resize_with(n.next_multiple_of(ROWS).max(lists.len()), List::default);
    for (i, list) in lists.iter_mut().enumerate() {
        list.keys.clear();
        list.lower.clear();
        list.floor = best.floor(rows, i);
        list.limit = match best {
            Best::OfEachRow { k, .. } => 4 * k + COLUMNS,
            Best::OfAll { .. } => usize::MAX,
        };
    }
    let (mut sums, mut upper) = (Sums::default(), Upper([[0.0; COLUMNS]; ROWS]));
    for p in 0..panels.len() {
        let (lines, bounds) = panels.panel(p);
        for start in (0..n).step_by(ROWS) {
            let (words, shift) = rows.tile(start, ROWS);
            tile(instructions, &mut sums, words, shift, lines);
            let lists = &mut lists[start..start + ROWS];
            let row = rows_of(rows, start);
            let floors = std::array::from_fn(|r| lists[r].floor);
            let reached = reaching(&mut upper, &sums, bounds, &row, &floors);
            if reached == [0; ROWS] {
                continue;
            }
            for (r, list) in lists.iter_mut().enumerate().filter(|(r, _)| reached[*r] != 0) {
                list.take(reached[r], p * COLUMNS, &upper.0[r], bounds, &row[r]);
                if let Best::OfEachRow { k, .. } = best
                    && list.keys.len() >= list.limit
                {
                    list.cut(k, sorted);
                }
            }
        }
        if let Best::OfAll { limit, .. } = best {
            cut_all(&mut lists[..n], limit, limit.saturating_mul(2).saturating_add(SLACK), sorted);
        }
    }
    match best {
        Best::OfEachRow { k, .. } => lists[..n].iter_mut().for_each(|list| list.cut(k, sorted)),
        Best::OfAll { limit, .. } => cut_all(&mut lists[..n], limit, limit, sorted),
    }
}

/// Entries beyond twice the limit that the lists of a block hold before they are cut.
const SLACK: usize = 4096;

/// Raises the floor of all lists to the `limit`-th largest lower bound in them, if there are more than `allowed` entries.
fn cut_all(lists: &mut [List], limit: usize, allowed: usize, sorted: &mut Vec<u32>) {
    let total: usize = lists.iter().map(|list| list.keys.len()).sum();
    if total <= allowed || limit == 0 {
        return;
    }
    sorted.clear();
    lists.iter().for_each(|list| sorted.extend_from_slice(&list.lower));
    let (_, worst, _) = sorted.select_nth_unstable(total - limit);
    let floor = f32::from_bits(*worst);
    lists.iter_mut().for_each(|list| list.raise(floor));
}

/// A floor that nearly all rows of another block like this one will pass.
fn guess_from(lists: &[List], norms: &[f32], ratios: &mut Vec<u32>) -> f32 {
    ratios.clear();
    let known = lists.iter().zip(norms).filter(|(_, norm)| **norm > 0.0);
    ratios.extend(known.map(|(list, norm)| (list.floor / norm).to_bits()));
    if ratios.is_empty() {
        return 0.0;
    }
    let at = (ratios.len() as f32 * GUESS_QUANTILE) as usize;
    let (_, ratio, _) = ratios.select_nth_unstable(at);
    Some(GUESS_FACTOR * f32::from_bits(*ratio)).filter(|guess| guess.is_finite()).unwrap_or_default()
}

/// What the rows of a tile contribute.
fn rows_of(rows: &Rows, start: usize) -> [Row; ROWS] {
    std::array::from_fn(|r| match start + r < rows.len() {
        true => Row {
            scale: rows.scale[start + r],
            error: MARGIN * rows.error[start + r],
            norm: MARGIN * rows.norm[start + r],
        },
        false => Row::default(),
    })
}

impl List {
    /// Takes the columns of a panel whose bits are set in `reached`; the panel begins with column `first`.
    fn take(&mut self, mut reached: u64, first: usize, upper: &[f32; COLUMNS], bounds: &Bounds, row: &Row) {
        while reached != 0 {
            let c = reached.trailing_zeros() as usize;
            reached &= reached - 1;
            let lower = upper[c] - 2.0 * (row.error * bounds.norm[c] + row.norm * bounds.error[c]);
            self.keys.push((u64::from(upper[c].to_bits()) << 32) | (first + c) as u64);
            self.lower.push(lower.max(0.0).to_bits());
        }
    }

    /// Raises the floor and drops what does not reach it.
    fn raise(&mut self, floor: f32) {
        self.floor = self.floor.max(floor);
        let floor = u64::from(self.floor.to_bits()) << 32;
        let mut kept = 0;
        for i in 0..self.keys.len() {
            (self.keys[kept], self.lower[kept]) = (self.keys[i], self.lower[i]);
            kept += usize::from(self.keys[i] >= floor);
        }
        self.keys.truncate(kept);
        self.lower.truncate(kept);
    }

    /// Raises the floor to the k-th largest lower bound and drops what does not reach it.
    fn cut(&mut self, k: usize, sorted: &mut Vec<u32>) {
        let n = self.keys.len();
        if n > k {
            sorted.clear();
            sorted.extend_from_slice(&self.lower);
            // Bits of numbers that are not negative are in the order of the numbers.
            let (_, kth, _) = sorted.select_nth_unstable(n - k);
            self.raise(f32::from_bits(*kth));
        }
        // Where margins are wide, lists are long; cutting them all the time would cost more than it saves.
        self.limit = self.limit.max(2 * self.keys.len());
    }
}

/// Upper bounds of a tile, and which of each row reach its floor, a bit a column.
fn reaching(
    upper: &mut Upper,
    sums: &Sums,
    bounds: &Bounds,
    rows: &[Row; ROWS],
    floors: &[f32; ROWS],
) -> [u64; ROWS] {
    #[cfg(target_arch = "x86_64")]
    if super::super::has_avx512() {
        // SAFETY: the processor was just found to have AVX-512.
        #[allow(unsafe_code)]
        return unsafe { reaching_avx512(upper, sums, bounds, rows, floors) };
    }
    reaching_portable(upper, sums, bounds, rows, floors)
}

fn reaching_portable(
    upper: &mut Upper,
    sums: &Sums,
    bounds: &Bounds,
    rows: &[Row; ROWS],
    floors: &[f32; ROWS],
) -> [u64; ROWS] {
    let mut reached = [0; ROWS];
    for (r, row) in rows.iter().enumerate() {
        for c in 0..COLUMNS {
            let margin = row.error * bounds.norm[c] + row.norm * bounds.error[c];
            upper.0[r][c] = sums.0[r][c] as f32 * (row.scale * bounds.scale[c]) + (bounds.bias[c] + margin);
            reached[r] |= u64::from(upper.0[r][c] >= floors[r]) << c;
        }
    }
    reached
}

/// The same operations in the same order, 16 columns at a time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn reaching_avx512(
    upper: &mut Upper,
    sums: &Sums,
    bounds: &Bounds,
    rows: &[Row; ROWS],
    floors: &[f32; ROWS],
) -> [u64; ROWS] {
    use std::arch::x86_64::*;
    let mut reached = [0; ROWS];
    for at in (0..COLUMNS).step_by(16) {
        // SAFETY: `at` + 16 ≤ 64, the length of every array here.
        #[allow(unsafe_code)]
        unsafe {
            let load = |v: &[f32; COLUMNS]| _mm512_loadu_ps(v.as_ptr().add(at));
            let (scale, bias) = (load(&bounds.scale), load(&bounds.bias));
            let (norm, error) = (load(&bounds.norm), load(&bounds.error));
            for r in 0..ROWS {
                let row = &rows[r];
                let sum = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums.0[r].as_ptr().add(at).cast()));
                let margin = _mm512_add_ps(
                    _mm512_mul_ps(_mm512_set1_ps(row.error), norm),
                    _mm512_mul_ps(_mm512_set1_ps(row.norm), error),
                );
                let product = _mm512_mul_ps(sum, _mm512_mul_ps(_mm512_set1_ps(row.scale), scale));
                let bound = _mm512_add_ps(product, _mm512_add_ps(bias, margin));
                _mm512_storeu_ps(upper.0[r].as_mut_ptr().add(at), bound);
                let mask = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(bound, _mm512_set1_ps(floors[r]));
                reached[r] |= u64::from(mask) << at;
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::super::quantise::Fold;
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next() + next() + next()).collect()
    }

    fn panels(w: &[f32], bias: &[f32], fold: &Fold) -> Panels {
        let (d, mut panels, mut memory) = (fold.width(), Panels::default(), Vec::new());
        panels.resize(bias.len(), d);
        for (p, mut panel) in panels.panels_mut().enumerate() {
            for c in 0..COLUMNS.min(bias.len() - p * COLUMNS) {
                let f = p * COLUMNS + c;
                panel.set(c, &w[f * d..(f + 1) * d], bias[f], fold, &mut memory);
            }
        }
        panels
    }

    /// The k largest positive, in double precision.
    fn best(x: &[f32], w: &[f32], bias: &[f32], k: usize) -> Vec<u32> {
        let dot = |w: &[f32]| -> f64 { w.iter().zip(x).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
        let z = w.chunks_exact(x.len()).zip(bias).map(|(w, b)| dot(w) + f64::from(*b));
        let mut all: Vec<(u32, f64)> = (0..).zip(z).filter(|(_, z)| *z > 0.0).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(k);
        all.into_iter().map(|(f, _)| f).collect()
    }

    fn check(x: &[f32], w: &[f32], bias: &[f32], fold: &Fold, k: usize) -> usize {
        let d = fold.width();
        let (mut rows, mut list) = (Rows::default(), Shortlist::default());
        rows.set(x, fold, ROWS);
        list.find(&rows, &panels(w, bias, fold), k, Instructions::detect());
        let mut total = 0;
        for (i, x) in x.chunks_exact(d).enumerate() {
            let got: Vec<u32> = list.row(i).collect();
            assert!(got.is_sorted() && got.iter().all(|f| (*f as usize) < bias.len()));
            for f in best(x, w, bias, k) {
                assert!(got.contains(&f), "row {i} lost {f}");
            }
            total += got.len();
        }
        total
    }

    #[test]
    fn nothing_that_belongs_to_the_best_is_lost() {
        for (n, d, f, k) in [(1, 64, 64, 8), (7, 96, 1000, 16), (40, 256, 3000, 32), (6, 33, 130, 1)] {
            let (x, w) = (numbers(n * d, 1), numbers(f * d, 2));
            let bias: Vec<f32> = numbers(f, 3).iter().map(|b| 0.3 * b).collect();
            let found = check(&x, &w, &bias, &Fold::none(d), k);
            assert!(found <= 2 * n * k, "{found} candidates for {n} · {k}");
        }
    }

    #[test]
    fn outlier_dimensions_are_folded_away() {
        let (n, d, f, k) = (12, 256, 2000, 16);
        let (mut x, w) = (numbers(n * d, 4), numbers(f * d, 5));
        let mut rms = vec![1.0; d];
        for at in [17, 99, 200] {
            rms[at] = 60.0;
            x.iter_mut().skip(at).step_by(d).for_each(|v| *v *= 60.0);
        }
        let bias = vec![0.0; f];
        let plain = check(&x, &w, &bias, &Fold::none(d), k);
        let folded = check(&x, &w, &bias, &Fold::balancing(&rms), k);
        assert!(folded < 2 * n * k && folded < plain, "{folded} and {plain} candidates");
    }

    #[test]
    fn ties_few_positive_columns_and_no_k() {
        let d = 16;
        let x = vec![1.0; d];
        // All columns alike: every one may be among the best.
        assert_eq!(check(&x, &vec![0.5; 200 * d], &[0.0; 200], &Fold::none(d), 3), 200);
        // Only two are positive.
        let mut w = vec![-0.5; 200 * d];
        w[64 * d..66 * d].fill(0.25);
        assert_eq!(check(&x, &w, &[0.0; 200], &Fold::none(d), 3), 2);
        assert_eq!(check(&x, &w, &[0.0; 200], &Fold::none(d), 0), 0);
    }

    #[test]
    fn nothing_that_belongs_to_the_best_of_all_rows_is_lost() {
        let (n, d, f) = (30, 96, 900);
        let (x, w) = (numbers(n * d, 1), numbers(f * d, 2));
        let bias: Vec<f32> = numbers(f, 3).iter().map(|b| 0.3 * b).collect();
        let z = |i: usize| -> Vec<f64> {
            let dot = |w: &[f32]| -> f64 {
                w.iter().zip(&x[i * d..(i + 1) * d]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
            };
            w.chunks_exact(d).zip(&bias).map(|(w, b)| dot(w) + f64::from(*b)).collect()
        };
        let mut all: Vec<(f64, usize, u32)> =
            (0..n).flat_map(|i| z(i).into_iter().zip(0..).map(move |(z, f)| (z, i, f))).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (mut rows, mut list) = (Rows::default(), Shortlist::default());
        let fold = Fold::none(d);
        rows.set(&x, &fold, ROWS);
        let panels = panels(&w, &bias, &fold);
        for limit in [0, 1, 200, 480, 9000, 30_000] {
            let floor = list.find_all(&rows, &panels, limit, 0.0, Instructions::detect());
            let total: usize = (0..n).map(|i| list.bounds(i).len()).sum();
            let wanted = all.iter().take(limit).take_while(|(z, ..)| *z > 0.0);
            for (z, i, f) in wanted.clone() {
                let Some((upper, lower, _)) = list.bounds(*i).find(|(.., c)| c == f) else {
                    panic!("limit {limit}: lost {f} of row {i}")
                };
                assert!(f64::from(lower) <= z + 1e-5 && *z <= f64::from(upper) + 1e-5);
            }
            assert!(total <= 2 * wanted.count() + 50, "{total} candidates for {limit}");
            let again: usize = {
                list.find_all(&rows, &panels, limit, floor, Instructions::detect());
                (0..n).map(|i| list.bounds(i).len()).sum()
            };
            assert_eq!(total, again, "to know the floor before only saves time");
        }
    }

    #[test]
    fn both_variants_give_the_same_bounds() {
        let mut bounds = Bounds::default();
        let n = numbers(4 * COLUMNS, 8);
        for c in 0..COLUMNS {
            bounds.scale[c] = n[c].abs();
            bounds.bias[c] = n[COLUMNS + c];
            bounds.norm[c] = n[2 * COLUMNS + c].abs();
            bounds.error[c] = n[3 * COLUMNS + c].abs() / 100.0;
        }
        let sums =
            Sums(std::array::from_fn(|r| std::array::from_fn(|c| (c as i32 - 30) * 991 + 77 * r as i32)));
        let rows: [Row; ROWS] =
            std::array::from_fn(|r| Row { scale: 1e-4 * (r + 1) as f32, error: 0.01, norm: 1.5 + r as f32 });
        let floors = std::array::from_fn(|r| 0.4 * r as f32);
        let (mut a, mut b) = (Upper([[0.0; COLUMNS]; ROWS]), Upper([[0.0; COLUMNS]; ROWS]));
        let reached = reaching(&mut a, &sums, &bounds, &rows, &floors);
        assert_eq!(reached, reaching_portable(&mut b, &sums, &bounds, &rows, &floors));
        assert_eq!(a, b);
        assert!(reached.iter().all(|r| r.count_ones() > 5 && r.count_zeros() > 5));
    }
}
