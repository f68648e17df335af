//! A dataset: what it is, its documents and their text.

use std::ops::Range;
use std::path::Path;

use arrow::datatypes::{UInt16Type, UInt32Type};
pub use storage::documents::DocumentRow;
use storage::schema::{ACTIVATIONS, DOCUMENT, DOCUMENTS, LAYER, POSITION, ROUTING, TOKEN};
use storage::{Dataset, Manifest, Scan};

use super::problem;
use crate::load::Problem;
use crate::words::format;

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
    /// SHA-256 of the model's weights.
    pub model_sha256: String,
    /// Whether there are experts to look at: a routing table, or what was counted of one.
    pub has_experts: bool,
    /// Whether it holds activations; a dataset of routing alone does not.
    pub has_activations: bool,
    /// Whether there are documents to list.
    pub has_documents: bool,
}

/// All documents of a dataset.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// In order of their numbers.
    pub rows: Vec<DocumentRow>,
}

impl Documents {
    /// The document with this number.
    pub fn get(&self, document: u32) -> Option<&DocumentRow> {
        // Numbers ascend; where a table is out of order, it is looked for.
        let at = self.rows.binary_search_by_key(&document, |row| row.document);
        at.map_or_else(|_| self.rows.iter().find(|row| row.document == document), |at| self.rows.get(at))
    }
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
///
/// # Errors
/// A folder that is not a finished dataset.
pub fn read_info(dir: &Path) -> Result<DatasetInfo, Problem> {
    let dataset = Dataset::open(dir).map_err(problem)?;
    let manifest = dataset.manifest();
    Ok(DatasetInfo {
        model: manifest.model.id.clone(),
        hook: place(&dataset),
        rows: manifest.rows,
        bytes: manifest.bytes(),
        facts: facts(manifest),
        model_sha256: manifest.model.sha256.clone(),
        has_experts: dataset.has_table(ROUTING) || dir.join("experts").join("load.parquet").exists(),
        has_activations: dataset.has_table(ACTIVATIONS),
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
///
/// # Errors
/// A dataset without documents, or whose table cannot be read.
pub fn read_documents(dir: &Path) -> Result<Documents, Problem> {
    let dataset = Dataset::open(dir).map_err(problem)?;
    let rows =
        dataset.table(DOCUMENTS).and_then(|table| storage::documents::read(&table)).map_err(problem)?;
    Ok(Documents { rows })
}

/// Tokens that are read at once.
pub const TEXT_PAGE: u32 = 2000;

/// The positions of the page that begins at `start`.
pub fn page(document: &DocumentRow, start: u32) -> Range<u32> {
    let start = start.min(document.tokens);
    start..document.tokens.min(start.saturating_add(TEXT_PAGE))
}

/// Reads up to [`TEXT_PAGE`] tokens of a document from position `start` on.
///
/// # Errors
/// A dataset that cannot be read, or has neither activations nor routing.
pub fn read_text(dir: &Path, document: &DocumentRow, start: u32) -> Result<DocumentText, Problem> {
    let dataset = Dataset::open(dir).map_err(problem)?;
    let page = page(document, start);
    let tokens = if dataset.has_table(ACTIVATIONS) {
        from_activations(&dataset, document, page)?
    } else {
        from_routing(&dataset, document, page)?
    };
    Ok(DocumentText { document: document.document, start, tokens })
}

/// A document's rows are where `first_row` says.
fn from_activations(
    dataset: &Dataset,
    document: &DocumentRow,
    page: Range<u32>,
) -> Result<Vec<u32>, Problem> {
    let rows = document.first_row + u64::from(page.start)..document.first_row + u64::from(page.end);
    let scan = Scan { rows: Some(rows), ..Scan::of(&[TOKEN]) };
    let mut tokens = Vec::new();
    if !dataset.manifest().rows_are.tokens() {
        // There is no text to read.
        return Ok(tokens);
    }
    for batch in dataset.table(ACTIVATIONS).and_then(|table| table.scan(scan)).map_err(problem)? {
        let batch = batch.map_err(problem)?;
        let column = storage::column::primitive::<UInt32Type>(&batch, TOKEN).map_err(problem)?;
        tokens.extend_from_slice(column.values());
    }
    Ok(tokens)
}

/// A dataset of routing alone has a row per token and layer: those of its first layer are the text.
fn from_routing(dataset: &Dataset, document: &DocumentRow, page: Range<u32>) -> Result<Vec<u32>, Problem> {
    let number = u64::from(document.document);
    let range = Some((DOCUMENT.to_owned(), number, number));
    let scan = Scan { range, ..Scan::of(&[POSITION, TOKEN, LAYER]) };
    let (mut tokens, mut first) = (Vec::new(), None);
    for batch in dataset.table(ROUTING).and_then(|table| table.scan(scan)).map_err(problem)? {
        let batch = batch.map_err(problem)?;
        let column = |name| storage::column::primitive::<UInt32Type>(&batch, name).map_err(problem);
        let (positions, column) = (column(POSITION)?.values(), column(TOKEN)?.values());
        let layers = storage::column::primitive::<UInt16Type>(&batch, LAYER).map_err(problem)?.values();
        for i in 0..batch.num_rows() {
            if *first.get_or_insert(layers[i]) == layers[i] && page.contains(&positions[i]) {
                tokens.push(column[i]);
            }
        }
    }
    Ok(tokens)
}
