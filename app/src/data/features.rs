//! A run's feature index: whole columns for the table, one row with its examples for the page.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use storage::examples::ExampleRow;
pub use storage::features::{FeatureColumns, FeatureRow};
use storage::{Layered, Run, TableReader};

use super::heads::{self, AttributionRow, HeadsRow};
use super::history::{self, FeatureHistory};
use super::plane::Plane;
use super::{missing, problem};
use crate::load::Problem;
use crate::words::Number;

/// The numbers of all features, for sorting and filtering; index = feature.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Tokens that were indexed.
    pub tokens: u64,
    /// How features of several layers are numbered, in a cross-layer transcoder.
    pub layered: Option<Layered>,
    /// Of those, the ones on which it was counted which features fire together.
    pub coactive_rows: u64,
    /// The columns of single numbers.
    pub numbers: FeatureColumns,
    /// What became of them in training, where the run has kept it.
    pub events: history::Events,
    /// Why that cannot be read, if it is there.
    pub gap: Option<Problem>,
}

impl Columns {
    /// `number` of `feature`; not a number for a feature that is not there, and for an activation of a dead one.
    pub fn get(&self, number: Number, feature: u32) -> f32 {
        let i = feature as usize;
        let of = |values: &[f32]| values.get(i).copied().unwrap_or(f32::NAN);
        let alive = |values: &[f32]| if self.dead(feature) { f32::NAN } else { of(values) };
        match number {
            Number::Layer => self.layered.map_or(f32::NAN, |layered| layered.place(feature).0 as f32),
            Number::Density => of(&self.numbers.density),
            Number::Count => self.numbers.count.get(i).map_or(f32::NAN, |count| *count as f32),
            Number::Mean => alive(&self.numbers.mean),
            Number::Max => alive(&self.numbers.max),
            Number::Bias => of(&self.numbers.bias),
            Number::EncoderNorm => of(&self.numbers.encoder_norm),
            Number::DecoderNorm => of(&self.numbers.decoder_norm),
            Number::Cosine => of(&self.numbers.encoder_decoder_cosine),
            Number::Born => of(&self.events.born),
            Number::Settled => of(&self.events.settled),
            Number::Moved => of(&self.events.moved),
        }
    }

    /// Number of features.
    pub fn len(&self) -> usize {
        self.numbers.count.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.numbers.count.is_empty()
    }

    /// Whether `feature` never fired on the indexed tokens.
    pub fn dead(&self, feature: u32) -> bool {
        self.numbers.count.get(feature as usize) == Some(&0)
    }
}

/// A list of tokens for each feature, in one piece.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    tokens: Vec<u32>,
    ends: Vec<u32>,
}

impl Lists {
    /// Adds the next feature's tokens.
    pub fn push(&mut self, tokens: impl IntoIterator<Item = u32>) {
        self.tokens.extend(tokens);
        self.ends.push(self.tokens.len() as u32);
    }

    /// The tokens of `feature`; none for one that is not there.
    pub fn get(&self, feature: u32) -> &[u32] {
        let i = feature as usize;
        let Some(end) = self.ends.get(i) else { return &[] };
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        self.tokens.get(start as usize..*end as usize).unwrap_or_default()
    }
}

/// Tokens and labels of all features, for showing and searching.
#[derive(Clone, Debug, Default)]
pub struct TokenLists {
    /// The most frequent tokens that each fires on.
    pub fires_on: Lists,
    /// The tokens that each promotes most.
    pub top_logits: Lists,
    /// Features that have a label, ascending.
    pub labels: Vec<(u32, String)>,
}

impl TokenLists {
    /// What somebody called `feature`.
    pub fn label(&self, feature: u32) -> Option<&str> {
        let at = self.labels.binary_search_by_key(&feature, |(f, _)| *f).ok()?;
        Some(&self.labels[at].1)
    }
}

/// A window of text around a token that the feature fires on.
#[derive(Clone, Debug, Default)]
pub struct Example {
    /// The window.
    pub row: ExampleRow,
    /// The tokens that it comes from, where the index says.
    pub sources: Option<AttributionRow>,
}

impl From<ExampleRow> for Example {
    fn from(row: ExampleRow) -> Self {
        Self { row, sources: None }
    }
}

/// One feature's page.
#[derive(Clone, Debug, Default)]
pub struct FeaturePage {
    /// Its numbers.
    pub row: FeatureRow,
    /// Its examples, by interval and rank.
    pub examples: Vec<Example>,
    /// Why there are no examples, if they cannot be read.
    pub gap: Option<Problem>,
    /// The decoder weight of each head, in a dictionary of attention heads.
    pub heads: Option<HeadsRow>,
    /// What could not be read of heads and sources.
    pub heads_gaps: Vec<Problem>,
    /// What became of it in training; none where the run has no history.
    pub history: Option<FeatureHistory>,
    /// Why that cannot be read, if it is there.
    pub history_gap: Option<Problem>,
}

impl FeaturePage {
    /// Whether any example says where it comes from.
    pub fn has_sources(&self) -> bool {
        self.examples.iter().any(|example| example.sources.is_some())
    }
}

const INDEX_IT: &str = "Make it with `sae index`.";

fn table(run: &Run) -> Result<TableReader, Problem> {
    run.features().map_err(problem)?.ok_or_else(|| missing(run.dir(), "feature index", INDEX_IT))
}

/// Reads the numbers of all features of the run in `dir`.
///
/// # Errors
/// A run without an index; an index that cannot be read or whose features are not 0, 1, 2, ….
pub fn read_columns(dir: &Path) -> Result<Columns, Problem> {
    let run = Run::open(dir).map_err(problem)?;
    let numbers = storage::features::scalar_columns(&table(&run)?).map_err(problem)?;
    check_numbers(dir, &numbers.feature)?;
    let index = run.index().map_err(problem)?;
    let index =
        index.ok_or_else(|| missing(dir, "record of its feature index (features/index.json)", INDEX_IT))?;
    let (events, gap) = match history::read_events(dir, numbers.count.len()) {
        Ok(events) => (events, None),
        Err(problem) => (history::Events::default(), Some(problem)),
    };
    let (tokens, coactive_rows, layered) = (index.tokens, index.coactive_rows, Layered::of(run.record()));
    Ok(Columns { tokens, layered, coactive_rows, numbers, events, gap })
}

/// Row = feature; the table relies on it.
fn check_numbers(dir: &Path, features: &[u32]) -> Result<(), Problem> {
    match features.iter().zip(0..).find(|(feature, row)| *feature != row) {
        None => Ok(()),
        Some((feature, row)) => Err(Problem::new(format!(
            "{}: row {row} holds feature {feature}, expected feature {row}.",
            dir.join("features/features.parquet").display()
        ))
        .with_remedy("Make the index again with `sae index`.")),
    }
}

/// Reads the tokens and labels of all features of the run in `dir`.
///
/// # Errors
/// A run without an index, or one that cannot be read.
pub fn read_token_lists(dir: &Path) -> Result<TokenLists, Problem> {
    let run = Run::open(dir).map_err(problem)?;
    let mut lists = TokenLists::default();
    let mut feature = 0u32;
    for batch in table(&run)?.columns(&["fires_on", "top_logits", "label"]).map_err(problem)? {
        let mut piece = FeatureColumns::default();
        piece.append(&batch.map_err(problem)?).map_err(problem)?;
        piece.fires_on.iter().for_each(|list| lists.fires_on.push(list.iter().map(|(token, _)| *token)));
        piece.top_logits.iter().for_each(|list| lists.top_logits.push(list.iter().map(|(token, _)| *token)));
        let features = piece.label.len() as u32;
        let named = piece.label.into_iter().zip(feature..).filter_map(|(label, f)| Some((f, label?)));
        lists.labels.extend(named.filter(|(_, label)| !label.is_empty()));
        feature += features;
    }
    Ok(lists)
}

/// Where features lie in the plane.
#[derive(Clone, Debug, Default)]
pub struct Points {
    /// The features that have a place, ascending.
    pub features: Vec<u32>,
    /// The place of each.
    pub plane: Arc<Plane>,
}

/// Reads the map of the run in `dir`.
///
/// # Errors
/// A run without a map, or one that cannot be read.
pub fn read_points(dir: &Path) -> Result<Points, Problem> {
    let run = Run::open(dir).map_err(problem)?;
    let path = run.features_dir().join(storage::map::FILE);
    if !path.exists() {
        return Err(missing(dir, "map of its features", "Make it with `sae map`."));
    }
    let table = storage::row::open::<storage::map::PointRow>(&path).map_err(problem)?;
    let mut rows: Vec<storage::map::PointRow> =
        storage::row::read(&table, storage::Scan::default()).map_err(problem)?;
    rows.retain(|row| row.x.is_finite() && row.y.is_finite());
    rows.sort_by_key(|row| row.feature);
    let plane = Arc::new(Plane::new(rows.iter().map(|row| [row.x, row.y]).collect()));
    Ok(Points { features: rows.into_iter().map(|row| row.feature).collect(), plane })
}

/// Reads single pages of a run; the tables are opened by the first and kept open for the others of the same run. Runs of which nothing
/// was loaded yet share one, so it must know whose tables it has.
#[derive(Clone, Debug, Default)]
pub struct Pages(Arc<Mutex<Option<(PathBuf, PageTables)>>>);

/// Features, and where the run has them examples, what is known of heads, and a history; damaged ones do not hide the numbers.
#[derive(Clone, Debug)]
struct PageTables {
    features: TableReader,
    examples: Result<Option<TableReader>, Problem>,
    heads: heads::Tables,
    history: Result<Option<storage::history::History>, Problem>,
}

impl Pages {
    /// Reads the page of `feature` of the run in `dir`.
    ///
    /// # Errors
    /// A run without an index; no such feature, and which there are; a row of a different one. What else
    /// cannot be read is a gap of the page.
    pub fn read(&self, dir: &Path, feature: u32) -> Result<FeaturePage, Problem> {
        let PageTables { features, examples, heads, history } = self.open(dir)?;
        let row = u64::from(feature);
        if row >= features.rows() {
            let there = features.rows();
            return Err(Problem::new(format!("{} has no feature {feature}.", dir.display()))
                .with_remedy(format!("Its features are 0 to {}.", there.saturating_sub(1))));
        }
        let read = storage::features::read(&features, row..row + 1).map_err(problem)?;
        let row = read.into_iter().next().ok_or_else(|| missing(dir, "such feature", INDEX_IT))?;
        check_feature(dir, feature, row.feature)?;
        let examples = examples.and_then(|table| match table {
            Some(table) => storage::examples::read(&table, feature).map_err(problem),
            None => Ok(Vec::new()),
        });
        let (examples, gap) = match examples {
            Ok(examples) => (examples, None),
            Err(problem) => (Vec::new(), Some(problem)),
        };
        let mut examples: Vec<Example> = examples.into_iter().map(Into::into).collect();
        let mut heads_gaps: Vec<Problem> = heads.attach(feature, &mut examples).err().into_iter().collect();
        let weights = heads.weights(feature).unwrap_or_else(|problem| {
            heads_gaps.push(problem);
            None
        });
        let of_feature =
            |history: Option<_>| history.map(|history| history::of_feature(&history, feature)).transpose();
        let (history, history_gap) = match history.and_then(of_feature) {
            Ok(history) => (history, None),
            Err(problem) => (None, Some(problem)),
        };
        Ok(FeaturePage { row, examples, gap, heads: weights, heads_gaps, history, history_gap })
    }

    /// Opens the tables of the run in `dir`, so that the first page comes as fast as the others: of a million features the list of
    /// where examples lie is long.
    ///
    /// # Errors
    /// A run without an index, or one that cannot be read.
    pub fn prepare(&self, dir: &Path) -> Result<(), Problem> {
        self.open(dir).map(drop)
    }

    fn open(&self, dir: &Path) -> Result<PageTables, Problem> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, readers)) = kept.as_ref().filter(|(of, _)| of == dir) {
            return Ok(readers.clone());
        }
        let run = Run::open(dir).map_err(problem)?;
        let readers = PageTables {
            features: table(&run)?,
            examples: run.examples().map_err(problem),
            heads: heads::Tables::open(&run),
            history: storage::history::History::open(dir).map_err(problem),
        };
        *kept = Some((dir.to_owned(), readers.clone()));
        Ok(readers)
    }
}

fn check_feature(dir: &Path, wanted: u32, found: u32) -> Result<(), Problem> {
    if wanted == found {
        return Ok(());
    }
    Err(Problem::new(format!("{}: row {wanted} holds feature {found}.", dir.display()))
        .with_remedy("Make the index again with `sae index`."))
}
