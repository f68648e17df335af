//! Sparse coding proper: a dictionary whose codes minimise an objective, instead of an encoder that guesses them.
//!
//! With rows Φ of norm 1 and a penalty g of [`kernels::shrink`], of any sign of r:
//!
//! ```text
//! r(x) = argmin ½‖x − rΦ‖² + Σ g(r_i)          r ← prox(r + η (x − rΦ)Φᵀ, η),  η = 1 / largest eigenvalue of ΦΦᵀ
//! Φ    = argmin Σ_x ½‖x − r(x)Φ‖²              a row after the other, from sums over all batches so far
//! ```
//!
//! With soft thresholding that is ISTA, here with Nesterov's steps (FISTA, Beck & Teboulle 2009); with hard thresholding IHT; half, firm
//! (CEL0) and log-sum are what Rentzeperis et al. (PLoS Comput. Biol. 2023, "Beyond ℓ1 sparse coding in V1") and their references
//! compare. They follow the gradient of Φ; here it is Mairal et al.'s online update (2010), which needs no learning rate.
//!
//! λ does not mean the same for two penalties. So a run is given a number of active units per row, and λ is adapted to it.

mod infer;
mod learn;
mod run;
#[cfg(test)]
mod tests;

pub use infer::{Coder, Penalised};
pub use kernels::shrink::Shrinkage;
pub use learn::{CodingModel, LearnOptions};
pub use run::{CodingOptions, run};
