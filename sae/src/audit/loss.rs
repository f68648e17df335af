//! What the model makes of codes: its cross-entropy with their reconstructions in place of the activations.

use storage::audit::{Audit, AuditCodingRow};

use super::tally::Tally;
use crate::dictionary::Codes;
use crate::evaluate::passes::{batches, check_energy, counted, replaced, stop};
use crate::evaluate::{Behaviour, Energy, Replacement, Splice, SpliceAt, hook_of};
use crate::rows::Subject;
use crate::{Progress, Result};
use lm::model::LanguageModel;
use lm::model::ops::Compared;

/// Cross-entropies in nats per token; `None` where no document has two tokens.
pub(super) struct Losses {
    clean: Option<f64>,
    tokens: u64,
    /// With the encoder's codes, then with each coding's refitted ones.
    with: Vec<Option<f64>>,
}

/// Runs the model on `documents` as it is and with all codes that `tally` kept.
///
/// # Errors
/// A model that does not compute what the dataset holds, or fails; [`crate::Error::Stopped`].
pub(super) fn measure(
    model: &LanguageModel,
    subject: &Subject,
    tally: &Tally<'_>,
    documents: Vec<(u32, Vec<u32>)>,
    progress: &mut dyn Progress,
) -> Result<Losses> {
    let (dictionary, dataset, limit) = (&subject.dictionary, &subject.dataset, subject.norm_limit);
    let (hook, width) = (hook_of(dataset)?, dictionary.d_in);
    let context_length = dataset.manifest().context_length;
    let (decoder, layers) = (model.decoder(), model.config().num_hidden_layers);
    let kept: Vec<Codes> = tally.kept();
    let mut behaviours = vec![Behaviour::default(); kept.len()];
    let (mut energy, mut done) = (Energy::default(), 0);
    let total: usize = documents.iter().map(|(_, tokens)| tokens.len()).sum();
    progress.begin("loss", Some(total as u64), "tokens");
    for contexts in batches(model, documents, context_length)? {
        let contexts = contexts?;
        let counted = counted(&contexts);
        let rows: Vec<Option<usize>> =
            contexts.origin.iter().map(|origin| tally.row_of((*origin)?)).collect();
        let tap = |splice| SpliceAt { hook, width, contexts: &contexts, limit, splice, seen: None };
        let mut watching = tap(Splice::Watch(&mut energy));
        let clean = decoder.residual(&contexts, layers, &mut watching)?;
        let seen = watching.seen.take();
        let mut others = Vec::with_capacity(kept.len());
        for codes in &kept {
            let mut coded = tap(Splice::Coded { dictionary, codes, rows: &rows });
            others.push(replaced(model, &mut coded, seen.as_ref())?);
            stop(progress)?;
        }
        let compared = decoder.compare(&clean, &others, &contexts)?;
        for (behaviour, other) in behaviours.iter_mut().zip(compared.others) {
            let alone = Compared { clean: compared.clean.clone(), others: vec![other] };
            behaviour.add(&alone, &[Replacement::Reconstruction], &counted);
        }
        done += contexts.document_tokens() as u64;
        progress.advance(done, "");
    }
    check_energy(energy, tally.mean_energy(), hook)?;
    let figures: Vec<_> = behaviours.iter().map(Behaviour::figures).collect();
    let first = figures.first().copied().flatten();
    let losses = Losses {
        clean: first.map(|figures| figures.ce_clean),
        tokens: first.map_or(0, |figures| figures.tokens),
        with: figures.iter().map(|figures| figures.map(|figures| figures.ce_reconstructed)).collect(),
    };
    progress.end(&match (losses.with.first(), losses.with.last()) {
        (Some(Some(own)), Some(Some(best))) => format!("CE {own:.4}, with the best codes {best:.4}"),
        _ => "no document has two tokens: there is no prediction to compare".to_owned(),
    });
    Ok(losses)
}

impl Losses {
    /// Puts them into the record and the table.
    pub fn note(&self, audit: &mut Audit, codings: &mut [AuditCodingRow]) {
        (audit.ce_clean, audit.predicted_tokens) = (self.clean, self.tokens);
        let with = |i: Option<usize>| i.and_then(|i| self.with.get(i).copied().flatten());
        (audit.ce, audit.ce_refitted) = (with(Some(0)), with(Some(1)));
        audit.ce_best = with(self.with.len().checked_sub(1));
        for (i, row) in codings.iter_mut().enumerate() {
            row.ce = with(Some(i + 1));
        }
    }
}
