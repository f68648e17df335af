//! The tables that `sae compare` makes of many runs.

use crate::row::row;

row! {
    /// `comparison/runs.parquet`: one dictionary, measured on held-out documents.
    ComparisonRow {
        /// The run, or the name of a baseline that is computed.
        run: String,
        /// What it is apart from its seed; means are over a group.
        group: String,
        /// `topk`, `mutual-choice` and so on; `pca` for baselines.
        method: String,
        /// What the group differs in from its method's defaults; empty for the method itself.
        variant: String,
        /// Where the activations were taken.
        hook: String,
        /// Features per token that were asked for; 0 for methods without a budget.
        k: u64,
        /// Number of features.
        d_sae: u64,
        /// Decides the first directions.
        seed: u64,
        /// Tokens trained on.
        tokens: u64,
        /// How codes are selected: `best` k of a token, `one` threshold, a threshold for `each` feature.
        selection: String,
        /// Held-out tokens that were reconstructed.
        evaluated: u64,
        /// Fraction of variance explained.
        fve: Option<f64>,
        /// Features per token.
        l0: f64,
        /// Standard deviation of the features of a token.
        l0_sd: Option<f64>,
        /// Features of the token that 5 % of tokens have fewer than.
        l0_p5: Option<f64>,
        /// Features of the token in the middle.
        l0_median: Option<f64>,
        /// Features of the token that 5 % of tokens have more than.
        l0_p95: Option<f64>,
        /// Share of features that fire on none of the evaluated tokens.
        dead_share: f64,
        /// Share of features that fire less than a tenth as often as the mean feature; dead ones are among them.
        under_used_share: Option<f64>,
        /// Mean cosine of activation and reconstruction.
        cosine: f64,
        /// Mean ratio of their norms, ‖x̂‖ / ‖x‖.
        l2_ratio: Option<f64>,
        /// Cross-entropy of the model as it is, nats.
        ce_clean: Option<f64>,
        /// … with reconstructions at the hook.
        ce: Option<f64>,
        /// Against zero ablation.
        loss_recovered: Option<f64>,
        /// KL(clean ‖ reconstructed), nats a token.
        kl: Option<f64>,
        /// Features per token in training, over the last logged window.
        l0_training: Option<f64>,
        /// FVE in training, over it.
        fve_training: Option<f64>,
        /// Training time.
        seconds: Option<f64>,
    }
}

row! {
    /// `comparison/means.parquet`: one figure of one group, over its seeds.
    MeanRow {
        /// See [`ComparisonRow::group`].
        group: String,
        /// Of the group.
        method: String,
        /// Of the group.
        variant: String,
        /// Of the group.
        hook: String,
        /// Of the group.
        k: u64,
        /// Of the group.
        d_sae: u64,
        /// A column of `runs.parquet`.
        figure: String,
        /// Seeds that have it.
        seeds: u64,
        /// Mean over them.
        mean: f64,
        /// Standard deviation over them (n − 1); null for one.
        sd: Option<f64>,
        /// The smallest.
        least: f64,
        /// The largest.
        most: f64,
    }
}
