//! Explanations of features by rules of tokens and by other tools: `RUN/explanations/*.parquet`.

use std::path::Path;

pub use storage::explanations::{Explanation, Score};

use super::problem;
use crate::load::Problem;

/// An explanation and where it comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourcedExplanation {
    /// The explanations.
    pub explanation: Explanation,
    /// The source that says it, an index into [`Explanations::sources`].
    pub source: usize,
}

/// The explanations of all features of a run.
#[derive(Clone, Debug, Default)]
pub struct Explanations {
    /// Names of the sources.
    pub sources: Vec<String>,
    /// By feature, the best of each first.
    rows: Vec<SourcedExplanation>,
    /// Sources that cannot be read.
    pub gaps: Vec<Problem>,
}

impl SourcedExplanation {
    /// By what explanations of a feature are ordered: F1 if there is one, else the largest score; none comes last.
    fn rank(&self) -> f32 {
        let scores = &self.explanation.scores;
        let f1 = scores.iter().find(|score| score.kind == "f1").map(|score| score.value);
        f1.unwrap_or_else(|| scores.iter().map(|score| score.value).fold(f32::NEG_INFINITY, f32::max))
    }
}

impl Explanations {
    /// Of each source by its name.
    pub fn new(sources: Vec<(String, Vec<Explanation>)>) -> Self {
        let mut made = Self::default();
        for (source, (name, explanations)) in sources.into_iter().enumerate() {
            made.sources.push(name);
            made.rows.extend(
                explanations.into_iter().map(|explanation| SourcedExplanation { explanation, source }),
            );
        }
        // Stable: equally good ones stay in the order of their sources.
        made.rows.sort_by(|a, b| {
            a.explanation.feature.cmp(&b.explanation.feature).then(b.rank().total_cmp(&a.rank()))
        });
        made
    }

    /// The explanations of `feature`, the best first.
    pub fn of(&self, feature: u32) -> &[SourcedExplanation] {
        let start = self.rows.partition_point(|said| said.explanation.feature < feature);
        let end = start + self.rows[start..].partition_point(|said| said.explanation.feature == feature);
        &self.rows[start..end]
    }

    /// The best text about `feature`.
    pub fn best(&self, feature: u32) -> Option<&str> {
        self.of(feature).first().map(|said| said.explanation.text.as_str())
    }

    /// The score of the best text about `feature`: F1, or where it has none its largest score.
    pub fn score(&self, feature: u32) -> Option<f32> {
        self.of(feature).first().map(SourcedExplanation::rank).filter(|rank| rank.is_finite())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Reads the explanations of the run in `dir`; a source that cannot be read does not hide the others.
///
/// # Errors
/// A folder of explanations that cannot be listed.
pub fn read(dir: &Path) -> Result<Explanations, Problem> {
    let (mut read, mut gaps) = (Vec::new(), Vec::new());
    for source in storage::explanations::sources(dir).map_err(problem)? {
        match storage::explanations::read(dir, &source) {
            Ok(rows) => read.push((source, rows)),
            Err(error) => gaps.push(problem(error)),
        }
    }
    Ok(Explanations { gaps, ..Explanations::new(read) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(feature: u32, text: &str, scores: &[(&str, f32)]) -> Explanation {
        let scores =
            scores.iter().map(|(kind, value)| Score { kind: (*kind).into(), value: *value }).collect();
        Explanation { feature, text: text.into(), scores, ..Explanation::default() }
    }

    #[test]
    fn the_best_comes_first() {
        let explanations = Explanations::new(vec![
            (
                "a".into(),
                vec![said(3, "none", &[]), said(3, "f1", &[("recall", 1.0), ("f1", 0.6)]), said(9, "x", &[])],
            ),
            (
                "b".into(),
                vec![
                    said(3, "largest", &[("fuzz", 0.7), ("detection", 0.2)]),
                    said(3, "equal", &[("fuzz", 0.6)]),
                ],
            ),
        ]);
        let texts: Vec<&str> = explanations.of(3).iter().map(|said| said.explanation.text.as_str()).collect();
        assert_eq!(texts, ["largest", "f1", "equal", "none"]);
        assert_eq!(
            (explanations.best(3), explanations.best(9), explanations.best(4)),
            (Some("largest"), Some("x"), None)
        );
        assert_eq!(explanations.of(3)[0].source, 1);
    }

    #[test]
    fn a_damaged_source_is_named_and_the_others_are_shown() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).unwrap().is_empty());
        storage::explanations::write(dir.path(), "rules", &mut [said(1, "x", &[])]).unwrap();
        std::fs::write(storage::explanations::path(dir.path(), "bad"), "no table").unwrap();
        let found = read(dir.path()).unwrap();
        assert_eq!((found.best(1), found.gaps.len()), (Some("x"), 1));
        assert!(found.gaps[0].what.contains("bad.parquet"), "{:?}", found.gaps);
    }
}
