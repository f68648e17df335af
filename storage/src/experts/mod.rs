//! How experts are used: `DATASET/experts/`, which `sae experts` writes.

mod load;
mod masking;
mod routers;
mod together;
mod units;
mod usage;
mod weights;

pub use load::{ExpertLoadRow, read_load, write_load};
pub use masking::{MaskedRow, MaskingRow};
pub use routers::{RouterExpertRow, RouterFeatureRow, RouterRow};
pub use together::{AgainstRow, FeatureExpertRow, PairRow, TransitionRow, VocabularyRow};
pub use units::{UnitRow, WrittenRow};
pub use usage::{BalanceRow, InformationRow, SpecialisationRow};
pub use weights::{CellRow, SimilarityRow, SparsityRow};

/// The folder of a dataset that holds them.
pub const FOLDER: &str = "experts";
/// An expert with a smaller share of its layer's slots counts as dead: 0.1 %, or a tenth of the uniform share where that is less.
pub fn dead_share(experts: usize) -> f64 {
    (0.1 / experts.max(1) as f64).min(0.001)
}

/// An expert with a smaller share counts as cold: 0.5 %, or half of the uniform share where that is less. Dead ones are cold too.
pub fn cold_share(experts: usize) -> f64 {
    (0.5 / experts.max(1) as f64).min(0.005)
}
