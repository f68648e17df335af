//! `explanations/NAME.parquet`: what somebody or something says that features are about, sorted by feature.

use arrow::datatypes::{DataType, SchemaRef};

use super::{FEATURE, column, list_of_structs, schema};

/// `text`: the explanation.
pub const TEXT: &str = "text";
/// `method`: how it was made.
pub const METHOD: &str = "method";
/// `by`: the program, model or person that made it; may be empty.
pub const BY: &str = "by";
/// `scores`: how well it describes the feature (kind, value).
pub const SCORES: &str = "scores";
/// `kind`: what a score measures.
pub const KIND: &str = "kind";
/// `value`: the score.
pub const VALUE: &str = "value";

/// feature u32, text utf8, method utf8, by utf8, scores `List<Struct{kind utf8, value f32}>`.
pub fn explanations() -> SchemaRef {
    schema(vec![
        column(FEATURE, DataType::UInt32),
        column(TEXT, DataType::Utf8),
        column(METHOD, DataType::Utf8),
        column(BY, DataType::Utf8),
        column(SCORES, list_of_structs(&[(KIND, DataType::Utf8), (VALUE, DataType::Float32)])),
    ])
}
