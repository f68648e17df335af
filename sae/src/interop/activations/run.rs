//! The import itself, and what it would do.

use std::path::{Path, PathBuf};

use serde::Serialize;
use storage::{Dtype, Manifest, ModelRef, RowsAre, schema, vector};

use super::Columns;
use super::chunk::{Chunk, Facts, Names};
use super::ledger::{Ledger, Rules};
use super::source::{self, Source};
use crate::harvest::{Sink, TableRows, with_lengths};
use crate::{Error, Progress, Result};
use lm::model::{Tokenizer, shown};

/// Rows of a document where nothing says what a document is; fewer where that would make less than
/// [`LEAST_DOCUMENTS`].
const ROWS_PER_DOCUMENT: u64 = 256;
/// So that there are some to hold out.
const LEAST_DOCUMENTS: u64 = 100;

/// Options of an import.
#[derive(Debug, Clone)]
pub struct ImportConfig {
    /// Files of one kind, and folders of them.
    pub inputs: Vec<PathBuf>,
    /// Column or tensor of the activations, or what columns of one dimension each are called before their
    /// number.
    pub column: Option<String>,
    /// Column or tensor of the tokens, for `.npy` a file; `none`: there are none.
    pub tokens: Option<String>,
    /// Column or tensor of the documents.
    pub documents: Option<String>,
    /// Column or tensor of the positions.
    pub positions: Option<String>,
    /// Column or tensor, for `.npy` a file, that is 0 where a row is padding; such rows are left out.
    pub mask: Option<String>,
    /// Rows of a document where the source has none.
    pub rows_per_document: Option<u64>,
    /// The model that made the activations; id `unknown` if nobody says.
    pub model: ModelRef,
    /// Where they were taken, if a column's name does not tell.
    pub hook: Option<String>,
    /// Text of the tokens.
    pub tokenizer: Option<PathBuf>,
    /// Stored type; that of the source if None.
    pub dtype: Option<Dtype>,
    /// Rows to stop after.
    pub rows: Option<u64>,
    /// Rows after which a part is closed.
    pub rows_per_part: u64,
    /// Share of the documents that is held out.
    pub held_out_share: f64,
    /// Chooses them.
    pub seed: u64,
}

impl Default for ImportConfig {
    fn default() -> Self {
        Self {
            inputs: Vec::new(),
            column: None,
            tokens: None,
            documents: None,
            positions: None,
            mask: None,
            rows_per_document: None,
            model: ModelRef { id: "unknown".into(), ..ModelRef::default() },
            hook: None,
            tokenizer: None,
            dtype: None,
            rows: None,
            rows_per_part: 1 << 18,
            held_out_share: 0.05,
            seed: 1,
        }
    }
}

/// What an import made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Imported {
    /// The dataset's folder.
    pub dataset: PathBuf,
    /// Rows.
    pub rows: u64,
    /// Width of a row.
    pub d_model: usize,
    /// Tokens, rows or patches.
    pub rows_are: RowsAre,
    /// Documents.
    pub documents: u64,
    /// Documents that are held out.
    pub held_out: u64,
}

/// What an import would do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Files, in the order of their rows.
    pub files: Vec<PathBuf>,
    /// What is read of them.
    pub reads: String,
    /// Rows, where the files say it.
    pub rows: Option<u64>,
    /// Width of a row.
    pub d_model: usize,
    /// Stored type.
    pub dtype: Dtype,
    /// Whether rows have tokens.
    pub tokens: bool,
    /// What documents are.
    pub documents: String,
    /// Where the activations were taken.
    pub hook: Option<String>,
    /// Bytes of the numbers before compression, where the rows are known.
    pub bytes: Option<u64>,
    /// Choices that the files leave open and the import made.
    pub notes: Vec<String>,
}

impl ImportConfig {
    fn check(&self) -> Result<()> {
        let ok = |ok: bool, problem: &str| if ok { Ok(()) } else { Err(Error::request(problem)) };
        ok(!self.inputs.is_empty(), "nothing to import: name files or a folder")?;
        ok(self.rows != Some(0), "rows must be more than 0")?;
        ok(self.rows_per_document != Some(0), "a document must have more than 0 rows")?;
        ok(self.rows_per_part > 0, "a part must have more than 0 rows")?;
        ok((0.0..1.0).contains(&self.held_out_share), "the held-out share must be at least 0 and less than 1")
    }

    fn names(&self) -> Names {
        let Self { column, tokens, documents, positions, mask, .. } = self.clone();
        Names { column, tokens, documents, positions, mask }
    }

    fn rows_per_document(&self, facts: &Facts) -> u64 {
        let rows = facts.rows.map(|rows| rows.min(self.rows.unwrap_or(u64::MAX)));
        let usual =
            rows.map_or(ROWS_PER_DOCUMENT, |rows| (rows / LEAST_DOCUMENTS).clamp(1, ROWS_PER_DOCUMENT));
        self.rows_per_document.unwrap_or(usual)
    }

    fn rules(&self, source: &Source) -> Rules {
        let Self { held_out_share, seed, .. } = *self;
        let rows_per_document = self.rows_per_document(&source.facts);
        Rules { rows_per_document, held_out_share, seed, splits: source.splits }
    }

    fn header(&self, source: &Source, vocabulary: usize) -> Result<Manifest> {
        let facts = &source.facts;
        let hook = self.hook.clone().or_else(|| facts.hook.clone());
        let mut header = Manifest::new(self.model.clone(), hook, facts.d, self.dtype.unwrap_or(facts.dtype));
        header.rows_are = if facts.tokens { RowsAre::Tokens } else { RowsAre::Rows };
        header.context_length = facts.length.unwrap_or(0);
        if let Some(path) = &self.tokenizer {
            header.tokenizer = format!("{vocabulary} tokens, {}", path.display());
        }
        if facts.padded {
            header.left_out.push("padding".into());
        }
        header.text = with_lengths(&source.files)?;
        header.settings = serde_json::json!({"import": {
            "reads": facts.about,
            "notes": facts.notes,
            "rows": self.rows,
            "rows_per_document": (!facts.documents).then(|| self.rows_per_document(facts)),
            "held_out_share": self.held_out_share,
            "seed": self.seed,
        }});
        Ok(header)
    }
}

/// Looks at the files and says what [`run`] would do.
///
/// # Errors
/// As [`run`], as far as the beginnings of the files show.
pub fn plan(config: &ImportConfig) -> Result<Plan> {
    config.check()?;
    let source = source::open(&config.inputs, &config.names())?;
    let header = config.header(&source, 0)?;
    let facts = source.facts;
    let rows = facts.rows.map(|rows| rows.min(config.rows.unwrap_or(u64::MAX)));
    let documents = match (facts.documents, facts.length) {
        (true, Some(length)) => format!("sequences of {length} rows"),
        (true, None) => "as the source has them".to_owned(),
        (false, _) => format!("runs of {} rows", config.rows_per_document(&facts)),
    };
    Ok(Plan {
        files: source.files,
        reads: facts.about,
        rows,
        d_model: facts.d,
        dtype: header.dtype,
        tokens: facts.tokens,
        documents,
        hook: header.hook,
        bytes: rows.map(|rows| rows.saturating_mul((facts.d * header.dtype.bytes()) as u64)),
        notes: facts.notes,
    })
}

/// Reads and checks every row as [`run`] would, and writes nothing; gives the number of rows.
///
/// # Errors
/// As [`run`].
pub fn check(config: &ImportConfig, progress: &mut dyn Progress) -> Result<u64> {
    config.check()?;
    let source = source::open(&config.inputs, &config.names())?;
    let vocabulary = config.tokenizer.as_deref().map(vocabulary).transpose()?;
    let mut header = config.header(&source, 0)?;
    let mut ledger = Ledger::new(config.rules(&source));
    progress.begin("check", source.facts.rows, header.rows_are.name());
    for chunk in source.chunks {
        let chunk = chunk?.without_padding();
        let n = chunk.values.len() / header.d_model;
        // As in an import, a number too large for f16 makes the rows f32.
        if header.dtype == Dtype::F16 && vector::exceeds_f16(&chunk.values) {
            header.dtype = Dtype::F32;
        }
        enter(chunk, n, &header, &mut ledger, vocabulary.as_deref())?;
        progress.advance(ledger.rows(), "");
        if progress.stop_requested() {
            return Err(Error::stopped("nothing was written"));
        }
    }
    progress.end(&format!("{} rows are as they should be", ledger.rows()));
    Ok(ledger.rows())
}

/// Imports; an interrupted import continues when it is asked for again with the same options.
///
/// # Errors
/// What cannot be read or does not fit, with file, row and column; numbers that are not finite; a folder that
/// is taken.
pub fn run(config: &ImportConfig, out: &Path, progress: &mut dyn Progress) -> Result<Imported> {
    config.check()?;
    let source = source::open(&config.inputs, &config.names())?;
    let vocabulary = config.tokenizer.as_deref().map(vocabulary).transpose()?;
    if vocabulary.is_some() && !source.facts.tokens {
        return Err(Error::request("a tokenizer was given, but there are no tokens")
            .with_remedy("name them with --tokens"));
    }
    let mut header = config.header(&source, vocabulary.as_ref().map_or(0, Vec::len))?;
    let mut sink = Sink::begin(out, header.clone(), config.rows_per_part)?;
    // An earlier, interrupted import may have met a number too large for f16.
    header.dtype = sink.dtype();
    let mut ledger = Ledger::new(config.rules(&source));
    let limit = config.rows.unwrap_or(u64::MAX);
    progress.begin("import", source.facts.rows.map(|rows| rows.min(limit)), header.rows_are.name());
    if sink.next_batch() > 0 {
        progress.remark(&format!("continuing in {} at chunk {}", out.display(), sink.next_batch()));
    }
    source.facts.notes.iter().cloned().chain(sink.note()).for_each(|note| progress.remark(&note));
    let mut chunks = 0;
    for chunk in source.chunks {
        let chunk = chunk?.without_padding();
        let n = (chunk.values.len() / header.d_model).min((limit - ledger.rows()) as usize);
        if header.dtype == Dtype::F16 && vector::exceeds_f16(&chunk.values[..n * header.d_model]) {
            widen(&mut sink, chunks, ledger.rows(), progress)?;
            header.dtype = sink.dtype();
        }
        let rows = enter(chunk, n, &header, &mut ledger, vocabulary.as_deref())?;
        // A chunk may be all padding.
        if n > 0 {
            sink.write(chunks, n as u64, &[TableRows::activations(rows)])?;
        }
        chunks += 1;
        progress.advance(ledger.rows(), "");
        if ledger.rows() >= limit {
            break;
        }
        if progress.stop_requested() {
            sink.commit(chunks)?;
            let kept = ledger.rows();
            return Err(Error::stopped(format!("{kept} rows are kept"))
                .with_remedy("give the same command again to continue"));
        }
    }
    let (rows, documents) = (ledger.rows(), ledger.documents);
    if rows == 0 {
        return Err(Error::request("every row is padding: the mask is 0 everywhere")
            .with_remedy("keep such rows with --mask-column none"));
    }
    let mut tables = vec![(schema::DOCUMENTS, storage::documents::to_batch(&documents)?)];
    if let Some(vocabulary) = &vocabulary {
        tables.push((schema::VOCABULARY, storage::vocabulary::to_batch(vocabulary)?));
    }
    sink.finish(chunks, &tables)?;
    let held_out = documents.iter().filter(|d| d.held_out).count() as u64;
    let all = documents.len() as u64;
    progress.end(&format!("{rows} rows of {all} documents, {held_out} held out, in {}", out.display()));
    Ok(Imported {
        dataset: out.to_path_buf(),
        rows,
        d_model: header.d_model,
        rows_are: header.rows_are,
        documents: all,
        held_out,
    })
}

/// Goes over to f32: what was imported before chunk number `chunks` is written again.
fn widen(sink: &mut Sink, chunks: u64, rows: u64, progress: &mut dyn Progress) -> Result<()> {
    progress.remark("some activations are too large for f16 (65504): all are stored as f32");
    sink.widen(chunks, &mut |done, all| progress.advance(rows, &format!("{done} of {all} rows rewritten")))
}

/// The first `n` rows of a chunk, as rows of the dataset.
fn enter(
    mut chunk: Chunk,
    n: usize,
    header: &Manifest,
    ledger: &mut Ledger,
    vocabulary: Option<&[(String, Vec<u8>)]>,
) -> Result<arrow::array::RecordBatch> {
    let entries = ledger.enter(&chunk, n)?;
    let mut tokens = chunk.tokens.take();
    if let Some(tokens) = &mut tokens {
        tokens.truncate(n);
        check_tokens(tokens, &chunk, vocabulary)?;
    }
    let mut values = std::mem::take(&mut chunk.values);
    values.truncate(n * header.d_model);
    let places: Option<Vec<(u32, u32)>> = chunk
        .documents
        .is_some()
        .then(|| entries.documents.iter().copied().zip(entries.positions.iter().copied()).collect());
    let (documents, positions) = (entries.documents, entries.positions);
    let columns = Columns { documents, positions, tokens, places: None, values };
    let place = |row: usize| {
        let file = chunk.file.display();
        match &places {
            // Of a table of sequences, rows are sequences.
            Some(places) => {
                let (document, position) = places[row];
                let name = ledger.documents.get(document as usize).map_or("", |d| &d.name);
                format!("{file}: {name}, position {position}")
            }
            None => format!("{file}: row {}", chunk.row_in_file(row)),
        }
    };
    columns.batch(header.rows_are, header.d_model, header.dtype, &entries.domains, place)
}

fn check_tokens(tokens: &[u32], chunk: &Chunk, vocabulary: Option<&[(String, Vec<u8>)]>) -> Result<()> {
    let Some(size) = vocabulary.map(<[_]>::len) else { return Ok(()) };
    match tokens.iter().position(|&token| token as usize >= size) {
        None => Ok(()),
        Some(row) => {
            let problem = format!(
                "row {}: token {} is not among the tokenizer's {size}",
                chunk.row_in_file(row),
                tokens[row]
            );
            Err(Error::format(&chunk.file, problem)
                .with_remedy("give the tokenizer of the model that made the activations"))
        }
    }
}

/// What tokens show as, and their bytes: from a tokenizer.json or a folder with one.
fn vocabulary(path: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let tokenizer = if path.is_dir() {
        Tokenizer::from_folder(path, None)?.0
    } else {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        Tokenizer::from_bytes(&bytes, path, None)?
    };
    Ok(tokenizer.token_bytes().into_iter().map(|b| (shown(&b), b)).collect())
}
