//! `features/features.parquet`: one row a feature, sorted, every feature present (also dead ones).

use arrow::datatypes::{DataType, Field, SchemaRef};

use super::{FEATURE, TOKEN, column, list, list_of_structs, schema};

/// `count`: tokens it fired on.
pub const COUNT: &str = "count";
/// `density`: count / tokens.
pub const DENSITY: &str = "density";
/// `mean`: over the tokens it fired on.
pub const MEAN: &str = "mean";
/// `max`: its strongest activation.
pub const MAX: &str = "max";
/// `dead`: count = 0.
pub const DEAD: &str = "dead";
/// `bias`: b_enc.
pub const BIAS: &str = "bias";
/// `encoder_norm`: ‖W_enc column‖.
pub const ENCODER_NORM: &str = "encoder_norm";
/// `decoder_norm`: ‖W_dec row‖.
pub const DECODER_NORM: &str = "decoder_norm";
/// `encoder_decoder_cosine`: cosine of the two.
pub const ENCODER_DECODER_COSINE: &str = "encoder_decoder_cosine";
/// `histogram`: counts in 40 equal bins over (0, max].
pub const HISTOGRAM: &str = "histogram";
/// Number of bins of `histogram` and of `logit_histogram`.
pub const HISTOGRAM_BINS: usize = 40;
/// `first_row`: its first row in `features/activations`; `count` rows from there are its own.
pub const FIRST_ROW: &str = "first_row";
/// `fires_on`: its most frequent tokens (token, count).
pub const FIRES_ON: &str = "fires_on";
/// `top_logits`: the tokens that it makes likelier (token, logit).
pub const TOP_LOGITS: &str = "top_logits";
/// `bottom_logits`: the tokens that it makes less likely (token, logit).
pub const BOTTOM_LOGITS: &str = "bottom_logits";
/// `logit_histogram`: over the whole vocabulary, counts of tokens in [`HISTOGRAM_BINS`] equal bins from the smallest logit to the largest,
/// which are the first of `bottom_logits` and of `top_logits`; empty where there are no logits. An index of an older version has no
/// such column.
pub const LOGIT_HISTOGRAM: &str = "logit_histogram";
/// `neighbours`: nearest decoder rows (feature, cosine).
pub const NEIGHBOURS: &str = "neighbours";
/// `coactive`: features that fire on the same tokens (feature, count, lift).
pub const COACTIVE: &str = "coactive";
/// `label`: what somebody called it; null until then.
pub const LABEL: &str = "label";
/// `logit` inside the structs.
pub const LOGIT: &str = "logit";
/// `cosine` inside the structs.
pub const COSINE: &str = "cosine";
/// `lift` inside the structs.
pub const LIFT: &str = "lift";

/// The columns of [`crate::features::FeatureRow`], in its order.
pub fn features() -> SchemaRef {
    use DataType::{Boolean, Float32, UInt32, UInt64, Utf8};
    let token_logit = || list_of_structs(&[(TOKEN, UInt32), (LOGIT, Float32)]);
    schema(vec![
        column(FEATURE, UInt32),
        column(COUNT, UInt64),
        column(DENSITY, Float32),
        column(MEAN, Float32),
        column(MAX, Float32),
        column(DEAD, Boolean),
        column(BIAS, Float32),
        column(ENCODER_NORM, Float32),
        column(DECODER_NORM, Float32),
        column(ENCODER_DECODER_COSINE, Float32),
        column(HISTOGRAM, list(UInt32)),
        column(FIRST_ROW, UInt64),
        column(FIRES_ON, list_of_structs(&[(TOKEN, UInt32), (COUNT, UInt32)])),
        column(TOP_LOGITS, token_logit()),
        column(BOTTOM_LOGITS, token_logit()),
        column(LOGIT_HISTOGRAM, list(UInt32)),
        column(NEIGHBOURS, list_of_structs(&[(FEATURE, UInt32), (COSINE, Float32)])),
        column(COACTIVE, list_of_structs(&[(FEATURE, UInt32), (COUNT, UInt32), (LIFT, Float32)])),
        Field::new(LABEL, Utf8, true),
    ])
}

/// The columns that an index of any version has: [`features`] without those that came later.
pub fn features_of_any_version() -> SchemaRef {
    let all = features();
    let fields = all.fields().iter().filter(|field| field.name() != LOGIT_HISTOGRAM);
    std::sync::Arc::new(arrow::datatypes::Schema::new(fields.cloned().collect::<Vec<_>>()))
}
