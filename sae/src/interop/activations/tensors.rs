//! `.safetensors`: a tensor `[rows, d]` or `[sequences, tokens, d]`, and tensors of tokens, documents,
//! positions and a mask with it.

use std::path::{Path, PathBuf};

use storage::Dtype;

use super::chunk::{
    Chunk, Chunks, Facts, Names, Role, listed, mask_note, rows_at_once, sequences, until_error,
};
use super::integers::Integer;
use crate::{Error, Result};
use lm::model::safetensors::{Found, read_header};
use lm::model::{Bytes, Encoding};

/// A tensor of integers, one per row.
struct Integers {
    name: String,
    at: u64,
    integer: Integer,
}

struct Tensors {
    bytes: Bytes,
    name: String,
    at: u64,
    encoding: &'static Encoding,
    rows: u64,
    d: usize,
    length: Option<usize>,
    tokens: Option<Integers>,
    documents: Option<Integers>,
    positions: Option<Integers>,
    mask: Option<Integers>,
}

fn is_activations(found: &Found) -> bool {
    found.encoding.is_ok() && matches!(found.shape.len(), 2 | 3)
}

impl Tensors {
    fn open(path: &Path, names: &Names) -> Result<Self> {
        let bytes = Bytes::open(path)?;
        let all = read_header(&bytes)?;
        let there: Vec<&str> = all.iter().map(|t| t.name.as_str()).collect();
        let fitting: Vec<&Found> = all.iter().filter(|t| is_activations(t)).collect();
        let named = names.find(Role::Activation, &there, path)?;
        let chosen = match (named, &fitting[..]) {
            (Some(name), _) => all.iter().find(|t| t.name == name),
            (None, [one]) => Some(*one),
            (None, _) => None,
        };
        let Some(tensor) = chosen else {
            let fitting: Vec<&str> = fitting.iter().map(|t| t.name.as_str()).collect();
            let problem = format!(
                "has {} tensors of floating-point numbers in two or three dimensions ({})",
                fitting.len(),
                listed(&fitting)
            );
            return Err(Error::format(path, problem).with_remedy("choose one with --column"));
        };
        let encoding = tensor.encoding.clone().map_err(|dtype| {
            Error::format(
                path,
                format!("tensor `{}` has type {dtype}; expected F32, F16, BF16 or F64", tensor.name),
            )
        })?;
        let (d, length) = match tensor.shape[..] {
            [_, d] => (d, None),
            [_, length, d] => (d, Some(length)),
            _ => {
                let problem = format!(
                    "tensor `{}` has shape {:?}; expected [rows, d] or [sequences, tokens, d]",
                    tensor.name, tensor.shape
                );
                return Err(Error::format(path, problem));
            }
        };
        let rows = tensor.shape[..tensor.shape.len() - 1].iter().map(|n| *n as u64).product();
        if d == 0 || rows == 0 {
            let problem =
                format!("tensor `{}` has shape {:?}: there are no numbers", tensor.name, tensor.shape);
            return Err(Error::format(path, problem));
        }
        let beside = |role| -> Result<Option<Integers>> {
            let Some(name) = names.find(role, &there, path)?.filter(|name| *name != tensor.name) else {
                return Ok(None);
            };
            let Some(found) = all.iter().find(|t| t.name == name) else { return Ok(None) };
            let integer = found.encoding.as_ref().err().and_then(|dtype| Integer::of_safetensors(dtype));
            let fits = found.shape.iter().map(|n| *n as u64).product::<u64>() == rows;
            match integer.filter(|_| fits) {
                Some(integer) => Ok(Some(Integers { name: name.to_owned(), at: found.at, integer })),
                None => {
                    let problem = format!(
                        "tensor `{name}` has shape {:?}; expected one integer for each of the {rows} rows",
                        found.shape
                    );
                    Err(Error::format(path, problem)
                        .with_remedy(format!("leave it out with {} none", role.option())))
                }
            }
        };
        let (tokens, documents, positions, mask) =
            (beside(Role::Token)?, beside(Role::Document)?, beside(Role::Position)?, beside(Role::Mask)?);
        let (name, at) = (tensor.name.clone(), tensor.at);
        Ok(Self { name, at, encoding, rows, d, length, tokens, documents, positions, mask, bytes })
    }

    fn integers(&self, tensor: Option<&Integers>, first: u64, n: usize) -> Result<Option<Vec<u32>>> {
        let read =
            |t: &Integers| t.integer.read(&self.bytes, t.at + first * t.integer.bytes as u64, n, first);
        tensor.map(read).transpose()
    }

    fn chunk(&self, first: u64, n: usize, sequences_before: u64) -> Result<Chunk> {
        let mut values = vec![0f32; n * self.d];
        let at = self.at + first * self.d as u64 * self.encoding.bytes as u64;
        self.encoding.read(&self.bytes, at, &mut values)?;
        let documents = self.integers(self.documents.as_ref(), first, n)?.map(|documents| runs(&documents));
        let mask = self.integers(self.mask.as_ref(), first, n)?;
        let by_length = || self.length.map(|length| sequences(sequences_before, length, first, n));
        Ok(Chunk {
            values,
            tokens: self.integers(self.tokens.as_ref(), first, n)?,
            documents: documents.or_else(by_length),
            positions: self.integers(self.positions.as_ref(), first, n)?,
            mask: mask.map(|mask| mask.iter().map(|real| *real != 0).collect()),
            file: self.bytes.path().to_path_buf(),
            first_row: first,
            ..Chunk::default()
        })
    }
}

fn runs(documents: &[u32]) -> Vec<(String, usize)> {
    documents.chunk_by(|a, b| a == b).map(|run| (run[0].to_string(), run.len())).collect()
}

/// Opens files with tensors of the same names and width.
///
/// # Errors
/// Files that are not safetensors, no tensor or several that could be the activations, tensors next to it
/// that do not fit its rows, files that differ.
pub(super) fn open(files: &[PathBuf], names: &Names) -> Result<(Facts, Chunks)> {
    let opened: Vec<Tensors> = files.iter().map(|file| Tensors::open(file, names)).collect::<Result<_>>()?;
    let first = opened.first().ok_or_else(|| Error::request("no files"))?;
    let kind = |t: &Tensors| {
        let there = [&t.tokens, &t.documents, &t.positions, &t.mask].map(Option::is_some);
        (t.d, t.length, there)
    };
    if let Some(other) = opened.iter().find(|t| kind(t) != kind(first)) {
        let problem = format!(
            "tensor `{}` and those with it differ from the first file's: width {} after {}, or tokens, documents, positions or a \
             mask are not in both",
            other.name, other.d, first.d
        );
        return Err(Error::format(other.bytes.path(), problem));
    }
    let (d, length) = (first.d, first.length);
    let facts = Facts {
        d,
        dtype: if opened.iter().all(|t| t.encoding.name == "F16") { Dtype::F16 } else { Dtype::F32 },
        rows: first.mask.is_none().then(|| opened.iter().map(|t| t.rows).sum()),
        tokens: first.tokens.is_some(),
        documents: length.is_some() || first.documents.is_some(),
        length,
        hook: first.name.parse::<lm::model::Hook>().is_ok().then(|| first.name.clone()),
        about: format!(
            "tensor `{}`, {d} numbers per row, {}",
            first.name,
            first.encoding.name.to_lowercase()
        ),
        padded: first.mask.is_some(),
        notes: first.mask.iter().map(|mask| mask_note(&mask.name)).collect(),
    };
    let mut opened = opened.into_iter();
    let (mut current, mut row, mut before) = (opened.next(), 0, 0);
    let next = move || {
        let Some(tensors) = current.as_ref() else { return Ok(None) };
        let n = (tensors.rows - row).min(rows_at_once(d) as u64) as usize;
        let chunk = tensors.chunk(row, n, before)?;
        row += n as u64;
        if row == tensors.rows {
            before += length.map_or(0, |length| row / length as u64);
            (current, row) = (opened.next(), 0);
        }
        Ok(Some(chunk))
    };
    Ok((facts, until_error(next)))
}
