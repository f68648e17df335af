//! What has to be done to stored numbers before they are what Hugging Face's name means.
//!
//! llama.cpp's converter rearranges some tensors; these are the ways back. Matrices are row-major
//! `[out, in]`.

/// A rearrangement or shift of a whole tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// Norm weights stored as 1 + w.
    MinusOne,
    /// Rows of `heads` heads, the two halves of a head's rotation interleaved (row 2i and 2i+1 are a pair) →
    /// first halves, then second halves (row i and i + d_head/2 are a pair).
    HalfSplit {
        heads: usize,
    },
    /// `[heads·d q rows; k rows; v rows]` → q, k and v rows head by head.
    HeadByHead {
        heads: usize,
    },
    /// The last two dimensions swapped.
    Transposed,
    /// `[…, 2·n, m]`: n gate rows then n up rows → gate and up rows in turn, then the last two dimensions
    /// swapped.
    InterleavedTransposed,
    /// `[…, 2·n]`: n gate numbers then n up numbers → in turn.
    Interleaved,
    /// Head by head keys `[rank, nope]` and values `[value, rank]` → keys `[nope, rank]` and values
    /// (DeepSeek).
    KeysTransposed {
        nope: usize,
        value: usize,
    },
}

impl Change {
    /// Applies it; `shape` is the shape afterwards.
    pub fn apply(self, mut x: Vec<f32>, shape: &[usize]) -> Vec<f32> {
        let last = shape.last().copied().unwrap_or(1);
        let second = shape.len().checked_sub(2).map_or(1, |i| shape[i]);
        match self {
            Self::None => x,
            Self::MinusOne => {
                x.iter_mut().for_each(|x| *x -= 1.0);
                x
            }
            Self::HalfSplit { heads } => {
                let (rows, width) = rows_of(shape);
                let half = rows / heads / 2;
                let from = |row: usize| {
                    let (head, i) = (row / (2 * half), row % (2 * half));
                    head * 2 * half + 2 * (i % half) + i / half
                };
                rows_from(&x, width, rows, from)
            }
            Self::HeadByHead { heads } => {
                let (rows, width) = rows_of(shape);
                let d = rows / heads / 3;
                let from = |row: usize| {
                    let (head, which, i) = (row / (3 * d), row / d % 3, row % d);
                    which * heads * d + head * d + i
                };
                rows_from(&x, width, rows, from)
            }
            Self::Transposed => transposed(&x, last, second),
            Self::InterleavedTransposed => {
                // Before: [e, last, second].
                let mut mixed = Vec::with_capacity(x.len());
                for matrix in x.chunks(last * second) {
                    mixed.extend(rows_from(matrix, second, last, |row| row % 2 * (last / 2) + row / 2));
                }
                transposed(&mixed, last, second)
            }
            Self::KeysTransposed { nope, value } => {
                for head in x.chunks_exact_mut(((nope + value) * last).max(1)) {
                    let keys = &mut head[..nope * last];
                    let turned = transposed(keys, last, nope);
                    keys.copy_from_slice(&turned);
                }
                x
            }
            Self::Interleaved => rows_from(&x, 1, x.len(), |i| {
                let (row, i) = (i / last, i % last);
                row * last + i % 2 * (last / 2) + i / 2
            }),
        }
    }

    /// The shape before, for the shape afterwards.
    #[cfg(test)]
    fn swaps(self) -> bool {
        matches!(self, Self::Transposed | Self::InterleavedTransposed)
    }
}

/// Rows and their width; a vector has rows of one number.
fn rows_of(shape: &[usize]) -> (usize, usize) {
    let rows = shape.first().copied().unwrap_or(1);
    (rows, shape.iter().skip(1).product())
}

fn rows_from(x: &[f32], width: usize, rows: usize, from: impl Fn(usize) -> usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for row in 0..rows {
        let start = from(row) * width;
        out.extend_from_slice(&x[start..start + width]);
    }
    out
}

/// Matrices `[rows, columns]` one after another, each transposed.
fn transposed(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    let size = (rows * columns).max(1);
    for (from, to) in x.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
        for (i, x) in from.iter().enumerate() {
            to[i % columns * rows + i / columns] = *x;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    fn counted(shape: &[usize]) -> Tensor {
        let n = shape.iter().product::<usize>() as u32;
        Tensor::arange(0, n, &Device::Cpu)
            .unwrap()
            .to_dtype(candle_core::DType::F32)
            .unwrap()
            .reshape(shape)
            .unwrap()
    }

    fn flat(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// `hugging_face` → what the converter writes, by tensor operations; then back.
    fn there_and_back(change: Change, hugging_face: &Tensor, stored: &Tensor) {
        assert_ne!(flat(hugging_face), flat(stored), "{change:?} does nothing");
        assert_eq!(change.apply(flat(stored), hugging_face.dims()), flat(hugging_face), "{change:?}");
        if !change.swaps() {
            assert_eq!(hugging_face.dims(), stored.dims());
        }
    }

    #[test]
    fn each_change_undoes_the_converters() {
        // 3 heads of 8 rows: [head, half, i, width] → [head, i, half, width].
        let permuted = |x: &Tensor, width: usize| {
            x.reshape((3, 2, 4, width)).unwrap().transpose(1, 2).unwrap().reshape(x.dims()).unwrap()
        };
        for shape in [vec![24, 5], vec![24]] {
            let x = counted(&shape);
            there_and_back(Change::HalfSplit { heads: 3 }, &x, &permuted(&x, x.elem_count() / 24));
        }
        // 3 heads of q, k, v with 4 rows each.
        for shape in [vec![36, 5], vec![36]] {
            let x = counted(&shape);
            let stored = x.reshape((3, 3, 4, x.elem_count() / 36)).unwrap().transpose(0, 1).unwrap();
            there_and_back(Change::HeadByHead { heads: 3 }, &x, &stored.reshape(x.dims()).unwrap());
        }
        let x = counted(&[2, 6, 4]);
        there_and_back(Change::Transposed, &x, &x.transpose(1, 2).unwrap().contiguous().unwrap());
        // gate_up_proj [e, d, 2n]: even columns are the gate.
        let stored =
            x.reshape((2, 6, 2, 2)).unwrap().permute((0, 3, 2, 1)).unwrap().reshape((2, 4, 6)).unwrap();
        there_and_back(Change::InterleavedTransposed, &x, &stored);
        let x = counted(&[2, 6]);
        let stored = x.reshape((2, 3, 2)).unwrap().transpose(1, 2).unwrap().reshape((2, 6)).unwrap();
        there_and_back(Change::Interleaved, &x, &stored);
        // Two heads of three key rows and two value rows, of rank 4.
        let x = counted(&[10, 4]);
        let head = |h: usize| {
            let rows = x.narrow(0, 5 * h, 5).unwrap();
            let keys = rows.narrow(0, 0, 3).unwrap().t().unwrap().contiguous().unwrap();
            [keys.flatten_all().unwrap(), rows.narrow(0, 3, 2).unwrap().flatten_all().unwrap()]
        };
        let stored = Tensor::cat(&[head(0), head(1)].concat(), 0).unwrap().reshape((10, 4)).unwrap();
        there_and_back(Change::KeysTransposed { nope: 3, value: 2 }, &x, &stored);
        let x = counted(&[2, 6]);
        there_and_back(Change::MinusOne, &x, &(&x + 1.0).unwrap());
    }
}
