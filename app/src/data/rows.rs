//! The raw activations of the tokens on a page: what a row of the table holds, and which rows are alike.

use std::path::Path;

use storage::schema::ACTIVATIONS;
use storage::schema::activations::ACTIVATION;
use storage::{Dataset, Scan, vector};

use super::{DocumentRow, problem};
use crate::load::Problem;

/// Most values that are kept in memory at once; a page of a very wide model is cut.
const MOST_VALUES: usize = 32 << 20;

/// Activations of consecutive tokens.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Position of the first token.
    pub start: u32,
    /// Width of an activation.
    pub width: usize,
    values: Vec<f32>,
    norms: Vec<f32>,
}

impl Rows {
    /// From values `[n, width]`, row by row.
    pub fn new(start: u32, width: usize, values: Vec<f32>) -> Self {
        let norm = |row: &[f32]| row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() as f32;
        let norms = values.chunks_exact(width.max(1)).map(norm).collect();
        Self { start, width, values, norms }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.norms.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.norms.is_empty()
    }

    /// The activation of the token at `position`.
    pub fn get(&self, position: u32) -> Option<&[f32]> {
        let i = position.checked_sub(self.start)? as usize;
        self.values.get(i * self.width..(i + 1) * self.width)
    }

    /// Its Euclidean norm.
    pub fn norm(&self, position: u32) -> Option<f32> {
        self.norms.get(position.checked_sub(self.start)? as usize).copied()
    }

    /// The `most` other rows with the largest cosine to that of `position`, largest first: (position, cosine).
    pub fn nearest(&self, position: u32, most: usize) -> Vec<(u32, f32)> {
        let (Some(row), Some(norm)) = (self.get(position), self.norm(position)) else { return Vec::new() };
        let cosine = |i: usize| {
            let other = &self.values[i * self.width..(i + 1) * self.width];
            let dot: f64 = row.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            (dot / (f64::from(norm) * f64::from(self.norms[i]))) as f32
        };
        let mut found: Vec<(u32, f32)> = (0..self.len())
            .filter(|&i| self.start + i as u32 != position)
            .map(|i| (self.start + i as u32, cosine(i)))
            .filter(|(_, cosine)| cosine.is_finite())
            .collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(most);
        found
    }

    /// The `most` dimensions with the largest absolute value, largest first: (dimension, value).
    pub fn largest(&self, position: u32, most: usize) -> Vec<(usize, f32)> {
        let mut found: Vec<(usize, f32)> =
            self.get(position).unwrap_or_default().iter().copied().enumerate().collect();
        found.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
        found.truncate(most);
        found
    }
}

/// What there is to say of one row among those of its page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowFacts {
    /// Dimensions with the largest absolute value.
    pub largest: Vec<(usize, f32)>,
    /// Other rows of the page by cosine.
    pub nearest: Vec<(u32, f32)>,
    /// Median norm of the page.
    pub median_norm: f32,
}

impl Rows {
    /// Looks at the row of `position`: `most` dimensions and neighbours. Takes a pass over the page.
    pub fn facts(&self, position: u32, most: usize) -> RowFacts {
        let median_norm = median(self.norms.clone());
        RowFacts { largest: self.largest(position, most), nearest: self.nearest(position, most), median_norm }
    }
}

/// Of an even number the mean of the two in the middle; not a number of none.
fn median(mut values: Vec<f32>) -> f32 {
    values.sort_unstable_by(f32::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f32::NAN,
        n if n % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

/// Reads the activations of `tokens` tokens of a document from position `start` on.
///
/// # Errors
/// A dataset that cannot be read or holds no activations.
pub fn read(dir: &Path, document: &DocumentRow, start: u32, tokens: u32) -> Result<Rows, Problem> {
    let dataset = Dataset::open(dir).map_err(problem)?;
    if !dataset.has_table(ACTIVATIONS) {
        return Err(Problem::new(format!("{} holds no activations.", dir.display()))
            .with_remedy("Open the dataset of a hook; this one has the routing alone."));
    }
    let width = dataset.manifest().d_model.max(1);
    let most = u32::try_from(MOST_VALUES / width).unwrap_or(u32::MAX).max(1);
    let end = document.tokens.min(start.saturating_add(tokens.min(most)));
    let rows = document.first_row + u64::from(start.min(end))..document.first_row + u64::from(end);
    let table = dataset.table(ACTIVATIONS).map_err(problem)?;
    let mut values = Vec::with_capacity((rows.end - rows.start) as usize * width);
    for batch in table.scan(Scan { rows: Some(rows), ..Scan::of(&[ACTIVATION]) }).map_err(problem)? {
        vector::fixed_size_rows(&batch.map_err(problem)?, ACTIVATION, &mut values).map_err(problem)?;
    }
    Ok(Rows::new(start, width, values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_and_neighbours() {
        let rows = Rows::new(10, 2, vec![3.0, 4.0, 6.0, 8.0, -3.0, -4.0, 4.0, -3.0, 0.0, 0.0]);
        assert_eq!(rows.norm(10), Some(5.0));
        assert_eq!(rows.norm(9), None);
        assert_eq!(rows.get(15), None);
        // The zero row has no direction and is nobody's neighbour.
        assert_eq!(rows.nearest(10, 9), [(11, 1.0), (13, 0.0), (12, -1.0)]);
        assert_eq!(rows.largest(13, 1), [(0, 4.0)]);
        assert_eq!(rows.facts(10, 1).median_norm, 5.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
        assert!(Rows::default().facts(0, 1).median_norm.is_nan());
    }
}
