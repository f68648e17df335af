//! What a dictionary's files and tensors say, before any row was read.

use storage::check::{Check, Spread};
use storage::run::Decision;

use crate::dictionary::{Dictionary, Selection};
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
        selection: selection(&dictionary.selection),
        encoder_norms: spread(&dictionary.w_enc, dictionary.d_in),
        decoder_norms: spread(&dictionary.w_dec, dictionary.d_out()),
        bias_norm: norm(&dictionary.b_dec),
        thresholds,
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
        published_l0: published_l0(reading),
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

fn selection(selection: &Selection) -> String {
    match selection {
        Selection::TopK(k) => format!("topk, k {k}"),
        Selection::AbsTopK(k) => format!("abstopk, k {k}"),
        other => other.name().to_owned(),
    }
}

/// Features per token as a folder or file name has them: `average_l0_71`, `L0_50`.
fn published_l0(reading: &Reading) -> Option<f64> {
    reading.files.iter().find_map(|file| {
        let parts = file.iter().rev().map(|part| part.to_string_lossy().to_lowercase());
        parts.filter_map(|part| number_after(&part, "l0_")).next()
    })
}

fn number_after(text: &str, mark: &str) -> Option<f64> {
    let rest = &text[text.rfind(mark)? + mark.len()..];
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|n| *n > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_numbers_are_in_names() {
        assert_eq!(number_after("average_l0_71", "l0_"), Some(71.0));
        assert_eq!(number_after("sae-res-qwen3-1.7b-base-w32k-l0_50", "l0_"), Some(50.0));
        for none in ["layer_3_width_16k_l0_small", "params.npz", "l0_", "average_l0_0"] {
            assert_eq!(number_after(none, "l0_"), None, "{none}");
        }
    }
}
