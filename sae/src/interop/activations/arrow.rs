//! Arrow's stream format, as Hugging Face `datasets` keeps it: a folder of `data-*.arrow` and a `state.json` that names them.
//!
//! SAELens caches activations so: a column with the hook's name (`[tokens, d]` a row) and, from version 6 on, `token_ids`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;

use super::columns::Table;
use super::source::{Chunk, Facts, Names, rows_at_once};
use crate::{Error, Result};
use lm::model::Hook;

/// What `datasets` writes last.
pub(super) const STATE: &str = "state.json";
/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// The files that a folder's state names, in order.
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
        .map_err(|e| Error::format(&path, format!("is no state of a Hugging Face dataset: {e}")))?;
    let file = |DataFile { filename }: DataFile| {
        if Path::new(&filename).file_name() != Some(filename.as_ref()) {
            return Err(Error::format(
                &path,
                format!("names the file `{filename}`; expected a file beside it"),
            ));
        }
        let file = folder.join(&filename);
        match file.is_file() {
            true => Ok(file),
            false => Err(Error::format(&path, format!("names {filename}, which is not beside it"))),
        }
    };
    let files: Vec<PathBuf> = state.files.into_iter().map(file).collect::<Result<_>>()?;
    if files.is_empty() { Err(Error::format(&path, "names no files")) } else { Ok(files) }
}

/// Record batches of one file. The decoder is fed piece by piece, so that a length in a damaged file allocates nothing.
struct Batches {
    path: PathBuf,
    file: File,
    decoder: StreamDecoder,
    waiting: Buffer,
}

impl Batches {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            decoder: StreamDecoder::new(),
            waiting: Buffer::from(Vec::<u8>::new()),
        })
    }

    fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            while !self.waiting.is_empty() {
                let (decoder, waiting) = (&mut self.decoder, &mut self.waiting);
                if let Some(batch) = super::batch::guarded(&self.path, "Arrow", || decoder.decode(waiting))? {
                    return Ok(Some(batch));
                }
            }
            let mut piece = vec![0; PIECE];
            let read = self.file.read(&mut piece).map_err(|e| Error::io(&self.path, e))?;
            if read == 0 {
                let decoder = &mut self.decoder;
                super::batch::guarded(&self.path, "Arrow", || decoder.finish())?;
                return Ok(None);
            }
            piece.truncate(read);
            self.waiting = Buffer::from(piece);
        }
    }
}

/// Opens files of one schema.
pub(super) fn open(
    files: &[PathBuf],
    names: &Names,
) -> Result<(Facts, Box<dyn Iterator<Item = Result<Chunk>>>)> {
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
    let facts = Facts {
        d,
        dtype: table.dtype(),
        rows: None,
        tokens: table.tokens.is_some(),
        documents: table.sequences() || table.documents.is_some(),
        length,
        hook: table.name().filter(|name| name.parse::<Hook>().is_ok()).map(str::to_owned),
        about: table.about(d),
    };
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
    Ok((facts, super::batch::until_error(next)))
}
