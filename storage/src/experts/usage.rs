//! Balance of layers and domains, and what experts are specialised in.

use crate::row::row;

row! {
    /// Balance of one layer, over all text or over one domain. A figure that the data cannot give is null.
    BalanceRow {
        /// The block.
        layer: u16,
        /// The domain; null for all text.
        domain: Option<String>,
        /// Experts of the layer, E.
        experts: u32,
        /// The most experts that a token chose; null where counts do not tell.
        k: Option<u32>,
        /// Tokens seen; null where counts do not tell.
        tokens: Option<u64>,
        /// Slots filled: choices of one expert by one token.
        slots: u64,
        /// Tokens that chose any expert over tokens seen: 1 unless a token may skip the layer.
        activation_density: Option<f64>,
        /// Population standard deviation of the experts' slots over their mean; 0 = balanced.
        cv: Option<f64>,
        /// (largest load − mean load) / mean load; 0 = balanced.
        max_violation: Option<f64>,
        /// Gini coefficient of the load.
        gini: Option<f64>,
        /// Entropy of the load over ln E, in [0, 1]; 1 = balanced.
        load_entropy: Option<f64>,
        /// exp(entropy of the load in nats): how many equally used experts would have it.
        effective_experts: Option<f64>,
        /// Experts with less than 0.1 % of the slots, or than a tenth of the uniform share where that is less.
        dead: Option<u32>,
        /// Experts with less than 0.5 % of the slots, or than half of the uniform share where that is less; dead ones included.
        cold: Option<u32>,
        /// Mean entropy of the router's whole distribution, nats.
        router_entropy: Option<f64>,
        /// Mean of the largest minus the second applied weight, over tokens with two experts or more.
        weight_margin: Option<f64>,
        /// Mean of the largest minus the second probability of the router's whole distribution.
        top1_margin: Option<f64>,
        /// Mean of the smallest chosen minus the largest left-out probability.
        choice_margin: Option<f64>,
        /// Load-balance loss E Σ f_e P_e (Switch; f_e the share of slots); 1 = balanced.
        balance_loss: Option<f64>,
        /// Mean (ln Σ exp z)² of the router's logits.
        z_loss: Option<f64>,
    }
}

row! {
    /// `experts/specialisation.parquet`: one expert in one domain.
    SpecialisationRow {
        /// The block.
        layer: u16,
        /// The expert in it.
        expert: u32,
        /// What kind of text.
        domain: String,
        /// Tokens of the domain that chose the expert.
        count: u64,
        /// Tokens of the domain; null where counts do not tell.
        tokens: Option<u64>,
        /// `count / tokens`; to be compared with `baseline`.
        share_of_domain: Option<f64>,
        /// k / E: what an expert of a balanced layer has.
        baseline: Option<f64>,
        /// Share of the expert's choices that come from this domain if all domains were equally long.
        share_of_expert: Option<f64>,
        /// The expert is specialised in this domain: its share is at least twice that of every other domain.
        specialised: bool,
    }
}

row! {
    /// `experts/information.parquet`: how much a layer's experts say about domain and token.
    InformationRow {
        /// The block.
        layer: u16,
        /// Domains that have tokens in this layer.
        domains: u16,
        /// Mutual information of expert and domain over slots, bits; null with fewer than two domains.
        mutual_information: Option<f64>,
        /// What chance alone gives on average, (E − 1)(D − 1) / (2 N ln 2) with N slots, bits.
        mutual_information_by_chance: Option<f64>,
        /// Entropy of the domains over slots: the most that the mutual information can be, bits.
        domain_entropy: Option<f64>,
        /// Experts that pass the 2× rule in some domain.
        specialised: Option<u32>,
        /// Token types with at least 10 tokens that were looked at.
        types: Option<u64>,
        /// Tokens of these types.
        types_tokens: Option<u64>,
        /// Mean over types of max_e N_{x,e} / N_x, all k experts of a token.
        vocabulary_top_k: Option<f64>,
        /// The same, each type weighted by its tokens.
        vocabulary_top_k_by_tokens: Option<f64>,
        /// Mean over types of max_e N_{x,e} / N_x, a token's strongest expert alone.
        vocabulary_top_1: Option<f64>,
        /// The same, each type weighted by its tokens.
        vocabulary_top_1_by_tokens: Option<f64>,
    }
}
