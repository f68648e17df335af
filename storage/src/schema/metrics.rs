//! `metrics.parquet` of a run: one row a logged step, named as SAELens names them.

use arrow::datatypes::{DataType, Field, SchemaRef};

use super::{column, schema};

/// `step`: number of the step, from 0.
pub const STEP: &str = "step";
/// `tokens`: tokens trained on up to and with this step.
pub const TOKENS: &str = "tokens";
/// `seconds`: training time up to this step, summed over resumptions.
pub const SECONDS: &str = "seconds";

/// The loss that is minimised.
pub const OVERALL_LOSS: &str = "losses/overall_loss";
/// Sum of squares of the error, mean over tokens.
pub const MSE_LOSS: &str = "losses/mse_loss";
/// AuxK.
pub const AUXILIARY_LOSS: &str = "losses/auxiliary_reconstruction_loss";
/// What codes cost (L1, L0, tanh, …), with its coefficient; of penalised methods.
pub const SPARSITY_LOSS: &str = "losses/sparsity_loss";
/// FVE, centred.
pub const EXPLAINED_VARIANCE: &str = "metrics/explained_variance";
/// 1 − FVE.
pub const FVU: &str = "metrics/fvu";
/// Mean number of features a token.
pub const L0: &str = "metrics/l0";
/// Number of dead features.
pub const DEAD_FEATURES: &str = "sparsity/dead_features";
/// Dead features / features.
pub const DEAD_SHARE: &str = "sparsity/dead_share";
/// Learning rate of the step.
pub const LEARNING_RATE: &str = "details/current_learning_rate";
/// Speed since the last logged step.
pub const TOKENS_PER_SECOND: &str = "details/tokens_per_second";
/// Mean norm of decoder rows.
pub const W_DEC_NORMS: &str = "weights/W_dec_norms";

/// Candidates of a product in 8 bits that were computed in f32, for every match; null where all pre-activations were.
pub const CANDIDATES: &str = "details/candidates_per_match";
/// Share of the matches that candidates had, where it was looked at.
pub const RECALL: &str = "details/selection_recall";

/// The f32 columns in order; each is null where a method has no such number.
pub const VALUES: [&str; 14] = [
    OVERALL_LOSS,
    MSE_LOSS,
    AUXILIARY_LOSS,
    EXPLAINED_VARIANCE,
    FVU,
    L0,
    DEAD_FEATURES,
    DEAD_SHARE,
    LEARNING_RATE,
    TOKENS_PER_SECOND,
    W_DEC_NORMS,
    SPARSITY_LOSS,
    CANDIDATES,
    RECALL,
];

/// step u64, tokens u64, seconds f64: what every log has.
pub fn metrics_steps() -> SchemaRef {
    schema(vec![
        column(STEP, DataType::UInt64),
        column(TOKENS, DataType::UInt64),
        column(SECONDS, DataType::Float64),
    ])
}

/// [`metrics_steps`], then [`VALUES`] as nullable f32. A log of an older version may lack some of the values.
pub fn metrics() -> SchemaRef {
    let mut fields: Vec<Field> = metrics_steps().fields().iter().map(|field| Field::clone(field)).collect();
    fields.extend(VALUES.map(|name| Field::new(name, DataType::Float32, true)));
    schema(fields)
}
