//! Claims that people kept: `RUN/claims.json`.

use std::path::Path;

pub use storage::claims::{Claim, ClaimIntervention, ClaimScores};

use super::{problem, remote};
use crate::load::Problem;

/// The claims of the run in `dir` that were not withdrawn.
///
/// # Errors
/// The file cannot be read.
pub fn read(dir: &Path) -> Result<Vec<Claim>, Problem> {
    storage::claims::read(dir).map(standing).map_err(problem)
}

/// Sends the claims of a run that is a copy to its store; nothing is done for other runs.
///
/// # Errors
/// A store that refuses or stays away: the claims are in the file on this machine.
pub fn publish(dir: &Path) -> Result<(), Problem> {
    remote::publish(&dir.join(storage::claims::FILE))
}

/// Those that were not withdrawn.
pub fn standing(mut claims: Vec<Claim>) -> Vec<Claim> {
    claims.retain(|claim| !claim.withdrawn);
    claims
}
