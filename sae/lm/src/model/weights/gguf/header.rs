//! The structure of a GGUF file, versions 2 and 3, little endian.
//!
//! ```text
//! "GGUF" | u32 version | u64 tensors | u64 keys | keys … | tensors … | padding | numbers
//! key:     string, u32 type, value        string: u64 bytes, UTF-8        array: u32 type, u64 length, values
//! tensor:  string, u32 dimensions, u64 each (fastest first), u32 type, u64 offset into the numbers
//! ```
//! Every count is checked against the bytes that are left before anything is allocated for it.

use std::collections::{BTreeMap, BTreeSet};

use super::dequantise;
use super::metadata::Value;
use crate::model::weights::{Bytes, Encoding};
use crate::{Error, Result};

/// Bytes of the file that are read at once.
const BUFFER: usize = 1 << 16;
/// Longest name of a key or tensor; ggml's own are at most 64 bytes.
const LONGEST_NAME: u64 = 1 << 12;

/// What the header says.
#[derive(Debug)]
pub(super) struct Header {
    pub metadata: BTreeMap<String, Value>,
    /// By name.
    pub tensors: BTreeMap<String, TensorInfo>,
}

/// A tensor: all its numbers lie inside the file.
#[derive(Debug, Clone)]
pub(super) struct TensorInfo {
    /// Slowest first, as everywhere else in this program; ggml writes them the other way round.
    pub shape: Vec<usize>,
    pub encoding: &'static Encoding,
    /// Index of the file.
    pub file: usize,
    /// First byte in the file.
    pub at: u64,
}

/// Reads and checks the header of the model's file number `file`, counted from 0.
pub(super) fn read(bytes: &Bytes, file: usize) -> Result<Header> {
    let mut reader = Reader { bytes, at: 0, buffer: Vec::new(), from: 0 };
    if bytes.len() < 24 || reader.array::<4>()? != *b"GGUF" {
        return Err(Error::format(bytes.path(), "is not a GGUF file"));
    }
    let version = reader.u32()?;
    if !(2..=3).contains(&version) {
        let text = match version.swap_bytes() {
            2 | 3 => "is a big-endian GGUF file; only little-endian ones are read".to_owned(),
            _ => format!("is a GGUF file of version {version}; versions 2 and 3 are read"),
        };
        return Err(Error::format(bytes.path(), text));
    }
    // The shortest tensor: name length, number of dimensions, type, offset. The shortest key: name length, type, one byte.
    let tensors = reader.count("tensors", 24)?;
    let keys = reader.count("keys", 13)?;
    let metadata = read_metadata(&mut reader, keys)?;
    let alignment = alignment(bytes, &metadata)?;
    let mut tensors = read_tensors(&mut reader, tensors, alignment)?;
    tensors.values_mut().for_each(|tensor| tensor.file = file);
    Ok(Header { metadata, tensors })
}

/// The headers of all files of a model as one. Only the first file has the model's own keys.
pub(super) fn join(headers: Vec<Header>, files: &[Bytes]) -> Result<Header> {
    let count = headers.len();
    let mut all: Option<Header> = None;
    for (number, (header, bytes)) in headers.into_iter().zip(files).enumerate() {
        let number_at = |key: &str, default: usize| match header.metadata.get(key) {
            Some(Value::Integer(n)) => *n,
            _ => default as i128,
        };
        let (parts, part) = (number_at("split.count", 1), number_at("split.no", 0));
        if parts.max(1) != count as i128 || part != number as i128 {
            let text = format!(
                "is part {} of {parts} of a model; {count} were found, and it is number {} of them",
                part + 1,
                number + 1
            );
            return Err(Error::format(bytes.path(), text).with_remedy(
                "give the files the names that llama.cpp gives them (NAME-00001-of-00003.gguf, \
                 NAME-00002-of-00003.gguf, …) in one folder, or join them with `llama-gguf-split --merge`",
            ));
        }
        match &mut all {
            None => all = Some(header),
            Some(first) => {
                for (name, tensor) in header.tensors {
                    if first.tensors.insert(name.clone(), tensor).is_some() {
                        let text = format!("tensor `{name}` is in another file of this model too");
                        return Err(Error::format(bytes.path(), text));
                    }
                }
            }
        }
    }
    let path = files.first().map_or(std::path::Path::new("GGUF"), Bytes::path);
    let all = all.ok_or_else(|| Error::format(path, "has no files"))?;
    match all.metadata.get("split.tensors.count") {
        Some(Value::Integer(n)) if *n != all.tensors.len() as i128 => {
            let text = format!("has {} tensors in {count} files; its first file says {n}", all.tensors.len());
            Err(Error::format(path, text))
        }
        _ => Ok(all),
    }
}

fn read_metadata(reader: &mut Reader<'_>, keys: u64) -> Result<BTreeMap<String, Value>> {
    let mut metadata = BTreeMap::new();
    for _ in 0..keys {
        let key = reader.name("key")?;
        let kind = reader.u32()?;
        let value = reader.value(kind).map_err(|e| about(reader.bytes, &format!("key `{key}`"), e))?;
        if metadata.contains_key(&key) {
            return Err(reader.problem(&format!("key `{key}` is there twice")));
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn alignment(bytes: &Bytes, metadata: &BTreeMap<String, Value>) -> Result<u64> {
    match metadata.get("general.alignment") {
        None => Ok(32),
        Some(Value::Integer(n)) if (1..=1 << 20).contains(n) && (*n as u64).is_power_of_two() => {
            Ok(*n as u64)
        }
        Some(other) => {
            let text = format!("general.alignment is {}; expected a power of two up to 2^20", other.shown());
            Err(Error::format(bytes.path(), text))
        }
    }
}

fn read_tensors(reader: &mut Reader<'_>, count: u64, alignment: u64) -> Result<BTreeMap<String, TensorInfo>> {
    let mut tensors = BTreeMap::new();
    for _ in 0..count {
        let name = reader.name("tensor")?;
        let tensor =
            reader.tensor(alignment).map_err(|e| about(reader.bytes, &format!("tensor `{name}`"), e))?;
        if tensors.contains_key(&name) {
            return Err(reader.problem(&format!("tensor `{name}` is there twice")));
        }
        tensors.insert(name, tensor);
    }
    let start = reader.at.next_multiple_of(alignment);
    place(reader.bytes, &mut tensors, start)?;
    Ok(tensors)
}

/// Turns offsets into places in the file: inside it, and apart from each other.
fn place(bytes: &Bytes, tensors: &mut BTreeMap<String, TensorInfo>, start: u64) -> Result<()> {
    let mut ranges = BTreeSet::new();
    for (name, tensor) in tensors.iter_mut() {
        let numbers: usize = tensor.shape.iter().product();
        let size = tensor.encoding.bytes_of(numbers).unwrap_or(u64::MAX);
        let at = tensor.at.checked_add(start);
        let end = at.and_then(|at| at.checked_add(size)).filter(|end| *end <= bytes.len());
        let (Some(at), Some(end)) = (at, end) else {
            let text = format!(
                "tensor `{name}`: {size} bytes at offset {} are not in a file of {} bytes whose numbers begin at {start}; \
                 is it whole?",
                tensor.at,
                bytes.len()
            );
            return Err(Error::format(bytes.path(), text));
        };
        tensor.at = at;
        ranges.insert((at, end, name.as_str()));
    }
    let overlap = ranges.iter().zip(ranges.iter().skip(1)).find(|((_, end, _), (at, ..))| at < end);
    match overlap {
        None => Ok(()),
        Some(((.., a), (.., b))) => {
            Err(Error::format(bytes.path(), format!("tensors `{a}` and `{b}` share bytes")))
        }
    }
}

/// Puts what an error is about before its text.
fn about(bytes: &Bytes, what: &str, error: Error) -> Error {
    match error {
        Error::Format { problem, .. } => Error::format(bytes.path(), format!("{what}: {problem}")),
        other => other,
    }
}

/// Reads the file from the front.
struct Reader<'a> {
    bytes: &'a Bytes,
    at: u64,
    buffer: Vec<u8>,
    /// Where the buffer begins in the file.
    from: u64,
}

impl Reader<'_> {
    fn problem(&self, text: &str) -> Error {
        Error::format(self.bytes.path(), text)
    }

    fn left(&self) -> u64 {
        self.bytes.len() - self.at
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        let have = (self.from + self.buffer.len() as u64).saturating_sub(self.at);
        if have < N as u64 {
            if self.left() < N as u64 {
                let text = format!("ends inside its header, at byte {}; is it whole?", self.bytes.len());
                return Err(self.problem(&text));
            }
            self.buffer = self.bytes.read_vec(self.at, self.left().min(BUFFER as u64))?;
            self.from = self.at;
        }
        let start = (self.at - self.from) as usize;
        out.copy_from_slice(&self.buffer[start..start + N]);
        self.at += N as u64;
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number of things that take at least `least` bytes each.
    fn count(&mut self, what: &str, least: u64) -> Result<u64> {
        let count = self.u64()?;
        if count > self.left() / least {
            let text = format!("says it has {count} {what}; only {} bytes are left", self.left());
            return Err(self.problem(&text));
        }
        Ok(count)
    }

    fn string(&mut self) -> Result<String> {
        let len = self.count("bytes of text", 1)?;
        let start = self.at.checked_sub(self.from).filter(|s| s + len <= self.buffer.len() as u64);
        let text = match start {
            Some(start) => self.buffer[start as usize..(start + len) as usize].to_vec(),
            None => self.bytes.read_vec(self.at, len)?,
        };
        self.at += len;
        String::from_utf8(text).map_err(|e| self.problem(&format!("text is not UTF-8: {e}")))
    }

    fn name(&mut self, what: &str) -> Result<String> {
        let name = self.string()?;
        if name.is_empty() || name.len() as u64 > LONGEST_NAME {
            let text = format!("a {what} has a name of {} bytes before byte {}", name.len(), self.at);
            return Err(self.problem(&text));
        }
        Ok(name)
    }

    fn value(&mut self, kind: u32) -> Result<Value> {
        Ok(match kind {
            8 => Value::Text(self.string()?),
            9 => self.values()?,
            6 => Value::Float(f64::from(f32::from_le_bytes(self.array()?))),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            7 => Value::Bool(self.bool()?),
            _ => Value::Integer(self.integer(kind)?),
        })
    }

    fn bool(&mut self) -> Result<bool> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(self.problem(&format!("a truth value is {other}; expected 0 or 1"))),
        }
    }

    fn integer(&mut self, kind: u32) -> Result<i128> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.array()?).into(),
            1 => i8::from_le_bytes(self.array()?).into(),
            2 => u16::from_le_bytes(self.array()?).into(),
            3 => i16::from_le_bytes(self.array()?).into(),
            4 => self.u32()?.into(),
            5 => i32::from_le_bytes(self.array()?).into(),
            10 => self.u64()?.into(),
            11 => i64::from_le_bytes(self.array()?).into(),
            _ => return Err(self.problem(&format!("value type {kind} is unknown; expected 0 to 12"))),
        })
    }

    /// An array. Arrays of arrays are allowed by the format and used by nobody; they are refused.
    fn values(&mut self) -> Result<Value> {
        let kind = self.u32()?;
        let least = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            _ => return Err(self.problem(&format!("an array of values of type {kind} is not read"))),
        };
        let len = self.count("values", least)?;
        Ok(match kind {
            8 => Value::Texts((0..len).map(|_| self.string()).collect::<Result<_>>()?),
            6 => {
                Value::Floats((0..len).map(|_| self.array().map(f32::from_le_bytes)).collect::<Result<_>>()?)
            }
            12 => {
                let narrow = |b| f64::from_le_bytes(b) as f32;
                Value::Floats((0..len).map(|_| self.array().map(narrow)).collect::<Result<_>>()?)
            }
            7 => Value::Integers((0..len).map(|_| self.bool().map(i64::from)).collect::<Result<_>>()?),
            _ => Value::Integers((0..len).map(|_| self.small_integer(kind)).collect::<Result<_>>()?),
        })
    }

    fn small_integer(&mut self, kind: u32) -> Result<i64> {
        let n = self.integer(kind)?;
        i64::try_from(n).map_err(|_| self.problem(&format!("number {n} in an array is too large")))
    }

    fn tensor(&mut self, alignment: u64) -> Result<TensorInfo> {
        let dimensions = self.u32()?;
        if !(1..=4).contains(&dimensions) {
            return Err(self.problem(&format!("has {dimensions} dimensions; expected 1 to 4")));
        }
        let sizes: Vec<u64> = (0..dimensions).map(|_| self.u64()).collect::<Result<_>>()?;
        let kind = self.u32()?;
        let encoding = dequantise::encoding(kind).map_err(|text| self.problem(&text))?;
        let numbers = sizes.iter().try_fold(1u64, |n, size| n.checked_mul(*size)).filter(|n| *n > 0);
        // No encoding takes less than a fourth of a byte a number, so this many cannot be in the file.
        let Some(_) = numbers.filter(|n| n / 4 <= self.bytes.len()) else {
            let text = format!("shape {sizes:?} is empty or more than the file can hold");
            return Err(self.problem(&text));
        };
        if !(sizes[0] as usize).is_multiple_of(encoding.numbers) {
            let (name, block) = (encoding.name, encoding.numbers);
            let text = format!("rows of {} numbers are not whole {name} blocks of {block}", sizes[0]);
            return Err(self.problem(&text));
        }
        let at = self.u64()?;
        if !at.is_multiple_of(alignment) {
            return Err(self.problem(&format!("offset {at} is not a multiple of the alignment, {alignment}")));
        }
        Ok(TensorInfo {
            shape: sizes.iter().rev().map(|size| *size as usize).collect(),
            encoding,
            file: 0,
            at,
        })
    }
}
