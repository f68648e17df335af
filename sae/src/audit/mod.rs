//! What a dictionary's encoder loses: for the same decoder and at most as many features per token, codes that are searched for.
//!
//! ```text
//! rows x ─ encoder ─▶ codes ─▶ the best sizes on their features (least squares, 0 or more)
//!   └──── y = x − b ── orthogonal matching pursuit ──────────────┐
//!         from codes ─ iterative soft, hard, half, firm, log-sum ┴▶ the best of all for each token
//! ```
//!
//! None of them is sure to find the very best features, which is a hard problem; the gap that is told is one that is there.

mod coding;
mod fit;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use storage::audit::{Audit, AuditCodingRow, AuditFeatureRow, FORMAT, VERSION};

use crate::dictionary::{Codes, Dictionary};
use crate::evaluate::{EvaluateOptions, Reconstruction, choose_documents, is_within};
use crate::partial::Partial;
use crate::rows::{RowReader, Subject};
use crate::{Error, Progress, Result};
use coding::{Coding, Decoder, Found};
use kernels::encode::{centre, chunk_rows};
use kernels::wide::largest_eigenvalue;
use kernels::wide::{row_norms, unit_rows};

/// Rows read at a time.
const BATCH: usize = 512;

/// How to audit.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// Dataset; the one that the run was trained on when `None`.
    pub data: Option<PathBuf>,
    /// Tokens at most, in whole documents drawn by `seed`.
    pub tokens: u64,
    /// Also documents that were trained on.
    pub all_documents: bool,
    /// Seed of the choice of documents.
    pub seed: u64,
    /// Steps of every iterative thresholding.
    pub iterations: usize,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self { data: None, tokens: 4096, all_documents: false, seed: 0, iterations: 100 }
    }
}

/// An audit with its tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Audited {
    /// All in all.
    pub audit: Audit,
    /// Ways to find codes.
    pub codings: Vec<AuditCodingRow>,
    /// Features.
    pub features: Vec<AuditFeatureRow>,
}

/// Audits the run or foreign dictionary at `path`; of a run the result is kept in `RUN/audit/`.
///
/// # Errors
/// A dictionary or dataset that cannot be read, or that do not belong together; a transcoder; codes of either sign; no rows to code;
/// [`Error::Stopped`].
pub fn run(path: &Path, options: &AuditOptions, progress: &mut dyn Progress) -> Result<Audited> {
    let subject = Subject::open(path, options.data.as_deref())?;
    let dictionary = &subject.dictionary;
    dictionary.needs_its_input("an audit")?;
    dictionary.needs_positive_codes("an audit")?;
    if options.iterations == 0 {
        return Err(Error::request("iterative thresholding needs at least 1 step"));
    }
    let chosen = EvaluateOptions {
        tokens: Some(options.tokens),
        all_documents: options.all_documents,
        seed: options.seed,
        ..EvaluateOptions::default()
    };
    let choice = choose_documents(&subject.dataset, &chosen)?;
    let mut reader = RowReader::new(&subject.dataset, &choice.ranges, BATCH, dictionary.d_in)?;
    let mut tally = Tally::new(dictionary, options.iterations);
    let mut done = 0;
    progress.begin("audit", Some(choice.tokens), subject.dataset.manifest().rows_are.name());
    while let Some(rows) = reader.next_batch()? {
        done += rows.len() as u64;
        let within =
            rows.activations.chunks_exact(dictionary.d_in).filter(|row| is_within(row, subject.norm_limit));
        tally.add(&within.flatten().copied().collect::<Vec<f32>>())?;
        progress.advance(done, "");
        if progress.stop_requested() {
            return Err(Error::stopped("the audit was not finished; an older one stays as it is"));
        }
    }
    let (codings, features, mut audit) = tally.finish()?;
    audit.data = subject.dataset.dir().display().to_string();
    audit.dictionary_sha256.clone_from(&subject.dictionary_sha256);
    audit.split = if options.all_documents { "all" } else { "held-out" }.to_owned();
    audit.seed = options.seed;
    audit.iterations = options.iterations as u64;
    progress.end(&format!("FVE {:.4}, the best that was found {:.4}", audit.fve, audit.fve_best));
    if subject.is_run {
        let partial = Partial::begin(&path.join(storage::audit::FOLDER))?;
        audit.write(partial.folder(), &codings, &features)?;
        partial.publish()?;
    }
    Ok(Audited { audit, codings, features })
}

/// What one coding came to.
struct Sums {
    raw: Reconstruction,
    refitted: Reconstruction,
    shared: u64,
    better: u64,
}

/// Sums over tokens.
struct Tally<'a> {
    dictionary: &'a Dictionary,
    /// Decoder rows of norm 1, and their norms.
    rows: Vec<f32>,
    norms: Vec<f32>,
    step: f64,
    iterations: usize,
    sums: Vec<Sums>,
    tokens: u64,
    active: u64,
    features: Vec<AuditFeatureRow>,
    codes: Vec<[f64; 2]>,
}

impl<'a> Tally<'a> {
    fn new(dictionary: &'a Dictionary, iterations: usize) -> Self {
        let (d, n) = (dictionary.d_in, dictionary.d_sae);
        let rows = unit_rows(&dictionary.w_dec, d);
        let empty = || Reconstruction::new(d, n);
        let sums = |_| Sums { raw: empty(), refitted: empty(), shared: 0, better: 0 };
        Self {
            dictionary,
            norms: row_norms(&dictionary.w_dec, d),
            step: 1.0 / largest_eigenvalue(&rows, d),
            rows,
            iterations,
            sums: Coding::all().into_iter().map(sums).collect(),
            tokens: 0,
            active: 0,
            features: (0..n as u32)
                .map(|feature| AuditFeatureRow { feature, ..AuditFeatureRow::default() })
                .collect(),
            codes: vec![[0.0; 2]; n],
        }
    }

    /// Codes `x[n, d]` in every way.
    fn add(&mut self, x: &[f32]) -> Result<()> {
        let (dictionary, d) = (self.dictionary, self.dictionary.d_in);
        let own = dictionary.encode(x);
        let all = self.code(x, &own);
        let errors = |codes: &Codes| -> Vec<f64> {
            let made = dictionary.decode_with(codes, x);
            let rows = x.chunks_exact(d).zip(made.chunks_exact(d));
            rows.map(|(x, y)| x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum()).collect()
        };
        let encoder = errors(&own);
        for (sums, [raw, refitted]) in self.sums.iter_mut().zip(&all) {
            sums.raw.add(x, raw, &dictionary.decode_with(raw, x))?;
            sums.refitted.add(x, refitted, &dictionary.decode_with(refitted, x))?;
            let found = errors(refitted);
            // Less by more than rounding.
            sums.better +=
                found.iter().zip(&encoder).filter(|(a, b)| **a < **b * (1.0 - 1e-5)).count() as u64;
            for i in 0..own.rows() {
                let shared = own.row(i).0.iter().filter(|f| raw.row(i).0.binary_search(f).is_ok());
                sums.shared += shared.count() as u64;
            }
        }
        let Some([_, best]) = all.last() else { return Ok(()) };
        self.count(&own, best);
        self.tokens += own.rows() as u64;
        self.active += own.features.len() as u64;
        Ok(())
    }

    /// Codes of `x` by every coding, as found and refitted, in the dictionary's own units.
    fn code(&self, x: &[f32], own: &Codes) -> Vec<[Codes; 2]> {
        let (dictionary, d) = (self.dictionary, self.dictionary.d_in);
        let normalised = dictionary.normalisation.apply(x, d);
        let mut y = vec![0.0; x.len()];
        centre(&mut y, &normalised, &dictionary.subtracted());
        let mut unit = own.clone();
        unit.features.iter().zip(&mut unit.values).for_each(|(f, v)| *v *= self.norms[*f as usize]);
        let decoder = Decoder { rows: &self.rows, d, step: self.step, iterations: self.iterations };
        let per_task = chunk_rows(dictionary.d_sae).min(64);
        let parts: Vec<Vec<Found>> = y
            .par_chunks(per_task * d)
            .enumerate()
            .map(|(task, y)| {
                let mut of_task = Codes::default();
                for i in task * per_task..task * per_task + y.len() / d {
                    let (features, values) = unit.row(i);
                    of_task.push_row(features, values);
                }
                decoder.all(y, &of_task)
            })
            .collect();
        let whole = |of: fn(&Found) -> &Codes, coding: usize| {
            let parts: Vec<Codes> = parts.iter().map(|part| of(&part[coding]).clone()).collect();
            let mut codes = Codes::concatenate(&parts);
            let back = |(f, v): (&u32, &mut f32)| *v /= self.norms[*f as usize];
            codes.features.iter().zip(&mut codes.values).for_each(back);
            codes
        };
        let mut all: Vec<[Codes; 2]> = (0..Coding::all().len())
            .map(|coding| [whole(|found| &found.codes, coding), whole(|found| &found.refitted, coding)])
            .collect();
        // Exactly what the dictionary gives, without a division that undoes a multiplication.
        all[0][0] = own.clone();
        all
    }

    fn count(&mut self, own: &Codes, best: &Codes) {
        for i in 0..own.rows() {
            let (features, values) = own.row(i);
            for (&f, &v) in features.iter().zip(values) {
                self.features[f as usize].encoder += 1;
                self.features[f as usize].both += u64::from(best.row(i).0.binary_search(&f).is_ok());
                self.codes[f as usize][0] += f64::from(v);
            }
            for (&f, &v) in best.row(i).0.iter().zip(best.row(i).1) {
                self.features[f as usize].best += 1;
                self.codes[f as usize][1] += f64::from(v);
            }
        }
    }

    fn finish(mut self) -> Result<(Vec<AuditCodingRow>, Vec<AuditFeatureRow>, Audit)> {
        let mut codings = Vec::new();
        for (coding, sums) in Coding::all().into_iter().zip(&self.sums) {
            let (raw, refitted) = (sums.raw.figures(), sums.refitted.figures());
            let (Some(raw), Some(refitted)) = (raw, refitted) else {
                return Err(Error::data("there are no rows to code"));
            };
            let (Some(fve), Some(fve_refitted)) = (raw.fve, refitted.fve) else {
                return Err(Error::data("the rows do not vary, so there is nothing to explain"));
            };
            codings.push(AuditCodingRow {
                coding: coding.name().to_owned(),
                fve,
                fve_refitted,
                l0: raw.l0,
                shared: sums.shared as f64 / self.active.max(1) as f64,
                better: sums.better as f64 / self.tokens.max(1) as f64,
            });
        }
        for (row, codes) in self.features.iter_mut().zip(&self.codes) {
            let mean = |sum: f64, n: u64| (n > 0).then(|| sum / n as f64);
            (row.encoder_mean, row.best_mean) = (mean(codes[0], row.encoder), mean(codes[1], row.best));
        }
        let (Some(own), Some(best)) = (codings.first(), codings.last()) else {
            return Err(Error::data("there are no rows to code"));
        };
        let audit = Audit {
            format: FORMAT.to_owned(),
            version: VERSION,
            tokens: self.tokens,
            l0: own.l0,
            fve: own.fve,
            fve_refitted: own.fve_refitted,
            fve_best: best.fve,
            gap: best.fve - own.fve,
            gap_of_codes: own.fve_refitted - own.fve,
            gap_of_choice: best.fve - own.fve_refitted,
            ..Audit::default()
        };
        Ok((codings, self.features, audit))
    }
}
