//! Differentiable operations that candle lacks or does slowly on a CPU.
//!
//! candle's fused softmax, norms and rotary embedding have no backward pass and drop the gradient without an
//! error, and its composed forms allocate a tensor a step. Each operation here is one pass over the data with
//! a hand-derived gradient, checked in its tests against the composed form under candle's autograd.

mod activation;
mod attention;
mod cross_entropy;
mod experts;
mod layer_norm;
mod linear;
mod per_token;
mod rms_norm;
mod rope;
mod unembed;

pub(in crate::model) use activation::RowActivation;
pub use activation::{activate, gated};
pub(in crate::model) use attention::{Attend, Columns, Inputs, Past};
pub use attention::{AttentionMask, Heads, attention, mix, pattern};
pub use cross_entropy::{position_losses, summed_cross_entropy};
pub use experts::{Dispatch, ExpertWeights};
pub use layer_norm::layer_norm;
pub(in crate::model) use linear::TOKENS;
pub use linear::{grouped_linear, linear, linear_in};
pub use per_token::per_token;
pub use rms_norm::rms_norm;
pub use rope::{Rotation, rope};
pub use unembed::{Compared, Unembedding};

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor};

/// The numbers of a contiguous f32 operand.
pub(in crate::model) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("operand of shape {:?} is not contiguous", layout.shape());
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// The numbers of a contiguous f32 tensor, readable as long as this lives.
pub(in crate::model) struct Numbers<'a> {
    storage: Box<dyn Deref<Target = Storage> + Sync + 'a>,
    range: Range<usize>,
}

impl<'a> Numbers<'a> {
    /// An error if the tensor is not what it should be.
    ///
    /// # Errors
    /// A tensor that is not contiguous f32 on the CPU.
    pub fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let range = match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(_)), Some((start, end))) => start..end,
            _ => {
                candle_core::bail!("a tensor of shape {:?} is not contiguous f32 on the CPU", layout.shape())
            }
        };
        Ok(Self { storage: Box::new(storage), range })
    }
}

impl Deref for Numbers<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &**self.storage {
            Storage::Cpu(CpuStorage::F32(numbers)) => &numbers[self.range.clone()],
            // Ruled out when it was made.
            _ => &[],
        }
    }
}

/// Calls `f` with the numbers of `tensor`, copied only if it is not contiguous.
fn with_slice<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(cpu) => Ok(f(slice(cpu, layout)?)),
        _ => candle_core::bail!("these operations run on the CPU"),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Compares an operation's gradients with those of its composed twin.

    use candle_core::{Device, Tensor, Var};

    /// Standard normal numbers, the same at every call with the same seed.
    pub fn normal(shape: &[usize], seed: u64) -> Var {
        use rand::{RngCore as _, SeedableRng as _};
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut uniform = || (rng.next_u32() as f32 + 0.5) / u32::MAX as f32;
        let n: usize = shape.iter().product();
        let numbers: Vec<f32> = (0..n)
            .map(|_| (-2.0 * uniform().ln()).sqrt() * (std::f32::consts::TAU * uniform()).cos())
            .collect();
        Var::from_tensor(&Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()).unwrap()
    }

    /// Both results, and the gradients of Σ r ∘ result for a fixed random r, agree within `tolerance` of the
    /// largest entry.
    pub fn agree(vars: &[&Var], fused: &Tensor, composed: &Tensor, tolerance: f32) {
        close(fused, composed, tolerance, "result");
        let weights = normal(fused.dims(), 99);
        let grads = [fused, composed]
            .map(|t| (t * weights.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap());
        for (i, var) in vars.iter().enumerate() {
            let [a, b] = [0, 1].map(|j| grads[j].get(var.as_tensor()).expect("a gradient").clone());
            close(&a, &b, tolerance, &format!("gradient {i}"));
        }
    }

    fn close(a: &Tensor, b: &Tensor, tolerance: f32, what: &str) {
        assert_eq!(a.dims(), b.dims());
        let [a, b] = [a, b].map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        let largest = b.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
        for (i, (x, y)) in a.iter().zip(&b).enumerate() {
            assert!((x - y).abs() <= tolerance * largest, "{what}, entry {i}: {x} against {y}");
        }
    }
}
