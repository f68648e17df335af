//! What weights alone tell: experts that are alike, how sparse they are, cells of one set in another.

use crate::row::row;

row! {
    /// `experts/similarity.parquet`: two experts of one layer by their weights, `a < b`.
    SimilarityRow {
        /// The block.
        layer: u16,
        /// The expert with the lower number.
        a: u32,
        /// The other.
        b: u32,
        /// Cosine of the router's rows; null when one is all zeros.
        router_cosine: Option<f64>,
        /// Cosine of all weights of the experts, end to end. It knows nothing of hidden units in another order.
        weights_cosine: Option<f64>,
        /// Cosine of what the two put out for the same random inputs, whatever the order of their hidden units.
        output_cosine: Option<f64>,
        /// The cosine of weights or of outputs is 0.9 or more.
        duplicate: bool,
    }
}

row! {
    /// `experts/sparsity.parquet`: active units of one expert with ReLU, as its weights let expect and as they are.
    SparsityRow {
        /// The block.
        layer: u16,
        /// The expert in it.
        expert: u32,
        /// Tokens that chose it, which are the inputs looked at.
        tokens: u64,
        /// Mean of Φ(m / √v): share of active units by mean and variance of the weights (MoE-X).
        expected: f64,
        /// Mean share of active units.
        measured: f64,
        /// Mean over inputs of |expected − measured|.
        error: f64,
    }
}

row! {
    /// `cells.parquet`: the Voronoi cell of one expert or feature of a reference and how many of another set are nearest to it.
    CellRow {
        /// The block; null for features.
        layer: Option<u16>,
        /// The expert or feature of the reference.
        number: u32,
        /// Size of its cell: 0 missed, 1 matched, 2 or more split.
        size: u32,
        /// Largest cosine in its cell, or largest correlation of choices where those were compared; null for an empty one.
        best_cosine: Option<f64>,
    }
}
