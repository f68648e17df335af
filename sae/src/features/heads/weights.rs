//! How much a feature writes through each head.
//!
//! The share is `‖W_dec[f, h]‖ / Σ_h ‖W_dec[f, h]‖`: norms over the sum of norms, not squares, as Kissane et
//! al. (2024) define it and as SAEDashboard's "decoder weights distribution" shows it.

use std::path::Path;

use storage::attention::{HeadsRow, create};

use super::Heads;
use crate::Result;
use crate::dictionary::Dictionary;

/// Rows that are made before they are written.
const BATCH: usize = 16 << 10;

/// Writes the table: one row per feature, dead ones too.
///
/// # Errors
/// A file that cannot be written.
pub fn write(path: &Path, dictionary: &Dictionary, heads: &Heads) -> Result<()> {
    let mut table = create::<HeadsRow>(path)?;
    for start in (0..dictionary.d_sae).step_by(BATCH) {
        let features = start..dictionary.d_sae.min(start + BATCH);
        let rows: Vec<HeadsRow> = features.map(|feature| of_feature(dictionary, heads, feature)).collect();
        table.append(&rows)?;
    }
    table.finish()?;
    Ok(())
}

/// The norms and shares of one feature's slices.
pub fn of_feature(dictionary: &Dictionary, heads: &Heads, feature: usize) -> HeadsRow {
    let row = dictionary.decoder_row(feature);
    let norm = |head: usize| heads.slice(row, head).iter().map(|&w| f64::from(w).powi(2)).sum::<f64>().sqrt();
    let norms: Vec<f64> = (0..heads.heads).map(norm).collect();
    let sum: f64 = norms.iter().sum();
    let share = |norm: &f64| if sum > 0.0 { (norm / sum) as f32 } else { 0.0 };
    HeadsRow {
        feature: feature as u32,
        shares: norms.iter().map(share).collect(),
        norms: norms.iter().map(|&norm| norm as f32).collect(),
    }
}
