//! What hidden units fire for and what experts write, as words.

use crate::row::row;

row! {
    /// `units.parquet`: how well naming tokens tells when one hidden unit fires most, or when one expert is chosen, on
    /// documents that the rule was not made from.
    UnitRow {
        /// The block.
        layer: u16,
        /// The expert in it; null for a unit of an MLP that all tokens go through.
        expert: Option<u32>,
        /// The hidden unit; null for an expert as a whole.
        unit: Option<u32>,
        /// Share of the tokens at which the unit is not 0, or that chose the expert.
        density: f64,
        /// Tokens that count as firing: of a unit those where it is strongest, one in a hundred at most.
        fired: u64,
        /// F1 of the best rule that names tokens; null where fewer than ten tokens count as firing, on either side.
        rule_f1: Option<f64>,
    }
}

row! {
    /// `experts/written.parquet`: the tokens whose directions in the output matrix give most of what an expert writes,
    /// found one after the other for all its outputs at once (simultaneous matching pursuit).
    WrittenRow {
        /// The block.
        layer: u16,
        /// The expert in it.
        expert: u32,
        /// Place in the order, from 0.
        rank: u32,
        /// The token.
        token: u32,
        /// Its text.
        text: String,
        /// Mean coefficient of its direction, with all directions up to this rank fitted together.
        coefficient: f64,
        /// Share of the squares of the outputs that these directions up to this rank give.
        explained: f64,
        /// The same of as many directions drawn by chance from the output matrix.
        by_chance: f64,
        /// Outputs looked at.
        tokens: u64,
    }
}
