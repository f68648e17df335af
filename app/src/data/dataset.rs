//! A dataset: what it is, its documents and their text.

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
