//! In what numbers a model multiplies with its weights.

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use kernels::bf16::{self, PackedLeft, Panels};
use kernels::gemm::{Mat, MatMut, WriteMode};
use serde::{Deserialize, Serialize};

/// In what numbers attention, MLPs and experts multiply with their weights. Everything else is in `f32` either way: norms, softmax,
/// attention's own products, routers, Monet's experts, the embedding and the output matrix, and gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compute {
    /// Single precision.
    #[default]
    F32,
    /// Weights and what they are multiplied with are rounded to bfloat16, 8 bits of 24, and sums are in `f32`. About twice as fast as
    /// `f32` on processors of AMD with AVX-512 (Zen 4 and newer).
    Bf16,
}

impl Compute {
    /// `f32` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Whether this processor has instructions for it; without them bfloat16 is much slower than `f32`.
    pub fn is_native(self) -> bool {
        self == Self::F32 || bf16::available()
    }

    /// What a weight keeps of itself to multiply so.
    pub(super) fn rounded(self) -> Option<Rounded> {
        (self == Self::Bf16).then(Rounded::default)
    }

    /// True for single precision.
    pub fn is_f32(&self) -> bool {
        *self == Self::F32
    }
}

impl fmt::Display for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compute {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            other => Err(format!("`{other}` is neither f32 nor bf16")),
        }
    }
}

/// Matrices of a weight, rounded to bfloat16 when they are first needed and kept: they do not change.
#[derive(Debug, Clone, Default)]
pub struct Rounded(Arc<OnceLock<Vec<Panels>>>);

impl Rounded {
    /// The right factors of `y = x Wᵀ` for each of the matrices `[output, input]` that `weight` holds one after the other.
    pub fn panels(&self, weight: &[f32], (output, input): (usize, usize)) -> &[Panels] {
        self.0.get_or_init(|| {
            let matrices = weight.chunks_exact((output * input).max(1));
            let packed = |matrix| {
                let mut panels = Panels::default();
                panels.set(Mat::new(matrix, output, input).t());
                panels
            };
            matrices.map(packed).collect()
        })
    }
}

/// `out [rows, m]` becomes `x [rows, K]` times `right [K, m]`, or that is added to it.
pub fn multiply_rounded(x: Mat<'_>, right: &Panels, mode: WriteMode, out: MatMut<'_>) {
    thread_local! {
        static LEFT: RefCell<PackedLeft> = RefCell::default();
    }
    LEFT.with_borrow_mut(|left| {
        left.set(x);
        bf16::multiply(left.all(), right, 1.0, mode, out);
    });
}
