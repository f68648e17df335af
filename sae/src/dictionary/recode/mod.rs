//! Better codes for a decoder than its encoder gives, with at most as many features per token: what is searched from the encoder's codes.
//!
//! ```text
//! rows x ─ encoder ─▶ codes ─▶ the best sizes on their features (least squares, 0 or more)      refit
//!   └──── y = x − b ── orthogonal matching pursuit ─────────────────────────────────────────     pursuit
//!         from codes ─ iterative soft, hard, half, firm, log-sum thresholding ──────────────     soft, hard, …
//!         from codes ─ the most probable support under spikes and slabs, a few at a time ───     posterior
//!                      the one of all with the smallest error, token by token ──────────────     best
//! ```
//!
//! None of them is sure to find the very best features, which is a hard problem.

mod coding;
mod fit;
mod slabs;
mod support;

use rayon::prelude::*;

use super::{Codes, Dictionary};
use crate::{Error, Result};
pub use coding::Coding;
use coding::Decoder;
use kernels::encode::{centre, chunk_rows};
use kernels::wide::{largest_eigenvalue, row_norms, unit_rows};
pub use slabs::Slabs;

/// Steps of an iterative thresholding unless others are asked for.
pub const ITERATIONS: usize = 100;

/// A dictionary's decoder, ready for one way to find codes.
#[derive(Debug, Clone)]
pub struct Recoder {
    coding: Coding,
    /// Decoder rows of norm 1 `[F, d]`, and their norms `[F]`.
    rows: Vec<f32>,
    norms: Vec<f32>,
    /// 1 over the largest eigenvalue of the rows' products; 0 where nothing is thresholded.
    step: f64,
    iterations: usize,
    slabs: Option<Slabs>,
}

/// Codes as a coding found them, and the best ones of 0 or more on their features.
#[derive(Debug, Clone, Default)]
pub struct Recoded {
    /// As they were found.
    pub found: Codes,
    /// Fitted again.
    pub refitted: Codes,
}

impl Recoder {
    /// For `coding` with the decoder of `dictionary`. Where the coding asks how features behave ([`Coding::needs_slabs`]), that is measured
    /// on `training[n, d_in]`.
    ///
    /// # Errors
    /// A transcoder, whose output is not known when it is used; codes of either sign; no iterations; a dictionary that is silent on all of
    /// `training`.
    pub fn new(dictionary: &Dictionary, coding: Coding, iterations: usize, training: &[f32]) -> Result<Self> {
        dictionary.needs_its_input("searching codes")?;
        dictionary.needs_positive_codes("searching codes")?;
        if iterations == 0 {
            return Err(Error::request("iterative thresholding needs at least 1 step"));
        }
        let rows = unit_rows(&dictionary.w_dec, dictionary.d_in);
        let step = if coding.thresholds() { 1.0 / largest_eigenvalue(&rows, dictionary.d_in) } else { 0.0 };
        let norms = row_norms(&dictionary.w_dec, dictionary.d_in);
        let mut recoder = Self { coding, rows, norms, step, iterations, slabs: None };
        if coding.needs_slabs() {
            recoder.slabs = Some(recoder.measure(dictionary, training)?);
        }
        Ok(recoder)
    }

    /// How codes are found.
    pub fn coding(&self) -> Coding {
        self.coding
    }

    /// Rates, sizes and noise of the best codes on the encoder's features of `training`.
    fn measure(&self, dictionary: &Dictionary, training: &[f32]) -> Result<Slabs> {
        let own = dictionary.encode(training);
        let parts =
            self.parts(dictionary, &own, training, |decoder, y, codes| decoder.one(Coding::Refit, y, codes));
        let codes = Codes::concatenate(&parts.iter().map(|part| part.refitted.clone()).collect::<Vec<_>>());
        let error: f64 = parts.iter().flat_map(|part| &part.errors).sum();
        Slabs::measure(&codes, error, dictionary.d_in, dictionary.d_sae).ok_or_else(|| {
            Error::data("the dictionary has no active feature on the rows that its features are measured on")
        })
    }

    /// Codes of `x[n, d_in]`, for which the dictionary gave `own`: the best ones of 0 or more on the features that were found.
    pub fn recode(&self, dictionary: &Dictionary, own: &Codes, x: &[f32]) -> Codes {
        let parts = self.parts(dictionary, own, x, |decoder, y, codes| decoder.one(self.coding, y, codes));
        self.whole(parts.iter().map(|part| &part.refitted))
    }

    /// Codes of `x[n, d_in]` by every coding, in the order of [`Coding::all`].
    pub fn all(&self, dictionary: &Dictionary, own: &Codes, x: &[f32]) -> Vec<Recoded> {
        let parts = self.parts(dictionary, own, x, |decoder, y, codes| decoder.all(y, codes));
        let of = |coding: usize| Recoded {
            found: self.whole(parts.iter().map(|part| &part[coding].codes)),
            refitted: self.whole(parts.iter().map(|part| &part[coding].refitted)),
        };
        (0..Coding::all().len()).map(of).collect()
    }

    /// What `each` makes of some rows at a time, without what is subtracted from them, and of their codes for rows of norm 1.
    fn parts<T: Send>(
        &self,
        dictionary: &Dictionary,
        own: &Codes,
        x: &[f32],
        each: impl Fn(&Decoder<'_>, &[f32], &Codes) -> T + Sync,
    ) -> Vec<T> {
        let d = dictionary.d_in;
        let normalised = dictionary.normalisation.apply(x, d);
        let mut y = vec![0.0; x.len()];
        centre(&mut y, &normalised, &dictionary.subtracted());
        let decoder = Decoder {
            rows: &self.rows,
            d,
            step: self.step,
            iterations: self.iterations,
            slabs: self.slabs.as_ref(),
        };
        let per_task = chunk_rows(dictionary.d_sae).min(64);
        let part = |(task, y): (usize, &[f32])| {
            let mut codes = Codes::default();
            for i in task * per_task..task * per_task + y.len() / d {
                let (features, values) = own.row(i);
                let unit: Vec<f32> =
                    features.iter().zip(values).map(|(f, v)| v * self.norms[*f as usize]).collect();
                codes.push_row(features, &unit);
            }
            each(&decoder, y, &codes)
        };
        y.par_chunks(per_task * d).enumerate().map(part).collect()
    }

    /// Codes of all parts, in the dictionary's own units.
    fn whole<'a>(&self, parts: impl Iterator<Item = &'a Codes>) -> Codes {
        let mut codes = Codes::concatenate(&parts.cloned().collect::<Vec<_>>());
        let back = |(f, v): (&u32, &mut f32)| *v /= self.norms[*f as usize];
        codes.features.iter().zip(&mut codes.values).for_each(back);
        codes
    }
}
