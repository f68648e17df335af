//! What codings come to, summed over tokens.

use std::collections::HashMap;

use storage::audit::{Audit, AuditCodingRow, AuditFeatureRow, FORMAT, VERSION};

use crate::dictionary::recode::{Coding, Recoder};
use crate::dictionary::{Codes, Dictionary};
use crate::evaluate::Reconstruction;
use crate::{Error, Result};

/// What one coding came to.
struct Sums {
    raw: Reconstruction,
    refitted: Reconstruction,
    shared: u64,
    better: u64,
}

/// Sums over tokens.
pub(super) struct Tally<'a> {
    dictionary: &'a Dictionary,
    recoder: &'a Recoder,
    sums: Vec<Sums>,
    tokens: u64,
    active: u64,
    features: Vec<AuditFeatureRow>,
    codes: Vec<[f64; 2]>,
    /// For the model: the tokens, by document and position, and their codes: the encoder's, then each coding's refitted ones.
    places: Option<HashMap<(u32, u32), usize>>,
    kept: Vec<Vec<Codes>>,
}

impl<'a> Tally<'a> {
    /// No token yet; `keep` the codes if a model is to see them.
    pub fn new(dictionary: &'a Dictionary, recoder: &'a Recoder, keep: bool) -> Self {
        let (d, n) = (dictionary.d_in, dictionary.d_sae);
        let empty = || Reconstruction::new(d, n);
        let sums = |_| Sums { raw: empty(), refitted: empty(), shared: 0, better: 0 };
        Self {
            dictionary,
            recoder,
            sums: Coding::all().into_iter().map(sums).collect(),
            tokens: 0,
            active: 0,
            features: (0..n as u32)
                .map(|feature| AuditFeatureRow { feature, ..AuditFeatureRow::default() })
                .collect(),
            codes: vec![[0.0; 2]; n],
            places: keep.then(HashMap::new),
            kept: vec![Vec::new(); Coding::all().len() + 1],
        }
    }

    /// Notes where the next token of [`Tally::add`] is.
    pub fn place(&mut self, document: u32, position: u32) {
        if let Some(places) = &mut self.places {
            let row = places.len();
            places.insert((document, position), row);
        }
    }

    /// The row of a token in [`Tally::kept`]; `None` for one that was left out.
    pub fn row_of(&self, token: (u32, u32)) -> Option<usize> {
        self.places.as_ref()?.get(&token).copied()
    }

    /// Codes of all tokens: the encoder's, then each coding's refitted ones in the order of [`Coding::all`].
    pub fn kept(&self) -> Vec<Codes> {
        self.kept.iter().map(|parts| Codes::concatenate(parts)).collect()
    }

    /// Mean Σx² of a token.
    pub fn mean_energy(&self) -> f64 {
        self.sums.first().map_or(0.0, |sums| sums.raw.mean_energy())
    }

    /// Codes `x[n, d]` in every way.
    pub fn add(&mut self, x: &[f32]) -> Result<()> {
        let (dictionary, d) = (self.dictionary, self.dictionary.d_in);
        let own = dictionary.encode(x);
        let mut all = self.recoder.all(dictionary, &own, x);
        // Exactly what the dictionary gives, without a division that undoes a multiplication.
        if let Some(encoder) = all.first_mut() {
            encoder.found.clone_from(&own);
        }
        let errors = |codes: &Codes| -> Vec<f64> {
            let made = dictionary.decode_with(codes, x);
            let rows = x.chunks_exact(d).zip(made.chunks_exact(d));
            rows.map(|(x, y)| x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum()).collect()
        };
        let encoder = errors(&own);
        for (sums, coded) in self.sums.iter_mut().zip(&all) {
            let (found, refitted) = (&coded.found, &coded.refitted);
            sums.raw.add(x, found, &dictionary.decode_with(found, x))?;
            sums.refitted.add(x, refitted, &dictionary.decode_with(refitted, x))?;
            // Less by more than rounding.
            let less = |(a, b): (f64, &f64)| a < *b * (1.0 - 1e-5);
            sums.better +=
                errors(refitted).into_iter().zip(&encoder).filter(|pair| less(*pair)).count() as u64;
            for i in 0..own.rows() {
                let shared = own.row(i).0.iter().filter(|f| found.row(i).0.binary_search(f).is_ok());
                sums.shared += shared.count() as u64;
            }
        }
        let Some(best) = all.last() else { return Ok(()) };
        self.count(&own, &best.refitted);
        self.tokens += own.rows() as u64;
        self.active += own.features.len() as u64;
        if self.places.is_some() {
            let codes = std::iter::once(own).chain(all.into_iter().map(|coded| coded.refitted));
            self.kept.iter_mut().zip(codes).for_each(|(kept, codes)| kept.push(codes));
        }
        Ok(())
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

    /// Tables and figures; what a model makes of the codes stays empty.
    pub fn finish(&self) -> Result<(Vec<AuditCodingRow>, Vec<AuditFeatureRow>, Audit)> {
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
                ce: None,
            });
        }
        let mut features = self.features.clone();
        for (row, codes) in features.iter_mut().zip(&self.codes) {
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
        Ok((codings, features, audit))
    }
}
