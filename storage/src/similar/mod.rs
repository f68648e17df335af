//! Tokens that are like a token: by the features that they share, and by their activations. Exact, over every indexed token.
//!
//! For codes a, b ≥ 0 of two tokens, with supports A and B:
//!
//! ```text
//! shared    |A ∩ B|
//! Jaccard   |A ∩ B| / |A ∪ B|
//! weighted  Σ min(a, b) / Σ max(a, b)            (Ruzicka)
//! cosine    ⟨x, y⟩ / (‖x‖ ‖y‖) of the activations, or of what is left of them without a centre
//! ```
//!
//! A code whose overlap grows with similarity is what sparse distributed representations promise (Rinkus 2010); [`agreement`] says how far a
//! dictionary keeps that promise. Both passes stream whole columns once, whatever the number of queries.

mod agreement;
mod best;
mod passes;

pub use agreement::{Agreement, spearman};
pub use best::{Near, NearList};
pub use passes::{Query, read_query};

use std::collections::HashSet;

use crate::error::Result;
use crate::{Dataset, TableReader};
use agreement::Sample;
use passes::{cosines, overlaps};

/// How two tokens' codes are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// |A ∩ B|.
    Shared,
    /// |A ∩ B| / |A ∪ B|.
    Jaccard,
    /// Σ min / Σ max.
    Weighted,
}

impl Overlap {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Shared, Self::Jaccard, Self::Weighted];

    /// The name in tables and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Jaccard => "jaccard",
            Self::Weighted => "weighted",
        }
    }
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub struct SimilarOptions<'a> {
    /// Neighbours of each list.
    pub k: usize,
    /// What is subtracted from activations before their cosine, `[d_model]`; empty for nothing.
    pub centre: &'a [f32],
    /// Tokens on which rank correlations are measured, at most, evenly spread over all.
    pub ranked: u64,
}

/// Tokens that are like one token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SimilarTokens {
    /// The nearest by codes, in the order of [`Overlap::ALL`]; the best first, ties to the earlier token.
    pub by_codes: [Vec<Near>; 3],
    /// The nearest by cosine.
    pub by_activation: Vec<Near>,
    /// How far each list of codes agrees with that of activations.
    pub agreement: [Agreement; 3],
}

/// How far a search came: rows done of how many; false stops it.
pub type Advance<'a> = &'a mut dyn FnMut(u64, u64) -> bool;

/// The nearest tokens of each of `queries` among those of `codes`, except itself; `None` if `advance` stopped it.
///
/// # Errors
/// Tables that cannot be read, activations of a different width.
pub fn similar(
    dataset: &Dataset,
    codes: &TableReader,
    queries: &[Query],
    options: SimilarOptions<'_>,
    advance: Advance<'_>,
) -> Result<Option<Vec<SimilarTokens>>> {
    let mut lists: Vec<[NearList; 3]> = Vec::new();
    lists.resize_with(queries.len(), || [(); 3].map(|()| NearList::new(options.k)));
    let mut sample = Sample::new(codes.rows(), options.ranked, queries.len());
    let mut indexed = HashSet::new();
    let total = 2 * codes.rows();
    let first =
        overlaps(codes, queries, &mut lists, &mut sample, &mut indexed, &mut |done| advance(done, total))?;
    if !first {
        return Ok(None);
    }
    let mut near: Vec<NearList> = queries.iter().map(|_| NearList::new(options.k)).collect();
    let done = codes.rows();
    let second = cosines(dataset, queries, options.centre, &indexed, &mut near, &mut sample, &mut |more| {
        advance((done + more).min(total), total)
    })?;
    if !second {
        return Ok(None);
    }
    let mut found: Vec<SimilarTokens> = Vec::with_capacity(queries.len());
    for (i, (lists, near)) in lists.into_iter().zip(near).enumerate() {
        let by_activation = near.finish();
        let by_codes = lists.map(NearList::finish);
        let ranks = sample.spearman(i);
        let mut agreement = [Agreement::default(); 3];
        for ((agreement, list), spearman) in agreement.iter_mut().zip(&by_codes).zip(ranks) {
            *agreement = Agreement { overlap: agreement::common(list, &by_activation, options.k), spearman };
        }
        found.push(SimilarTokens { by_codes, by_activation, agreement });
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests;
