//! A dataset: what it is, its documents and their text.

use std::path::Path;

use storage::schema::{ACTIVATIONS, DOCUMENTS, TOKEN};
use storage::{Dataset, Manifest, Scan};

use super::problem;
use crate::load::Problem;
use crate::widgets::format;

/// What a dataset's manifest says.
#[derive(Clone, Debug, Default)]
pub struct DatasetInfo {
    /// The model.
    pub model: String,
    /// Where the activations were taken.
    pub hook: Option<String>,
    /// Rows of its main table.
    pub rows: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Everything as name and value, in the order to be read.
    pub facts: Vec<(String, String)>,
    /// Whether `experts/load.parquet` is there.
    pub has_experts: bool,
    /// Whether there are documents to list.
    pub has_documents: bool,
}

/// One document of a dataset.
#[derive(Clone, Debug, Default)]
pub struct DocumentRow {
    /// Its number.
    pub document: u32,
    /// Its name.
    pub name: String,
    /// Where it came from.
    pub source: String,
    /// What kind of text it is.
    pub domain: String,
    /// Whether it was kept out of training.
    pub held_out: bool,
    /// Its first row in the main table.
    pub first_row: u64,
    /// Its tokens.
    pub tokens: u32,
}

/// All documents of a dataset.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// In order of their numbers.
    pub rows: Vec<DocumentRow>,
}

/// The tokens of a document, as far as they were asked for.
#[derive(Clone, Debug, Default)]
pub struct DocumentText {
    /// Which document.
    pub document: u32,
    /// Position of the first token.
    pub start: u32,
    /// Tokens from there on.
    pub tokens: Vec<u32>,
}

/// Reads what the dataset in `dir` says about itself.
pub fn read_info(dir: &Path) -> Result<DatasetInfo, Problem> {
    let dataset = Dataset::open(dir).map_err(problem)?;
    let manifest = dataset.manifest();
    Ok(DatasetInfo {
        model: manifest.model.id.clone(),
        hook: place(&dataset),
        rows: manifest.rows,
        bytes: manifest.bytes(),
        facts: facts(manifest),
        has_experts: dir.join("experts").join("load.parquet").exists(),
        has_documents: dataset.has_table(DOCUMENTS),
    })
}

/// The hook, or what the rows are where no hook is known.
fn place(dataset: &Dataset) -> Option<String> {
    let manifest = dataset.manifest();
    let rows = dataset.has_table(ACTIVATIONS).then(|| manifest.rows_are.name().to_owned());
    manifest.hook.clone().or(rows)
}

fn facts(manifest: &Manifest) -> Vec<(String, String)> {
    let text: u64 = manifest.text.iter().map(|source| source.bytes).sum();
    let mut rows = vec![
        ("model", manifest.model.id.clone()),
        ("weights (sha256)", manifest.model.sha256.clone()),
        ("hook", manifest.hook.clone().unwrap_or_default()),
        ("activation width", format::grouped(manifest.d_model as u64)),
        ("stored as", format!("{:?}", manifest.dtype).to_lowercase()),
        ("context length", format::grouped(manifest.context_length as u64)),
        ("tokenizer", manifest.tokenizer.clone()),
        ("text", format::bytes(text)),
        ("left out", manifest.left_out.join(", ")),
        ("rows", format::grouped(manifest.rows)),
        ("on disk", format::bytes(manifest.bytes())),
    ];
    rows.retain(|(_, value)| !value.is_empty());
    let mut rows: Vec<_> = rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let parts = manifest.tables.iter().map(|(name, table)| {
        let parts = table.parts.len();
        let files = if parts == 1 { "1 file".to_owned() } else { format!("{parts} files") };
        (
            format!("table {name}"),
            format!("{} rows, {files}, {}", format::count(table.rows), format::bytes(table.bytes())),
        )
    });
    rows.extend(parts);
    rows
}

/// Reads the list of documents of the dataset in `dir`.
pub fn read_documents(dir: &Path) -> Result<Documents, Problem> {
    let dataset = Dataset::open(dir).map_err(problem)?;
    let read = storage::documents::read(&dataset.table(DOCUMENTS).map_err(problem)?).map_err(problem)?;
    let rows = read.into_iter().map(|row| DocumentRow {
        document: row.document,
        name: row.name,
        source: row.source,
        domain: row.domain,
        held_out: row.held_out,
        first_row: row.first_row,
        tokens: row.tokens,
    });
    Ok(Documents { rows: rows.collect() })
}

/// Tokens that are read at once.
pub const TEXT_PAGE: u32 = 2000;

/// Reads up to [`TEXT_PAGE`] tokens of a document from position `start` on.
pub fn read_text(dir: &Path, document: &DocumentRow, start: u32) -> Result<DocumentText, Problem> {
    let dataset = Dataset::open(dir).map_err(problem)?;
    let end = document.tokens.min(start.saturating_add(TEXT_PAGE));
    let rows = document.first_row + u64::from(start.min(end))..document.first_row + u64::from(end);
    let scan = Scan { columns: Some(vec![TOKEN.to_owned()]), rows: Some(rows), ..Scan::default() };
    let mut tokens = Vec::new();
    if !dataset.manifest().rows_are.tokens() {
        // There is no text to read.
        return Ok(DocumentText { document: document.document, start, tokens });
    }
    for batch in dataset.table(ACTIVATIONS).and_then(|table| table.scan(scan)).map_err(problem)? {
        let batch = batch.map_err(problem)?;
        let column =
            storage::column::primitive::<arrow::datatypes::UInt32Type>(&batch, TOKEN).map_err(problem)?;
        tokens.extend_from_slice(column.values());
    }
    Ok(DocumentText { document: document.document, start, tokens })
}
