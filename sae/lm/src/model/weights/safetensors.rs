//! The header of a safetensors file: a length, JSON, then the numbers.
//!
//! ```text
//! u64 little endian: bytes of the JSON | {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …} | data
//! ```
//! The offsets count from the end of the JSON. By the format tensors fill the data; some writers align them,
//! so bytes that belong to no tensor are passed over. Tensors that share bytes are damage.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::{Bytes, Encoding, encoding};
use crate::{Error, Result};

/// The longest header that is read; the format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

/// A tensor as the header describes it.
pub struct Found {
    /// Name of the tensor.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// First byte in the file.
    pub at: u64,
    /// How the numbers are stored, or the name of a type that is not floating point.
    pub encoding: Result<&'static Encoding, String>,
}

#[derive(serde::Deserialize)]
struct TensorEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The header's entries; `__metadata__` is skipped, a name that comes twice is an error.
struct Header(BTreeMap<String, TensorEntry>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with one entry a tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut tensors = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let described = map.next_value::<TensorEntry>().map_err(|e| {
                A::Error::custom(format!(
                    "tensor `{name}`: {e}; expected a dtype, a shape and two data_offsets"
                ))
            })?;
            if tensors.insert(name.clone(), described).is_some() {
                return Err(A::Error::custom(format!("tensor `{name}` is there twice")));
            }
        }
        Ok(Header(tensors))
    }
}

/// Reads and checks the header; every tensor it gives back lies inside the file and overlaps no other.
///
/// # Errors
/// [`Error::Format`] naming the file, and the tensor where it is about one.
pub fn read_header(bytes: &Bytes) -> Result<Vec<Found>> {
    let problem = |text: String| Error::format(bytes.path(), text);
    if bytes.len() < 8 {
        return Err(problem(format!("is not a safetensors file: it has {} bytes", bytes.len())));
    }
    let mut length = [0; 8];
    bytes.read_at(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    let room = (bytes.len() - 8).min(LONGEST_HEADER);
    if length > room {
        let text = format!("is not a safetensors file: a header of {length} bytes, at most {room} possible");
        return Err(problem(text));
    }
    let json = bytes.read_vec(8, length)?;
    let Header(tensors) = serde_json::from_slice(&json)
        .map_err(|e| problem(format!("is not a valid safetensors file: {e}")))?;
    let data = 8 + length;
    let mut ends: Vec<(u64, u64, &str)> = Vec::with_capacity(tensors.len());
    for (name, described) in &tensors {
        let (start, end) = described.data_offsets;
        ends.push((start, end, name));
    }
    check_places(&mut ends, bytes.len() - data).map_err(problem)?;
    let found = |(name, described): (String, TensorEntry)| {
        let (shape, encoding) = checked(&described).map_err(|e| problem(format!("tensor `{name}`: {e}")))?;
        Ok(Found { name, shape, at: data + described.data_offsets.0, encoding })
    };
    tensors.into_iter().map(found).collect()
}

/// Tensors (start, end, name) must lie apart from each other within `len` bytes.
fn check_places(tensors: &mut [(u64, u64, &str)], len: u64) -> Result<(), String> {
    tensors.sort_unstable();
    let mut at = 0;
    for (start, end, name) in tensors {
        if *start < at || end < start || *end > len {
            return Err(format!(
                "tensor `{name}` is at data bytes {start}..{end}; expected a place from {at} to {len}, where the file ends"
            ));
        }
        at = *end;
    }
    Ok(())
}

/// Bits of a number of each type, and how to read those that are floating point.
fn type_named(name: &str) -> Option<(u64, Option<&'static Encoding>)> {
    Some(match name {
        "F32" => (32, Some(&encoding::F32)),
        "F16" => (16, Some(&encoding::F16)),
        "BF16" => (16, Some(&encoding::BF16)),
        "F64" => (64, Some(&encoding::F64)),
        "F4" => (4, None),
        "F6_E2M3" | "F6_E3M2" => (6, None),
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => (8, None),
        "I16" | "U16" => (16, None),
        "I32" | "U32" => (32, None),
        "I64" | "U64" | "C64" => (64, None),
        _ => return None,
    })
}

fn checked(described: &TensorEntry) -> Result<(Vec<usize>, Result<&'static Encoding, String>), String> {
    let TensorEntry { dtype, shape, data_offsets: (start, end) } = described;
    let (bits, encoding) = type_named(dtype).ok_or_else(|| format!("type {dtype} is unknown"))?;
    let numbers = shape.iter().try_fold(1u64, |n, dim| n.checked_mul(*dim));
    let expected = numbers.and_then(|n| n.checked_mul(bits)).filter(|b| b.is_multiple_of(8)).map(|b| b / 8);
    let stored = end - start;
    if expected != Some(stored) {
        return Err(format!("{dtype} of shape {shape:?} does not take the {stored} bytes it has"));
    }
    let sizes: Option<Vec<usize>> = shape.iter().map(|d| usize::try_from(*d).ok()).collect();
    let sizes = sizes.ok_or_else(|| format!("shape {shape:?} is too large for this machine"))?;
    Ok((sizes, encoding.ok_or_else(|| dtype.clone())))
}
