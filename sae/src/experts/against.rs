//! Two models or checkpoints on the same tokens: how much their routers agree.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::record_batch::RecordBatch;
use storage::experts::AgainstRow;

use super::figures::Balance;
use super::routing::{Choice, Rows, Source, WeightRule};
use super::tables::number_of;
use crate::{Error, Progress, Result};

/// What [`against`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct RouterAgreement {
    /// One row per layer.
    pub layers: Vec<AgainstRow>,
    /// Tokens compared.
    pub tokens: u64,
}

#[derive(Default)]
struct Layer {
    tokens: u64,
    k: usize,
    /// Σ |E ∩ E′| / k over tokens that chose any expert.
    overlap: f64,
    overlaps: u64,
    same_first: u64,
    slots: [Vec<u64>; 2],
}

/// Router saturation of the routing table of `dir` against that of `other`: mean |E ∩ E′| / k by layer, and
/// how often the strongest expert is the same. Both must hold the same tokens in the same order. Writes
/// `DIR/experts/against.parquet`.
///
/// # Errors
/// Datasets without routing, of different tokens or of different numbers of experts, or [`Error::Stopped`].
pub fn against(dir: &Path, other: &Path, progress: &mut dyn Progress) -> Result<RouterAgreement> {
    let (a, b) = open_both(dir, other)?;
    let experts = match (a.declared().experts, b.declared().experts) {
        (Some(a), Some(b)) if a != b => {
            return Err(Error::request(format!(
                "{} has {a} experts per layer, {} has {b}; only routers of the same experts can be compared",
                dir.display(),
                other.display()
            )));
        }
        (a, b) => a.or(b),
    };
    let experts = match experts {
        Some(experts) => experts,
        None => a.overview(progress)?.highest.max(b.overview(progress)?.highest),
    };
    let layers = compare(&a, &b, experts, progress)?;
    let rows: Vec<AgainstRow> =
        layers.into_iter().map(|(number, layer)| layer.row(number, experts)).collect();
    let folder = dir.join("experts");
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    storage::row::write(&folder.join("against.parquet"), &rows)?;
    let tokens = rows.iter().map(|row| row.tokens).max().unwrap_or(0);
    Ok(RouterAgreement { layers: rows, tokens })
}

/// Both routing tables.
///
/// # Errors
/// Datasets without routing, or with different numbers of rows.
pub(super) fn open_both(dir: &Path, other: &Path) -> Result<(Source, Source)> {
    let (a, b) = (Source::open(dir)?, Source::open(other)?);
    if a.rows() != b.rows() {
        return Err(Error::request(format!(
            "{} has {} rows of routing, {} has {}",
            dir.display(),
            a.rows(),
            other.display(),
            b.rows()
        ))
        .with_remedy("harvest both from the same text with the same settings"));
    }
    Ok((a, b))
}

fn compare(
    a: &Source,
    b: &Source,
    experts: usize,
    progress: &mut dyn Progress,
) -> Result<BTreeMap<u16, Layer>> {
    let mut layers = BTreeMap::new();
    side_by_side(a, b, progress, |a, b| pair(a, b, experts, &mut layers))?;
    Ok(layers)
}

/// Calls `take` with the choices of both tables, token by token and layer by layer.
///
/// # Errors
/// Tables of different tokens, an error of `take`, or [`Error::Stopped`].
pub(super) fn side_by_side(
    a: &Source,
    b: &Source,
    progress: &mut dyn Progress,
    mut take: impl FnMut(&Choice<'_>, &Choice<'_>) -> Result<()>,
) -> Result<()> {
    let mut others = Walk { batches: b.scan()?, batch: None, at: 0 };
    let mut done = 0;
    progress.begin("routers compared", Some(a.rows()), "rows");
    for batch in a.scan()? {
        let batch = batch?;
        let rows = Rows::of(&batch)?;
        let mut at = 0;
        while at < rows.len() {
            // As many rows as both batches have: they need not be cut at the same places.
            let (other, from) = others.rest()?;
            let other = Rows::of(&other)?;
            let count = (rows.len() - at).min(other.len() - from);
            for i in 0..count {
                let (a, b) = (rows.choice(at + i), other.choice(from + i));
                same_token(&a, &b)?;
                take(&a, &b)?;
            }
            at += count;
            others.at = from + count;
        }
        done += rows.len() as u64;
        progress.advance(done, "");
        if progress.stop_requested() {
            return Err(Error::stopped("the comparison was not finished, nothing was written"));
        }
    }
    progress.end(&format!("{done} rows"));
    Ok(())
}

/// Batches of the other table, with how many rows of the current one were used.
struct Walk {
    batches: storage::Batches,
    batch: Option<RecordBatch>,
    at: usize,
}

impl Walk {
    fn rest(&mut self) -> Result<(RecordBatch, usize)> {
        if let Some(batch) = self.batch.clone().filter(|batch| self.at < batch.num_rows()) {
            return Ok((batch, self.at));
        }
        let next = self.batches.next().transpose()?;
        let next = next.ok_or_else(|| Error::data("the other routing table ended early"))?;
        (self.batch, self.at) = (Some(next.clone()), 0);
        Ok((next, 0))
    }
}

fn same_token(a: &Choice<'_>, b: &Choice<'_>) -> Result<()> {
    let key = |c: &Choice<'_>| (c.document, c.position, c.token, c.layer);
    if key(a) != key(b) {
        return Err(Error::data(format!(
            "{}, token {}: the other dataset has document {}, position {}, layer {}, token {} there",
            a.place(),
            a.token,
            b.document,
            b.position,
            b.layer,
            b.token
        ))
        .with_remedy("harvest both from the same text with the same tokenizer"));
    }
    Ok(())
}

fn pair(a: &Choice<'_>, b: &Choice<'_>, experts: usize, layers: &mut BTreeMap<u16, Layer>) -> Result<()> {
    let layer = layers.entry(a.layer).or_default();
    for (choice, slots) in [a, b].into_iter().zip(&mut layer.slots) {
        choice.check(experts, WeightRule::Any)?;
        slots.resize(experts, 0);
        choice.experts.iter().for_each(|&e| slots[e as usize] += 1);
    }
    layer.tokens += 1;
    layer.k = layer.k.max(a.experts.len());
    let k = a.experts.len().max(b.experts.len());
    if k > 0 {
        let common = a.experts.iter().filter(|e| b.experts.contains(e)).count();
        layer.overlap += common as f64 / k as f64;
        layer.overlaps += 1;
        layer.same_first += u64::from(a.experts.first() == b.experts.first());
    }
    Ok(())
}

impl Layer {
    fn row(&self, number: u16, experts: usize) -> AgainstRow {
        let mean = |sum: f64| (self.overlaps > 0).then(|| sum / self.overlaps as f64);
        AgainstRow {
            layer: number,
            tokens: self.tokens,
            k: number_of(self.k),
            top_k: mean(self.overlap),
            top_1: mean(self.same_first as f64),
            by_chance: self.k as f64 / experts.max(1) as f64,
            cv: Balance::of(&self.slots[0]).map(|b| b.cv),
            cv_against: Balance::of(&self.slots[1]).map(|b| b.cv),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quiet;
    use crate::rows::fixture::{self, Routed, header, texts};

    fn row(position: u32, layer: u16, experts: &[u32]) -> Routed {
        (10, position, 5, layer, experts.to_vec(), vec![0.5; experts.len()], 0.1)
    }

    fn compared(a: &[Routed], b: &[Routed]) -> Result<RouterAgreement> {
        let folder = tempfile::tempdir().unwrap();
        let mut head = header(4);
        head.settings = serde_json::json!({ "experts": 8 });
        for (name, rows) in [("a", a), ("b", b)] {
            fixture::routing(&folder.path().join(name), head.clone(), &texts(&[3], 50, 1), rows);
        }
        let found = against(&folder.path().join("a"), &folder.path().join("b"), &mut Quiet)?;
        let path = folder.path().join("a/experts/against.parquet");
        let table = storage::row::open::<AgainstRow>(&path)?;
        assert_eq!(storage::row::read::<AgainstRow>(&table, Default::default())?, found.layers);
        Ok(found)
    }

    #[test]
    fn overlap_by_hand() {
        let a = [row(0, 0, &[1, 2]), row(0, 1, &[]), row(1, 0, &[3, 4]), row(1, 1, &[0, 1])];
        let b = [row(0, 0, &[2, 1]), row(0, 1, &[]), row(1, 0, &[3, 5]), row(1, 1, &[6, 7])];
        let found = compared(&a, &b).unwrap();
        assert_eq!(found.tokens, 2);
        assert_eq!((found.layers[0].top_k, found.layers[0].top_1), (Some(0.75), Some(0.5)));
        assert_eq!(
            (found.layers[1].top_k, found.layers[1].top_1, found.layers[1].k),
            (Some(0.0), Some(0.0), 2)
        );
        assert_eq!(found.layers[0].by_chance, 0.25);
        let same = compared(&a, &a).unwrap();
        assert!(
            same.layers.iter().all(|l| l.top_k == Some(1.0) && l.top_1 == Some(1.0) && l.cv == l.cv_against)
        );
    }

    #[test]
    fn other_tokens_are_refused() {
        let a = [row(0, 0, &[1, 2]), row(1, 0, &[3, 4])];
        let message = compared(&a, &a[..1]).unwrap_err().to_string();
        assert!(message.contains("2 rows") && message.contains("has 1"), "{message}");
        let mut b = a.clone();
        b[1].2 = 6;
        let message = compared(&a, &b).unwrap_err().to_string();
        assert!(message.contains("document 10, position 1") && message.contains("token 6"), "{message}");
    }
}
