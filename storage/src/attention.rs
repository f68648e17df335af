//! Dictionaries of the heads of an attention layer, trained at `blocks.N.attn.hook_z`: which heads a feature writes through
//! (`features/heads.parquet`, a table of [`HeadsRow`]) and which tokens its strongest examples come from
//! (`features/attribution.parquet`, a table of [`AttributionRow`]). Both are sorted by feature; a dictionary of another place has
//! neither.

use std::path::Path;

use crate::error::Result;
use crate::row::{self, Row, RowWriter, row};
use crate::table::TableReader;

/// The table of decoder weights by head, inside `features/`.
pub const HEADS: &str = "heads.parquet";
/// The table of sources of examples, inside `features/`.
pub const ATTRIBUTION: &str = "attribution.parquet";

row! {
    /// How a feature's decoder row is shared out among the heads (Kissane et al. 2024, arXiv 2406.17759). Every feature has a row.
    #[layout(feature_rows)]
    HeadsRow {
        /// The feature.
        feature: u32,
        /// Norm of the decoder row's slice of each head, `‖W_dec[f, h]‖`.
        norms: Vec<f32>,
        /// `‖W_dec[f, h]‖ / Σ_h ‖W_dec[f, h]‖`; zeros where the row is zero.
        shares: Vec<f32>,
    }
}

row! {
    /// `features/attribution.parquet`: the tokens that one example's pre-activation comes from. With `Σ` over the lists,
    /// `pre_activation = Σ values + rest + bos + constant = Σ heads + constant`.
    #[layout(feature_rows)]
    AttributionRow {
        /// The feature.
        feature: u32,
        /// As in the table of examples.
        interval: i8,
        /// As in the table of examples.
        rank: u16,
        /// The document.
        document: u32,
        /// The token that the example is about.
        position: u32,
        /// Position of the first token that the model saw together with it; those before can be no source.
        start: u32,
        /// The feature's pre-activation there, as the model computes it now: the example's value, but for the rounding of the dataset.
        pre_activation: f32,
        /// What comes from no token: `b_enc[f] − W_enc[f] · b_dec`.
        constant: f32,
        /// What comes from BOS, which has no position; null where the model has none.
        bos: Option<f32>,
        /// Sum over the tokens that are not listed.
        rest: f32,
        /// Positions of the tokens whose contributions are largest in absolute value, ascending.
        sources: Vec<u32>,
        /// These tokens.
        tokens: Vec<u32>,
        /// What comes from each: `Σ_h pattern[h, position, source] · (W_enc[f, h] · v[h, source])`.
        values: Vec<f32>,
        /// What comes through each head, from all tokens and BOS.
        heads: Vec<f32>,
    }
}

impl AttributionRow {
    /// Position, token and contribution of each listed token, by position.
    pub fn listed(&self) -> impl Iterator<Item = (u32, u32, f32)> + '_ {
        self.sources.iter().zip(&self.tokens).zip(&self.values).map(|((p, t), v)| (*p, *t, *v))
    }

    /// The contribution of the token at `position`, if it is listed.
    pub fn value_at(&self, position: u32) -> Option<f32> {
        self.listed().find(|(at, ..)| *at == position).map(|(.., value)| value)
    }
}

/// Begins one of the two tables.
///
/// # Errors
/// When the file cannot be created.
pub fn create<R: Row>(path: &Path) -> Result<RowWriter<R>> {
    RowWriter::create(path)
}

/// The rows of one feature, in the file's order. Only its row groups and pages are read.
///
/// # Errors
/// When the table cannot be read.
pub fn read<R: Row>(reader: &TableReader, feature: u32) -> Result<Vec<R>> {
    row::read_feature(reader, feature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Run, RunRecord};

    row! {
        /// A table of an older or another program.
        Other {
            /// The feature.
            feature: u32,
            /// Text where numbers should be.
            norms: String,
        }
    }

    #[test]
    fn rows_of_a_feature_come_back_and_another_table_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        RunRecord::new().write(folder.path()).unwrap();
        let run = Run::open(folder.path()).unwrap();
        assert!(run.heads().unwrap().is_none() && run.attribution().unwrap().is_none());
        std::fs::create_dir(run.features_dir()).unwrap();
        let rows: Vec<AttributionRow> = (0..3000)
            .map(|i| AttributionRow {
                feature: i / 3,
                rank: (i % 3) as u16,
                bos: (i % 2 == 0).then_some(0.5),
                sources: (0..i % 5).collect(),
                tokens: (0..i % 5).collect(),
                values: (0..i % 5).map(|n| n as f32).collect(),
                heads: vec![1.0, -2.0],
                ..AttributionRow::default()
            })
            .collect();
        let mut table = create(&run.features_dir().join(ATTRIBUTION)).unwrap();
        table.append(&rows).unwrap();
        table.finish().unwrap();
        let table = run.attribution().unwrap().unwrap();
        assert_eq!(read::<AttributionRow>(&table, 400).unwrap(), rows[1200..1203]);
        assert_eq!(read::<AttributionRow>(&table, 1000).unwrap(), []);

        row::write(&run.features_dir().join(HEADS), &[Other::default()]).unwrap();
        let message = run.heads().unwrap_err().to_string();
        assert!(message.contains("norms") && message.contains(HEADS), "{message}");
    }
}
