//! The ways in which a dictionary may have been meant: the documented one, and the likely misreadings of the field's formats.

use std::borrow::Cow;

use super::sample::{Sample, centre, norms, outlier_limit, without_outliers};
use crate::dictionary::weights::transposed;
use crate::dictionary::{Dictionary, Normalisation, Selection};
use kernels::wide::dot;

/// Factors nearer to 1 than this change no number that a check prints.
const SAME: f64 = 0.1;

/// One way to read a dictionary.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Alternative {
    /// For `--reading` and for programs.
    pub id: &'static str,
    /// What is read differently.
    pub about: String,
    pub change: Change,
}

/// What a reading changes: the dictionary, or the rows that it sees.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// Nothing.
    Nothing,
    /// `W_enc·b_dec` times this is added to the encoder's bias: 1 takes the pre-bias away, −1 brings one in.
    PreBias(f32),
    /// Activations are multiplied by this and reconstructions divided by it.
    Scale(f32),
    /// Thresholds are multiplied by this.
    Thresholds(f32),
    /// Both matrices of a square dictionary, or one of them, are transposed.
    Transposed { encoder: bool, decoder: bool },
    /// The path past a transcoder's features, from `[d_out, d_in]` to `[d_in, d_out]`, or the other way.
    SkipTransposed,
    /// Components are taken in an order in which the heads vary fastest.
    HeadsInside { heads: usize },
    /// The mean over the components is taken off each row.
    Centred,
    /// Each row is normalised in this way.
    Normalised(Normalisation),
    /// Rows without the gain of the norm before the hook.
    WithoutGain,
    /// Rows without those of outlying norm.
    WithoutOutliers,
    /// BOS rows too.
    WithBos,
    /// Components in reverse order.
    Reversed,
}

/// What is known about the dictionary and its rows that decides which readings there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub pre_bias: bool,
    pub input_scale: f32,
    /// Whether it reconstructs something else than its input.
    pub transcoder: bool,
    /// Whether rows are directions of the residual stream.
    pub writes_to_the_stream: bool,
    /// Heads, at a hook of heads' outputs.
    pub heads: Option<usize>,
    /// What thresholds are multiplied by in a reading that the reader of the format proposes.
    pub threshold_factor: Option<f32>,
}

impl Known {
    /// What is known of the dictionary after it was taken by the reading `id`.
    pub fn after(&mut self, id: &str) {
        match id {
            "with-pre-bias" => self.pre_bias = true,
            "without-pre-bias" => self.pre_bias = false,
            "without-scale" => self.input_scale = 1.0,
            "thresholds-published" => self.threshold_factor = None,
            _ => {}
        }
    }
}

/// The readings worth trying, the documented one first and the control last. Where several explain the rows equally well, the earlier
/// is the simpler explanation.
pub(super) fn alternatives(dictionary: &Dictionary, known: &Known, sample: &Sample) -> Vec<Alternative> {
    let d = dictionary.d_in;
    let norms = norms(&sample.rows, d);
    let mean = norms.iter().sum::<f64>() / norms.len().max(1) as f64;
    let unit = if mean > 0.0 { (d as f64).sqrt() / mean } else { 1.0 };
    let limit = outlier_limit(&norms);
    let outliers = norms.iter().filter(|norm| **norm > limit).count();
    let mut all = vec![reading("documented", "as documented", Change::Nothing)];
    let mut push = |id, about: &str, change| all.push(reading(id, about, change));
    if outliers > 0 && outliers < norms.len() && !known.transcoder {
        push(
            "without-outliers",
            &format!("without {outliers} rows of outlying norm"),
            Change::WithoutOutliers,
        );
    }
    if !sample.bos.is_empty() && !known.transcoder {
        push("with-bos", "BOS rows in", Change::WithBos);
    }
    if dictionary.b_dec.len() == d && dictionary.b_dec.iter().any(|b| *b != 0.0) && !known.transcoder {
        match known.pre_bias {
            true => push("without-pre-bias", "without the pre-bias", Change::PreBias(1.0)),
            false => push("with-pre-bias", "with a pre-bias", Change::PreBias(-1.0)),
        }
    }
    let scale = f64::from(known.input_scale);
    let (factor, scaled) = match (scale - 1.0).abs() < 1e-6 {
        true => (unit, false),
        false => (scale, true),
    };
    if let Some(factor) = known.threshold_factor {
        push("thresholds-published", &format!("thresholds × {factor:.4}"), Change::Thresholds(factor));
    }
    if factor.ln().abs() > SAME && dictionary.normalisation == Normalisation::None {
        if matches!(dictionary.selection, Selection::Threshold(_))
            && has_thresholds(dictionary)
            && known.threshold_factor.is_none()
        {
            push(
                "thresholds-times-scale",
                &format!("thresholds × {factor:.4}"),
                Change::Thresholds(factor as f32),
            );
            let inverse = (1.0 / factor) as f32;
            push("thresholds-over-scale", &format!("thresholds × {inverse:.4}"), Change::Thresholds(inverse));
        }
        match scaled {
            true => push("without-scale", "without the input scale", Change::Scale((1.0 / scale) as f32)),
            false => {
                let about = format!("input × √d/mean norm = {unit:.4}");
                push("with-scale", &about, Change::Scale(unit as f32));
            }
        }
    }
    if dictionary.d_sae == d && dictionary.w_dec.len() == d * d {
        for (id, about, encoder, decoder) in [
            ("transposed", "both matrices transposed", true, true),
            ("encoder-transposed", "W_enc transposed", true, false),
            ("decoder-transposed", "W_dec transposed", false, true),
        ] {
            push(id, about, Change::Transposed { encoder, decoder });
        }
    }
    if dictionary.d_out() == d && dictionary.target.as_ref().is_some_and(|target| target.skip.is_some()) {
        push("skip-transposed", "W_skip transposed", Change::SkipTransposed);
    }
    if let Some(heads) = known.heads.filter(|heads| *heads > 1 && d.is_multiple_of(*heads) && *heads < d) {
        push("heads-inside", &format!("the {heads} heads interleaved"), Change::HeadsInside { heads });
    }
    if known.writes_to_the_stream {
        push("centred", "rows centred (center_writing_weights)", Change::Centred);
    }
    if sample.without_gain.is_some() {
        push("without-gain", "norm's gain folded away (fold_ln)", Change::WithoutGain);
    }
    match dictionary.normalisation {
        _ if known.transcoder => {}
        Normalisation::None => {
            push(
                "layer-norm",
                "each row normalised (layer_norm)",
                Change::Normalised(Normalisation::LayerNorm),
            );
        }
        _ => push("without-normalisation", "rows not normalised", Change::Normalised(Normalisation::None)),
    }
    push("control", "components reversed (control)", Change::Reversed);
    all
}

fn reading(id: &'static str, about: &str, change: Change) -> Alternative {
    Alternative { id, about: about.to_owned(), change }
}

fn has_thresholds(dictionary: &Dictionary) -> bool {
    matches!(&dictionary.selection, Selection::Threshold(t) if t.iter().any(|t| *t > 0.0))
}

impl Change {
    /// The dictionary as this reading has it; the same one where only rows change.
    pub fn of_dictionary<'a>(&self, dictionary: &'a Dictionary) -> Cow<'a, Dictionary> {
        match *self {
            Self::PreBias(sign) => {
                Cow::Owned(Dictionary { b_enc: shifted(dictionary, sign), ..dictionary.clone() })
            }
            Self::Thresholds(factor) => {
                let mut changed = dictionary.clone();
                if let Selection::Threshold(thresholds) = &mut changed.selection {
                    thresholds.iter_mut().for_each(|t| *t *= factor);
                }
                Cow::Owned(changed)
            }
            Self::Transposed { encoder, decoder } => {
                let mut changed = dictionary.clone();
                let d = dictionary.d_in;
                if encoder {
                    changed.w_enc = transposed(&dictionary.w_enc, d, d);
                }
                if decoder {
                    changed.w_dec = transposed(&dictionary.w_dec, d, d);
                }
                Cow::Owned(changed)
            }
            Self::Normalised(normalisation) => Cow::Owned(Dictionary { normalisation, ..dictionary.clone() }),
            // A transcoder does not undo what was done to its input, and its skip path sees the input as it is.
            Self::Scale(scale) if dictionary.target.is_some() => {
                let mut changed = dictionary.clone();
                changed.w_enc.iter_mut().for_each(|w| *w *= scale);
                Cow::Owned(changed)
            }
            Self::SkipTransposed => {
                let mut changed = dictionary.clone();
                let d = dictionary.d_in;
                if let Some(skip) = changed.target.as_mut().and_then(|target| target.skip.as_mut()) {
                    *skip = transposed(skip, d, d);
                }
                Cow::Owned(changed)
            }
            _ => Cow::Borrowed(dictionary),
        }
    }

    /// The dictionary of this reading for rows as they are, if there is one: what an import with `--reading` keeps.
    pub fn folded(&self, dictionary: &Dictionary) -> Option<Dictionary> {
        match *self {
            Self::Scale(_) if dictionary.target.is_some() => {
                Some(self.of_dictionary(dictionary).into_owned())
            }
            Self::Scale(scale) => Some(dictionary.clone().for_raw_activations(scale)),
            Self::Centred => Some(for_centred(dictionary)),
            Self::HeadsInside { heads } => Some(for_heads_inside(dictionary, heads)),
            Self::Nothing
            | Self::PreBias(_)
            | Self::Thresholds(_)
            | Self::Transposed { .. }
            | Self::SkipTransposed
            | Self::Normalised(_) => Some(self.of_dictionary(dictionary).into_owned()),
            Self::WithoutGain | Self::WithoutOutliers | Self::WithBos | Self::Reversed => None,
        }
    }

    /// The rows as this reading has them, `[n, d]`.
    pub fn of_rows<'a>(&self, sample: &'a Sample, d: usize) -> Cow<'a, [f32]> {
        let each = |change: &dyn Fn(&mut [f32])| {
            let mut rows = sample.rows.clone();
            rows.chunks_exact_mut(d).for_each(change);
            Cow::Owned(rows)
        };
        match *self {
            // Of a transcoder the encoder is changed.
            Self::Scale(scale) if sample.target.is_none() => {
                each(&|row| row.iter_mut().for_each(|x| *x *= scale))
            }
            Self::HeadsInside { heads } => each(&|row| heads_inside(row, heads)),
            Self::Centred => each(&centre),
            Self::WithoutGain => Cow::Borrowed(sample.without_gain.as_deref().unwrap_or(&sample.rows)),
            Self::WithoutOutliers => Cow::Owned(without_outliers(&sample.rows, d)),
            Self::WithBos => Cow::Owned(sample.rows.iter().chain(&sample.bos).copied().collect()),
            // Outliers would decide the control, too.
            Self::Reversed if sample.target.is_none() => {
                let mut rows = without_outliers(&sample.rows, d);
                rows.chunks_exact_mut(d).for_each(<[f32]>::reverse);
                Cow::Owned(rows)
            }
            Self::Reversed => each(&|row| row.reverse()),
            Self::Nothing
            | Self::Scale(_)
            | Self::PreBias(_)
            | Self::Thresholds(_)
            | Self::Transposed { .. }
            | Self::SkipTransposed
            | Self::Normalised(_) => Cow::Borrowed(&sample.rows),
        }
    }
}

/// The encoder's bias with `sign · W_enc·b_dec` added.
fn shifted(dictionary: &Dictionary, sign: f32) -> Vec<f32> {
    let shift = |f: usize| sign * dot(dictionary.encoder_row(f), &dictionary.b_dec) as f32;
    dictionary.b_enc.iter().enumerate().map(|(f, b)| b + shift(f)).collect()
}

/// `[heads, d_head]` of a row as `[d_head, heads]`.
fn heads_inside(row: &mut [f32], heads: usize) {
    let width = row.len() / heads;
    let from = row.to_vec();
    for (head, values) in from.chunks_exact(width).enumerate() {
        for (i, value) in values.iter().enumerate() {
            row[i * heads + head] = *value;
        }
    }
}

/// The inverse of [`heads_inside`].
fn heads_outside(row: &mut [f32], heads: usize) {
    let width = row.len() / heads;
    let from = row.to_vec();
    for (i, values) in from.chunks_exact(heads).enumerate() {
        for (head, value) in values.iter().enumerate() {
            row[head * width + i] = *value;
        }
    }
}

/// A dictionary of rows in which heads vary fastest, for rows as models give them.
fn for_heads_inside(dictionary: &Dictionary, heads: usize) -> Dictionary {
    let mut changed = dictionary.clone();
    let d = dictionary.d_in;
    for matrix in [&mut changed.w_enc, &mut changed.w_dec, &mut changed.b_dec] {
        matrix.chunks_exact_mut(d).for_each(|row| heads_outside(row, heads));
    }
    changed
}

/// A dictionary of centred rows, for rows as models give them: the encoder reads `C·x` with `C = I − 11ᵀ/d`. What it reconstructs stays
/// centred, which a layer norm does not see.
///
/// `W·(C·x − b) + b_enc = (W·C)·(x − b) + b_enc − W·(b − C·b)`.
fn for_centred(dictionary: &Dictionary) -> Dictionary {
    let mut changed = dictionary.clone();
    let d = dictionary.d_in;
    let mean = dictionary.b_dec.iter().copied().map(f64::from).sum::<f64>() / d as f64;
    for (f, row) in changed.w_enc.chunks_exact_mut(d).enumerate() {
        let sum: f64 = row.iter().copied().map(f64::from).sum();
        changed.b_enc[f] -= (mean * sum) as f32;
        centre(row);
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::fixture;

    fn known() -> Known {
        Known {
            pre_bias: true,
            input_scale: 1.0,
            transcoder: false,
            writes_to_the_stream: true,
            heads: Some(2),
            threshold_factor: None,
        }
    }

    /// A folded dictionary sees of raw rows what the unfolded one sees of changed rows.
    #[test]
    fn folding_is_the_same_as_changing_rows() {
        let d = 8;
        let dictionary = fixture::dictionary(d, 30, 4, 3);
        let sample = Sample { rows: fixture::activations(50, d, 4), ..Sample::default() };
        let raw = &sample.rows;
        for (change, unit) in
            [(Change::Centred, 1.0), (Change::HeadsInside { heads: 2 }, 1.0), (Change::Scale(0.25), 0.25)]
        {
            let folded = change.folded(&dictionary).unwrap();
            let (a, b) = (dictionary.encode(&change.of_rows(&sample, d)), folded.encode(raw));
            assert_eq!(a.features, b.features, "{change:?}");
            let near = |a: &f32, b: &f32| (a - b * unit).abs() < 1e-4;
            assert!(a.values.iter().zip(&b.values).all(|(a, b)| near(a, b)), "{change:?}");
        }
        for changed in [Change::WithBos, Change::Reversed, Change::WithoutGain] {
            assert!(changed.folded(&dictionary).is_none());
        }
    }

    #[test]
    fn taking_the_pre_bias_away_and_bringing_it_back_changes_nothing() {
        let dictionary = fixture::dictionary(8, 30, 4, 3);
        let without = Change::PreBias(1.0).of_dictionary(&dictionary).into_owned();
        let x = fixture::activations(20, 8, 5);
        // By hand: z of raw rows.
        let z = |f: usize, row: &[f32]| dot(row, dictionary.encoder_row(f)) as f32 + dictionary.b_enc[f];
        let codes = without.encode(&x);
        for (i, row) in x.chunks_exact(8).enumerate() {
            for (&f, &value) in codes.row(i).0.iter().zip(codes.row(i).1) {
                assert!((z(f as usize, row) - value).abs() < 1e-5);
            }
        }
        let back = Change::PreBias(-1.0).of_dictionary(&without).into_owned();
        assert!(back.b_enc.iter().zip(&dictionary.b_enc).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn only_what_can_be_is_tried() {
        let ids = |dictionary: &Dictionary, known: &Known, sample: &Sample| -> Vec<&str> {
            alternatives(dictionary, known, sample).iter().map(|reading| reading.id).collect()
        };
        let square = fixture::dictionary(8, 8, 2, 1);
        let sample = Sample { rows: fixture::activations(40, 8, 1), ..Sample::default() };
        let all = ids(&square, &known(), &sample);
        assert!(all.contains(&"decoder-transposed") && all.contains(&"heads-inside"), "{all:?}");
        assert_eq!((all.first(), all.last()), (Some(&"documented"), Some(&"control")));
        let wide = fixture::dictionary(8, 20, 2, 1);
        let bare = Known { heads: None, transcoder: true, writes_to_the_stream: false, ..known() };
        let few = ids(&wide, &bare, &sample);
        assert!(few.iter().all(|id| ["documented", "with-scale", "control"].contains(id)), "{few:?}");
        let mut long = sample.clone();
        long.rows[..8].fill(1000.0);
        assert!(ids(&wide, &known(), &long).contains(&"without-outliers"));
    }
}
