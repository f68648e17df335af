//! Explanations of features: `RUN/explanations/NAME.parquet`, a file per source. They lie next to `features/`, which `sae index`
//! replaces, so what was read in once outlives a new index; whoever reads a source in again replaces its file and no other.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::manifest::Part;
use crate::row::{self, entry, row};
use crate::table::Scan;

/// The folder of a run that holds them.
pub const FOLDER: &str = "explanations";

row! {
    /// One explanation of one feature, sorted by feature; a feature may have several.
    #[layout(feature_rows)]
    Explanation {
        /// Number of the feature.
        feature: u32,
        /// What it is about.
        text: String,
        /// How the explanation was made.
        method: String,
        /// The program, model or person that made it; may be empty.
        by: String,
        /// How well it describes the feature: what is measured, and the figure, finite; in the order of the source.
        scores: Vec<Score>,
    }
}

entry! {
    /// A figure about an explanation.
    Score {
        /// What it measures.
        kind: String,
        /// The figure, finite.
        value: f32,
    }
}

row! {
    /// What became of one feature that was to be explained by a rule; a shard of `sae explain` has one for each of its features.
    #[layout(feature_rows)]
    RuleRow {
        /// Number of the feature.
        feature: u32,
        /// `explained`, `unexplained` (its best rule is not good enough) or `rare` (it fires on too few tokens).
        outcome: String,
        /// The rule in words; empty where there is no rule.
        text: String,
        /// Of the tokens that the rule applies to, the share that the feature fires on.
        precision: f64,
        /// Of the tokens that the feature fires on, the share that the rule applies to.
        recall: f64,
        /// 2 · precision · recall / (precision + recall).
        f1: f64,
        /// Pearson's correlation, over all tokens, of the activation with what the rule predicts.
        correlation: f64,
    }
}

/// Where the explanations of `source` lie in the run in `dir`.
pub fn path(dir: &Path, source: &str) -> PathBuf {
    dir.join(FOLDER).join(format!("{source}.parquet"))
}

/// The sources of the run in `dir` that there are, by name.
///
/// # Errors
/// [`Error::Io`] for a folder that cannot be listed.
pub fn sources(dir: &Path) -> Result<Vec<String>> {
    let folder = dir.join(FOLDER);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(Error::io(&folder))? {
        let path = entry.map_err(Error::io(&folder))?.path();
        if path.extension().is_some_and(|end| end == "parquet") {
            found.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    found.sort();
    Ok(found)
}

/// Writes the explanations of `source`, sorted by feature, in place of those that it had. The order within a feature is kept.
///
/// # Errors
/// [`Error::Io`] for a folder or file that cannot be made; what writing Parquet gives.
pub fn write(dir: &Path, source: &str, rows: &mut [Explanation]) -> Result<Part> {
    let folder = dir.join(FOLDER);
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    rows.sort_by_key(|row| row.feature);
    row::write(&path(dir, source), rows)
}

/// Reads all explanations of `source` of the run in `dir`, by feature.
///
/// # Errors
/// A file that is missing, cannot be read, or lacks a column.
pub fn read(dir: &Path, source: &str) -> Result<Vec<Explanation>> {
    row::read(&row::open::<Explanation>(&path(dir, source))?, Scan::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(feature: u32, text: &str, scores: &[(&str, f32)]) -> Explanation {
        let scores =
            scores.iter().map(|(kind, value)| Score { kind: (*kind).into(), value: *value }).collect();
        Explanation { feature, text: text.into(), method: "rules".into(), by: String::new(), scores }
    }

    #[test]
    fn sources_come_back_sorted_and_replace_only_themselves() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(sources(dir.path()).unwrap(), [""; 0]);
        let mut rows = vec![
            said(9, "trees", &[("f1", 0.5), ("recall", 1.0)]),
            said(2, "the first of two", &[]),
            said(2, "the second, with ‹signs›\n", &[("f1", -0.25)]),
        ];
        write(dir.path(), "b", &mut rows).unwrap();
        write(dir.path(), "a", &mut [said(1, "x", &[])]).unwrap();
        assert_eq!(sources(dir.path()).unwrap(), ["a", "b"]);
        let found = read(dir.path(), "b").unwrap();
        assert_eq!(found.iter().map(|row| row.feature).collect::<Vec<_>>(), [2, 2, 9]);
        assert_eq!(found, rows, "sorted in place, in the order that they were given within a feature");
        write(dir.path(), "a", &mut []).unwrap();
        assert_eq!((read(dir.path(), "a").unwrap().len(), read(dir.path(), "b").unwrap().len()), (0, 3));
    }

    #[test]
    fn a_file_of_another_kind_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(FOLDER)).unwrap();
        std::fs::write(path(dir.path(), "bad"), "text").unwrap();
        let error = read(dir.path(), "bad").unwrap_err().to_string();
        assert!(error.contains("bad.parquet"), "{error}");
    }
}
