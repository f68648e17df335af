//! The table of a sweep: `sweep.parquet`.

use crate::row::row;

row! {
    /// `sweep.parquet`: one run of a sweep. What a run that is not finished cannot say is null.
    SweepRow {
        /// Its folder in the sweep's.
        run: String,
        /// `finished`, `failed`, `stopped` or `not begun`.
        status: String,
        /// Why it failed.
        error: Option<String>,
        /// `topk`, `mutual-choice` and so on.
        method: String,
        /// Features per token; 0 for methods without a budget.
        k: u64,
        /// Number of features.
        d_sae: u64,
        /// Decides the first directions.
        seed: u64,
        /// Decides the order of rows.
        data_seed: u64,
        /// Where the activations were taken.
        hook: String,
        /// The dataset's folder.
        data: String,
        /// All options, as JSON.
        config: String,
        /// Steps done.
        steps: Option<u64>,
        /// Tokens trained on.
        tokens: Option<u64>,
        /// Training time of this run alone.
        seconds: Option<f64>,
        /// Loss over the last logged window of training rows.
        loss: Option<f64>,
        /// FVE over it.
        fve: Option<f64>,
        /// Features per token over it.
        l0: Option<f64>,
        /// Features silent for `dead_after` tokens.
        dead: Option<u64>,
        /// Those over `d_sae`.
        dead_share: Option<f64>,
        /// Tokens of silence after which a feature is dead.
        dead_after: Option<u64>,
        /// Rows left out because of their norm.
        left_out: Option<u64>,
        /// Features per token by the thresholds that were fitted, on held-out tokens.
        l0_threshold: Option<f64>,
    }
}
