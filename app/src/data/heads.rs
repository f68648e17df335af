//! What a dictionary of attention heads has beside its features: the decoder weight of each head, and of the strongest examples the
//! tokens that they come from.

use std::collections::HashMap;

use storage::attention::{AttributionRow, HeadsRow, read};
use storage::{Run, TableReader};

use super::{Example, problem};
use crate::load::Problem;

/// Through which heads a feature writes, one number a head.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeadWeights {
    /// Norm of the decoder row's slice.
    pub norms: Vec<f32>,
    /// Its share of the sum of all norms.
    pub shares: Vec<f32>,
}

/// The tokens that an example's pre-activation comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sources {
    /// Position of the first token that the model saw together with the example's.
    pub start: u32,
    /// The whole.
    pub pre_activation: f32,
    /// What comes from no token.
    pub constant: f32,
    /// What comes from BOS, where the model has one.
    pub bos: Option<f32>,
    /// What comes from tokens that are not listed.
    pub rest: f32,
    /// Position, token and contribution of the tokens that contribute most, by position.
    pub tokens: Vec<(u32, u32, f32)>,
    /// What comes through each head.
    pub heads: Vec<f32>,
}

impl Sources {
    /// The contribution of the token at `position`, if it is listed.
    pub fn at(&self, position: u32) -> Option<f32> {
        let at = self.tokens.binary_search_by_key(&position, |(position, ..)| *position).ok()?;
        Some(self.tokens[at].2)
    }
}

/// The two tables of a run; a dictionary of another place has neither.
#[derive(Clone, Debug)]
pub struct Tables {
    heads: Result<Option<TableReader>, Problem>,
    sources: Result<Option<TableReader>, Problem>,
}

impl Tables {
    /// Opens what is there.
    pub fn open(run: &Run) -> Self {
        Self { heads: run.heads().map_err(problem), sources: run.attribution().map_err(problem) }
    }

    /// The decoder weights of `feature` by head.
    pub fn weights(&self, feature: u32) -> Result<Option<HeadWeights>, Problem> {
        let Some(table) = self.heads.clone()? else { return Ok(None) };
        let rows: Vec<HeadsRow> = read(&table, feature).map_err(problem)?;
        let row = rows.into_iter().next();
        Ok(row.map(|HeadsRow { norms, shares, .. }| HeadWeights { norms, shares }))
    }

    /// Gives those of `examples` of `feature` that have sources theirs. `places` are interval and rank of each example.
    pub fn attach(
        &self,
        feature: u32,
        places: &[(i8, u16)],
        examples: &mut [Example],
    ) -> Result<(), Problem> {
        let Some(table) = self.sources.clone()? else { return Ok(()) };
        let rows: Vec<AttributionRow> = read(&table, feature).map_err(problem)?;
        let mut rows: HashMap<(i8, u16), AttributionRow> =
            rows.into_iter().map(|row| ((row.interval, row.rank), row)).collect();
        for (place, example) in places.iter().zip(examples) {
            // The place in the text is looked at too: nothing is shown beside an example that it is not of.
            let is_of =
                |row: &AttributionRow| (row.document, row.position) == (example.document, example.position);
            example.sources = rows.remove(place).filter(is_of).map(Into::into);
        }
        Ok(())
    }
}

impl From<AttributionRow> for Sources {
    fn from(row: AttributionRow) -> Self {
        let mut tokens: Vec<(u32, u32, f32)> =
            row.sources.into_iter().zip(row.tokens).zip(row.values).map(|((p, t), v)| (p, t, v)).collect();
        tokens.sort_by_key(|(position, ..)| *position);
        Self {
            start: row.start,
            pre_activation: row.pre_activation,
            constant: row.constant,
            bos: row.bos,
            rest: row.rest,
            tokens,
            heads: row.heads,
        }
    }
}
