//! How often the encoder takes a feature, and how often the best coding does: `RUN/audit/`, as `sae audit` wrote it.

use std::path::Path;

pub use storage::audit::{Audit, AuditFeatureRow};
use storage::audit::{FEATURES, FOLDER};
use storage::{Scan, row};

use super::problem;
use crate::load::Problem;

/// What the audit of the run in `dir` says of `feature`.
///
/// # Errors
/// A table that cannot be read, or has no such feature.
pub fn of_feature(dir: &Path, feature: u32) -> Result<AuditFeatureRow, Problem> {
    let path = dir.join(FOLDER).join(FEATURES);
    let table = row::open::<AuditFeatureRow>(&path).map_err(problem)?;
    let rows = Some(u64::from(feature)..u64::from(feature) + 1);
    let found: Vec<AuditFeatureRow> = row::read(&table, Scan { rows, ..Scan::default() }).map_err(problem)?;
    found.into_iter().find(|row| row.feature == feature).ok_or_else(|| {
        Problem::new(format!("{} has no row of feature {feature}.", path.display()))
            .with_remedy("Audit the run again with `sae audit`.")
    })
}
