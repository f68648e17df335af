//! A state dict as `torch.save` writes it: a zip of raw numbers and one pickle that names them.
//!
//! Nothing is compressed and every tensor begins at a multiple of 64 bytes, so that it can be mapped. The pickle calls
//! `torch._utils._rebuild_tensor_v2` and `collections.OrderedDict` and nothing else: `torch.load(…, weights_only=True)` reads it.

use std::path::Path;

use flate2::Crc;

use crate::{Error, Result};

/// Names inside the zip begin with the file's name, as torch has them.
const ROOT: &str = "ae";
/// Where tensors begin.
const ALIGNMENT: usize = 64;
/// What a zip without its 64-bit extension can hold.
const LIMIT: usize = u32::MAX as usize - (1 << 20);

/// A tensor to be written, contiguous.
pub(super) struct Tensor<'a> {
    storage: &'static str,
    shape: Vec<usize>,
    numbers: usize,
    bytes: &'a [u8],
}

impl<'a> Tensor<'a> {
    pub(super) fn f32(shape: &[usize], numbers: &'a [f32]) -> Self {
        let bytes = bytemuck::cast_slice(numbers);
        Self { storage: "FloatStorage", shape: shape.to_vec(), numbers: numbers.len(), bytes }
    }

    pub(super) fn i32(shape: &[usize], numbers: &'a [i32]) -> Self {
        let bytes = bytemuck::cast_slice(numbers);
        Self { storage: "IntStorage", shape: shape.to_vec(), numbers: numbers.len(), bytes }
    }
}

/// Writes `tensors` to `path`; after a crash there is the old file or the new one.
pub(super) fn write(path: &Path, tensors: &[(&str, Tensor<'_>)]) -> Result<()> {
    let total: usize = tensors.iter().map(|(_, tensor)| tensor.bytes.len()).sum();
    if total > LIMIT {
        let size = total as f64 / (1u64 << 30) as f64;
        return Err(Error::request(format!(
            "{}: {size:.1} GiB of tensors; ae.pt can hold 4",
            path.display()
        ))
        .with_remedy("export to saelens or sparsify, whose safetensors have no such limit"));
    }
    Ok(storage::atomic::write(path, &file(tensors))?)
}

fn file(tensors: &[(&str, Tensor<'_>)]) -> Vec<u8> {
    let mut zip = Zip::default();
    zip.add("data.pkl", &pickle(tensors));
    zip.add("byteorder", if cfg!(target_endian = "big") { b"big" } else { b"little" });
    for (i, (_, tensor)) in tensors.iter().enumerate() {
        zip.add(&format!("data/{i}"), tensor.bytes);
    }
    zip.add("version", b"3\n");
    zip.finish()
}

/// An archive of stored files.
#[derive(Default)]
struct Zip {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    files: u16,
}

impl Zip {
    fn add(&mut self, name: &str, content: &[u8]) {
        let name = format!("{ROOT}/{name}");
        let offset = self.bytes.len() as u32;
        let mut crc = Crc::new();
        crc.update(content);
        // Version 0, no flags, stored, 1 January 1980.
        let mut common = Vec::new();
        for half in [0_u16, 0, 0, 0, 0x21] {
            common.extend(half.to_le_bytes());
        }
        for word in [crc.sum(), content.len() as u32, content.len() as u32] {
            common.extend(word.to_le_bytes());
        }
        common.extend((name.len() as u16).to_le_bytes());

        self.bytes.extend(b"PK\x03\x04");
        self.bytes.extend(&common);
        // An extra field of zeros fills the gap up to the content; its header takes 4 bytes.
        let gap = |taken: usize| (ALIGNMENT - (taken + 4) % ALIGNMENT) % ALIGNMENT;
        let padding = gap(self.bytes.len() + 2 + name.len());
        self.bytes.extend((padding as u16 + 4).to_le_bytes());
        self.bytes.extend(name.as_bytes());
        self.bytes.extend(b"FB");
        self.bytes.extend((padding as u16).to_le_bytes());
        self.bytes.resize(self.bytes.len() + padding, 0);
        self.bytes.extend(content);

        self.directory.extend(b"PK\x01\x02\0\0");
        self.directory.extend(&common);
        // No extra field, no comment, disk 0, no attributes.
        self.directory.extend([0; 12]);
        self.directory.extend(offset.to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.files += 1;
    }

    fn finish(mut self) -> Vec<u8> {
        let (start, length) = (self.bytes.len() as u32, self.directory.len() as u32);
        self.bytes.append(&mut self.directory);
        self.bytes.extend(b"PK\x05\x06\0\0\0\0");
        self.bytes.extend(self.files.to_le_bytes());
        self.bytes.extend(self.files.to_le_bytes());
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(start.to_le_bytes());
        self.bytes.extend([0; 2]);
        self.bytes
    }
}

/// `OrderedDict` of name → tensor, protocol 2.
fn pickle(tensors: &[(&str, Tensor<'_>)]) -> Vec<u8> {
    let mut out = Pickle(vec![0x80, 2]);
    out.ordered_dict();
    out.op(b'(');
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        out.text(name);
        out.tensor(i, tensor);
    }
    out.op(b'u');
    out.op(b'.');
    out.0
}

struct Pickle(Vec<u8>);

impl Pickle {
    fn op(&mut self, code: u8) {
        self.0.push(code);
    }

    fn global(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").into_bytes());
    }

    fn text(&mut self, text: &str) {
        self.op(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    fn number(&mut self, number: usize) {
        match (u8::try_from(number), i32::try_from(number)) {
            (Ok(small), _) => self.0.extend([b'K', small]),
            (_, Ok(number)) => {
                self.op(b'J');
                self.0.extend(number.to_le_bytes());
            }
            _ => {
                // LONG1 of 9 bytes: the last is the sign.
                self.0.extend([0x8a, 9]);
                self.0.extend((number as u64).to_le_bytes());
                self.op(0);
            }
        }
    }

    fn tuple(&mut self, numbers: &[usize]) {
        self.op(b'(');
        numbers.iter().for_each(|&number| self.number(number));
        self.op(b't');
    }

    fn ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.op(b')');
        self.op(b'R');
    }

    /// `_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, backward_hooks)`.
    fn tensor(&mut self, key: usize, tensor: &Tensor<'_>) {
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.op(b'(');
        self.op(b'(');
        self.text("storage");
        self.global("torch", tensor.storage);
        self.text(&key.to_string());
        self.text("cpu");
        self.number(tensor.numbers);
        self.op(b't');
        // The storage is looked up by this tuple.
        self.op(b'Q');
        self.number(0);
        self.tuple(&tensor.shape);
        let strides: Vec<usize> =
            (1..=tensor.shape.len()).map(|i| tensor.shape[i..].iter().product()).collect();
        self.tuple(&strides);
        self.op(0x89);
        self.ordered_dict();
        self.op(b't');
        self.op(b'R');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_begin_at_multiples_of_64_bytes() {
        let numbers: Vec<f32> = (0..37).map(|i| i as f32).collect();
        let bytes = file(&[("a", Tensor::f32(&[37], &numbers)), ("bb", Tensor::f32(&[1], &numbers[36..]))]);
        for content in [bytemuck::cast_slice::<f32, u8>(&numbers), &36_f32.to_le_bytes()[..]] {
            let aligned =
                bytes.windows(content.len()).enumerate().any(|(i, part)| i % 64 == 0 && part == content);
            assert!(aligned);
        }
    }

    #[test]
    fn numbers_of_any_size_are_pickled() {
        let mut out = Pickle(Vec::new());
        [5, 300, 3_000_000_000].into_iter().for_each(|n| out.number(n));
        let long = [0x8a, 9, 0x00, 0x5e, 0xd0, 0xb2, 0, 0, 0, 0, 0];
        assert_eq!(out.0, [&[b'K', 5, b'J', 0x2c, 1, 0, 0][..], &long].concat());
    }
}
