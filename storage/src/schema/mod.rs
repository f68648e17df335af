//! The one place where tables and columns are named. One file a table: its columns in order, with their types.
//!
//! Lists are lists and structs are structs, never JSON in a string. Their inner field is called `element`, as the
//! Parquet specification wants it, so that every reader finds the same path (`activation.list.element`).
//!
//! Tables that are declared as a struct ([`crate::row`]) have their columns there: [`crate::experts`], [`crate::map`],
//! [`crate::compare`], [`crate::attention`].

pub mod activations;
pub mod codes;
pub mod documents;
pub mod examples;
pub mod experts;
pub mod explanations;
pub mod feature_activations;
pub mod features;
pub mod metrics;
pub mod routing;
pub mod vocabulary;
pub mod whitening;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};

pub use activations::{activations, activations_of};
pub use codes::codes;
pub use documents::documents;
pub use examples::examples;
pub use experts::{expert_layers, expert_load};
pub use explanations::explanations;
pub use feature_activations::feature_activations;
pub use features::features;
pub use metrics::{metrics, metrics_steps};
pub use routing::{routing, routing_with_scores};
pub use vocabulary::vocabulary;
pub use whitening::whitening;

/// Name of the table of activations.
pub const ACTIVATIONS: &str = "activations";
/// Name of the table of experts' choices.
pub const ROUTING: &str = "routing";
/// Name of the table token → text.
pub const VOCABULARY: &str = "vocabulary";
/// Name of the table of documents.
pub const DOCUMENTS: &str = "documents";
/// Name of the table that undoes a whitening.
pub const WHITENING: &str = "whitening";

/// Tables that fit into one file, which then has no number: `vocabulary.parquet`.
pub const SINGLE_FILE: [&str; 3] = [VOCABULARY, DOCUMENTS, WHITENING];

/// `document`: number of the document, from 0.
pub const DOCUMENT: &str = "document";
/// `position`: number of the token in its document, from 0, BOS not counted.
pub const POSITION: &str = "position";
/// `token`: id of the token.
pub const TOKEN: &str = "token";
/// `feature`: number of the feature.
pub const FEATURE: &str = "feature";
/// `domain`: what kind of text it is.
pub const DOMAIN: &str = "domain";

/// Schema of a dataset's table; `None` for a table that this version does not know.
pub(crate) fn of_dataset(table: &str, manifest: &crate::Manifest) -> Option<SchemaRef> {
    match table {
        ACTIVATIONS => Some(activations_of(manifest.rows_are, manifest.d_model, manifest.dtype)),
        ROUTING => Some(routing()),
        VOCABULARY => Some(vocabulary()),
        DOCUMENTS => Some(documents()),
        WHITENING => Some(whitening(manifest.d_model)),
        _ => None,
    }
}

/// A column that is never null.
pub(crate) fn column(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

/// The inner field of every list.
pub(crate) fn element(data_type: DataType) -> FieldRef {
    Arc::new(Field::new("element", data_type, false))
}

/// `List<data_type>`, nothing null.
pub(crate) fn list(data_type: DataType) -> DataType {
    DataType::List(element(data_type))
}

/// `FixedSizeList<data_type, width>`, nothing null.
pub(crate) fn fixed_size_list(data_type: DataType, width: usize) -> DataType {
    DataType::FixedSizeList(element(data_type), i32::try_from(width).unwrap_or(i32::MAX))
}

/// Fields of a struct, nothing null.
pub(crate) fn struct_fields(fields: &[(&str, DataType)]) -> Fields {
    fields.iter().map(|(name, data_type)| column(name, data_type.clone())).collect()
}

/// `List<Struct{…}>`, nothing null.
pub(crate) fn list_of_structs(fields: &[(&str, DataType)]) -> DataType {
    list(DataType::Struct(struct_fields(fields)))
}

/// utf8 with few different values: stored and read as a dictionary.
pub(crate) fn dictionary_text() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

pub(crate) fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}
