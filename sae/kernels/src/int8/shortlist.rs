//! For each row the columns that may be among its k best.
//!
//! A pass over all tiles with a running floor for each row: a column enters a row's list if its upper bound reaches the floor. A full
//! list is cut: the k-th largest lower bound in it is a floor that the k-th largest of all columns cannot lie under, whatever comes.
//! What is left at the end are the columns whose upper bound reaches the k-th largest lower bound of all, so the lists depend neither on
//! the order of the pass nor on how it is cut into pieces.

use super::bounds::{Product, Tile, reaching, reaching_weighted, rows_of};
use super::panels::{COLUMNS, Panels};
use super::rows::Rows;
use super::tile::{Instructions, ROWS, Sums, tile};

/// Pairs of a row and a column. A pair is worth `z = x·w + biases` of both, or with weights `relu(z)·(λ + β·|a|)`.
#[derive(Debug, Clone, Copy)]
pub struct Pairs<'a> {
    /// x, with biases.
    pub rows: &'a Rows,
    /// w, with biases.
    pub panels: &'a Panels,
    /// What z is weighted by, if anything.
    pub weights: Option<Weights<'a>>,
}

/// A second product `a` of the same rows and columns. |a| counts as the sum of its biases at least: a bias of 1 and a row of zeros make
/// it 1.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    /// Its rows.
    pub rows: &'a Rows,
    /// Its columns.
    pub panels: &'a Panels,
    /// λ ≥ 0.
    pub lambda: f32,
    /// β > 0.
    pub beta: f32,
}

impl<'a> Pairs<'a> {
    /// Pairs that are worth their product.
    pub fn plain(rows: &'a Rows, panels: &'a Panels) -> Self {
        Self { rows, panels, weights: None }
    }

    fn check(&self) {
        assert_eq!(self.rows.words(), self.panels.words(), "rows and columns of one width");
        if let Some(weights) = &self.weights {
            assert_eq!(weights.rows.words(), weights.panels.words(), "rows and columns of one width");
            assert_eq!(
                (weights.rows.len(), weights.panels.columns()),
                (self.rows.len(), self.panels.columns()),
                "two products of as many rows and columns"
            );
        }
    }
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
    again_rows: [Rows; 2],
    again_lists: Vec<List>,
}

impl Shortlist {
    /// Finds the candidates for the `k` best of every row that are worth more than nothing.
    ///
    /// # Panics
    /// If rows and panels differ in width.
    pub fn find(&mut self, pairs: Pairs<'_>, k: usize, instructions: Instructions) {
        pairs.check();
        let norms = &pairs.rows.norm;
        let Self { lists, sorted, guess, again, again_rows, again_lists } = self;
        pass(lists, pairs, Best::OfEachRow { k: Budget::One(k), guess: *guess }, instructions, sorted);
        again.clear();
        let began_too_high = |i: &u32| {
            let list = &lists[*i as usize];
            *guess > 0.0 && (list.keys.len() < k || list.floor <= *guess * norms[*i as usize])
        };
        again.extend((0..pairs.rows.len() as u32).filter(began_too_high));
        if !again.is_empty() {
            let [rows, along] = again_rows;
            pairs.rows.pick(again, ROWS, rows);
            let weights = pairs.weights.map(|weights| {
                weights.rows.pick(again, ROWS, along);
                Weights { rows: &*along, ..weights }
            });
            let pairs = Pairs { rows, weights, ..pairs };
            pass(again_lists, pairs, Best::OfEachRow { k: Budget::One(k), guess: 0.0 }, instructions, sorted);
            for (&i, list) in again.iter().zip(again_lists) {
                std::mem::swap(&mut lists[i as usize], list);
            }
        }
        *guess = guess_from(&lists[..norms.len()], norms, sorted);
    }

    /// The same with `k[n]` of every row's own.
    ///
    /// # Panics
    /// As above, or if there is no k for every row.
    pub fn find_each(&mut self, pairs: Pairs<'_>, k: &[u32], instructions: Instructions) {
        pairs.check();
        assert_eq!(k.len(), pairs.rows.len(), "a k for every row");
        let best = Best::OfEachRow { k: Budget::Each(k), guess: 0.0 };
        pass(&mut self.lists, pairs, best, instructions, &mut self.sorted);
    }

    /// Finds the candidates for the `limit` best of all pairs, if it is known that none below `floor` is one of them. Returns the floor
    /// that was found: of this block's candidates none below it can be one of the `limit` best of this block and any others.
    ///
    /// # Panics
    /// If rows and panels differ in width.
    pub fn find_all(
        &mut self,
        pairs: Pairs<'_>,
        limit: usize,
        floor: f32,
        instructions: Instructions,
    ) -> f32 {
        pairs.check();
        pass(&mut self.lists, pairs, Best::OfAll { limit, floor }, instructions, &mut self.sorted);
        self.lists[..pairs.rows.len()].iter().map(|list| list.floor).fold(floor, f32::max)
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

/// How many of a row are looked for.
#[derive(Debug, Clone, Copy)]
enum Budget<'a> {
    One(usize),
    Each(&'a [u32]),
}

impl Budget<'_> {
    fn of(self, row: usize) -> usize {
        match self {
            Self::One(k) => k,
            Self::Each(k) => k.get(row).map_or(0, |&k| k as usize),
        }
    }
}

/// Whose best are looked for.
#[derive(Debug, Clone, Copy)]
enum Best<'a> {
    /// Those of each row, whose floor begins at `guess` norms of the row.
    OfEachRow { k: Budget<'a>, guess: f32 },
    /// Those of all rows together; nothing below `floor` is of use.
    OfAll { limit: usize, floor: f32 },
}

impl Best<'_> {
    /// The floor that row `i` begins with.
    fn floor(self, rows: &Rows, i: usize) -> f32 {
        // Rows that only fill a tile reach nothing.
        let Some(norm) = rows.norm.get(i) else { return f32::INFINITY };
        match self {
            Self::OfEachRow { k, .. } if k.of(i) == 0 => f32::INFINITY,
            Self::OfAll { limit: 0, .. } => f32::INFINITY,
            Self::OfEachRow { guess, .. } => (guess * norm).max(f32::MIN_POSITIVE),
            Self::OfAll { floor, .. } => floor.max(f32::MIN_POSITIVE),
        }
    }

    /// The length at which the list of row `i` is cut.
    fn length(self, i: usize) -> usize {
        match self {
            Self::OfEachRow { k, .. } => 4 * k.of(i) + COLUMNS,
            Self::OfAll { .. } => usize::MAX,
        }
    }
}

/// All tiles once.
fn pass(
    lists: &mut Vec<List>,
    pairs: Pairs<'_>,
    best: Best<'_>,
    instructions: Instructions,
    sorted: &mut Vec<u32>,
) {
    let Pairs { rows, panels, weights } = pairs;
    let n = rows.len();
    lists.resize_with(n.next_multiple_of(ROWS).max(lists.len()), List::default);
    for (i, list) in lists.iter_mut().enumerate() {
        list.keys.clear();
        list.lower.clear();
        list.floor = best.floor(rows, i);
        list.limit = best.length(i);
    }
    let (mut sums, mut other, mut bounded) = (Sums::default(), Sums::default(), Tile::default());
    for p in 0..panels.len() {
        let (lines, bounds) = panels.panel(p);
        for start in (0..n).step_by(ROWS) {
            let (words, shift) = rows.tile(start, ROWS);
            let (part, parts) = (start / ROWS, n.div_ceil(ROWS));
            tile(instructions, &mut sums, words, shift, lines, panels.part_of_next(p, part, parts));
            let lists = &mut lists[start..start + ROWS];
            let floors = std::array::from_fn(|r| lists[r].floor);
            let product = Product { sums: &sums, bounds, rows: rows_of(rows, start) };
            let reached = match &weights {
                None => reaching(&mut bounded, &product, &floors),
                Some(Weights { rows, panels, lambda, beta }) => {
                    let (lines, bounds) = panels.panel(p);
                    let (words, shift) = rows.tile(start, ROWS);
                    let soon = panels.part_of_next(p, part, parts);
                    tile(instructions, &mut other, words, shift, lines, soon);
                    let along = Product { sums: &other, bounds, rows: rows_of(rows, start) };
                    reaching_weighted(&mut bounded, &product, &along, [*lambda, *beta], &floors)
                }
            };
            if reached == [0; ROWS] {
                continue;
            }
            for (r, list) in lists.iter_mut().enumerate().filter(|(r, _)| reached[*r] != 0) {
                let upper = &bounded.upper[r];
                match weights {
                    None => list.take(reached[r], p, upper, |c| product.lower(upper[c], r, c)),
                    Some(_) => list.take(reached[r], p, upper, |c| bounded.lower[r][c]),
                }
                if let Best::OfEachRow { k, .. } = best
                    && list.keys.len() >= list.limit
                {
                    list.cut(k.of(start + r), sorted);
                }
            }
        }
        if let Best::OfAll { limit, .. } = best {
            cut_all(&mut lists[..n], limit, limit.saturating_mul(2).saturating_add(SLACK), sorted);
        }
    }
    match best {
        Best::OfEachRow { k, .. } => {
            lists[..n].iter_mut().enumerate().for_each(|(i, list)| list.cut(k.of(i), sorted));
        }
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

impl List {
    /// Takes the columns of panel `panel` whose bits are set in `reached`.
    fn take(&mut self, mut reached: u64, panel: usize, upper: &[f32; COLUMNS], lower: impl Fn(usize) -> f32) {
        while reached != 0 {
            let c = reached.trailing_zeros() as usize;
            reached &= reached - 1;
            self.keys.push((u64::from(upper[c].to_bits()) << 32) | (panel * COLUMNS + c) as u64);
            self.lower.push(lower(c).max(0.0).to_bits());
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
