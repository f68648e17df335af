//! What every stage of a step reads, and how a batch is cut into chunks of tokens.

use super::options::{Plan, StepOptions};
use crate::train::state::TrainState;

/// What every stage of a step reads.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Parameters as they were before the step.
    pub state: &'a TrainState,
    pub options: &'a StepOptions,
    pub plan: Plan,
    pub chunking: Chunking,
    /// Tokens of the batch, B.
    pub tokens: usize,
}

/// How a batch is cut. Chosen for speed; it decides no number.
#[derive(Debug, Clone, Copy)]
pub struct Chunking {
    /// Tokens of a chunk (the last one may have fewer).
    pub rows: usize,
    /// Chunks whose candidates are computed together: as many as have their rows in the cache.
    pub at_once: usize,
}

impl Context<'_> {
    /// Chunks of the batch.
    pub fn chunks(&self) -> usize {
        self.tokens.div_ceil(self.chunking.rows)
    }

    /// Numbers of a chunk's rows of a matrix `[B, d]`, of what is encoded.
    pub fn width(&self) -> usize {
        self.chunking.rows * self.state.d
    }

    /// Numbers of a chunk's rows of a matrix `[B, d_out]`, of what is reconstructed.
    pub fn width_out(&self) -> usize {
        self.chunking.rows * self.state.d_out
    }

    /// Active pairs of the batch, M, in the reconstruction that has the most.
    pub fn most_pairs(&self) -> usize {
        let most = self.options.multi.map_or(1.0, |multi| multi.multiple.max(1.0));
        self.plan.per_batch(self.tokens, most)
    }

    /// Active features per token in each reconstruction, of which there are two with Multi-TopK.
    pub fn levels(&self) -> [Option<usize>; 2] {
        self.plan.levels(self.options.multi, self.state.features)
    }
}
