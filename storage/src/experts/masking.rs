//! What a model loses without some of its experts.

use crate::row::row;

row! {
    /// `experts/masking.parquet`: loss of one domain before and after a mask, in nats per token.
    MaskingRow {
        /// Name of the mask: the domain whose specialised experts were taken out, or experts by hand, `1:3,1:7`.
        mask: String,
        /// The domain that was measured.
        domain: String,
        /// Predictions.
        tokens: u64,
        /// Mean next-token cross-entropy of the model as it is.
        before: f64,
        /// … without the masked experts.
        after: f64,
        /// … without as many others of the same layers, mean over the draws; null where a layer has too few others.
        control: Option<f64>,
        /// The lowest of the draws.
        control_low: Option<f64>,
        /// The highest of the draws.
        control_high: Option<f64>,
    }
}

row! {
    /// `experts/masked.parquet`: an expert that a mask or one of its controls took out.
    MaskedRow {
        /// Name of the mask.
        mask: String,
        /// Number of the draw; null for the mask itself.
        control: Option<u16>,
        /// The block.
        layer: u16,
        /// The expert in it.
        expert: u32,
    }
}
