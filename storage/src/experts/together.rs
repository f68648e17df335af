//! Experts that are chosen together, in one layer and from layer to layer, and by two models.

use crate::row::row;

row! {
    /// `experts/pairs.parquet`: two experts of one layer, `a < b`. Every pair is there.
    PairRow {
        /// The block.
        layer: u16,
        /// The expert with the lower number.
        a: u32,
        /// The other.
        b: u32,
        /// Tokens that chose both.
        count: u64,
        /// Tokens that chose both one after the other in the order of weights: what OLMoE's published script counts.
        rank_adjacent: u64,
        /// P(b | a) = count / tokens that chose a; null when nobody did.
        b_given_a: Option<f64>,
        /// P(a | b).
        a_given_b: Option<f64>,
        /// count · tokens / (tokens of a · tokens of b); null when one of them was never chosen.
        lift: Option<f64>,
    }
}

row! {
    /// `experts/transitions.parquet`: an expert of one layer and one of the next layer that has experts. Every pair is there.
    TransitionRow {
        /// The block.
        layer: u16,
        /// The next block with experts.
        next_layer: u16,
        /// Expert of `layer`.
        from: u32,
        /// Expert of `next_layer`.
        to: u32,
        /// Tokens that chose both.
        count: u64,
        /// P(to | from) over slots: count / (all counts of `from`), so that it sums to 1 over `to`.
        probability: Option<f64>,
        /// count · tokens / (tokens of from · tokens of to).
        lift: Option<f64>,
    }
}

row! {
    /// `experts/against.parquet`: one layer of two models or checkpoints on the same tokens.
    AgainstRow {
        /// The block.
        layer: u16,
        /// Tokens compared.
        tokens: u64,
        /// Experts a token of this dataset, the most there are.
        k: u32,
        /// Router saturation: mean over tokens of |E ∩ E′| / k.
        top_k: Option<f64>,
        /// Share of tokens whose strongest expert is the same.
        top_1: Option<f64>,
        /// k / E: what two routers that know nothing of each other agree on.
        by_chance: f64,
        /// CV of the load, this dataset.
        cv: Option<f64>,
        /// CV of the load, the other one.
        cv_against: Option<f64>,
    }
}

row! {
    /// `experts/vocabulary.parquet`: a token that an expert is chosen for, among tokens seen 10 times or more.
    VocabularyRow {
        /// The block.
        layer: u16,
        /// The expert in it.
        expert: u32,
        /// The token.
        token: u32,
        /// How often the token chose the expert.
        count: u64,
        /// How often the token was seen.
        tokens: u64,
        /// count / tokens.
        share: f64,
        /// share / (share of all tokens that chose the expert).
        lift: f64,
        /// Place among the expert's tokens by count, from 0; null when it is not among the first.
        rank_by_count: Option<u32>,
        /// Place by lift.
        rank_by_lift: Option<u32>,
    }
}

row! {
    /// `features/experts.parquet`: a feature and an expert that fired on the same tokens.
    FeatureExpertRow {
        /// The feature.
        feature: u32,
        /// The block.
        layer: u16,
        /// The expert in it.
        expert: u32,
        /// Tokens on which the feature fired and that chose the expert.
        joint: u64,
        /// Tokens on which the feature fired.
        feature_tokens: u64,
        /// Tokens that chose the expert.
        expert_tokens: u64,
        /// Tokens looked at.
        tokens: u64,
        /// joint · tokens / (feature_tokens · expert_tokens).
        lift: f64,
        /// P(expert | feature).
        expert_given_feature: f64,
        /// Lower end of its 95 % Wilson interval.
        expert_given_feature_low: f64,
        /// Upper end.
        expert_given_feature_high: f64,
        /// P(feature | expert).
        feature_given_expert: f64,
        /// Lower end of its 95 % Wilson interval.
        feature_given_expert_low: f64,
        /// Upper end.
        feature_given_expert_high: f64,
        /// Mutual information of "fires" and "chosen", bits.
        mutual_information: f64,
        /// Two-sided p of Fisher's exact test.
        p: f64,
        /// Whether it stands after correction for all pairs that were tested.
        significant: bool,
        /// The feature lives in this expert.
        lives_in: bool,
        /// The expert is this feature.
        is_feature: bool,
    }
}
