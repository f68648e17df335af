//! The datasets of a harvest, filled part by part.

use std::path::Path;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use storage::{Dataset, DatasetWriter, Dtype, Layout, Manifest, Part, PartWriter, schema};

use crate::{Error, Result};

/// Where a dataset continues: everything before this batch is in whole parts.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Cursor {
    batch: u64,
}

/// Rows of one table of a batch, and how the table is laid out.
pub(crate) struct TableRows {
    table: &'static str,
    layout: fn() -> Layout,
    rows: RecordBatch,
}

impl TableRows {
    /// Rows of `activations`.
    pub fn activations(rows: RecordBatch) -> Self {
        Self { table: schema::ACTIVATIONS, layout: Layout::activations, rows }
    }

    /// Rows of `truth`.
    pub fn truth(rows: RecordBatch) -> Self {
        Self { table: schema::TRUTH, layout: Layout::token_rows, rows }
    }

    /// Rows of `routing`.
    pub fn routing(rows: RecordBatch) -> Self {
        Self { table: schema::ROUTING, layout: Layout::routing, rows }
    }
}

/// One dataset and the parts it is writing at the moment.
pub(crate) struct Sink {
    /// `None` where the dataset was finished before this process began; nothing is written then.
    writer: Option<DatasetWriter>,
    dtype: Dtype,
    open: Vec<(&'static str, PartWriter)>,
    cursor: Cursor,
    /// Tokens in the open parts.
    tokens: u64,
    rows_per_part: u64,
}

impl Sink {
    /// Begins a dataset or continues an unfinished one.
    ///
    /// # Errors
    /// A folder that holds a different dataset or cannot be written to; a damaged journal.
    pub fn begin(folder: &Path, header: Manifest, rows_per_part: u64) -> Result<Self> {
        let (dtype, writer) = (header.dtype, DatasetWriter::begin(folder, header)?);
        let cursor = match writer.cursor() {
            None => Cursor::default(),
            Some(value) => serde_json::from_value(value.clone()).map_err(|e| {
                Error::format(folder.join("journal.json"), format!("does not say where to continue: {e}"))
            })?,
        };
        Ok(Self { dtype, writer: Some(writer), open: Vec::new(), cursor, tokens: 0, rows_per_part })
    }

    /// As [`Sink::begin`]; where the dataset is finished and was begun with the same header, every batch counts as written.
    pub fn begin_or_finished(folder: &Path, header: Manifest, rows_per_part: u64) -> Result<Self> {
        if folder.join(storage::MANIFEST).exists() {
            let dataset = Dataset::open(folder)?;
            if dataset.was_begun_with(&header) {
                DatasetWriter::tidy(folder);
                let (dtype, cursor) = (dataset.manifest().dtype, Cursor { batch: u64::MAX });
                return Ok(Self { dtype, writer: None, open: Vec::new(), cursor, tokens: 0, rows_per_part });
            }
        }
        Self::begin(folder, header, rows_per_part)
    }

    /// Whether the dataset was finished before this process began.
    pub fn is_finished(&self) -> bool {
        self.writer.is_none()
    }

    /// Type of the activations.
    pub fn dtype(&self) -> Dtype {
        self.writer.as_ref().map_or(self.dtype, DatasetWriter::dtype)
    }

    /// Goes over from f16 to f32: makes everything before `next_batch` whole and writes it again. After it, the
    /// same command continues. `report` is told the rows that are written again and how many there are.
    ///
    /// # Errors
    /// What reading and writing parts gives; everything before `next_batch` is then whole and f16.
    pub fn widen(&mut self, next_batch: u64, report: &mut dyn FnMut(u64, u64)) -> Result<()> {
        self.commit(next_batch)?;
        match &mut self.writer {
            Some(writer) => Ok(writer.widen(report)?),
            None => Ok(()),
        }
    }

    /// What a user should know about the folder's file system.
    pub fn note(&self) -> Option<String> {
        self.writer.as_ref().and_then(DatasetWriter::note)
    }

    /// The first batch that is not in a whole part yet.
    pub fn next_batch(&self) -> u64 {
        self.cursor.batch
    }

    /// Adds the rows of a batch of `tokens` tokens; batches that are on disk already are passed over.
    ///
    /// # Errors
    /// Rows with a different schema than those before; a disk that is full or fails.
    pub fn write(&mut self, batch: u64, tokens: u64, tables: &[TableRows]) -> Result<()> {
        let Some(writer) = self.writer.as_mut().filter(|_| batch >= self.cursor.batch) else {
            return Ok(());
        };
        for TableRows { table, layout, rows } in tables {
            let part = match self.open.iter_mut().position(|(name, _)| name == table) {
                Some(i) => &mut self.open[i].1,
                None => {
                    self.open.push((table, writer.next_part(table, rows.schema(), &layout())?));
                    let last = self.open.len() - 1;
                    &mut self.open[last].1
                }
            };
            part.write(rows)?;
        }
        self.tokens += tokens;
        if self.tokens >= self.rows_per_part { self.commit(batch + 1) } else { Ok(()) }
    }

    /// Makes everything before `next_batch` whole.
    ///
    /// # Errors
    /// A disk that is full or fails.
    pub fn commit(&mut self, next_batch: u64) -> Result<()> {
        let Some(writer) = self.writer.as_mut().filter(|_| next_batch > self.cursor.batch) else {
            return Ok(());
        };
        let cursor = Cursor { batch: next_batch };
        let parts: Vec<(String, Part)> = std::mem::take(&mut self.open)
            .into_iter()
            .map(|(table, part)| Ok((table.to_owned(), part.finish()?)))
            .collect::<Result<_>>()?;
        let value = serde_json::json!(cursor);
        writer.commit(parts, value)?;
        self.cursor = cursor;
        self.tokens = 0;
        Ok(())
    }

    /// Removes a dataset of which nothing was written, and its folder if nothing else is in it.
    pub fn abandon(self, folder: &Path) {
        drop(self);
        // What cannot be removed is continued by the same command, as before.
        let _ = std::fs::remove_file(folder.join("journal.json"));
        let _ = std::fs::remove_dir(folder);
    }

    /// Adds tables of one file each (documents, vocabulary) and writes the manifest.
    ///
    /// # Errors
    /// A disk that is full or fails.
    pub fn finish(mut self, batches: u64, tables: &[(&'static str, RecordBatch)]) -> Result<()> {
        self.commit(batches)?;
        let Some(mut writer) = self.writer else { return Ok(()) };
        let mut parts = Vec::new();
        for (name, batch) in tables {
            if writer.tables().contains_key(*name) {
                continue;
            }
            let mut part = writer.next_part(name, batch.schema(), &Layout::small_table())?;
            part.write(batch)?;
            parts.push(((*name).to_owned(), part.finish()?));
        }
        writer.commit(parts, serde_json::json!(self.cursor))?;
        writer.finish()?;
        Ok(())
    }
}
