//! What a dataset says about itself: `dataset.json`.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use crate::record::record;

/// `format` of `dataset.json`.
pub const FORMAT: &str = "sae-workbench dataset";
/// Newest version of `dataset.json` that this program reads and the one that it writes.
pub const VERSION: u64 = 1;

/// Floating point type of stored activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE half precision: 2 bytes, up to 65504.
    F16,
    /// IEEE single precision: 4 bytes.
    F32,
}

impl Dtype {
    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// The Arrow type of one value.
    pub fn data_type(self) -> DataType {
        match self {
            Self::F16 => DataType::Float16,
            Self::F32 => DataType::Float32,
        }
    }
}

/// What a row of `activations` is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowsAre {
    /// A token of a text: there is a column `token`.
    #[default]
    Tokens,
    /// Something that came without tokens. There is no column `token` and no vocabulary; documents are runs of rows.
    Rows,
    /// A piece of a picture, as many pixels as an activation is wide: the same, with columns `x` and `y`; documents are pictures.
    Patches,
}

impl RowsAre {
    /// Whether rows are tokens.
    pub fn tokens(&self) -> bool {
        *self == Self::Tokens
    }

    /// What several of them are called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Rows => "rows",
            Self::Patches => "patches",
        }
    }
}

record! {
    /// Which model made the data.
    #[derive(Default, Eq)]
    ModelRef {
        /// Name of the model, for people.
        id: String,
        /// Its folder at the time, if it was a folder.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// SHA-256 of its configuration, tokenizer and weights, in hexadecimal; empty if nobody knows them.
        sha256: String,
    }
}

record! {
    /// One of several values that a row of a joined dataset holds one after the other.
    Site {
        /// Where it was taken (a TransformerLens name).
        hook: String,
        /// The model that it was taken from.
        model: ModelRef,
        /// How many of the row's numbers are its own.
        width: usize,
        /// What they were multiplied by, so that all sites vary alike.
        scale: f32,
    }
}

record! {
    /// How every context began.
    #[derive(Eq)]
    Bos {
        /// The token that did; none if contexts began with their text.
        token: Option<u32>,
        /// What decided it, for people: a file of the tokenizer and what it says, or an option.
        because: String,
    }
}

record! {
    /// One file of text. How much of it became rows is in the table of documents.
    #[derive(Eq)]
    TextSource {
        /// The file.
        path: String,
        /// Its length.
        bytes: u64,
    }
}

record! {
    /// One Parquet file of a table.
    #[derive(Eq)]
    Part {
        /// Name inside the dataset's folder.
        file: String,
        /// Rows in it.
        rows: u64,
        /// Its length.
        bytes: u64,
        /// SHA-256 of the file, in hexadecimal.
        sha256: String,
    }
}

record! {
    /// The parts of one table, in the order of its rows.
    #[derive(Default, Eq)]
    Table {
        /// Rows of all parts.
        rows: u64,
        /// The files.
        parts: Vec<Part>,
    }
}

impl Table {
    /// Adds a part after the others.
    pub(crate) fn push(&mut self, part: Part) {
        self.rows += part.rows;
        self.parts.push(part);
    }

    /// Length of all parts, in bytes.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }
}

record! {
    /// `dataset.json`. A header for [`crate::DatasetWriter::begin`] is the same without `rows` and `tables`.
    Manifest {
        /// Always [`FORMAT`].
        format: String,
        /// Version of the layout; see [`VERSION`].
        version: u64,
        /// The model that the text went through.
        model: ModelRef,
        /// Where the activations were taken (a TransformerLens name); `None` for a dataset without activations.
        hook: Option<String>,
        /// What a row is; tokens unless something else is recorded.
        #[serde(default, skip_serializing_if = "RowsAre::tokens")]
        rows_are: RowsAre,
        /// Width of an activation.
        d_model: usize,
        /// Of a dataset that `sae join` made: what a row holds, in order. `hook` is then null, and `d_model` the width of all together.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        sites: Vec<Site>,
        /// Type of a stored activation.
        dtype: Dtype,
        /// Tokens that the model saw at once, with BOS.
        context_length: usize,
        /// The tokenizer's name or file.
        tokenizer: String,
        /// How every context began. Datasets from before this was recorded began with the model's begin token, if it had one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bos: Option<Bos>,
        /// Where the text came from.
        #[serde(default)]
        text: Vec<TextSource>,
        /// Tokens that the model saw and that have no row: "BOS", "padding".
        #[serde(default)]
        left_out: Vec<String>,
        /// Everything else that decides what the rows are (seed, token limit, options).
        #[serde(default)]
        settings: serde_json::Value,
        /// Rows of the main table: `activations`, or `routing` where there are none.
        #[serde(default)]
        rows: u64,
        /// Table name → its parts.
        #[serde(default)]
        tables: BTreeMap<String, Table>,
    }
}

impl Manifest {
    /// A header with the given shape and everything else empty.
    pub fn new(model: ModelRef, hook: Option<String>, d_model: usize, dtype: Dtype) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            model,
            hook,
            rows_are: RowsAre::Tokens,
            d_model,
            sites: Vec::new(),
            dtype,
            context_length: 0,
            tokenizer: String::new(),
            bos: None,
            text: Vec::new(),
            left_out: Vec::new(),
            settings: serde_json::Value::Null,
            rows: 0,
            tables: BTreeMap::new(),
        }
    }

    /// Length of all parts of all tables, in bytes.
    pub fn bytes(&self) -> u64 {
        self.tables.values().map(Table::bytes).sum()
    }

    /// Rows of the main table, from `tables`.
    pub(crate) fn main_rows(&self) -> u64 {
        use crate::field::{ACTIVATIONS, ROUTING};
        let rows = |name: &str| self.tables.get(name).map(|table| table.rows);
        rows(ACTIVATIONS).or_else(|| rows(ROUTING)).unwrap_or_default()
    }
}
