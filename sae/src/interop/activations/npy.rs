//! `.npy`: one array, `[rows, d]` or `[sequences, tokens, d]`.
//!
//! `\x93NUMPY`, version, length of the header, then a Python dictionary of `descr`, `fortran_order` and `shape`, then the numbers
//! (NumPy Enhancement Proposal 1).

use std::path::{Path, PathBuf};

use storage::Dtype;

use super::integers::Integer;
use super::source::{Chunk, Facts, Names, rows_at_once};
use crate::{Error, Result};
use lm::model::encoding::{F16, F32, F64};
use lm::model::{Bytes, Encoding};

#[derive(Debug, Clone, Copy)]
enum Number {
    Float(&'static Encoding),
    Integer(Integer),
}

/// An array on disk.
#[derive(Debug)]
struct Array {
    bytes: Bytes,
    /// First byte of the numbers.
    at: u64,
    shape: Vec<usize>,
    fortran: bool,
    number: Number,
}

impl Array {
    fn open(path: &Path) -> Result<Self> {
        let bytes = Bytes::open(path)?;
        let problem = |text: String| Error::format(path, text);
        let mut start = [0; 8];
        if bytes.len() < 10 || bytes.read_at(0, &mut start).is_err() || start[..6] != *b"\x93NUMPY" {
            return Err(problem("is no .npy file".into()));
        }
        let width = if start[6] == 1 { 2 } else { 4 };
        let mut length = [0; 4];
        bytes.read_at(8, &mut length[..width])?;
        let length = u64::from(u32::from_le_bytes(length));
        let header = bytes.read_vec(8 + width as u64, length)?;
        let header = Header::parse(&String::from_utf8_lossy(&header)).map_err(problem)?;
        let number = number(&header.descr).map_err(problem)?;
        let at = 8 + width as u64 + length;
        let size = match number {
            Number::Float(encoding) => encoding.bytes,
            Number::Integer(integer) => integer.bytes,
        };
        let expected = header.shape.iter().try_fold(size as u64, |n, dim| n.checked_mul(*dim as u64));
        if expected != Some(bytes.len() - at) {
            return Err(problem(format!(
                "has {} bytes of numbers; {} of shape {:?} does not take so many",
                bytes.len() - at,
                header.descr,
                header.shape
            )));
        }
        let Header { shape, fortran, .. } = header;
        Ok(Self { bytes, at, shape, fortran, number })
    }

    fn rows(&self) -> u64 {
        self.shape[..self.shape.len().saturating_sub(1)].iter().map(|n| *n as u64).product()
    }

    /// Rows `[first, first + n)` of `[rows, d]`.
    fn read(&self, encoding: &Encoding, first: u64, n: usize, d: usize) -> Result<Vec<f32>> {
        let mut out = vec![0f32; n * d];
        let size = encoding.bytes as u64;
        if !self.fortran {
            encoding.read(&self.bytes, self.at + first * d as u64 * size, &mut out)?;
            return Ok(out);
        }
        // Column after column: one run of numbers of each.
        let rows = self.rows();
        let mut column = vec![0f32; n];
        for c in 0..d {
            encoding.read(&self.bytes, self.at + (c as u64 * rows + first) * size, &mut column)?;
            out.iter_mut().skip(c).step_by(d).zip(&column).for_each(|(out, x)| *out = *x);
        }
        Ok(out)
    }
}

fn number(descr: &str) -> Result<Number, String> {
    let (order, kind) = descr.split_at_checked(1).unwrap_or(("", ""));
    let one_byte = kind.ends_with('1') && order == "|";
    match (order, kind) {
        ("<", "f2") => Ok(Number::Float(&F16)),
        ("<", "f4") => Ok(Number::Float(&F32)),
        ("<", "f8") => Ok(Number::Float(&F64)),
        _ => Integer::of_numpy(kind).filter(|_| order == "<" || one_byte).map(Number::Integer).ok_or_else(
            || {
                let swapped =
                    if order == ">" { " (the byte order is turned around: x.astype(\"<f4\"))" } else { "" };
                format!("holds numbers of type {descr:?}; expected <f2, <f4, <f8 or integers{swapped}")
            },
        ),
    }
}

#[derive(Debug, PartialEq)]
struct Header {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    /// The dictionary that `numpy.save` writes; keys in any order.
    fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("has the header {:?}; expected descr, fortran_order and shape", text.trim_end());
        let after = |key: &str| {
            let quoted = [format!("'{key}':"), format!("\"{key}\":")];
            let start = quoted.iter().find_map(|key| text.find(key.as_str()).map(|at| at + key.len()))?;
            Some(text[start..].trim_start())
        };
        let (descr, fortran, shape) = (
            after("descr").ok_or_else(wrong)?,
            after("fortran_order").ok_or_else(wrong)?,
            after("shape").ok_or_else(wrong)?,
        );
        if descr.starts_with('[') {
            return Err("holds records of several fields; save the field with the activations alone".into());
        }
        let quote = descr.chars().next().filter(|c| matches!(c, '\'' | '"')).ok_or_else(wrong)?;
        let descr = descr[1..].split(quote).next().unwrap_or_default().to_owned();
        let fortran = match fortran {
            f if f.starts_with("True") => true,
            f if f.starts_with("False") => false,
            _ => return Err(wrong()),
        };
        let inside = shape.strip_prefix('(').and_then(|s| s.split_once(')')).ok_or_else(wrong)?.0;
        let sizes = inside.split(',').map(str::trim).filter(|s| !s.is_empty());
        let shape = sizes.map(|s| s.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
        Ok(Self { descr, fortran, shape })
    }
}

/// Activations of one file.
struct Activations {
    array: Array,
    encoding: &'static Encoding,
    d: usize,
    /// Rows of a sequence, of an array of three dimensions.
    length: Option<usize>,
}

impl Activations {
    fn open(path: &Path) -> Result<Self> {
        let array = Array::open(path)?;
        let Number::Float(encoding) = array.number else {
            return Err(Error::format(path, "holds integers; activations are floating-point numbers"));
        };
        let (d, length) = match array.shape[..] {
            [_, d] => (d, None),
            [_, length, d] if !array.fortran => (d, Some(length)),
            [_, _, _] => {
                let remedy = "numpy.save(\"x.npy\", numpy.ascontiguousarray(x))";
                let problem = format!("has three dimensions in Fortran order, which are not read; {remedy}");
                return Err(Error::format(path, problem));
            }
            _ => {
                let problem =
                    format!("has shape {:?}; expected [rows, d] or [sequences, tokens, d]", array.shape);
                return Err(Error::format(path, problem));
            }
        };
        if d == 0 || array.rows() == 0 {
            return Err(Error::format(path, format!("has shape {:?}: there are no numbers", array.shape)));
        }
        Ok(Self { array, encoding, d, length })
    }
}

/// Tokens of all rows, from one file.
struct Tokens {
    array: Array,
    integer: Integer,
    read: u64,
}

impl Tokens {
    fn open(path: &Path, rows: u64) -> Result<Self> {
        let array = Array::open(path)?;
        let Number::Integer(integer) = array.number else {
            return Err(Error::format(path, "holds no integers; tokens are numbers from 0 on"));
        };
        let there = array.shape.iter().map(|n| *n as u64).product::<u64>();
        if there != rows || (array.fortran && array.shape.len() > 1) {
            let problem = format!(
                "has shape {:?}; expected one token for each of the {rows} rows, in C order",
                array.shape
            );
            return Err(Error::format(path, problem));
        }
        Ok(Self { array, integer, read: 0 })
    }

    fn next(&mut self, n: usize) -> Result<Vec<u32>> {
        let at = self.array.at + self.read * self.integer.bytes as u64;
        let tokens = self.integer.read(&self.array.bytes, at, n, self.read)?;
        self.read += n as u64;
        Ok(tokens)
    }
}

/// Opens arrays of one width.
pub(super) fn open(
    files: &[PathBuf],
    names: &Names,
) -> Result<(Facts, Box<dyn Iterator<Item = Result<Chunk>>>)> {
    let opened: Vec<Activations> = files.iter().map(|file| Activations::open(file)).collect::<Result<_>>()?;
    let first = opened.first().ok_or_else(|| Error::request("no files"))?;
    let (d, length, name) = (first.d, first.length, first.encoding.name);
    if let Some(other) = opened.iter().find(|a| (a.d, a.length) != (d, length)) {
        let problem = format!("has shape {:?}, the first file {:?}", other.array.shape, first.array.shape);
        return Err(Error::format(other.array.bytes.path(), problem));
    }
    let rows = opened.iter().map(|a| a.array.rows()).sum();
    let mut tokens = names.token_file().map(|path| Tokens::open(path, rows)).transpose()?;
    let facts = Facts {
        d,
        dtype: if opened.iter().all(|a| a.encoding.bytes == 2) { Dtype::F16 } else { Dtype::F32 },
        rows: Some(rows),
        tokens: tokens.is_some(),
        documents: length.is_some(),
        length,
        hook: None,
        about: format!("arrays of {d} numbers a row, {}", name.to_lowercase()),
    };
    let mut opened = opened.into_iter();
    let (mut current, mut row) = (opened.next(), 0);
    let (mut sequences_before, at_once) = (0, rows_at_once(d));
    let next = move || {
        let array = current.as_ref()?;
        let n = (array.array.rows() - row).min(at_once as u64) as usize;
        let chunk = (|| {
            Ok(Chunk {
                values: array.array.read(array.encoding, row, n, d)?,
                tokens: tokens.as_mut().map(|tokens| tokens.next(n)).transpose()?,
                documents: length.map(|length| sequences(sequences_before, length, row, n)),
                positions: None,
                file: array.array.bytes.path().to_path_buf(),
                first_row: row,
            })
        })();
        row += n as u64;
        if row == array.array.rows() {
            sequences_before += length.map_or(0, |length| row / length as u64);
            (current, row) = (opened.next(), 0);
        }
        Some(chunk)
    };
    Ok((facts, Box::new(std::iter::from_fn(next))))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_as_numpy_writes_them() {
        let parsed =
            Header::parse("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }   \n").unwrap();
        assert_eq!(parsed, Header { descr: "<f4".into(), fortran: false, shape: vec![3, 4] });
        let parsed = Header::parse("{\"shape\": (7,), \"fortran_order\": True, \"descr\": \"|u1\"}").unwrap();
        assert_eq!(parsed, Header { descr: "|u1".into(), fortran: true, shape: vec![7] });
        assert!(
            Header::parse("{'descr': '<f8', 'fortran_order': False, 'shape': ()}").unwrap().shape.is_empty()
        );
        let records = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,)}";
        assert!(Header::parse(records).unwrap_err().contains("several fields"));
        for bad in [
            "",
            "{}",
            "{'descr': '<f4', 'fortran_order': 1, 'shape': (3,)}",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (-3,)}",
            "{'descr': <f4, 'fortran_order': True, 'shape': (3",
        ] {
            assert!(Header::parse(bad).unwrap_err().contains("expected descr"), "{bad}");
        }
        assert!(number(">f4").unwrap_err().contains("byte order"));
        assert!(number("<c8").is_err() && number("|b1").is_err() && number("").is_err());
        assert!(matches!(number("|u1"), Ok(Number::Integer(_))));
    }

    #[test]
    fn sequences_are_cut_where_chunks_end() {
        let name = |i: u64| format!("sequence {i}");
        assert_eq!(sequences(10, 4, 2, 7), [(name(10), 2), (name(11), 4), (name(12), 1)]);
    }
}
