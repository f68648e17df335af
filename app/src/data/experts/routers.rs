//! What `sae experts explain` and `sae experts written` found: what sends tokens to an expert, which experts a feature
//! calls, and what an expert writes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use storage::experts::{RouterExpertRow, RouterFeatureRow, WrittenRow};
use storage::explanations::{self, Explanation};
use storage::schema::{EXPERT, FEATURE, LAYER};
use storage::{Run, Scan, row};

use super::tables::folder_of;
use crate::data::problem;
use crate::load::Problem;

/// Features that are shown of an expert.
const SHOWN: usize = 12;
/// Explanations that come before all others.
const FIRST: &str = "rules";

/// What sends tokens to one expert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Senders {
    /// How well its tokens are predicted.
    pub expert: RouterExpertRow,
    /// The features that tell most of it: first those that send tokens there, then those that keep them away.
    pub features: Vec<RouterFeatureRow>,
    /// Explanations of these features.
    pub about: HashMap<u32, String>,
}

impl Senders {
    /// The features that send tokens there, in words, as many as its union size.
    pub fn in_words(&self, name: impl Fn(u32) -> String) -> Option<String> {
        let most = self.expert.union_size.map_or(4, |n| (n as usize).min(4));
        let of = |row: &RouterFeatureRow| match self.about.get(&row.feature) {
            Some(text) => format!("{} ({text})", row.feature),
            None => format!("{} ({})", row.feature, name(row.feature)),
        };
        let senders = self.features.iter().filter(|row| row.correlation > 0.0);
        let all: Vec<String> = senders.take(most).map(of).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

fn table(run: &Path, name: &str) -> Result<Option<PathBuf>, Problem> {
    let path = Run::open(run).map_err(problem)?.features_dir().join(name);
    Ok(path.exists().then_some(path))
}

fn only(column: &str, number: u64) -> Scan {
    Scan { range: Some((column.to_owned(), number, number)), ..Scan::default() }
}

/// What sends tokens to `expert` of `layer`, by the features of `run`; `None` where that was not asked yet, or where the
/// table does not have the expert.
///
/// # Errors
/// Tables that cannot be read.
pub fn of_expert(run: &Path, layer: u16, expert: u32) -> Result<Option<Senders>, Problem> {
    let (Some(experts), Some(features)) =
        (table(run, "router_experts.parquet")?, table(run, "router_features.parquet")?)
    else {
        return Ok(None);
    };
    let of_expert = || only(EXPERT, expert.into());
    let experts: Vec<RouterExpertRow> = row::open::<RouterExpertRow>(&experts)
        .and_then(|table| row::read(&table, of_expert()))
        .map_err(problem)?;
    let Some(own) = experts.into_iter().find(|row| row.layer == layer) else { return Ok(None) };
    let mut rows: Vec<RouterFeatureRow> = row::open::<RouterFeatureRow>(&features)
        .and_then(|table| row::read(&table, of_expert()))
        .map_err(problem)?;
    rows.retain(|row| row.layer == layer);
    rows.sort_by(|a, b| (a.correlation < 0.0).cmp(&(b.correlation < 0.0)).then(a.rank.cmp(&b.rank)));
    rows.truncate(SHOWN);
    let about = about(run, rows.iter().map(|row| row.feature))?;
    Ok(Some(Senders { expert: own, features: rows, about }))
}

/// The experts that `feature` of `run` tells most of, the largest correlation first; `None` where that was not asked yet.
///
/// # Errors
/// A table that cannot be read.
pub fn of_feature(run: &Path, feature: u32) -> Result<Option<Vec<RouterFeatureRow>>, Problem> {
    let Some(path) = table(run, "router_features.parquet")? else { return Ok(None) };
    let scan = only(FEATURE, feature.into());
    let mut rows: Vec<RouterFeatureRow> =
        row::open::<RouterFeatureRow>(&path).and_then(|table| row::read(&table, scan)).map_err(problem)?;
    rows.sort_by(|a, b| b.correlation.total_cmp(&a.correlation).then(a.layer.cmp(&b.layer)));
    Ok(Some(rows))
}

/// What explanations say of `features`: rules first, then other sources in order of name.
fn about(run: &Path, features: impl Iterator<Item = u32>) -> Result<HashMap<u32, String>, Problem> {
    let mut sources = explanations::sources(run).map_err(problem)?;
    sources.sort_by_key(|source| (source != FIRST, source.clone()));
    let tables: Vec<_> = sources
        .iter()
        .map(|source| row::open::<Explanation>(&explanations::path(run, source)))
        .collect::<Result<_, _>>()
        .map_err(problem)?;
    let mut about = HashMap::new();
    for feature in features {
        for table in &tables {
            let found: Vec<Explanation> = row::read(table, only(FEATURE, feature.into())).map_err(problem)?;
            if let Some(said) = found.into_iter().find(|said| said.feature == feature) {
                about.entry(feature).or_insert(said.text);
            }
        }
    }
    Ok(about)
}

/// The tokens whose directions give most of what `expert` of `layer` writes, in order; nothing where that was not asked.
///
/// # Errors
/// A table that cannot be read.
pub fn written(dataset: &Path, layer: u16, expert: u32) -> Result<Vec<WrittenRow>, Problem> {
    let path = folder_of(dataset).join("written.parquet");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let scan = only(LAYER, layer.into());
    let mut rows: Vec<WrittenRow> =
        row::open::<WrittenRow>(&path).and_then(|table| row::read(&table, scan)).map_err(problem)?;
    rows.retain(|row| (row.layer, row.expert) == (layer, expert));
    rows.sort_by_key(|row| row.rank);
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_in_order_with_what_is_said_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path();
        std::fs::create_dir_all(run.join("features")).unwrap();
        storage::RunRecord::new().write(run).unwrap();
        assert_eq!((of_expert(run, 1, 3).unwrap(), of_feature(run, 7).unwrap()), (None, None));
        let feature = |layer, expert, rank, feature, correlation| RouterFeatureRow {
            layer,
            expert,
            rank,
            feature,
            correlation,
            ..RouterFeatureRow::default()
        };
        let rows = [
            feature(0, 3, 0, 7, 0.2),
            feature(1, 2, 0, 7, 0.9),
            feature(1, 3, 0, 5, -0.8),
            feature(1, 3, 1, 9, 0.6),
            feature(1, 3, 2, 7, 0.5),
        ];
        row::write(&run.join("features/router_features.parquet"), &rows).unwrap();
        let expert =
            |layer, expert, union_size| RouterExpertRow { layer, expert, union_size, ..Default::default() };
        let experts = [expert(0, 3, Some(1)), expert(1, 2, None), expert(1, 3, Some(2))];
        row::write(&run.join("features/router_experts.parquet"), &experts).unwrap();
        let said = |feature, text: &str| Explanation { feature, text: text.into(), ..Explanation::default() };
        for (source, rows) in
            [("other", vec![said(7, "of others"), said(9, "nine")]), ("rules", vec![said(7, "seven")])]
        {
            let path = explanations::path(run, source);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            row::write(&path, &rows).unwrap();
        }
        let found = of_expert(run, 1, 3).unwrap().unwrap();
        assert_eq!(found.features.iter().map(|row| row.feature).collect::<Vec<_>>(), [9, 7, 5]);
        assert_eq!(found.expert, experts[2]);
        let words = found.in_words(|feature| format!("tokens of {feature}"));
        assert_eq!(words.as_deref(), Some("9 (nine), 7 (seven)"));
        let without = Senders { about: HashMap::new(), ..found };
        assert_eq!(
            without.in_words(|f| format!("tokens of {f}")).as_deref(),
            Some("9 (tokens of 9), 7 (tokens of 7)")
        );
        let calls = of_feature(run, 7).unwrap().unwrap();
        assert_eq!(
            calls.iter().map(|row| (row.layer, row.expert)).collect::<Vec<_>>(),
            [(1, 2), (1, 3), (0, 3)]
        );
        assert_eq!(of_expert(run, 2, 3).unwrap(), None);
    }

    #[test]
    fn what_an_expert_writes_is_its_own() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(written(dir.path(), 0, 1).unwrap(), []);
        let word = |layer, expert, rank, text: &str| WrittenRow {
            layer,
            expert,
            rank,
            text: text.into(),
            ..WrittenRow::default()
        };
        std::fs::create_dir_all(dir.path().join("experts")).unwrap();
        let rows = [word(0, 1, 0, "a"), word(0, 1, 1, "b"), word(0, 2, 0, "c"), word(1, 1, 0, "d")];
        row::write(&dir.path().join("experts/written.parquet"), &rows).unwrap();
        assert_eq!(written(dir.path(), 0, 1).unwrap(), rows[..2]);
    }
}
