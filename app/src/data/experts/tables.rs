//! The tables that `sae experts` writes besides the load, read as far as a view shows them.

use std::path::{Path, PathBuf};

use storage::experts::{
    AgainstRow, InformationRow, PairRow, SpecialisationRow, TransitionRow, VocabularyRow,
};
use storage::schema::LAYER;
use storage::{MANIFEST, Scan, row};

use crate::data::problem;
use crate::load::Problem;

/// Where the tables of the dataset in `dir` lie: in its own folder, or next to it where the hooks of one harvest share them.
pub fn folder_of(dir: &Path) -> PathBuf {
    let own = dir.join("experts");
    let shared = dir.parent().filter(|parent| parent.join("routing").join(MANIFEST).exists()).map(|parent| {
        [parent.join("experts"), parent.join("routing").join("experts")]
            .into_iter()
            .find(|folder| folder.join("load.parquet").exists())
    });
    if own.join("load.parquet").exists() { own } else { shared.flatten().unwrap_or(own) }
}

/// A square or oblong table of numbers, row by row; NaN where there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grid {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// `[rows, columns]`.
    pub values: Vec<f64>,
}

impl Grid {
    /// With nothing in it.
    pub fn new(rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: vec![f64::NAN; rows * columns] }
    }

    /// The number there; NaN outside.
    pub fn get(&self, row: usize, column: usize) -> f64 {
        if column >= self.columns {
            return f64::NAN;
        }
        self.values.get(row * self.columns + column).copied().unwrap_or(f64::NAN)
    }

    fn set(&mut self, row: usize, column: usize, value: f64) {
        if row < self.rows && column < self.columns {
            self.values[row * self.columns + column] = value;
        }
    }
}

/// The experts of one layer that are chosen together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CoActivations {
    /// The block.
    pub layer: u16,
    /// Lift of every pair.
    pub lift: Grid,
    /// Tokens of every pair.
    pub count: Grid,
    /// All pairs, the highest count first.
    pub pairs: Vec<PairRow>,
}

impl CoActivations {
    /// Whether pairs of a layer of `experts` experts were counted: where they were, all are in the table, also those that never met.
    pub fn were_counted(&self, experts: usize) -> bool {
        !self.pairs.is_empty() || experts < 2
    }

    /// The partners of `expert` as pairs with it as the first, the highest count first.
    pub fn partners(&self, expert: u32) -> Vec<PairRow> {
        let turned = |p: &PairRow| PairRow {
            a: p.b,
            b: p.a,
            b_given_a: p.a_given_b,
            a_given_b: p.b_given_a,
            ..p.clone()
        };
        self.pairs
            .iter()
            .filter_map(|p| match () {
                () if p.a == expert => Some(p.clone()),
                () if p.b == expert => Some(turned(p)),
                () => None,
            })
            .collect()
    }
}

/// From the experts of one layer to those of the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transitions {
    /// The block.
    pub layer: u16,
    /// The next block with experts.
    pub next: u16,
    /// P(to | from).
    pub probability: Grid,
    /// Against independence.
    pub lift: Grid,
    /// Tokens.
    pub count: Grid,
    /// All pairs (from, to), the highest count first.
    pub pairs: Vec<(usize, usize)>,
}

impl Transitions {
    /// Where the tokens of `from` go next, the likeliest first.
    pub fn onward(&self, from: usize) -> impl Iterator<Item = usize> + '_ {
        self.pairs.iter().filter(move |pair| pair.0 == from).map(|pair| pair.1)
    }

    /// Where the tokens of `to` come from, the most first.
    pub fn backward(&self, to: usize) -> impl Iterator<Item = usize> + '_ {
        self.pairs.iter().filter(move |pair| pair.1 == to).map(|pair| pair.0)
    }
}

/// What the experts are specialised in.
#[derive(Clone, Debug, Default)]
pub struct Specialisations {
    /// By layer, and within a layer the most specialised first: made once, for a frame has no time to sort many.
    pub experts: Vec<SpecialisationRow>,
    /// The domains, sorted.
    pub domains: Vec<String>,
    /// By layer.
    pub layers: Vec<InformationRow>,
}

fn by_layer(layer: u16) -> Scan {
    Scan { range: Some((LAYER.to_owned(), u64::from(layer), u64::from(layer))), ..Scan::default() }
}

/// Reads a table; one that is not there is an error with the command that makes it.
pub(super) fn read<R: row::Row>(dir: &Path, name: &str, scan: Scan) -> Result<Vec<R>, Problem> {
    let path = folder_of(dir).join(name);
    if !path.exists() {
        return Err(Problem::new(format!("{} does not exist.", path.display()))
            .with_remedy(format!("`sae experts {}` makes it.", dir.display())));
    }
    row::open::<R>(&path).and_then(|table| row::read(&table, scan)).map_err(problem)
}

fn highest(numbers: impl Iterator<Item = u32>) -> usize {
    numbers.map(|n| n as usize + 1).max().unwrap_or(0)
}

/// Co-activation in `layer`.
///
/// # Errors
/// A table that is missing or cannot be read.
pub fn together(dir: &Path, layer: u16) -> Result<CoActivations, Problem> {
    let mut pairs: Vec<PairRow> = read(dir, "pairs.parquet", by_layer(layer))?;
    let experts = highest(pairs.iter().map(|row| row.b));
    let (mut lift, mut count) = (Grid::new(experts, experts), Grid::new(experts, experts));
    for row in &pairs {
        let (a, b) = (row.a as usize, row.b as usize);
        for (from, to) in [(a, b), (b, a)] {
            lift.set(from, to, row.lift.unwrap_or(f64::NAN));
            count.set(from, to, row.count as f64);
        }
    }
    pairs.sort_by(|a, b| b.count.cmp(&a.count).then((a.a, a.b).cmp(&(b.a, b.b))));
    Ok(CoActivations { layer, lift, count, pairs })
}

/// From `layer` to the next with experts; `None` for the last.
///
/// # Errors
/// A table that is missing or cannot be read.
pub fn transitions(dir: &Path, layer: u16) -> Result<Option<Transitions>, Problem> {
    let rows: Vec<TransitionRow> = read(dir, "transitions.parquet", by_layer(layer))?;
    let Some(first) = rows.first() else { return Ok(None) };
    let size = (highest(rows.iter().map(|row| row.from)), highest(rows.iter().map(|row| row.to)));
    let grid = |get: &dyn Fn(&TransitionRow) -> f64| {
        let mut grid = Grid::new(size.0, size.1);
        for row in &rows {
            grid.set(row.from as usize, row.to as usize, get(row));
        }
        grid
    };
    let mut pairs: Vec<(u64, u32, u32)> = rows.iter().map(|row| (row.count, row.from, row.to)).collect();
    pairs.sort_by_key(|&(count, from, to)| (std::cmp::Reverse(count), from, to));
    Ok(Some(Transitions {
        pairs: pairs.into_iter().map(|(_, from, to)| (from as usize, to as usize)).collect(),
        layer,
        next: first.next_layer,
        probability: grid(&|row| row.probability.unwrap_or(f64::NAN)),
        lift: grid(&|row| row.lift.unwrap_or(f64::NAN)),
        count: grid(&|row| row.count as f64),
    }))
}

/// What the experts of all layers are specialised in.
///
/// # Errors
/// A table that is missing or cannot be read.
pub fn special(dir: &Path) -> Result<Specialisations, Problem> {
    let mut experts: Vec<SpecialisationRow> = read(dir, "specialisation.parquet", Scan::default())?;
    let against = |row: &SpecialisationRow| against_baseline(row).unwrap_or(-1.0);
    experts.sort_by(|a, b| a.layer.cmp(&b.layer).then(against(b).total_cmp(&against(a))));
    let mut domains: Vec<&str> = experts.iter().map(|row| row.domain.as_str()).collect();
    domains.sort_unstable();
    domains.dedup();
    let domains = domains.into_iter().map(str::to_owned).collect();
    Ok(Specialisations { domains, layers: read(dir, "information.parquet", Scan::default())?, experts })
}

/// An expert's share of a domain over what an expert of a balanced layer has.
pub fn against_baseline(row: &SpecialisationRow) -> Option<f64> {
    Some(row.share_of_domain? / row.baseline?)
}

impl Specialisations {
    /// The rows of a layer, the most specialised first.
    pub fn of_layer(&self, layer: u16) -> &[SpecialisationRow] {
        let from = self.experts.partition_point(|row| row.layer < layer);
        let to = self.experts.partition_point(|row| row.layer <= layer);
        &self.experts[from..to]
    }
}

/// The listed tokens of the experts of `layer`.
///
/// # Errors
/// A table that is missing or cannot be read.
pub fn vocabulary(dir: &Path, layer: u16) -> Result<Vec<VocabularyRow>, Problem> {
    read(dir, "vocabulary.parquet", by_layer(layer))
}

/// How much the routers agree with those of another dataset, if that was computed.
///
/// # Errors
/// A table that cannot be read.
pub fn against(dir: &Path) -> Result<Vec<AgainstRow>, Problem> {
    if folder_of(dir).join("against.parquet").exists() {
        read(dir, "against.parquet", Scan::default())
    } else {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partners_are_seen_from_the_expert() {
        let pair = |a, b, count| PairRow {
            a,
            b,
            count,
            b_given_a: Some(0.1),
            a_given_b: Some(0.2),
            ..PairRow::default()
        };
        let together = CoActivations {
            pairs: vec![pair(1, 3, 9), pair(0, 2, 7), pair(0, 1, 5)],
            ..CoActivations::default()
        };
        let partners = together.partners(1);
        assert_eq!(partners.iter().map(|p| (p.a, p.b, p.count)).collect::<Vec<_>>(), [(1, 3, 9), (1, 0, 5)]);
        assert_eq!((partners[1].b_given_a, partners[1].a_given_b), (Some(0.2), Some(0.1)));
    }

    #[test]
    fn tables_that_are_not_there_are_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let problem = together(dir.path(), 0).unwrap_err();
        assert!(problem.what.contains("pairs.parquet") && problem.to_string().contains("sae experts"));
        assert_eq!(against(dir.path()).unwrap(), []);
    }

    #[test]
    fn a_grid_has_nothing_outside() {
        let mut grid = Grid::new(2, 3);
        grid.set(1, 2, 5.0);
        grid.set(2, 0, 7.0);
        assert_eq!(grid.get(1, 2), 5.0);
        assert!(grid.get(1, 3).is_nan() && grid.get(2, 0).is_nan() && grid.get(0, 0).is_nan());
    }
}
