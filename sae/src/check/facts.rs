//! What a dictionary's files and tensors say, before any row was read.

use storage::check::{Check, Spread};
use storage::run::Decision;

use crate::dictionary::{Dictionary, Pick, Selection};
use crate::interop::dictionaries::Reading;
use kernels::wide::{norm, row_norms};

/// Everything that a check tells without rows.
pub(super) fn of(source: &str, dictionary: &Dictionary, reading: &Reading) -> Check {
    let spread = |matrix: &[f32], d: usize| Spread::of(&row_norms(matrix, d));
    let thresholds = match &dictionary.selection {
        Selection::Threshold(all) if all.iter().any(|t| *t != 0.0) => Some(Spread::of(all)),
        _ => None,
    };
    Check {
        d_in: dictionary.d_in,
        d_sae: dictionary.d_sae,
        d_out: dictionary.d_out(),
        selection: match dictionary.prune_below {
            Some(below) => format!("{}, pruned below {below:.4}", selection(&dictionary.selection)),
            None => selection(&dictionary.selection),
        },
        encoder_norms: spread(&dictionary.w_enc, dictionary.d_in),
        decoder_norms: spread(&dictionary.w_dec, dictionary.d_out()),
        bias_norm: norm(&dictionary.b_dec),
        thresholds,
        alpha_tenths: alpha_tenths(&dictionary.selection),
        ..of_reading(source, reading)
    }
}

/// What the files alone say.
pub(super) fn of_reading(source: &str, reading: &Reading) -> Check {
    Check {
        source: source.to_owned(),
        layout: reading.format.name().to_owned(),
        model: reading.model.clone(),
        hook: reading.hook_in.clone(),
        hook_out: reading.hook_out.clone().filter(|out| Some(out) != reading.hook_in.as_ref()),
        pre_bias: reading.pre_bias,
        input_scale: f64::from(reading.input_scale),
        normalisation: reading.normalisation.clone(),
        decisions: decisions(reading),
        published_l0: reading.published_l0,
        ..Check::new()
    }
}

/// The decisions as they are kept.
pub(crate) fn decisions(reading: &Reading) -> Vec<Decision> {
    let kept = |one: &crate::interop::dictionaries::Decision| Decision {
        what: one.what.clone(),
        value: one.value.clone(),
        why: one.why.clone(),
    };
    reading.decisions.iter().map(kept).collect()
}

/// How many of the α of cosine scores lie in each tenth from 0 to 1.
fn alpha_tenths(selection: &Selection) -> Vec<u64> {
    let Selection::Cosine(cosine) = selection else { return Vec::new() };
    let mut tenths = vec![0; 10];
    cosine.alpha.iter().for_each(|alpha| tenths[((alpha * 10.0) as usize).min(9)] += 1);
    tenths
}

fn pick(pick: Pick) -> String {
    match pick {
        Pick::Best(k) => format!("k {k}"),
        Pick::Above(least) => format!("above {least:.4}"),
    }
}

fn selection(selection: &Selection) -> String {
    match selection {
        Selection::TopK(k) => format!("topk, k {k}"),
        Selection::BlockTopK(blocks) => format!("block_topk, k {} in {} blocks", blocks.k, blocks.count),
        Selection::Shrunk(shrunk) => {
            format!("{} shrinkage above {:.4}", shrunk.kind.name(), shrunk.threshold())
        }
        Selection::AbsTopK(k) => format!("abstopk, k {k}"),
        Selection::Cosine(cosine) => {
            let alpha = Spread::of(&cosine.alpha);
            format!("cosine, {}, α {:.3} (median)", pick(cosine.pick), alpha.median)
        }
        Selection::Refined(refined) => {
            format!(
                "refined by a step of {}, {} after {}",
                refined.step,
                pick(refined.then),
                pick(refined.first)
            )
        }
        other => other.name().to_owned(),
    }
}
