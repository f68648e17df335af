//! What a dictionary of attention heads has besides its features: the decoder weight of each head, and of the strongest
//! examples the tokens that they come from.

use std::collections::HashMap;

use storage::attention::read;
pub use storage::attention::{AttributionRow, HeadsRow};
use storage::{Run, TableReader};

use super::{Example, problem};
use crate::load::Problem;

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
    ///
    /// # Errors
    /// A table that cannot be opened or read.
    pub fn weights(&self, feature: u32) -> Result<Option<HeadsRow>, Problem> {
        let Some(table) = self.heads.clone()? else { return Ok(None) };
        let rows: Vec<HeadsRow> = read(&table, feature).map_err(problem)?;
        Ok(rows.into_iter().next())
    }

    /// Gives those of `examples` of `feature` that have sources theirs.
    ///
    /// # Errors
    /// A table that cannot be opened or read; the examples then have no sources.
    pub fn attach(&self, feature: u32, examples: &mut [Example]) -> Result<(), Problem> {
        let Some(table) = self.sources.clone()? else { return Ok(()) };
        let rows: Vec<AttributionRow> = read(&table, feature).map_err(problem)?;
        let mut rows: HashMap<(i8, u16), AttributionRow> =
            rows.into_iter().map(|row| ((row.interval, row.rank), row)).collect();
        for example in examples {
            // The place in the text is looked at too: nothing is shown next to an example that it is not of.
            let place = (example.row.document, example.row.position);
            let is_of = |row: &AttributionRow| (row.document, row.position) == place;
            example.sources = rows.remove(&(example.row.interval, example.row.rank)).filter(is_of);
        }
        Ok(())
    }
}
