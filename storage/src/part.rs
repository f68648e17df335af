//! Writing one Parquet file: checksummed while it is written, visible only when whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use sha2::{Digest as _, Sha256};

use crate::atomic::{partial_path, publish};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::lock::create_alone;
use crate::manifest::Part;

/// Writes `PATH.partial`; [`PartWriter::finish`] makes it `PATH`. Dropped before that, nothing is left.
#[derive(Debug)]
pub struct PartWriter {
    path: PathBuf,
    /// `None` once finished.
    writer: Option<ArrowWriter<HashingFile>>,
    schema: SchemaRef,
    rows: u64,
    /// The same open file: what is unfinished stays this writer's until it is removed.
    _turn: File,
}

impl PartWriter {
    /// Begins `path` with the given columns. A file of that name stays as it is until `finish`.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be made, [`Error::Busy`] while a different process writes it, [`Error::Parquet`] for a layout
    /// that Parquet does not take.
    pub fn create(path: &Path, schema: SchemaRef, layout: &Layout) -> Result<Self> {
        let properties = layout.properties(&schema).map_err(Error::parquet(path))?;
        let partial = partial_path(path);
        let file = create_alone(&partial)?;
        let turn = file.try_clone().map_err(Error::io(&partial))?;
        let sink = HashingFile { file, hash: Sha256::new(), bytes: 0 };
        match ArrowWriter::try_new(sink, schema.clone(), Some(properties)) {
            Ok(writer) => {
                Ok(Self { path: path.to_owned(), writer: Some(writer), schema, rows: 0, _turn: turn })
            }
            Err(error) => {
                let _ = fs::remove_file(&partial);
                Err(Error::parquet(path)(error))
            }
        }
    }

    /// Appends rows. The batch must have this file's columns.
    ///
    /// # Errors
    /// A batch with different columns, what writing gives; nothing can follow a write that failed.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        check_batch(&self.schema, batch)?;
        let writer = self.writer.as_mut().ok_or_else(|| Error::Argument {
            path: self.path.clone(),
            message: "an earlier write failed, nothing can follow it".to_owned(),
        })?;
        writer.write(batch).map_err(Error::parquet(&self.path))?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes written so far and bytes that wait for their row group to end.
    pub fn bytes(&self) -> u64 {
        self.writer.as_ref().map_or(0, |w| (w.bytes_written() + w.in_progress_size()) as u64)
    }

    /// The file that [`PartWriter::finish`] will make.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the footer, fsyncs and renames. The part's `file` is the name without the folder.
    ///
    /// # Errors
    /// What writing, syncing and renaming give; the unfinished file is then removed. An earlier write that failed.
    pub fn finish(mut self) -> Result<Part> {
        let partial = partial_path(&self.path);
        let Some(writer) = self.writer.take() else {
            return Err(Error::Argument {
                path: self.path.clone(),
                message: "an earlier write failed, there is nothing to finish".to_owned(),
            });
        };
        let finished = finish(writer, &partial, &self.path);
        if finished.is_err() {
            let _ = fs::remove_file(&partial);
        }
        let (bytes, sha256) = finished?;
        let file = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Part { file, rows: self.rows, bytes, sha256 })
    }
}

fn finish(writer: ArrowWriter<HashingFile>, partial: &Path, path: &Path) -> Result<(u64, String)> {
    let sink = writer.into_inner().map_err(Error::parquet(path))?;
    sink.file.sync_all().map_err(Error::io(partial))?;
    let result = (sink.bytes, hexadecimal(&sink.hash.finalize()));
    publish(partial, path)?;
    Ok(result)
}

impl Drop for PartWriter {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            // Best effort: what stays is a .partial that nobody reads.
            let _ = fs::remove_file(partial_path(&self.path));
        }
    }
}

/// Names the first column that is not the file's, instead of Arrow's general complaint.
fn check_batch(schema: &SchemaRef, batch: &RecordBatch) -> Result<()> {
    let found = batch.schema_ref();
    for (index, field) in schema.fields().iter().enumerate() {
        let Some(other) = found.fields().get(index) else {
            return Err(Error::column(field.name(), field.data_type().to_string(), "no such column"));
        };
        if other.name() != field.name() || other.data_type() != field.data_type() {
            let other = format!("`{}` {}", other.name(), other.data_type());
            return Err(Error::column(field.name(), field.data_type().to_string(), other));
        }
        if !field.is_nullable() && batch.column(index).null_count() > 0 {
            return Err(Error::column(field.name(), "no nulls", "nulls"));
        }
    }
    match found.fields().get(schema.fields().len()) {
        Some(extra) => Err(Error::column(extra.name(), "no such column", extra.data_type().to_string())),
        None => Ok(()),
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A file that knows the checksum of what was written to it. Parquet is written strictly from front to back.
#[derive(Debug)]
struct HashingFile {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Write for HashingFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.hash.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
