//! The features of a dictionary of patches as fields of pixels, as `sae fields` measured them.

use std::path::Path;

use sae::dictionary::Dictionary;
pub use sae::fields::SortFields;
use storage::fields::{self as files, FILE, FOLDER, TABLE};
pub use storage::fields::{FieldRow, Fields};

use super::problem;
use crate::load::Problem;

/// What is wrong where tables and weights are not of one dictionary.
const REMEDY: &str = "Measure them again with `sae fields`.";

/// All fields of a run.
#[derive(Clone, Debug, Default)]
pub struct FieldSheet {
    /// All in all.
    pub summary: Fields,
    /// By feature.
    pub rows: Vec<FieldRow>,
    /// The pixels of each in greys, `[features, side²]`.
    pub greys: Vec<u8>,
}

impl FieldSheet {
    /// The pixels of a feature, `[side²]`.
    pub fn field(&self, feature: u32) -> &[u8] {
        let size = self.summary.side * self.summary.side;
        self.greys.get(feature as usize * size..(feature as usize + 1) * size).unwrap_or_default()
    }
}

/// Whether the fields of the run in `dir` were measured.
pub fn exists(dir: &Path) -> bool {
    dir.join(FOLDER).join(FILE).is_file()
}

/// Reads the fields of the run in `dir`.
///
/// # Errors
/// A run whose fields were not measured; files that cannot be read or are not of this dictionary.
pub fn read(dir: &Path) -> Result<FieldSheet, Problem> {
    let summary = Fields::read(dir).map_err(problem)?.ok_or_else(|| {
        Problem::new(format!("The fields of {} were not measured.", dir.display()))
            .with_remedy("`sae fields` does, for dictionaries of grey patches of pictures.")
    })?;
    let rows = files::read_rows(dir).map_err(problem)?;
    let at = dir.join(FOLDER).join(TABLE);
    if let Some((row, expected)) = rows.iter().zip(0..).find(|(row, i)| row.feature != *i) {
        let wrong = format!(
            "{}: row {expected} holds feature {}, expected feature {expected}.",
            at.display(),
            row.feature
        );
        return Err(Problem::new(wrong).with_remedy(REMEDY));
    }
    let dictionary =
        Dictionary::load(dir).map_err(|error| super::in_sentences(&error.to_string(), error.remedy()))?;
    let size = summary.side * summary.side;
    if dictionary.d_sae != rows.len() || dictionary.d_out() != size {
        let wrong = format!(
            "{} has {} fields of {size} pixels, the dictionary {} rows of {} numbers.",
            at.display(),
            rows.len(),
            dictionary.d_sae,
            dictionary.d_out()
        );
        return Err(Problem::new(wrong).with_remedy(REMEDY));
    }
    let greys = dictionary.w_dec.chunks_exact(size.max(1)).flat_map(sae::fields::greys).collect();
    Ok(FieldSheet { summary, rows, greys })
}

/// One field.
#[derive(Clone, Debug)]
pub struct FieldOfFeature {
    /// Of all of them.
    pub summary: Fields,
    /// What was measured of it.
    pub row: FieldRow,
    /// Its pixels in greys, `[side²]`.
    pub greys: Vec<u8>,
}

/// The field of `feature` of the run in `dir`.
///
/// # Errors
/// As [`read`]; a feature that there is not.
pub fn of_feature(dir: &Path, feature: u32) -> Result<FieldOfFeature, Problem> {
    let sheet = read(dir)?;
    let Some(row) = sheet.rows.get(feature as usize).cloned() else {
        let wrong = format!("{} has no row of feature {feature}.", dir.join(FOLDER).join(TABLE).display());
        return Err(Problem::new(wrong).with_remedy(REMEDY));
    };
    Ok(FieldOfFeature { greys: sheet.field(feature).to_vec(), row, summary: sheet.summary })
}

/// What is shown of all fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Localised and oriented.
    Both,
    /// Oriented, but everywhere.
    Oriented,
    /// Localised, but without an orientation.
    Localised,
    /// Neither.
    Neither,
}

impl FieldKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Both, Self::Oriented, Self::Localised, Self::Neither];

    /// Of a field.
    pub fn of(row: &FieldRow) -> Self {
        match (row.localised, row.oriented) {
            (true, true) => Self::Both,
            (false, true) => Self::Oriented,
            (true, false) => Self::Localised,
            (false, false) => Self::Neither,
        }
    }

    /// In a few words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Both => "localised and oriented",
            Self::Oriented => "only oriented",
            Self::Localised => "only localised",
            Self::Neither => "neither",
        }
    }
}

/// The features of a kind (all for `None`) in an order.
pub fn listed(sheet: &FieldSheet, kind: Option<FieldKind>, sort: SortFields) -> Vec<u32> {
    sae::fields::ordered(&sheet.rows, sort)
        .into_iter()
        .filter(|i| kind.is_none_or(|kind| FieldKind::of(&sheet.rows[*i]) == kind))
        .map(|i| i as u32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_part_all_fields() {
        let row = |feature, localised, oriented, orientation| FieldRow {
            feature,
            localised,
            oriented,
            orientation,
            ..FieldRow::default()
        };
        let rows = vec![row(0, true, true, 90.0), row(1, false, true, 10.0), row(2, true, false, 5.0)];
        let sheet = FieldSheet { rows, ..FieldSheet::default() };
        let of = |kind| listed(&sheet, kind, SortFields::Orientation);
        // Oriented ones first, by angle.
        assert_eq!(of(None), [1, 0, 2]);
        assert_eq!(FieldKind::ALL.map(|kind| of(Some(kind))), [vec![0], vec![1], vec![2], vec![]]);
    }
}
