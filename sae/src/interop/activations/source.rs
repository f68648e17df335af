//! What an import reads from: files of one kind, one after another, as chunks of rows.

use std::path::{Path, PathBuf};

use storage::Dtype;

use super::{arrow, npy, parquet, tensors};
use crate::{Error, Result};

/// Numbers of a chunk.
const CHUNK: usize = 1 << 21;
/// Word that switches off the search for a column.
const NONE: &str = "none";

/// Which columns or tensors to take; None: what their names tell.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub column: Option<String>,
    pub tokens: Option<String>,
    pub documents: Option<String>,
    pub positions: Option<String>,
}

/// What a column is for, and what it is called where nobody says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Activation,
    Token,
    Document,
    Position,
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
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Activation => "activations",
            Self::Token => "tokens",
            Self::Document => "documents",
            Self::Position => "positions",
        }
    }
}

impl Names {
    fn given(&self, role: Role) -> Option<&str> {
        match role {
            Role::Activation => self.column.as_deref(),
            Role::Token => self.tokens.as_deref(),
            Role::Document => self.documents.as_deref(),
            Role::Position => self.positions.as_deref(),
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

    /// A file named for the tokens, of formats that have one array a file.
    pub fn token_file(&self) -> Option<&Path> {
        self.tokens.as_deref().filter(|name| *name != NONE).map(Path::new)
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
    /// `[rows, d]`.
    pub values: Vec<f32>,
    /// Token of each row.
    pub tokens: Option<Vec<u32>>,
    /// What the rows' documents are called, and how many rows of each follow.
    pub documents: Option<Vec<(String, usize)>>,
    /// Position of each row in its document.
    pub positions: Option<Vec<u32>>,
    /// The file.
    pub file: PathBuf,
    /// Number of the first row in it.
    pub first_row: u64,
}

/// What is known before the rows are read.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// Width of a row.
    pub d: usize,
    /// The type that holds the numbers as they are; f32 for f64 and bf16.
    pub dtype: Dtype,
    /// Rows of all files, where they say it.
    pub rows: Option<u64>,
    pub tokens: bool,
    pub documents: bool,
    /// Rows of a sequence, where all have the same.
    pub length: Option<usize>,
    /// Where the activations were taken, if a name tells.
    pub hook: Option<String>,
    /// What is read, for people: "column `x`, 768 numbers of f16".
    pub about: String,
}

type Chunks = Box<dyn Iterator<Item = Result<Chunk>>>;

/// Files of one kind.
pub(super) struct Source {
    /// The files, in the order of their rows.
    pub files: Vec<PathBuf>,
    pub facts: Facts,
    pub chunks: Chunks,
}

/// Rows of `d` numbers that make a chunk.
pub(super) fn rows_at_once(d: usize) -> usize {
    (CHUNK / d.max(1)).clamp(1, 1 << 16)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Npy,
    Safetensors,
    Arrow,
    Parquet,
}

/// Opens files and folders.
pub(super) fn open(inputs: &[PathBuf], names: &Names) -> Result<Source> {
    let (kind, files) = find(inputs)?;
    let (facts, chunks) = match kind {
        Kind::Npy => npy::open(&files, names)?,
        Kind::Safetensors => tensors::open(&files, names)?,
        Kind::Arrow => arrow::open(&files, names)?,
        Kind::Parquet => parquet::open(&files, names)?,
    };
    Ok(Source { files, facts, chunks })
}

const KINDS: &str = ".npy, .safetensors, .parquet, .arrow, or a folder of Hugging Face datasets (state.json and data-*.arrow)";

fn find(inputs: &[PathBuf]) -> Result<(Kind, Vec<PathBuf>)> {
    let mut found: Vec<(Kind, PathBuf)> = Vec::new();
    for input in inputs {
        if input.is_dir() {
            in_folder(input, &mut found)?;
        } else if !input.exists() {
            return Err(Error::request(format!("{} does not exist; expected {KINDS}", input.display())));
        } else {
            found.push((kind_of(input)?, input.clone()));
        }
    }
    let Some(&(kind, _)) = found.first() else {
        let names: Vec<_> = inputs.iter().map(|p| p.display().to_string()).collect();
        return Err(Error::request(format!("no activations in {}; expected {KINDS}", names.join(", "))));
    };
    if let Some((_, other)) = found.iter().find(|(other, _)| *other != kind) {
        return Err(Error::request(format!(
            "{} and {} are of different kinds; import them one by one",
            found[0].1.display(),
            other.display()
        )));
    }
    Ok((kind, found.into_iter().map(|(_, path)| path).collect()))
}

fn kind_of(path: &Path) -> Result<Kind> {
    let extension = path.extension().map_or_else(String::new, |e| e.to_string_lossy().to_lowercase());
    let remedy = match extension.as_str() {
        "npy" => return Ok(Kind::Npy),
        "safetensors" => return Ok(Kind::Safetensors),
        "arrow" => return Ok(Kind::Arrow),
        "parquet" => return Ok(Kind::Parquet),
        "npz" => "save the array alone: numpy.save(\"x.npy\", file[\"NAME\"])",
        "pt" | "pth" | "bin" | "pkl" => {
            "pickled Python objects are not read; write the tensor with safetensors.torch.save_file({\"activations\": x}, \"x.safetensors\")"
        }
        _ => "convert it to one of them",
    };
    Err(Error::format(path, format!("is none of {KINDS}; {remedy}")))
}

/// Files of a folder in order of name; of a dataset those that its state names; of shards of one, shard after shard.
fn in_folder(folder: &Path, found: &mut Vec<(Kind, PathBuf)>) -> Result<()> {
    if folder.join(arrow::STATE).is_file() {
        found.extend(arrow::files_of(folder)?.into_iter().map(|file| (Kind::Arrow, file)));
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let paths: Vec<PathBuf> =
        entries.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>().map_err(|e| Error::io(folder, e))?;
    let (mut shards, mut files): (Vec<PathBuf>, Vec<PathBuf>) = paths.into_iter().partition(|p| p.is_dir());
    files.sort();
    for file in files {
        if let Ok(kind) = kind_of(&file) {
            found.push((kind, file));
        }
    }
    // `shard_10` comes after `shard_9`.
    shards.retain(|shard| shard.join(arrow::STATE).is_file());
    shards.sort_by_key(|shard| (number_at_end(shard), shard.clone()));
    shards.iter().try_for_each(|shard| in_folder(shard, found))
}

fn number_at_end(path: &Path) -> u64 {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let digits = name.chars().rev().take_while(char::is_ascii_digit).collect::<Vec<_>>();
    digits.iter().rev().collect::<String>().parse().unwrap_or(0)
}
