//! The two passes: over the codes of all indexed tokens, and over their activations.

use std::collections::{HashMap, HashSet};

use arrow::datatypes::{Float32Type, UInt32Type};

use super::agreement::Sample;
use super::{Near, NearList};
use crate::codes::{FEATURES, VALUES};
use crate::column::of_array::spans;
use crate::column::{number_lists, primitive};
use crate::documents;
use crate::error::{Error, Result};
use crate::schema::activations::ACTIVATION;
use crate::schema::{ACTIVATIONS, DOCUMENT, DOCUMENTS, POSITION};
use crate::{Dataset, Scan, TableReader, codes, vector};

/// A token whose neighbours are looked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    /// Document and position.
    pub place: (u32, u32),
    /// The features that fire on it, ascending.
    pub features: Vec<u32>,
    /// Their activations.
    pub values: Vec<f32>,
    /// Its row, `[d_model]`.
    pub row: Vec<f32>,
}

/// Reads the token at `place`: its codes and its row.
///
/// # Errors
/// A token that was not indexed or that the dataset does not have; tables that cannot be read.
pub fn read_query(dataset: &Dataset, codes: &TableReader, place: (u32, u32)) -> Result<Query> {
    let (document, position) = place;
    let absent = |what: &str| Error::Argument {
        path: codes.path().to_owned(),
        message: format!("document {document} has no {what} at position {position}"),
    };
    let found = codes::read(codes, document, position..position.saturating_add(1))?;
    let (features, values) = found.at(position).ok_or_else(|| absent("indexed token"))?;
    let documents = documents::read(&dataset.table(DOCUMENTS)?)?;
    let of = documents.iter().find(|row| row.document == document).ok_or_else(|| absent("row"))?;
    let table = dataset.table(ACTIVATIONS)?;
    let rows = of.first_row..of.first_row + u64::from(of.tokens);
    let mut row = Vec::new();
    for batch in table.scan(Scan { rows: Some(rows), ..Scan::of(&[POSITION, ACTIVATION]) })? {
        let batch = batch?;
        let positions = primitive::<UInt32Type>(&batch, POSITION)?.values();
        if let Some(at) = positions.iter().position(|p| *p == position) {
            vector::fixed_size_rows(&batch.slice(at, 1), ACTIVATION, &mut row)?;
            break;
        }
    }
    if row.is_empty() {
        return Err(absent("row"));
    }
    Ok(Query { place, features: features.to_vec(), values: values.to_vec(), row })
}

/// What a token shares with a query so far.
#[derive(Debug, Clone, Copy, Default)]
struct Common {
    shared: u32,
    minima: f64,
}

impl Common {
    /// The three scores, for codes of these numbers and sums.
    fn scores(self, ours: (usize, f64), theirs: (usize, f64)) -> [f64; 3] {
        if self.shared == 0 {
            return [0.0; 3];
        }
        let shared = f64::from(self.shared);
        let all = (ours.0 + theirs.0) as f64 - shared;
        [shared, shared / all, self.minima / (ours.1 + theirs.1 - self.minima)]
    }
}

fn sum(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum()
}

/// The pass over codes. Fills the lists of every query, the sample and the documents that are indexed; false if it was stopped.
pub(super) fn overlaps(
    table: &TableReader,
    queries: &[Query],
    lists: &mut [[NearList; 3]],
    sample: &mut Sample,
    indexed: &mut HashSet<u32>,
    advance: &mut dyn FnMut(u64) -> bool,
) -> Result<bool> {
    let mut having: HashMap<u32, Vec<(usize, f32)>> = HashMap::new();
    for (i, query) in queries.iter().enumerate() {
        for (feature, value) in query.features.iter().zip(&query.values) {
            having.entry(*feature).or_default().push((i, *value));
        }
    }
    let sizes: Vec<(usize, f64)> = queries.iter().map(|q| (q.features.len(), sum(&q.values))).collect();
    let mut common = vec![Common::default(); queries.len()];
    let (mut touched, mut done) = (Vec::new(), 0);
    for batch in table.columns(&[DOCUMENT, POSITION, FEATURES, VALUES])? {
        let batch = &batch?;
        let documents = primitive::<UInt32Type>(batch, DOCUMENT)?.values();
        let positions = primitive::<UInt32Type>(batch, POSITION)?.values();
        let (lists_of, features) = number_lists::<UInt32Type>(batch, FEATURES)?;
        let (_, values) = number_lists::<Float32Type>(batch, VALUES)?;
        if values.len() != features.len() {
            let found = format!("{} features and {} values", features.len(), values.len());
            return Err(Error::column(VALUES, "as many values as features", found));
        }
        for ((&document, &position), span) in documents.iter().zip(positions).zip(spans(lists_of)) {
            indexed.insert(document);
            let (features, values) = (&features[span.clone()], &values[span]);
            for (feature, value) in features.iter().zip(values) {
                for &(query, own) in having.get(feature).map(Vec::as_slice).unwrap_or_default() {
                    if common[query].shared == 0 {
                        touched.push(query);
                    }
                    common[query].shared += 1;
                    common[query].minima += f64::from(own.min(*value));
                }
            }
            let theirs = (features.len(), sum(values));
            for &query in &touched {
                if queries[query].place == (document, position) {
                    continue;
                }
                let scores = common[query].scores(sizes[query], theirs);
                for (list, score) in lists[query].iter_mut().zip(scores) {
                    list.offer(Near { document, position, score });
                }
            }
            if sample.wants_next() {
                let scores =
                    common.iter().zip(&sizes).map(|(c, ours)| c.scores(*ours, theirs).map(|s| s as f32));
                sample.push((document, position), scores);
            }
            touched.drain(..).for_each(|query| common[query] = Common::default());
        }
        done += batch.num_rows() as u64;
        if !advance(done) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What is left of `row` without `centre`, with norm 1; zeros stay.
fn direction(row: &[f32], centre: &[f32], out: &mut Vec<f32>) {
    out.clear();
    match centre.is_empty() {
        true => out.extend_from_slice(row),
        false => out.extend(row.iter().zip(centre).map(|(x, c)| x - c)),
    }
    let norm = out.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if norm > 0.0 {
        out.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
}

/// The pass over activations, of the documents that are indexed; false if it was stopped.
pub(super) fn cosines(
    dataset: &Dataset,
    queries: &[Query],
    centre: &[f32],
    indexed: &HashSet<u32>,
    lists: &mut [NearList],
    sample: &mut Sample,
    advance: &mut dyn FnMut(u64) -> bool,
) -> Result<bool> {
    let table = dataset.table(ACTIVATIONS)?;
    let directions: Vec<Vec<f32>> = queries
        .iter()
        .map(|query| {
            let mut unit = Vec::new();
            direction(&query.row, centre, &mut unit);
            unit
        })
        .collect();
    let (mut rows, mut unit, mut done) = (Vec::new(), Vec::new(), 0);
    for batch in table.columns(&[DOCUMENT, POSITION, ACTIVATION])? {
        let batch = &batch?;
        let documents = primitive::<UInt32Type>(batch, DOCUMENT)?.values();
        let positions = primitive::<UInt32Type>(batch, POSITION)?.values();
        rows.clear();
        let d = vector::fixed_size_rows(batch, ACTIVATION, &mut rows)?;
        if let Some(query) = queries.iter().find(|query| query.row.len() != d) {
            return Err(Error::column(
                ACTIVATION,
                format!("rows of {} numbers", query.row.len()),
                d.to_string(),
            ));
        }
        for ((&document, &position), row) in documents.iter().zip(positions).zip(rows.chunks_exact(d)) {
            if !indexed.contains(&document) {
                continue;
            }
            done += 1;
            direction(row, centre, &mut unit);
            let ranked = sample.find((document, position));
            for (i, (query, direction)) in queries.iter().zip(&directions).enumerate() {
                if query.place == (document, position) {
                    continue;
                }
                let score: f64 = unit.iter().zip(direction).map(|(a, b)| f64::from(a * b)).sum();
                lists[i].offer(Near { document, position, score });
                if let Some(at) = ranked {
                    sample.set_cosine(i, at, score as f32);
                }
            }
        }
        if !advance(done) {
            return Ok(false);
        }
    }
    Ok(true)
}
