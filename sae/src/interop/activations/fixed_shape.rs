//! Columns of Arrow's extension type `arrow.fixed_shape_tensor`: `[d]` or `[tokens, d]` per row, stored as
//! one flat list.
//!
//! The field's metadata say the shape: `{"shape": [16, 768], "dim_names": …, "permutation": …}`.

use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray};
use arrow::datatypes::Field;
use arrow::error::ArrowError;

use super::lists::values;

/// The extension's name.
const NAME: &str = "arrow.fixed_shape_tensor";

/// What a row of a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Tokens of a sequence; None where a row is one vector.
    pub tokens: Option<usize>,
    pub d: usize,
}

/// The shape that a field's metadata say; None for fields that are not tensors.
///
/// # Errors
/// Metadata that are not a shape, more than two dimensions, dimensions in another order than they are stored
/// in.
pub(super) fn shape(field: &Field) -> Result<Option<Shape>, String> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        shape: Vec<usize>,
        permutation: Option<Vec<usize>>,
    }
    if field.extension_type_name() != Some(NAME) {
        return Ok(None);
    }
    let text = field.extension_type_metadata().unwrap_or_default();
    let Metadata { shape, permutation } =
        serde_json::from_str(text).map_err(|e| format!("is a tensor without a shape: {e}"))?;
    if permutation.is_some_and(|order| order.iter().enumerate().any(|(i, &at)| i != at)) {
        return Err("is a tensor whose dimensions are stored in another order, which is not read".into());
    }
    match shape[..] {
        [d] => Ok(Some(Shape { tokens: None, d })),
        [tokens, d] => Ok(Some(Shape { tokens: Some(tokens), d })),
        _ => Err(format!("is a tensor of shape {shape:?} per row; expected [d] or [tokens, d]")),
    }
}

/// The flat lists of `[tokens, d]` as lists of lists.
///
/// # Errors
/// Rows that are null or do not have tokens × d numbers, with the first.
pub(super) fn nested(column: &ArrayRef, tokens: usize, d: usize) -> Result<ArrayRef, (usize, String)> {
    let (numbers, spans) = values(column)?;
    let expected = tokens.checked_mul(d);
    if let Some(row) = spans.iter().position(|span| Some(span.len()) != expected) {
        let problem = format!("has {} numbers; its shape is [{tokens}, {d}]", spans[row].len());
        return Err((row, problem));
    }
    let fold = |values: ArrayRef, width: usize| -> Result<ArrayRef, ArrowError> {
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let width = i32::try_from(width).map_err(|e| ArrowError::InvalidArgumentError(e.to_string()))?;
        Ok(Arc::new(FixedSizeListArray::try_new(field, width, values, None)?))
    };
    fold(numbers, d).and_then(|rows| fold(rows, tokens)).map_err(|e| (0, e.to_string()))
}
