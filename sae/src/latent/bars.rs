//! Made-up bars: pictures of R × R pixels in which each of 2R bars, R horizontal and R vertical, is there or not. What W should be is
//! known, so it can be counted how many bars a model finds.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray, UInt32Array};
use kernels::chance::{Purpose, generator, normal, uniform};
use serde::{Deserialize, Serialize};
use storage::documents::DocumentRow;
use storage::schema::DOCUMENTS;
use storage::truncation::TruncationBars;
use storage::{Dtype, Manifest, ModelRef, RowsAre, schema, vector};

use super::parameters::{Kind, Parameters};
use super::posterior::dot;
use crate::harvest::{Sink, TableRows, is_held_out};
use crate::{Error, Progress, Result};

/// Rows of a document.
const ROWS_PER_DOCUMENT: u64 = 100;
/// Rows that are written at a time.
const BATCH: u64 = 8192;
/// |cosine| from which on a bar is found.
const FOUND: f64 = 0.95;
const DOMAIN: &str = "bars";

/// How bars are made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BarsOptions {
    /// Which model makes them: `bsc`, ….
    pub model: String,
    /// Pixels of a side, R.
    pub size: usize,
    /// Rows.
    pub rows: u64,
    /// What a pixel of a bar is.
    pub amplitude: f64,
    /// How often a bar is there.
    pub rate: f64,
    /// Standard deviation of the noise of a pixel.
    pub sigma: f64,
    /// Share of the documents that is held out.
    pub held_out: f64,
    /// Decides everything.
    pub seed: u64,
}

impl BarsOptions {
    /// The bars test of ProSper's authors: two bars per picture on average.
    pub fn usual(kind: Kind, size: usize) -> Self {
        Self {
            model: kind.name().to_owned(),
            size,
            rows: if kind == Kind::Gsc { 10_000 } else { 1000 },
            amplitude: 10.0,
            rate: 1.0 / size as f64,
            sigma: if kind == Kind::Gsc { 1.0 } else { 2.0 },
            held_out: 0.0,
            seed: 0,
        }
    }

    fn kind(&self) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == self.model)
    }

    fn check(&self) -> Result<Kind> {
        let kind = self.kind().filter(|_| (2..=64).contains(&self.size) && self.rows > 0);
        let numbers = self.amplitude > 0.0 && self.sigma > 0.0 && self.amplitude + self.sigma < 1e6;
        let shares = (0.0..1.0).contains(&self.rate) && (0.0..1.0).contains(&self.held_out);
        kind.filter(|_| numbers && shares && self.rows < 1 << 32).ok_or_else(|| {
            Error::request(format!("these are not bars that can be made: {self:?}")).with_remedy(
                "give a side of 2 to 64 pixels, 1 to 2^32 rows, an amplitude and noise above 0, a rate and a held-out share below 1",
            )
        })
    }

    /// What W should be, `[2R, R²]`: the horizontal bars, then the vertical ones. Of maximum-magnitude causes every second bar is dark.
    pub fn truth(&self) -> Vec<f64> {
        let r = self.size;
        let dark = |h: usize| self.kind() == Some(Kind::Mmca) && h % 2 == 1;
        let mut w = vec![0.0; 2 * r * r * r];
        for h in 0..2 * r {
            for i in 0..r {
                let pixel = if h < r { h * r + i } else { i * r + h - r };
                w[h * r * r + pixel] = if dark(h) { -self.amplitude } else { self.amplitude };
            }
        }
        w
    }

    /// Rows `[n, R²]`; each is a function of the options and its number.
    pub fn make(&self, rows: Range<u64>) -> Vec<f32> {
        let (w, d) = (self.truth(), self.size * self.size);
        let row = |number: u64| {
            let mut rng = generator(self.seed, Purpose::Bars, number, 0);
            let mut made = vec![0.0_f64; d];
            for bar in w.chunks_exact(d) {
                let (on, which, slab) = (uniform(&mut rng), uniform(&mut rng), normal(&mut rng));
                if on >= self.rate {
                    continue;
                }
                let code = match self.kind() {
                    Some(Kind::Tsc) if which < 0.5 => -1.0,
                    // A quarter of the bars are twice as bright.
                    Some(Kind::Dsc) if which < 0.25 => 2.0,
                    Some(Kind::Gsc) => 1.0 + f64::from(slab),
                    _ => 1.0,
                };
                for (made, w) in made.iter_mut().zip(bar) {
                    match self.kind() {
                        Some(kind) if kind.is_maximum() => {
                            if w.abs() > made.abs() {
                                *made = *w;
                            }
                        }
                        _ => *made += code * w,
                    }
                }
            }
            made.into_iter()
                .map(move |m| (m + self.sigma * f64::from(normal(&mut rng))) as f32)
                .collect::<Vec<_>>()
        };
        rows.flat_map(row).collect()
    }

    /// How many bars `parameters` have found, the best pair of a bar and a latent first.
    pub fn found(&self, parameters: &Parameters) -> TruncationBars {
        let (truth, d) = (self.truth(), self.size * self.size);
        let norm = |w: &[f64]| dot(w, w).sqrt().max(f64::MIN_POSITIVE);
        let mut pairs: Vec<(f64, usize, usize)> = Vec::new();
        for (bar, t) in truth.chunks_exact(d).enumerate() {
            for h in 0..parameters.latents() {
                let w = parameters.row(h);
                pairs.push(((dot(t, w) / norm(t) / norm(w)).abs(), bar, h));
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let (mut bars, mut latents) = (vec![None; 2 * self.size], vec![false; parameters.latents()]);
        for (cosine, bar, h) in pairs {
            if bars[bar].is_none() && !latents[h] {
                bars[bar] = Some((cosine, h));
                latents[h] = true;
            }
        }
        let cosines = bars.iter().map(|pair| pair.map_or(0.0, |(cosine, _)| cosine));
        let is_determined = matches!(parameters.kind, Kind::Bsc | Kind::Dsc | Kind::Mca | Kind::Mmca);
        let error = |(bar, pair): (usize, &Option<(f64, usize)>)| {
            let t = &truth[bar * d..(bar + 1) * d];
            let w = pair.map_or(vec![0.0; d], |(_, h)| parameters.row(h).to_vec());
            t.iter().zip(w).map(|(t, w)| (t - w).abs()).sum::<f64>()
        };
        let errors: f64 = bars.iter().enumerate().map(error).sum();
        TruncationBars {
            bars: bars.len() as u64,
            recovered: cosines.clone().filter(|cosine| *cosine >= FOUND).count() as u64,
            cosine: cosines.sum::<f64>() / bars.len() as f64,
            error: is_determined.then(|| errors / (bars.len() * d) as f64),
        }
    }

    /// The bars that the rows of a dataset with these `settings` are.
    pub(super) fn of(settings: &serde_json::Value) -> Option<Self> {
        let options = Self::deserialize(settings.get(DOMAIN)?).ok()?;
        options.check().ok().map(|_| options)
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WrittenBars {
    /// The folder.
    pub dataset: PathBuf,
    /// Rows.
    pub rows: u64,
    /// Pixels of a row.
    pub pixels: usize,
    /// Bars.
    pub bars: usize,
}

/// Writes bars as a dataset into `out`. One that was interrupted continues when it is asked for again.
///
/// # Errors
/// Options that make no sense; a folder with a different dataset; a disk that is full or fails; [`Error::Stopped`].
pub fn write(options: &BarsOptions, out: &Path, progress: &mut dyn Progress) -> Result<WrittenBars> {
    options.check()?;
    let d = options.size * options.size;
    let model = ModelRef { id: "made-up bars".to_owned(), ..ModelRef::default() };
    let mut header = Manifest::new(model, None, d, Dtype::F32);
    header.rows_are = RowsAre::Rows;
    header.settings = serde_json::json!({ DOMAIN: options });
    let mut sink = Sink::begin(out, header, 1 << 18)?;
    sink.note().iter().for_each(|note| progress.remark(note));
    let batches = options.rows.div_ceil(BATCH);
    progress.begin("bars", Some(options.rows), "rows");
    for batch in sink.next_batch()..batches {
        let rows = batch * BATCH..((batch + 1) * BATCH).min(options.rows);
        let table = TableRows::activations(table(&options.make(rows.clone()), rows.clone(), d)?);
        sink.write(batch, rows.end - rows.start, &[table])?;
        progress.advance(rows.end, "");
        if progress.stop_requested() {
            sink.commit(batch + 1)?;
            return Err(Error::stopped(format!("{} rows are kept", rows.end))
                .with_remedy("give the same command again to continue"));
        }
    }
    sink.finish(batches, &[(DOCUMENTS, storage::documents::to_batch(&documents(options))?)])?;
    progress.end(&format!("{} rows in {}", options.rows, out.display()));
    Ok(WrittenBars { dataset: out.to_owned(), rows: options.rows, pixels: d, bars: 2 * options.size })
}

fn documents(options: &BarsOptions) -> Vec<DocumentRow> {
    let document = |first_row: u64| {
        let document = (first_row / ROWS_PER_DOCUMENT) as u32;
        DocumentRow {
            document,
            name: format!("rows from {first_row}"),
            source: DOMAIN.to_owned(),
            domain: DOMAIN.to_owned(),
            held_out: is_held_out(options.seed, document, options.held_out),
            first_row,
            tokens: ROWS_PER_DOCUMENT.min(options.rows - first_row) as u32,
        }
    };
    (0..options.rows).step_by(ROWS_PER_DOCUMENT as usize).map(document).collect()
}

fn table(values: &[f32], rows: Range<u64>, d: usize) -> Result<RecordBatch> {
    let (column, _) = vector::column_from_rows(values, d, Dtype::F32)?;
    let numbers = |of: fn(u64) -> u64| -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(rows.clone().map(|row| of(row) as u32)))
    };
    let domains = DictionaryArray::try_new(
        Int32Array::from(vec![0; values.len() / d]),
        Arc::new(StringArray::from_iter_values([DOMAIN])),
    )
    .map_err(|e| Error::data(e.to_string()))?;
    let columns: Vec<ArrayRef> = vec![
        numbers(|row| row / ROWS_PER_DOCUMENT),
        numbers(|row| row % ROWS_PER_DOCUMENT),
        Arc::new(domains),
        Arc::new(column),
    ];
    RecordBatch::try_new(schema::activations_of(RowsAre::Rows, d, Dtype::F32), columns)
        .map_err(|e| Error::data(format!("rows that do not fit their table: {e}")))
}
