//! The tables that `sae compare` makes of many runs.

use crate::row::row;

row! {
    /// `comparison/runs.parquet`: one dictionary, measured on held-out documents.
    ComparisonRow {
        /// The run, or the name of a baseline that is computed.
        run: String,
        /// What it is apart from its seed; means are over a group.
        group: String,
        /// `topk`, `mutual-choice` and so on; for a baseline its name, as `pca-first`.
        method: String,
        /// What the group differs in from its method's defaults; empty for the method itself.
        variant: String,
        /// Which control it is, in words; empty for what is to be judged.
        control: String,
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
        /// KL(clean ‖ reconstructed), nats per token.
        kl: Option<f64>,
        /// E‖x̂‖² / E[x·x̂].
        reconstruction_bias: Option<f64>,
        /// Mean |cos| of decoder rows of different features.
        decoder_cosine: Option<f64>,
        /// Mean over features of the largest cosine with a different feature's decoder row.
        max_decoder_cosine: Option<f64>,
        /// Share of features that fire on more than 1 % of the tokens.
        over_1_percent: Option<f64>,
        /// Share of Σ‖x‖² in the rows that are left out because of their norm.
        left_out_mass: Option<f64>,
        /// γ = ‖μ‖ / ‖σ‖ of the evaluated activations.
        mean_to_spread: Option<f64>,
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
        control: String,
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
        /// Lower end of the 95 % interval of the mean over seeds, by Student's t with n − 1 degrees of freedom; null for one seed.
        low: Option<f64>,
        /// Its upper end.
        high: Option<f64>,
        /// Lower end of the 95 % interval over documents, by bootstrap: percentiles 2.5 and 97.5 of 1000 draws of as many documents
        /// with replacement, the seeds as they are. Only for figures that are sums over documents (`fve` in units of the variance of
        /// all evaluated tokens, `ce_increase`, `kl`, `l0`).
        data_low: Option<f64>,
        /// Its upper end.
        data_high: Option<f64>,
        /// The smallest.
        least: f64,
        /// The largest.
        most: f64,
    }
}

row! {
    /// `comparison/differences.parquet`: two groups with the same hook and k, and whether a figure tells them apart.
    DifferenceRow {
        /// Of both.
        hook: String,
        /// Of both; 0 for methods without a budget.
        k: u64,
        /// A column of `runs.parquet`.
        figure: String,
        /// See [`ComparisonRow::group`].
        group: String,
        /// Features of the group.
        d_sae: u64,
        /// The group that it is compared with.
        other: String,
        /// Its features.
        other_d_sae: u64,
        /// Which control the other is; empty if it is none.
        other_control: String,
        /// Mean of the group minus mean of the other.
        difference: f64,
        /// Lower end of the 95 % interval over seeds (Welch's t); null where one of them has one seed.
        low: Option<f64>,
        /// Its upper end.
        high: Option<f64>,
        /// Lower end of the 95 % interval over documents, by bootstrap of the same documents for both.
        data_low: Option<f64>,
        /// Its upper end.
        data_high: Option<f64>,
        /// The smallest difference that would have been seen four times of five (two-sided test at 5 %): the larger of that over seeds
        /// and that over documents, of those that can be told.
        detectable: Option<f64>,
        /// Whether there is an interval and none holds 0.
        apart: bool,
    }
}
