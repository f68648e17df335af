//! Arrow's streams and files (Feather version 2), and folders of them as Hugging Face `datasets` keeps them:
//! `data-*.arrow` and a `state.json` that names them.
//!
//! SAELens caches activations so: a column with the hook's name (`[tokens, d]` per row) and, from version 6
//! on, `token_ids`.

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;

use super::arrow_messages::{END, Messages};
use super::batch::guarded;
use super::chunk::{Chunk, Chunks, Facts, Names, rows_at_once, until_error};
use super::columns::Table;
use crate::{Error, Result};

/// What `datasets` writes last.
pub(super) const STATE: &str = "state.json";
/// What a message is that the library cannot decode.
const DAMAGED: &str = "is not an Arrow stream or file, or a damaged one";

/// The files that a folder's state names, in order.
///
/// # Errors
/// A state that cannot be read, names no files or files that are not next to it.
pub(super) fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    #[derive(serde::Deserialize)]
    struct State {
        #[serde(rename = "_data_files")]
        files: Vec<DataFile>,
    }
    #[derive(serde::Deserialize)]
    struct DataFile {
        filename: String,
    }
    let path = folder.join(STATE);
    let text = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
    let state: State = serde_json::from_slice(&text)
        .map_err(|e| Error::format(&path, format!("is not the state of a Hugging Face dataset: {e}")))?;
    let file = |DataFile { filename }: DataFile| {
        if Path::new(&filename).file_name() != Some(filename.as_ref()) {
            return Err(Error::format(
                &path,
                format!("names the file `{filename}`; expected a file next to it"),
            ));
        }
        let file = folder.join(&filename);
        if !file.is_file() {
            return Err(Error::format(&path, format!("names {filename}, which is not next to it")));
        }
        Ok(file)
    };
    let files: Vec<PathBuf> = state.files.into_iter().map(file).collect::<Result<_>>()?;
    if files.is_empty() { Err(Error::format(&path, "names no files")) } else { Ok(files) }
}

/// Record batches of one file.
struct Batches {
    path: PathBuf,
    messages: Messages,
    decoder: StreamDecoder,
    waiting: Buffer,
    ended: bool,
}

impl Batches {
    fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.to_path_buf(),
            messages: Messages::open(path)?,
            decoder: StreamDecoder::new(),
            waiting: Buffer::from(Vec::<u8>::new()),
            ended: false,
        })
    }

    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            while !self.waiting.is_empty() {
                let (decoder, waiting) = (&mut self.decoder, &mut self.waiting);
                if let Some(batch) = guarded(&self.path, DAMAGED, || decoder.decode(waiting))? {
                    return Ok(Some(batch));
                }
            }
            if self.ended {
                return Ok(None);
            }
            // The decoder looks at a message without a body when the next one comes, so the last one needs an
            // end.
            let message = self.messages.next()?;
            self.ended = message.is_none();
            self.waiting = Buffer::from(message.unwrap_or_else(|| END.to_vec()));
        }
    }
}

/// Opens files of one schema.
///
/// # Errors
/// Files that are not Arrow, have no rows or no column that could be the activations.
pub(super) fn open(files: &[PathBuf], names: &Names) -> Result<(Facts, Chunks)> {
    let path = files.first().ok_or_else(|| Error::request("no files"))?;
    let mut batches = Batches::open(path)?;
    let first = loop {
        match batches.next()? {
            Some(batch) if batch.num_rows() == 0 => {}
            Some(batch) => break batch,
            None => return Err(Error::format(path, "has no rows")),
        }
    };
    let table = Table::choose(&first.schema(), names, path)?;
    let (d, length) = table.shape(&first.slice(0, 1), path)?;
    let facts = table.facts(d, length, None);
    let rest: Vec<PathBuf> = files.iter().skip(1).cloned().collect();
    let mut files = rest.into_iter();
    let at_once = (rows_at_once(d) / length.unwrap_or(1)).max(1);
    let mut current = Some(batches);
    let (mut batch, mut from, mut row, mut sequence) = (Some(first), 0, 0u64, 0u64);
    let next = move || -> Result<Option<Chunk>> {
        loop {
            let Some(batches) = current.as_mut() else { return Ok(None) };
            if let Some(whole) = batch.as_ref().filter(|whole| from < whole.num_rows()) {
                let n = at_once.min(whole.num_rows() - from);
                let chunk =
                    table.chunk(&whole.slice(from, n), Some(d), (&batches.path, row), &mut sequence)?;
                (from, row) = (from + n, row + n as u64);
                return Ok(Some(chunk));
            }
            (batch, from) = (None, 0);
            batch = batches.next()?;
            if batch.is_none() {
                row = 0;
                current = files.next().map(|file| Batches::open(&file)).transpose()?;
            }
        }
    };
    Ok((facts, until_error(next)))
}
