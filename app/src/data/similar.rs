//! Tokens of a dataset that are like one of its tokens: by shared features, as a run's index has them, and by activations.

use std::path::Path;
use std::sync::Arc;

pub use storage::similar::Overlap;
use storage::similar::{self, Agreement, Near, SimilarOptions};
use storage::{Dataset, Run};

use super::dataset::Documents;
use super::firings::{self, FiringContext};
use super::{missing, problem};
use crate::load::{Feed, Problem};

/// Neighbours of each list.
pub const LISTED: usize = 10;
/// Tokens on which rank correlations are measured, at most.
const RANKED: u64 = 1 << 20;
/// Tokens shown before a neighbour and after it.
const AROUND: (u32, u32) = (6, 2);

/// A token near the one in front.
#[derive(Clone, Debug)]
pub struct Neighbour {
    /// Its document.
    pub document: u32,
    /// Its position there.
    pub position: u32,
    /// How near, by the list's measure.
    pub score: f64,
    /// Whether it is in the list of the other kind, too.
    pub in_both: bool,
    /// The text around it.
    pub context: FiringContext,
}

/// What is near the token in front.
#[derive(Clone, Debug)]
pub struct Similar {
    /// By codes, in the order of [`Overlap::ALL`].
    pub by_codes: [Vec<Neighbour>; 3],
    /// By cosine of activations; whether a neighbour is in both lists is by Jaccard.
    pub by_activation: Vec<Neighbour>,
    /// How far each list of codes agrees with that of activations.
    pub agreement: [Agreement; 3],
}

/// Looks for what is near the token of the dataset in `dir` at `place`, by the index of the run in `run`.
///
/// # Errors
/// A run without codes by token, a token that was not indexed, files that cannot be read.
pub fn read(
    dir: &Path,
    run: &Path,
    documents: &Documents,
    place: (u32, u32),
    feed: &Feed<Arc<Similar>>,
) -> Result<(), Problem> {
    let dataset = Dataset::open(dir).map_err(problem)?;
    let opened = Run::open(run).map_err(problem)?;
    let codes = opened.codes().map_err(problem)?.ok_or_else(|| {
        missing(
            run,
            "table of features by token",
            "Its index is missing or of an older version; `sae index` makes it.",
        )
    })?;
    let query = similar::read_query(&dataset, &codes, place).map_err(problem)?;
    let options = SimilarOptions { k: LISTED, centre: &[], ranked: RANKED };
    let mut advance = |done, total| {
        feed.progress(done, total);
        !feed.cancelled()
    };
    let found = similar::similar(&dataset, &codes, std::slice::from_ref(&query), options, &mut advance);
    let Some(found) = found.map_err(problem)?.and_then(|all| all.into_iter().next()) else { return Ok(()) };
    let shown = |list: &[Near], other: &[Near]| -> Result<Vec<Neighbour>, Problem> {
        let places: Vec<(u32, u32)> = list.iter().map(Near::place).collect();
        let contexts = firings::contexts(dir, documents, &places, AROUND)?;
        let one = |(near, context): (&Near, FiringContext)| Neighbour {
            document: near.document,
            position: near.position,
            score: near.score,
            in_both: other.iter().any(|other| other.place() == near.place()),
            context,
        };
        Ok(list.iter().zip(contexts).map(one).collect())
    };
    let [shared, jaccard, weighted] = &found.by_codes;
    let near = &found.by_activation;
    feed.send(Arc::new(Similar {
        by_codes: [shown(shared, near)?, shown(jaccard, near)?, shown(weighted, near)?],
        by_activation: shown(near, jaccard)?,
        agreement: found.agreement,
    }));
    Ok(())
}
