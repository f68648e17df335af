//! `.npy`: one array, `[rows, d]` or `[sequences, tokens, d]`.
//!
//! `\x93NUMPY`, version, length of the header, then a Python dictionary of `descr`, `fortran_order` and
//! `shape`, then the numbers (NumPy Enhancement Proposal 1).

use std::path::{Path, PathBuf};

use storage::Dtype;

use super::chunk::{Chunk, Chunks, Facts, Names, Role, mask_note, rows_at_once, sequences, until_error};
use super::integers::Integer;
use crate::{Error, Result};
use lm::model::encoding::{BF16, F16, F32, F64};
use lm::model::{Bytes, Encoding};

/// What NumPy writes for numbers of two bytes that it does not know.
const UNKNOWN: [&str; 2] = ["|V2", "<V2"];

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
    /// Whether the type is a guess: bfloat16 of `ml_dtypes` is written as two bytes of anything.
    guessed: bool,
}

impl Array {
    fn open(path: &Path) -> Result<Self> {
        let bytes = Bytes::open(path)?;
        let problem = |text: String| Error::format(path, text);
        let mut start = [0; 8];
        if bytes.len() < 10 || bytes.read_at(0, &mut start).is_err() || start[..6] != *b"\x93NUMPY" {
            return Err(problem("is not a .npy file".into()));
        }
        let width = if start[6] == 1 { 2 } else { 4 };
        let mut length = [0; 4];
        bytes.read_at(8, &mut length[..width])?;
        let length = u64::from(u32::from_le_bytes(length));
        let header = bytes.read_vec(8 + width as u64, length)?;
        let header = Header::parse(&String::from_utf8_lossy(&header)).map_err(problem)?;
        let guessed = UNKNOWN.contains(&header.descr.as_str());
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
        Ok(Self { bytes, at, shape, fortran, number, guessed })
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
    if UNKNOWN.contains(&descr) {
        return Ok(Number::Float(&BF16));
    }
    let (order, kind) = descr.split_at_checked(1).unwrap_or(("", ""));
    let one_byte = kind.ends_with('1') && order == "|";
    match (order, kind) {
        ("<", "f2") => Ok(Number::Float(&F16)),
        ("<", "f4") => Ok(Number::Float(&F32)),
        ("<", "f8") => Ok(Number::Float(&F64)),
        // A boolean is a byte of 0 or 1.
        ("|", "b1") => Integer::of_numpy("u1").map(Number::Integer).ok_or_else(String::new),
        _ => Integer::of_numpy(kind).filter(|_| order == "<" || one_byte).map(Number::Integer).ok_or_else(
            || {
                let why = match order {
                    ">" => " (the byte order is turned around: x.astype(\"<f4\"))",
                    "|" => " (x.astype(\"<f4\") makes some of it)",
                    _ => "",
                };
                format!("holds numbers of type {descr:?}; expected <f2, <f4, <f8, bfloat16 or integers{why}")
            },
        ),
    }
}

/// What stands before the numbers.
#[derive(Debug, PartialEq)]
pub(in crate::interop) struct Header {
    /// NumPy's name of the numbers' type, e.g. `<f4`.
    pub descr: String,
    /// Whether columns lie one after the other.
    pub fortran: bool,
    /// Lengths of the dimensions.
    pub shape: Vec<usize>,
}

impl Header {
    /// The dictionary that `numpy.save` writes; keys in any order.
    ///
    /// # Errors
    /// A header that is not such a dictionary, or is one of records; what was found and expected.
    pub fn parse(text: &str) -> Result<Self, String> {
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
            return Err(
                "holds records of several fields; expected the field with the activations alone".into()
            );
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
            return Err(Error::format(path, "holds integers; expected floating-point numbers"));
        };
        let (d, length) = match array.shape[..] {
            [_, d] => (d, None),
            [_, length, d] if !array.fortran => (d, Some(length)),
            [_, _, _] => {
                return Err(Error::format(path, "has three dimensions in Fortran order, which are not read")
                    .with_remedy("numpy.save(\"x.npy\", numpy.ascontiguousarray(x))"));
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

/// An integer for each row, of all rows, from one file: tokens or a mask.
struct Integers {
    array: Array,
    integer: Integer,
    read: u64,
}

impl Integers {
    fn open(path: &Path, rows: u64) -> Result<Self> {
        let array = Array::open(path)?;
        let Number::Integer(integer) = array.number else {
            return Err(Error::format(path, "does not hold integers; expected one for each row")
                .with_remedy("numpy.save(\"ids.npy\", ids.astype(\"<i8\"))"));
        };
        let there = array.shape.iter().map(|n| *n as u64).product::<u64>();
        if there != rows || (array.fortran && array.shape.len() > 1) {
            let problem = format!(
                "has shape {:?}; expected one number for each of the {rows} rows, in C order",
                array.shape
            );
            return Err(Error::format(path, problem));
        }
        Ok(Self { array, integer, read: 0 })
    }

    fn next(&mut self, n: usize) -> Result<Vec<u32>> {
        let at = self.array.at + self.read * self.integer.bytes as u64;
        let numbers = self.integer.read(&self.array.bytes, at, n, self.read)?;
        self.read += n as u64;
        Ok(numbers)
    }
}

/// Opens arrays of one width.
///
/// # Errors
/// Files that are not `.npy`, types and shapes that are not rows of activations, widths that differ.
pub(super) fn open(files: &[PathBuf], names: &Names) -> Result<(Facts, Chunks)> {
    let opened: Vec<Activations> = files.iter().map(|file| Activations::open(file)).collect::<Result<_>>()?;
    let first = opened.first().ok_or_else(|| Error::request("no files"))?;
    let (d, length) = (first.d, first.length);
    if let Some(other) = opened.iter().find(|a| (a.d, a.length) != (d, length)) {
        let problem = format!("has shape {:?}, the first file {:?}", other.array.shape, first.array.shape);
        return Err(Error::format(other.array.bytes.path(), problem));
    }
    let rows = opened.iter().map(|a| a.array.rows()).sum();
    let beside = |role| names.file(role).map(|path| Integers::open(path, rows)).transpose();
    let (mut tokens, mut mask) = (beside(Role::Token)?, beside(Role::Mask)?);
    let mut notes: Vec<String> =
        names.file(Role::Mask).map(|p| mask_note(&p.to_string_lossy())).into_iter().collect();
    if let Some(guess) = opened.iter().find(|a| a.array.guessed) {
        notes.push(format!(
            "{}: two bytes of an unnamed type (|V2), which is how NumPy saves bfloat16, are read as bfloat16",
            guess.array.bytes.path().display()
        ));
    }
    let facts = Facts {
        d,
        dtype: if opened.iter().all(|a| a.encoding.name == F16.name) { Dtype::F16 } else { Dtype::F32 },
        rows: mask.is_none().then_some(rows),
        tokens: tokens.is_some(),
        documents: length.is_some(),
        length,
        hook: None,
        about: format!("arrays of {d} numbers per row, {}", first.encoding.name.to_lowercase()),
        padded: mask.is_some(),
        notes,
    };
    let mut opened = opened.into_iter();
    let (mut current, mut row) = (opened.next(), 0);
    let (mut sequences_before, at_once) = (0, rows_at_once(d));
    let next = move || {
        let Some(Activations { array, encoding, .. }) = current.as_ref() else { return Ok(None) };
        let n = (array.rows() - row).min(at_once as u64) as usize;
        let mask = mask.as_mut().map(|mask| mask.next(n)).transpose()?;
        let chunk = Chunk {
            values: array.read(encoding, row, n, d)?,
            tokens: tokens.as_mut().map(|tokens| tokens.next(n)).transpose()?,
            documents: length.map(|length| sequences(sequences_before, length, row, n)),
            mask: mask.map(|mask| mask.iter().map(|real| *real != 0).collect()),
            file: array.bytes.path().to_path_buf(),
            first_row: row,
            ..Chunk::default()
        };
        row += n as u64;
        if row == array.rows() {
            sequences_before += length.map_or(0, |length| row / length as u64);
            (current, row) = (opened.next(), 0);
        }
        Ok(Some(chunk))
    };
    Ok((facts, until_error(next)))
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
        assert!(number("<c8").is_err() && number("|V1").is_err() && number("").is_err());
        assert!(matches!(number("|u1"), Ok(Number::Integer(_))));
    }
}
