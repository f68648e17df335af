//! What every reader fills: rows with what stands next to them, and what is known before they are read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::Dtype;

use crate::{Error, Result};

/// Numbers of a chunk: 8 MB as f32.
const CHUNK: usize = 1 << 21;
/// Word that switches off the search for a column.
const NONE: &str = "none";

/// What a column or tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Activation,
    Token,
    Document,
    Position,
    /// 0 where a row is padding.
    Mask,
}

impl Role {
    /// Usual names, most telling first.
    pub fn usual(self) -> &'static [&'static str] {
        match self {
            Self::Activation => {
                &["activation", "activations", "acts", "hidden_states", "states", "embedding", "embeddings"]
            }
            Self::Token => &["token", "token_id", "token_ids", "tokens", "input_ids"],
            Self::Document => {
                &["document", "document_id", "doc_id", "doc", "sample_id", "text_idx", "sequence"]
            }
            Self::Position => &["position", "token_pos", "pos"],
            Self::Mask => &["attention_mask"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Activation => "activations",
            Self::Token => "tokens",
            Self::Document => "documents",
            Self::Position => "positions",
            Self::Mask => "mask",
        }
    }

    /// The option of `sae import` that names it.
    pub fn option(self) -> &'static str {
        match self {
            Self::Activation => "--column",
            Self::Token => "--tokens",
            Self::Document => "--document-column",
            Self::Position => "--position-column",
            Self::Mask => "--mask-column",
        }
    }
}

/// Names of columns or tensors that were given; where there is none, usual names are looked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub column: Option<String>,
    pub tokens: Option<String>,
    pub documents: Option<String>,
    pub positions: Option<String>,
    pub mask: Option<String>,
}

impl Names {
    fn given(&self, role: Role) -> Option<&str> {
        match role {
            Role::Activation => self.column.as_deref(),
            Role::Token => self.tokens.as_deref(),
            Role::Document => self.documents.as_deref(),
            Role::Position => self.positions.as_deref(),
            Role::Mask => self.mask.as_deref(),
        }
    }

    /// The column for `role` among `there`: the one that was named, else the first with a usual name.
    ///
    /// # Errors
    /// A name that was given and is not there.
    pub fn find<'a>(&self, role: Role, there: &[&'a str], file: &Path) -> Result<Option<&'a str>> {
        let Some(name) = self.given(role) else {
            return Ok(role
                .usual()
                .iter()
                .find_map(|usual| there.iter().find(|name| *name == usual).copied()));
        };
        if name == NONE {
            return Ok(None);
        }
        let found = there.iter().find(|there| **there == name).copied();
        found.map(Some).ok_or_else(|| {
            let problem = format!("has no `{name}` for the {}; it has {}", role.name(), listed(there));
            Error::format(file, problem)
        })
    }

    /// The file that was named for `role`, of formats that have one array per file.
    pub fn file(&self, role: Role) -> Option<&Path> {
        self.given(role).filter(|name| *name != NONE).map(Path::new)
    }
}

/// Some names, for a message.
pub(super) fn listed(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names if names.len() > 12 => format!("{}, … ({} in all)", names[..12].join(", "), names.len()),
        names => names.join(", "),
    }
}

/// Consecutive rows of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Chunk {
    /// Activations, `[rows, d]`.
    pub values: Vec<f32>,
    /// Token of each row.
    pub tokens: Option<Vec<u32>>,
    /// Names of the rows' documents, and how many rows of each follow.
    pub documents: Option<Vec<(String, usize)>>,
    /// Position of each row in its document.
    pub positions: Option<Vec<u32>>,
    /// Whether each row is real; those that are not are padding.
    pub mask: Option<Vec<bool>>,
    /// The file.
    pub file: PathBuf,
    /// The split of a data set that the file belongs to.
    pub split: Option<Arc<str>>,
    /// Number in the file of the first row.
    pub first_row: u64,
    /// Offset from `first_row` of each row, where padding was left out.
    pub offsets: Option<Vec<usize>>,
}

impl Chunk {
    /// The number in the file of row `row` of the chunk.
    pub fn row_in_file(&self, row: usize) -> u64 {
        let offset = self.offsets.as_ref().and_then(|offsets| offsets.get(row).copied());
        self.first_row + offset.unwrap_or(row) as u64
    }

    /// The chunk without its padding.
    pub fn without_padding(mut self) -> Self {
        let Some(mask) = self.mask.take() else { return self };
        if mask.is_empty() || mask.iter().all(|real| *real) {
            return self;
        }
        let d = self.values.len() / mask.len();
        let offsets: Vec<usize> = (0..mask.len()).filter(|&row| mask[row]).collect();
        self.values = offsets.iter().flat_map(|&row| self.values[row * d..][..d].to_vec()).collect();
        let pick = |column: Vec<u32>| offsets.iter().map(|&row| column[row]).collect();
        self.tokens = self.tokens.map(pick);
        self.positions = self.positions.map(pick);
        let mut row = 0;
        for (_, rows) in self.documents.iter_mut().flatten() {
            let end = row + *rows;
            *rows = mask[row..end].iter().filter(|real| **real).count();
            row = end;
        }
        self.offsets = Some(offsets);
        self
    }
}

/// What is known before the rows are read.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// Width of a row.
    pub d: usize,
    /// The type that holds the numbers as they are; f32 for f64 and bf16.
    pub dtype: Dtype,
    /// Rows of all files, where they say it and none is padding.
    pub rows: Option<u64>,
    pub tokens: bool,
    pub documents: bool,
    /// Rows of a sequence, where all have the same.
    pub length: Option<usize>,
    /// Where the activations were taken, if a name tells.
    pub hook: Option<String>,
    /// What is read, for people: "column `x`, 768 numbers of f16".
    pub about: String,
    /// Whether a mask leaves padding out.
    pub padded: bool,
    /// Choices that the files leave open and the reader made, for people.
    pub notes: Vec<String>,
}

pub(super) type Chunks = Box<dyn Iterator<Item = Result<Chunk>>>;

/// Rows of `d` numbers that make a chunk.
pub(super) fn rows_at_once(d: usize) -> usize {
    (CHUNK / d.max(1)).clamp(1, 1 << 16)
}

/// The note about a mask.
pub(super) fn mask_note(name: &str) -> String {
    format!("rows where `{name}` is 0 are padding and left out (--mask-column none keeps them)")
}

/// The sequences of `length` rows that rows `[first, first + n)` belong to; `before` were in earlier files.
pub(super) fn sequences(before: u64, length: usize, first: u64, n: usize) -> Vec<(String, usize)> {
    let (length, end) = (length as u64, first + n as u64);
    let mut runs = Vec::new();
    let mut row = first;
    while row < end {
        let sequence = row / length;
        let until = ((sequence + 1) * length).min(end);
        runs.push((format!("sequence {}", before + sequence), (until - row) as usize));
        row = until;
    }
    runs
}

/// Items until the first error, which is the last.
pub(super) fn until_error<T: 'static>(
    mut next: impl FnMut() -> Result<Option<T>> + 'static,
) -> Box<dyn Iterator<Item = Result<T>>> {
    let mut over = false;
    Box::new(std::iter::from_fn(move || {
        if over {
            return None;
        }
        let item = next().transpose();
        over = !matches!(item, Some(Ok(_)));
        item
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_cut_where_chunks_end() {
        let name = |i: u64| format!("sequence {i}");
        assert_eq!(sequences(10, 4, 2, 7), [(name(10), 2), (name(11), 4), (name(12), 1)]);
    }

    #[test]
    fn padding_goes_with_its_tokens_and_the_rest_keeps_its_place() {
        let chunk = Chunk {
            values: vec![0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5],
            tokens: Some(vec![7, 0, 0, 9]),
            documents: Some(vec![("a".into(), 2), ("b".into(), 2)]),
            mask: Some(vec![true, false, false, true]),
            first_row: 10,
            ..Chunk::default()
        }
        .without_padding();
        assert_eq!(chunk.values, [0.0, 0.5, 3.0, 3.5]);
        assert_eq!(chunk.tokens.as_deref(), Some(&[7, 9][..]));
        assert_eq!(chunk.documents.as_deref(), Some(&[("a".to_owned(), 1), ("b".to_owned(), 1)][..]));
        assert_eq!((chunk.row_in_file(0), chunk.row_in_file(1)), (10, 13));
    }
}
