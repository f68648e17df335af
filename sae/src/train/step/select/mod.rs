//! Which pairs of a token and a feature are active in a batch: `[B, F]` never exists.
//!
//! | file | subject |
//! |---|---|
//! | `rows` | which search is used, and the rows of features that it reads |
//! | `exact` | z in chunks of tokens → active pairs; TopK, AbsTopK, cosine scores, block choice, BatchTopK, ReLU, JumpReLU, gates |
//! | `candidates` | the same from candidates; TopK |
//! | `mutual` | the same from candidates; BatchTopK |
//! | `feature` | tiles of features against the batch, by candidates or from all z; feature choice |
//! | `audit` | what candidates found of what they should have |
//! | `memory` | what a thread needs for that |

pub mod audit;
mod candidates;
mod exact;
mod feature;
mod memory;
mod mutual;
pub mod rows;

use super::aux::AuxFeatures;
use super::aux::dense::DenseAux;
use super::batch::CentredBatch;
use super::context::Context;
use super::options::Rule;
use crate::train::pairs::Pairs;
use audit::Audit;
use kernels::best::SharedBest;
use kernels::listed::Lists;
use kernels::spare::Spare;
use memory::ThreadMemory;
use rows::FeatureRows;

/// The active pairs of a batch.
#[derive(Debug, Default)]
pub struct ActivePairs {
    /// By chunks of tokens.
    pub chunks: Vec<ChunkPairs>,
    pub audit: Audit,
}

/// The active pairs of a chunk of tokens in every reconstruction that the loss has.
#[derive(Debug, Default)]
pub struct ChunkPairs {
    /// Those that are decoded.
    pub main: Pairs,
    /// Those of a second reconstruction: of Multi-TopK, or from the gate's codes.
    pub second: Pairs,
    /// Those of the auxiliary loss, by lists
    pub aux: Pairs,
    /// or as matrices.
    pub dense: DenseAux,
}

/// What the search keeps from step to step. It saves time and decides nothing.
#[derive(Debug, Default)]
pub struct SearchMemory {
    spare: Spare<ThreadMemory>,
    listed: candidates::ListedProducts,
    /// The candidates of each chunk that are computed in `f32`.
    lists: Vec<Lists>,
    /// The candidates of each chunk for BatchTopK.
    proposed: Vec<mutual::Proposals>,
    /// The score of the worst active pair of the last step of BatchTopK by candidates; 0 before the first.
    worst: f32,
    best: SharedBest,
    /// Thresholds of JumpReLU, factors e^r of gates, α of cosine scores, `[F]`.
    exponentials: Vec<f32>,
}

impl ActivePairs {
    /// Forgets the pairs of the last step; there will be this many chunks. Memory of dense products is kept if `dense`.
    fn restart(&mut self, chunks: usize, dense: bool) {
        self.audit = Audit::default();
        self.chunks.resize_with(chunks, ChunkPairs::default);
        for chunk in &mut self.chunks {
            [&mut chunk.main, &mut chunk.second, &mut chunk.aux].into_iter().for_each(Pairs::clear);
            match dense {
                true => chunk.dense.codes.clear(),
                false => chunk.dense = DenseAux::default(),
            }
        }
    }
}

/// Makes `pairs` the active pairs of `batch`, and those of the features that have the auxiliary loss.
pub fn select(
    context: &Context<'_>,
    rows: &FeatureRows,
    batch: &CentredBatch,
    aux: &AuxFeatures,
    memory: &mut SearchMemory,
    pairs: &mut ActivePairs,
) {
    pairs.restart(context.chunks(), aux.dense);
    memory.lists.resize_with(context.chunks(), Lists::default);
    memory.proposed.resize_with(context.chunks(), mutual::Proposals::default);
    match (context.plan.rule, rows) {
        // Has its own way (`step::pursuit`).
        (Rule::Pursuit, _) => {}
        (Rule::Feature, _) => {
            exact::select_aux(context, batch, aux, memory, pairs);
            feature::select(context, rows, batch, memory, pairs);
        }
        (rule, FeatureRows::Quantised(rows)) => {
            exact::select_aux(context, batch, aux, memory, pairs);
            match rule {
                Rule::Mutual => mutual::select(context, rows, batch, memory, pairs),
                _ => candidates::select(context, rows, batch, memory, pairs),
            }
        }
        (_, FeatureRows::Packed(rows)) => exact::select(context, rows, batch, aux, memory, pairs),
    }
}
