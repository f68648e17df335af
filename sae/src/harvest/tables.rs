//! What a batch gave, as rows of the datasets' tables.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float32Array, Int32Array, ListArray, RecordBatch, StringArray, UInt16Array,
    UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, SchemaRef};
use storage::{Dtype, schema, vector};

use super::capture::Captured;
use crate::{Error, Result};
use lm::model::Hook;
use lm::text::Contexts;

/// The tokens of a batch that become rows, in (document, position) order.
pub(super) struct Rows {
    /// Where each is in the batch.
    at: Vec<usize>,
    document: Vec<u32>,
    position: Vec<u32>,
    token: Vec<u32>,
    domains: DictionaryArray<arrow::datatypes::Int32Type>,
}

impl Rows {
    /// `domain` gives a document's domain.
    ///
    /// # Errors
    /// A column of domains that Arrow refuses.
    pub fn new<'k>(contexts: &Contexts, domain: impl Fn(u32) -> &'k str) -> Result<Self> {
        let mut rows: Vec<(u32, u32, usize)> =
            contexts.origin.iter().enumerate().filter_map(|(at, o)| o.map(|(d, p)| (d, p, at))).collect();
        rows.sort_unstable();
        let at: Vec<usize> = rows.iter().map(|r| r.2).collect();
        let document: Vec<u32> = rows.iter().map(|r| r.0).collect();
        let domains = domains(&document, domain)?;
        let position = rows.iter().map(|r| r.1).collect();
        let token = at.iter().map(|&i| contexts.tokens[i]).collect();
        Ok(Self { at, document, position, token, domains })
    }

    pub fn len(&self) -> usize {
        self.at.len()
    }

    fn pick(&self, values: &[f32], width: usize) -> Vec<f32> {
        let mut picked = Vec::with_capacity(self.len() * width);
        for &at in &self.at {
            picked.extend_from_slice(&values[at * width..(at + 1) * width]);
        }
        picked
    }

    fn vectors(
        &self,
        values: &[f32],
        width: usize,
        dtype: Dtype,
        what: &str,
        hook: Hook,
    ) -> Result<ArrayRef> {
        let (column, bad) = vector::column_from_rows(&self.pick(values, width), width, dtype)?;
        if let Some(row) = bad.first_row {
            let place = format!("document {}, position {}", self.document[row], self.position[row]);
            let problem = format!("the {what} at {hook} of {place} cannot be stored: it is not finite");
            return Err(Error::data(problem).with_remedy("check the model's weights"));
        }
        Ok(Arc::new(column))
    }

    /// Whether all activations `[n, width]` of hook number `i` are finite and some are too large for f16.
    pub fn overflow(&self, got: &Captured, i: usize, width: usize) -> bool {
        vector::exceeds_f16(self.at.iter().flat_map(|&at| &got.values[i][at * width..][..width]))
    }

    /// Rows of `activations` for hook number `i` of the harvest.
    ///
    /// # Errors
    /// A number that is not finite as `dtype`, with document and position.
    pub fn activations(
        &self,
        got: &Captured,
        i: usize,
        hook: Hook,
        width: usize,
        dtype: Dtype,
    ) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from(self.document.clone())),
            Arc::new(UInt32Array::from(self.position.clone())),
            Arc::new(UInt32Array::from(self.token.clone())),
            Arc::new(self.domains.clone()),
            self.vectors(&got.values[i], width, dtype, "activation", hook)?,
        ];
        if let Some(gradients) = got.gradients.get(i) {
            columns.push(self.vectors(gradients, width, Dtype::F32, "gradient", hook)?);
        }
        batch(schema::activations(width, dtype, !got.gradients.is_empty()), columns)
    }

    /// Rows of `routing`: for every token its layers in order.
    ///
    /// # Errors
    /// Columns that the schema of routing does not have.
    pub fn routing(&self, got: &Captured) -> Result<RecordBatch> {
        let layers = got.routing.len();
        let each = |column: &[u32]| -> ArrayRef {
            Arc::new(UInt32Array::from_iter_values(
                column.iter().flat_map(|&v| std::iter::repeat_n(v, layers)),
            ))
        };
        let (mut layer, mut entropy) = (Vec::new(), Vec::new());
        let (mut experts, mut weights, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        for &at in &self.at {
            for r in &got.routing {
                let (chosen, applied) = r.of(at);
                layer.push(r.layer as u16);
                experts.extend(chosen.iter().copied());
                weights.extend_from_slice(applied);
                entropy.push(r.entropy[at]);
                counts.push(chosen.len());
            }
        }
        let columns = schema::routing();
        let list = |name: &str, values: ArrayRef| -> Result<ArrayRef> {
            let field = columns.field_with_name(name).map_err(|e| Error::data(e.to_string()))?;
            let DataType::List(element) = field.data_type() else {
                return Err(Error::data(format!("the column {name} of routing is not a list")));
            };
            let offsets = OffsetBuffer::from_lengths(counts.iter().copied());
            let list = ListArray::try_new(element.clone(), offsets, values, None);
            Ok(Arc::new(list.map_err(|e| Error::data(e.to_string()))?))
        };
        let columns = vec![
            each(&self.document),
            each(&self.position),
            each(&self.token),
            Arc::new(UInt16Array::from(layer)),
            list(storage::routing::EXPERTS, Arc::new(UInt32Array::from(experts)))?,
            list(storage::routing::WEIGHTS, Arc::new(Float32Array::from(weights)))?,
            Arc::new(Float32Array::from(entropy)),
        ];
        batch(schema::routing(), columns)
    }
}

fn domains<'k>(
    documents: &[u32],
    domain: impl Fn(u32) -> &'k str,
) -> Result<DictionaryArray<arrow::datatypes::Int32Type>> {
    let (mut names, mut keys) = (Vec::<&str>::new(), Vec::with_capacity(documents.len()));
    let mut last = None;
    for &document in documents {
        let key = match last {
            Some((d, key)) if d == document => key,
            _ => {
                let name = domain(document);
                names.iter().position(|n| *n == name).unwrap_or_else(|| {
                    names.push(name);
                    names.len() - 1
                })
            }
        };
        last = Some((document, key));
        keys.push(key as i32);
    }
    let names = Arc::new(StringArray::from_iter_values(&names));
    DictionaryArray::try_new(Int32Array::from(keys), names).map_err(|e| Error::data(e.to_string()))
}

fn batch(schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(schema, columns)
        .map_err(|e| Error::data(format!("rows that do not fit their table: {e}")))
}
