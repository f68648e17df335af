//! `sae experts COUNTS.csv`.

use std::path::Path;

use serde_json::json;

use super::usage::{even, special};
use crate::Output;
use sae::Result;
use sae::experts::{summarise_counts, write_counts};

/// Prints the figures of every model in the file, and writes their tables if a folder is given.
///
/// # Errors
/// A file of counts that cannot be read, with line and column; a folder that cannot be written to.
pub fn run(path: &Path, k: Option<u64>, out: Option<&Path>) -> Result<Output> {
    let models = summarise_counts(path, k)?;
    let folders = out.map(|out| write_counts(out, &models)).transpose()?.unwrap_or_default();
    let mut output = Output::new(json!({ "models": models, "folders": folders }));
    for model in &models {
        for balance in model.balance.iter().filter(|row| row.domain.is_none()) {
            output.row(&format!("{}, layer {}", model.model, balance.layer), even(balance));
            if let Some(information) = model.information.iter().find(|row| row.layer == balance.layer) {
                output.row("", special(information));
            }
        }
        model.gaps.iter().for_each(|gap| output.row(&format!("{}, not known", model.model), gap));
    }
    folders.iter().for_each(|folder| output.row("tables", folder.display()));
    Ok(output)
}
