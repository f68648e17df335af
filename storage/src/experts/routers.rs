//! What routers know: their choices predicted from features.

use crate::row::row;

row! {
    /// `features/routers.parquet`: how well the choices of one layer's router are predicted on documents that the
    /// predictor was not made from.
    RouterRow {
        /// The block.
        layer: u16,
        /// What predicts: `features`, `prior`, `position`, `unigram`, `bigram`, `dense`, or `shuffled`, which is
        /// `features` made from choices of other tokens.
        predictor: String,
        /// Features per expert, m; null where all are used or none.
        features: Option<u32>,
        /// Tokens measured.
        tokens: u64,
        /// Recall at k: mean over tokens of the share of their experts that are among as many predicted ones.
        recall: f64,
    }
}

row! {
    /// `features/router_experts.parquet`: what is known of one expert's tokens, on documents that the predictors
    /// were not made from.
    RouterExpertRow {
        /// The block.
        layer: u16,
        /// The expert in it.
        expert: u32,
        /// Tokens that chose it.
        tokens: u64,
        /// Share of tokens that chose it.
        share: f64,
        /// Share of its tokens that all features together predict; null when no token chose it.
        recall: Option<f64>,
        /// The same by the token alone (`unigram`).
        recall_unigram: Option<f64>,
        /// F1 of the best rule that names tokens, chosen on the documents that predictors are made from; null when no
        /// token chose the expert.
        rule_f1: Option<f64>,
        /// Union size: the fewest features per expert (1, 2, 4, … 64) with 90 % of `recall`; null when 64 are too few.
        union_size: Option<u32>,
        /// Share of the variance of its logit that active features carry through the router's row, nothing fitted:
        /// 1 − Var(logit − direct) / Var(logit). Below 0 where they carry something else. Null without a model or
        /// where the dictionary does not read what the router reads.
        direct_share: Option<f64>,
        /// Of the logit on its own tokens, the part that active features carry: Σ direct / Σ logit.
        direct_of_chosen: Option<f64>,
        /// The domain that most of its tokens are from.
        domain: Option<String>,
        /// Their share (domain purity).
        domain_share: Option<f64>,
    }
}

row! {
    /// `features/router_features.parquet`: the features that tell most of one expert, by correlation.
    RouterFeatureRow {
        /// The block.
        layer: u16,
        /// The expert in it.
        expert: u32,
        /// Place among the expert's features, from 0.
        rank: u32,
        /// The feature.
        feature: u32,
        /// Correlation of the feature's code with the expert being chosen.
        correlation: f64,
        /// What one unit of the code adds to the prediction of the fit with 64 features.
        coefficient: f64,
        /// What one unit of the code adds to the router's logit through its row, before the norm divides; null where
        /// `direct_share` is.
        direct: Option<f64>,
    }
}
