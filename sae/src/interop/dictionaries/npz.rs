//! Arrays of a `.npz` file: a zip file of `.npy` files.

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};

use super::tensors::{Tensor, Tensors};
use super::zip::Zip;
use crate::interop::activations::NumpyHeader;
use crate::{Error, Result};

/// Reads all arrays.
pub(super) fn read(path: &Path) -> Result<Tensors> {
    let zip = Zip::open(path)?;
    let mut tensors = BTreeMap::new();
    let names: Vec<String> = zip.names().map(str::to_owned).collect();
    for member in names {
        let Some(name) = member.strip_suffix(".npy") else { continue };
        let bytes = zip.member(&member).unwrap_or_else(|| Ok(Vec::new()))?;
        let tensor =
            array(&bytes).map_err(|problem| Error::format(path, format!("array `{name}` {problem}")))?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(Tensors::loaded(path, tensors))
}

fn array(bytes: &[u8]) -> Result<Tensor, String> {
    let short = || "is cut off".to_owned();
    let head = bytes.get(..12).ok_or_else(short)?;
    if head[..6] != *b"\x93NUMPY" {
        return Err("is not a .npy file".to_owned());
    }
    let (at, length): (usize, usize) = match head[6] {
        1 => (10, usize::from(u16::from_le_bytes([head[8], head[9]]))),
        _ => (12, u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize),
    };
    let header = bytes.get(at..at.saturating_add(length)).ok_or_else(short)?;
    let header = NumpyHeader::parse(&String::from_utf8_lossy(header))?;
    let data = &bytes[at + length..];
    let numbers: Vec<f32> = match header.descr.as_str() {
        "<f4" => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        "<f8" => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        "<f2" => data.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        // What NumPy writes for bfloat16, a type that it does not know.
        "|V2" | "<V2" => data.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        other => return Err(format!("holds numbers of type {other:?}; expected <f2, <f4, <f8 or bfloat16")),
    };
    let count = header.shape.iter().try_fold(1_usize, |n, size| n.checked_mul(*size));
    if count != Some(numbers.len()) {
        return Err(format!("has {} numbers; its shape is {:?}", numbers.len(), header.shape));
    }
    match (header.fortran, &header.shape[..]) {
        (true, [rows, columns]) => {
            let numbers = crate::dictionary::weights::transposed(&numbers, *columns, *rows);
            Ok(Tensor { shape: header.shape, numbers })
        }
        (true, shape) if shape.len() > 2 => {
            Err("is in Fortran order with more than two dimensions".to_owned())
        }
        _ => Ok(Tensor { shape: header.shape, numbers }),
    }
}
