//! Names of tables and of the columns that rows are found by, and the tables whose width is known at run time alone.
//!
//! Every other table is declared as a struct ([`crate::row`]), and its columns are named there and nowhere else. Lists are
//! lists and structs are structs, never JSON in a string. Their inner field is called `element`, as the Parquet
//! specification wants it, so that every reader finds the same path (`activation.list.element`).

pub mod activations;
mod whitening;

use arrow::datatypes::{DataType, SchemaRef};

use crate::documents::DocumentRow;
use crate::routing::RoutingRow;
use crate::row::Row as _;
use crate::truth::TrueCodesRow;
use crate::vocabulary::TokenRow;

pub use crate::field::*;
pub use activations::{activations, activations_of};
pub(crate) use whitening::columns as whitening_columns;
pub use whitening::whitening;
pub(crate) use whitening::{MEAN, RESTORE, WHITEN};

/// `truth-NNNNN.parquet`: the codes that made the rows of a world.
pub fn truth() -> SchemaRef {
    TrueCodesRow::schema()
}

/// `documents.parquet`.
pub fn documents() -> SchemaRef {
    DocumentRow::schema()
}

/// `vocabulary.parquet`.
pub fn vocabulary() -> SchemaRef {
    TokenRow::schema()
}

/// `routing-NNNNN.parquet` without scores.
pub fn routing() -> SchemaRef {
    RoutingRow::schema()
}

/// [`routing`] and the router's scores of all experts.
pub fn routing_with_scores() -> SchemaRef {
    let mut fields = RoutingRow::fields();
    fields.push(column(crate::routing::SCORES, list(DataType::Float32)));
    schema(fields)
}

/// Schema of a dataset's table; `None` for a table that this version does not know.
pub(crate) fn of_dataset(table: &str, manifest: &crate::Manifest) -> Option<SchemaRef> {
    match table {
        ACTIVATIONS => Some(activations_of(manifest.rows_are, manifest.d_model, manifest.dtype)),
        ROUTING => Some(routing()),
        VOCABULARY => Some(vocabulary()),
        DOCUMENTS => Some(documents()),
        TRUTH => Some(TrueCodesRow::schema()),
        WHITENING => Some(whitening(manifest.d_model)),
        _ => None,
    }
}
