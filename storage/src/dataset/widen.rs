//! Activations of f16 written again as f32, when a number comes that f16 cannot hold.
//!
//! A dataset has one type. Its whole parts are read and written again under new names, then the journal names
//! those and the new type at once: whoever is interrupted before that still has the old ones.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::DatasetWriter;
use super::journal::{self, Journal};
use crate::atomic;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::manifest::{Dtype, Manifest, Part, Table};
use crate::schema::activations::ACTIVATION;
use crate::schema::{ACTIVATIONS, fixed_size_list};
use crate::table::{Scan, TableReader};

impl DatasetWriter {
    /// Makes the dataset one of f32: its whole parts are written again, and [`DatasetWriter::begin`] with the
    /// old header continues it. Of a dataset of f32 nothing changes. Parts that are not committed yet must be
    /// first. `report` is told the rows that are written and how many there are.
    ///
    /// # Errors
    /// What reading and writing parts gives; the dataset is then as it was.
    pub fn widen(&mut self, report: &mut dyn FnMut(u64, u64)) -> Result<()> {
        if self.dtype() == Dtype::F32 {
            return Ok(());
        }
        let dir = self.dir().to_owned();
        let old = self.tables().get(ACTIVATIONS).cloned();
        let mut next = Journal::new(Manifest { dtype: Dtype::F32, ..self.journal.header.clone() });
        next.tables = self.journal.tables.clone();
        next.cursor = self.journal.cursor.clone();
        next.widened = true;
        if let Some(old) = &old {
            let (mut table, mut done) = (Table::default(), 0);
            for part in &old.parts {
                let widened = self.adopt_widened(&dir, part, &mut |rows| report(done + rows, old.rows))?;
                table.push(widened);
                done += part.rows;
            }
            next.tables.insert(ACTIVATIONS.to_owned(), table);
        }
        atomic::write_json(&dir.join(journal::FILE), &next)?;
        self.journal = next;
        for part in old.iter().flat_map(|table| &table.parts) {
            let path = dir.join(&part.file);
            fs::remove_file(&path).map_err(Error::io(&path))?;
        }
        Ok(())
    }

    /// Takes over a finished part of activations of f16 as one of f32, as [`DatasetWriter::adopt_part`].
    /// `report` is told the rows of the part that are written.
    ///
    /// # Errors
    /// A part that is missing or damaged, what writing gives.
    pub fn adopt_widened(&mut self, from: &Path, part: &Part, report: &mut dyn FnMut(u64)) -> Result<Part> {
        super::check_length(from, part)?;
        let table = TableReader::open(from, std::slice::from_ref(part), None)?;
        let schema = wide(table.schema(), self.width());
        let mut writer = self.next_part(ACTIVATIONS, schema.clone(), &Layout::activations())?;
        let mut done = 0;
        for batch in table.scan(Scan::default())? {
            let batch = batch?;
            writer.write(&widened(&batch, &schema)?)?;
            done += batch.num_rows() as u64;
            report(done);
        }
        writer.finish()
    }
}

/// The same columns with activations of f32.
fn wide(schema: &Schema, d_model: usize) -> SchemaRef {
    let field = |field: &Arc<Field>| {
        if field.name() != ACTIVATION {
            return field.as_ref().clone();
        }
        field.as_ref().clone().with_data_type(fixed_size_list(Dtype::F32.data_type(), d_model))
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

fn widened(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let wrong = |e: ArrowError| Error::column(ACTIVATION, "a list of Float16", e.to_string());
    let cast = |(column, field): (&ArrayRef, &Arc<Field>)| cast(column, field.data_type()).map_err(wrong);
    let columns = batch.columns().iter().zip(schema.fields()).map(cast).collect::<Result<_>>()?;
    RecordBatch::try_new(schema.clone(), columns).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, UInt32Array};
    use arrow::datatypes::Int32Type;
    use serde_json::json;

    use super::*;
    use crate::{Dataset, ModelRef, schema, vector};

    fn rows(from: u32, n: u32, dtype: Dtype) -> RecordBatch {
        let values: Vec<f32> = (from..from + n).flat_map(|row| [row as f32 / 8.0, -(row as f32)]).collect();
        let numbers = || Arc::new(UInt32Array::from_iter_values(from..from + n)) as ArrayRef;
        let domain: DictionaryArray<Int32Type> = (0..n).map(|_| "x").collect();
        let (column, _) = vector::column_from_rows(&values, 2, dtype).unwrap();
        let columns: Vec<ArrayRef> =
            vec![numbers(), numbers(), numbers(), Arc::new(domain), Arc::new(column)];
        RecordBatch::try_new(schema::activations(2, dtype, false), columns).unwrap()
    }

    fn add(writer: &mut DatasetWriter, from: u32, dtype: Dtype) {
        let batch = rows(from, 10, dtype);
        let mut part = writer.next_part(ACTIVATIONS, batch.schema(), &Layout::activations()).unwrap();
        part.write(&batch).unwrap();
        let part = part.finish().unwrap();
        writer.commit(vec![(ACTIVATIONS.to_owned(), part)], json!(from)).unwrap();
    }

    #[test]
    fn whole_parts_are_written_again_and_the_old_header_continues() {
        let dir = tempfile::tempdir().unwrap();
        let header = Manifest::new(ModelRef::default(), None, 2, Dtype::F16);
        let mut writer = DatasetWriter::begin(dir.path(), header.clone()).unwrap();
        add(&mut writer, 0, Dtype::F16);
        add(&mut writer, 10, Dtype::F16);
        let mut reported = Vec::new();
        writer.widen(&mut |done, all| reported.push((done, all))).unwrap();
        assert_eq!(reported, [(10, 20), (20, 20)]);
        assert_eq!((writer.dtype(), writer.cursor()), (Dtype::F32, Some(&json!(10))));
        drop(writer);
        let other = Manifest { d_model: 3, ..header.clone() };
        assert!(DatasetWriter::begin(dir.path(), other).is_err());
        let mut writer = DatasetWriter::begin(dir.path(), header).unwrap();
        assert_eq!(writer.dtype(), Dtype::F32);
        // Names continue from those that are there, not from their number.
        add(&mut writer, 20, Dtype::F32);
        writer.widen(&mut |_, _| ()).unwrap();
        writer.finish().unwrap();
        let dataset = Dataset::open(dir.path()).unwrap();
        assert_eq!((dataset.manifest().dtype, dataset.manifest().rows), (Dtype::F32, 30));
        let mut values = Vec::new();
        for batch in dataset.table(ACTIVATIONS).unwrap().scan(Scan::default()).unwrap() {
            vector::fixed_size_rows(&batch.unwrap(), ACTIVATION, &mut values).unwrap();
        }
        let expected: Vec<f32> = (0..30).flat_map(|row| [row as f32 / 8.0, -(row as f32)]).collect();
        assert_eq!(values, expected);
        assert_eq!(dataset.manifest().tables[ACTIVATIONS].parts.len(), 3);
    }
}
