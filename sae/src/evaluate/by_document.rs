//! What an evaluation found document by document.

use std::collections::BTreeMap;

use lm::model::ops::Compared;
use lm::text::Contexts;
use storage::evaluation::EvaluatedDocumentRow;

use crate::dictionary::Codes;

/// Sums of each document, by its number.
#[derive(Debug, Clone, Default)]
pub struct ByDocument(BTreeMap<u32, EvaluatedDocumentRow>);

impl ByDocument {
    fn of(&mut self, document: u32) -> &mut EvaluatedDocumentRow {
        self.0.entry(document).or_insert_with(|| EvaluatedDocumentRow { document, ..Default::default() })
    }

    /// Adds rows of `documents[n]`: `x[n, d]` with their `codes` and reconstructions `x_hat[n, d]`.
    pub fn add_rows(&mut self, documents: &[u32], (x, x_hat, d): (&[f32], &[f32], usize), codes: &Codes) {
        let rows = x.chunks_exact(d).zip(x_hat.chunks_exact(d));
        for ((&document, (x, x_hat)), active) in documents.iter().zip(rows).zip(codes.offsets.windows(2)) {
            let sums = self.of(document);
            sums.tokens += 1;
            sums.active += (active[1] - active[0]) as u64;
            let differences = x.iter().zip(x_hat).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2));
            sums.residual += differences.sum::<f64>();
        }
    }

    /// Adds the predictions of `counted` positions of `contexts`, of which `compared` has the reconstruction first.
    pub fn add_predictions(&mut self, contexts: &Contexts, compared: &Compared, counted: &[bool]) {
        let Some(with) = compared.others.first() else { return };
        for (i, origin) in contexts.origin.iter().enumerate().filter(|(i, _)| counted[*i]) {
            if let (Some((document, _)), Some(clean), Some((ce, kl))) = (origin, compared.clean[i], with[i]) {
                let sums = self.of(*document);
                sums.predicted += 1;
                sums.ce_clean += f64::from(clean);
                sums.ce_reconstructed += f64::from(ce);
                sums.kl += f64::from(kl);
            }
        }
    }

    /// The rows, by document.
    pub fn rows(self) -> Vec<EvaluatedDocumentRow> {
        self.0.into_values().collect()
    }
}
