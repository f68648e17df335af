//! Voronoi cells: every expert or feature of one set goes to the nearest of a reference, and the sizes of the
//! cells say which of the reference are missed (0), matched (1) or split (2 or more) in the other set.
//!
//! Theory of top-k gating (2309.13850) counts fitted experts around the true ones in this way. Vectors are
//! made of blocks of unit length, router row and outputs of an expert, encoder row and decoder row of a
//! feature, so that the nearest by distance is the nearest by cosine and neither block outweighs the other.
//! Both sets must live in one space: checkpoints of one model, dictionaries of one hook.

use std::path::Path;

use serde::Serialize;
use storage::experts::CellRow;

use super::layers;
use super::outputs::outputs;
use crate::dictionary::Dictionary;
use crate::experts::tables::layer_number;
use crate::rows::{Source, must_be_run};
use crate::{Error, Progress, Result};
use kernels::pairs::{ROWS, fold_products};
use kernels::wide;
use lm::model::{LanguageModel, MoeLayer};

/// The cells of a reference.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cells {
    /// One row per expert or feature of the reference.
    pub cells: Vec<CellRow>,
    /// Cells of size 0.
    pub missed: u64,
    /// Cells of size 1.
    pub matched: u64,
    /// Cells of size 2 or more.
    pub split: u64,
    /// Of the other set: how many were put into a cell.
    pub placed: u64,
    /// Of both sets: how many have no direction (all zeros) and were left out.
    pub left_out: u64,
}

/// Cells of the experts of `reference` among the experts of `other`, layer by layer.
///
/// # Errors
/// Models of different width or with experts in other layers.
pub fn cells_of_experts(
    other: &LanguageModel,
    reference: &LanguageModel,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<Cells> {
    let (a, b) = (layers(other)?, layers(reference)?);
    let numbers = |layers: &[MoeLayer<'_>]| layers.iter().map(|layer| layer.layer).collect::<Vec<_>>();
    let (d, d_reference) = (other.config().hidden_size, reference.config().hidden_size);
    if numbers(&a) != numbers(&b) || d != d_reference {
        return Err(Error::request(format!(
            "{} has d_model {d} and experts in layers {:?}, {} has {d_reference} and {:?}; only models of one shape have their \
             experts in the same places",
            other.source(),
            numbers(&a),
            reference.source(),
            numbers(&b)
        )));
    }
    let mut found = Cells::default();
    progress.begin("cells", Some(a.len() as u64), "layers");
    for (done, (a, b)) in (1..).zip(a.iter().zip(&b)) {
        let vectors = |layer: &MoeLayer<'_>| -> Result<Vectors> {
            let outputs = outputs(layer, seed)?;
            let router: Option<Vec<f32>> =
                layer.router.map(|rows| rows.flatten_all()?.to_vec1()).transpose()?;
            let parts: Vec<&[f32]> = router.iter().map(Vec::as_slice).chain([outputs.as_slice()]).collect();
            Ok(Vectors::of(layer.experts.down.dim(0)?, &parts))
        };
        found.add(Some(layer_number(b.layer)), &vectors(a)?, &vectors(b)?);
        progress.advance(done, "");
        if progress.stop_requested() {
            return Err(Error::stopped("the cells were not finished"));
        }
    }
    progress.end(&found.summary());
    Ok(found)
}

/// Cells of the features of the run in `reference` among those of the run in `other`. Writes
/// `OTHER/features/cells.parquet`.
///
/// # Errors
/// Dictionaries of different width.
pub fn cells_of_features(other: &Path, reference: &Path, progress: &mut dyn Progress) -> Result<Cells> {
    must_be_run(other, "a table of cells")?;
    let (a, b) = (Dictionary::load(other)?, Source::open(reference)?.dictionary);
    if (a.d_in, a.d_out()) != (b.d_in, b.d_out()) {
        return Err(Error::request(format!(
            "{} takes activations of width {}, {} of width {}; only dictionaries of the same hook can be compared",
            other.display(),
            a.d_in,
            reference.display(),
            b.d_in
        )));
    }
    let of = |dictionary: &Dictionary| Vectors::of(dictionary.d_sae, &[&dictionary.w_enc, &dictionary.w_dec]);
    progress.begin("cells", None, "features");
    let mut found = Cells::default();
    found.add(None, &of(&a), &of(&b));
    progress.end(&found.summary());
    let folder = other.join("features");
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    storage::row::write(&folder.join("cells.parquet"), &found.cells)?;
    Ok(found)
}

impl Cells {
    pub(super) fn summary(&self) -> String {
        format!("{} missed, {} matched, {} split", self.missed, self.matched, self.split)
    }

    fn add(&mut self, layer: Option<u16>, other: &Vectors, reference: &Vectors) {
        self.left_out += (other.zeros() + reference.zeros()) as u64;
        self.place(layer, &nearest(other, reference), &reference.has_direction);
    }

    /// Puts every one of the other set into the cell of its nearest, with their cosine; of the reference those
    /// without a direction cannot be missed.
    pub(super) fn place(
        &mut self,
        layer: Option<u16>,
        nearest: &[Option<(usize, f64)>],
        has_direction: &[bool],
    ) {
        let mut rows: Vec<CellRow> = (0..has_direction.len())
            .map(|number| CellRow { layer, number: number as u32, ..CellRow::default() })
            .collect();
        for &(at, cosine) in nearest.iter().flatten() {
            let cell = &mut rows[at];
            cell.size += 1;
            cell.best_cosine = Some(cell.best_cosine.map_or(cosine, |best| best.max(cosine)));
            self.placed += 1;
        }
        for (number, cell) in rows.iter().enumerate() {
            match cell.size {
                0 if !has_direction[number] => {}
                0 => self.missed += 1,
                1 => self.matched += 1,
                _ => self.split += 1,
            }
        }
        self.cells.extend(rows);
    }
}

/// Rows of blocks, each of unit length.
#[derive(Debug)]
struct Vectors {
    count: usize,
    width: usize,
    blocks: usize,
    numbers: Vec<f32>,
    has_direction: Vec<bool>,
}

impl Vectors {
    /// `count` rows of each of `blocks`, side by side. A row of which any block is all zeros has no
    /// direction.
    fn of(count: usize, blocks: &[&[f32]]) -> Self {
        let widths: Vec<usize> = blocks.iter().map(|block| block.len() / count.max(1)).collect();
        let width = widths.iter().sum();
        let mut numbers = Vec::with_capacity(count * width);
        let mut has_direction = Vec::with_capacity(count);
        for row in 0..count {
            let mut whole = true;
            for (block, &width) in blocks.iter().zip(&widths) {
                let block = &block[row * width..][..width];
                whole &= wide::norm(block) > 0.0;
                let first = numbers.len();
                numbers.extend_from_slice(block);
                wide::scale_to_unit(&mut numbers[first..]);
            }
            has_direction.push(whole);
        }
        Self { count, width, blocks: blocks.len(), numbers, has_direction }
    }

    fn zeros(&self) -> usize {
        self.has_direction.iter().filter(|has| !**has).count()
    }
}

/// For every row of `other` the nearest row of `reference` and their cosine, the mean over blocks; ties to
/// the lower number. `None` for a row without a direction.
fn nearest(other: &Vectors, reference: &Vectors) -> Vec<Option<(usize, f64)>> {
    fold_products(
        (&other.numbers, &reference.numbers, reference.width),
        0..other.count,
        ROWS,
        |row| (row, None),
        |(_, best): &mut (usize, Option<(usize, f32)>), at, product| {
            if reference.has_direction[at] && best.is_none_or(|(_, most)| product > most) {
                *best = Some((at, product));
            }
        },
        |(row, best)| {
            let best = best.filter(|_| other.has_direction[row]);
            best.map(|(at, product)| (at, f64::from(product) / reference.blocks as f64))
        },
    )
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::Quiet;
    use crate::rows::fixture;
    use lm::model::ModelSource;

    fn noisy(of: &[f32], by: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
        of.iter().map(|x| x + by * (rng.random::<f32>() - 0.5)).collect()
    }

    /// Planted: of six features of the reference 0 is missed, 1 to 4 are matched in another order and scale,
    /// 5 is split in three.
    #[test]
    fn missed_matched_split() {
        let folder = tempfile::tempdir().unwrap();
        let d = 40;
        let reference = fixture::dictionary(d, 6, 2, 1);
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut other = fixture::dictionary(d, 8, 2, 3);
        for (feature, of) in [3, 1, 5, 4, 5, 2, 5].into_iter().enumerate() {
            other.w_enc[feature * d..][..d].copy_from_slice(&noisy(
                &reference.w_enc[of * d..][..d],
                0.3,
                &mut rng,
            ));
            let row = noisy(&reference.w_dec[of * d..][..d], 0.3, &mut rng);
            let row: Vec<f32> = row.iter().map(|x| x * (1 + feature) as f32).collect();
            other.w_dec[feature * d..][..d].copy_from_slice(&row);
        }
        // The last one has no direction.
        other.w_dec[7 * d..].fill(0.0);
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::create_dir_all(&a).unwrap();
        std::fs::create_dir_all(&b).unwrap();
        other.save(&a).unwrap();
        reference.save(&b).unwrap();
        // Tables are written to runs alone.
        [&a, &b].into_iter().for_each(|run| storage::RunRecord::new().write(run).unwrap());
        let found = cells_of_features(&a, &b, &mut Quiet).unwrap();
        let sizes: Vec<u32> = found.cells.iter().map(|c| c.size).collect();
        assert_eq!(sizes, [0, 1, 1, 1, 1, 3]);
        assert_eq!((found.missed, found.matched, found.split, found.placed, found.left_out), (1, 4, 1, 7, 1));
        assert!(found.cells[1].best_cosine.unwrap() > 0.9 && found.cells[0].best_cosine.is_none());
        let table = storage::row::open::<CellRow>(&a.join("features/cells.parquet")).unwrap();
        assert_eq!(storage::row::read::<CellRow>(&table, Default::default()).unwrap(), found.cells);
        // Against itself every cell is matched.
        let same = cells_of_features(&b, &b, &mut Quiet).unwrap();
        assert_eq!((same.missed, same.matched, same.split), (0, 6, 0));
        assert!(same.cells.iter().all(|c| (c.best_cosine.unwrap() - 1.0).abs() < 1e-5));
        let narrow = fixture::dictionary(7, 6, 2, 1);
        narrow.save(&b).unwrap();
        let message = cells_of_features(&a, &b, &mut Quiet).unwrap_err().to_string();
        assert!(message.contains("width 40") && message.contains("width 7"), "{message}");
    }

    /// The nearest by Euclidean distance of unit blocks, by two loops in f64.
    #[test]
    fn nearest_as_by_brute_force() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let mut draw = |n: usize| (0..n).map(|_| rng.random::<f32>() - 0.5).collect::<Vec<f32>>();
        let (a, b) = ([draw(150 * 5), draw(150 * 3)], [draw(1100 * 5), draw(1100 * 3)]);
        let found = nearest(&Vectors::of(150, &[&a[0], &a[1]]), &Vectors::of(1100, &[&b[0], &b[1]]));
        let unit = |row: &[f32]| {
            let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            row.iter().map(|x| f64::from(*x) / norm).collect::<Vec<f64>>()
        };
        let whole =
            |of: &[Vec<f32>; 2], i: usize| [unit(&of[0][i * 5..][..5]), unit(&of[1][i * 3..][..3])].concat();
        for (i, found) in found.into_iter().enumerate() {
            let x = whole(&a, i);
            let distance = |j: usize| x.iter().zip(whole(&b, j)).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
            let best = (0..1100).min_by(|&p, &q| distance(p).total_cmp(&distance(q))).unwrap();
            let (at, cosine) = found.unwrap();
            assert!((distance(at) - distance(best)).abs() < 1e-5, "{i}: {at}, {best}");
            assert!((cosine - (1.0 - distance(best) / 4.0)).abs() < 1e-5);
        }
    }

    #[test]
    fn experts_of_two_models() {
        let folder = tempfile::tempdir().unwrap();
        let small = fixture::model(folder.path());
        let found = cells_of_experts(&small, &small, 1, &mut Quiet).unwrap();
        assert_eq!((found.cells.len(), found.matched, found.missed, found.split), (8, 8, 0, 0));
        assert_eq!(found.cells[5].layer, Some(1));
        let large = LanguageModel::load(&ModelSource::Default).unwrap();
        let message = cells_of_experts(&large, &small, 1, &mut Quiet).unwrap_err().to_string();
        assert!(
            message.contains("d_model 128") && message.contains("d_model") && message.contains("16"),
            "{message}"
        );
    }
}
