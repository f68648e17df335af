//! Claims that people kept: `RUN/claims.json`.

use std::path::Path;

pub use storage::claims::{Claim, ClaimIntervention, ClaimScores};

use super::problem;
use crate::load::Problem;

/// The claims of the run in `dir` that were not withdrawn.
///
/// # Errors
/// The file cannot be read.
pub fn read(dir: &Path) -> Result<Vec<Claim>, Problem> {
    storage::claims::read(dir).map(standing).map_err(problem)
}

/// Those that were not withdrawn.
pub fn standing(mut claims: Vec<Claim>) -> Vec<Claim> {
    claims.retain(|claim| !claim.withdrawn);
    claims
}
