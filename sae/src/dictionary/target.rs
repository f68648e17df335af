//! What a transcoder reconstructs: not its input but what comes later, as a rule the output of the layer's MLP.

use rayon::prelude::*;

use kernels::vector::dot;

/// A transcoder's output.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Width of what is reconstructed.
    pub d_out: usize,
    /// A linear path past the features, `[d_out, d_in]`: `x · skipᵀ` is added to what the codes give.
    pub skip: Option<Vec<f32>>,
    /// Where in the model the reconstructed value is, e.g. `blocks.2.hook_mlp_out`.
    pub hook: Option<String>,
    /// Norm of a value there above which it was left out of training, so nothing is known of it: such values stay as they are.
    pub norm_limit: Option<f32>,
}

impl Target {
    /// Adds `x · skipᵀ` to `out[n, d_out]`, of rows `x[n, d_in]`.
    pub(super) fn add_skip(&self, out: &mut [f32], x: &[f32], d_in: usize) {
        let Some(skip) = &self.skip else { return };
        out.par_chunks_exact_mut(self.d_out).zip(x.par_chunks_exact(d_in)).for_each(|(out, x)| {
            for (out, row) in out.iter_mut().zip(skip.chunks_exact(d_in)) {
                *out += dot(x, row);
            }
        });
    }
}
