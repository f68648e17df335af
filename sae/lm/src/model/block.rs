//! One decoder block: two branches beside the residual stream.

use candle_core::Tensor;

use super::attention::{Attention, Batch};
use super::config::{BlockConfig, BlockForm, TensorLayout};
use super::fused::Join;
use super::load::{Loader, Norm};
use super::mixture::MoeLayer;
use super::mlp::Mlp;
use super::tap::Visitor;
use super::{Site, Tap};
use crate::Result;

/// A block with its weights.
#[derive(Debug)]
pub(super) struct Block {
    layer: usize,
    form: BlockForm,
    residual_scale: f64,
    attention_norm: Norm,
    attention: Attention,
    mlp_norm: Norm,
    mlp: Mlp,
    /// Norms of the branches' outputs, in a sandwich.
    output_norms: Option<(Norm, Norm)>,
}

impl Block {
    pub fn load(loader: &mut Loader<'_>, config: &BlockConfig, layer: usize, d_model: usize) -> Result<Self> {
        let (first, second) = match (loader.layout(), config.form) {
            (TensorLayout::Gpt2, _) => ("ln_1", "ln_2"),
            (_, BlockForm::Sandwich) => ("input_layernorm", "pre_feedforward_layernorm"),
            _ => ("input_layernorm", "post_attention_layernorm"),
        };
        let mut loader = loader.block(layer);
        let mut norm = |name: &str| loader.norm(name, d_model, config.norm);
        let (attention_norm, mlp_norm) = (norm(first)?, norm(second)?);
        let output_norms = match config.form {
            BlockForm::Sandwich => {
                Some((norm("post_attention_layernorm")?, norm("post_feedforward_layernorm")?))
            }
            _ => None,
        };
        Ok(Self {
            layer,
            form: config.form,
            residual_scale: config.residual_scale,
            attention_norm,
            attention: Attention::load(&mut loader, &config.attention, d_model)?,
            mlp_norm,
            mlp: Mlp::load(&mut loader, &config.mlp, d_model)?,
            output_norms,
        })
    }

    /// `x [rows, len, d_model]` → the same shape, after the block.
    pub fn forward(&self, x: Tensor, batch: &Batch, tap: &mut dyn Tap) -> Result<Tensor> {
        let mut tap = Visitor::new(self.layer, tap);
        let before = tap.visit(Site::ResidPre, x)?;
        let middle = self.attended(&before, batch, &mut tap)?;
        // In a parallel block the MLP does not see attention's output, and there is no place between the two.
        let (read, middle) = match self.form {
            BlockForm::Parallel => (before, middle),
            _ => {
                let middle = tap.visit(Site::ResidMid, middle)?;
                (middle.clone(), middle)
            }
        };
        let after = self.through_the_mlp(&read, &middle, batch, &mut tap)?;
        tap.visit(Site::ResidPost, after)
    }

    /// The stream and what attention reads of it and writes.
    fn attended(&self, x: &Tensor, batch: &Batch, tap: &mut Visitor<'_>) -> Result<Tensor> {
        let norm = self.output_norms.as_ref().map(|(norm, _)| norm);
        if let Some(branch) = self.attention.branch(&self.attention_norm, self.join(norm), batch, tap)? {
            return Ok(branch.apply(x)?);
        }
        let mut out = self.attention.forward(&self.attention_norm.forward(x)?, batch, tap)?;
        if let Some(norm) = norm {
            out = norm.forward(&out)?;
        }
        let out = tap.visit(Site::AttnOut, self.scale(out)?)?;
        Ok((x + out)?)
    }

    /// `base` and what the MLP writes of what it reads, `x`.
    fn through_the_mlp(
        &self,
        x: &Tensor,
        base: &Tensor,
        batch: &Batch,
        tap: &mut Visitor<'_>,
    ) -> Result<Tensor> {
        let norm = self.output_norms.as_ref().map(|(_, norm)| norm);
        if let Some(branch) = self.mlp.branch(&self.mlp_norm, self.join(norm), tap) {
            return Ok(match self.form {
                BlockForm::Parallel => branch.beside(x, base)?,
                _ => branch.apply(x)?,
            });
        }
        let h = tap.visit(Site::MlpIn, self.mlp_norm.forward(x)?)?;
        let mut out = self.mlp.forward(&h, batch, tap)?;
        if let Some(norm) = norm {
            out = norm.forward(&out)?;
        }
        let out = tap.visit(Site::MlpOut, self.scale(out)?)?;
        Ok((base + out)?)
    }

    fn join(&self, norm: Option<&Norm>) -> Join {
        Join { norm: norm.cloned(), scale: self.residual_scale as f32 }
    }

    /// The weights of its experts; none in a dense block.
    pub fn experts(&self) -> Option<MoeLayer<'_>> {
        match &self.mlp {
            Mlp::Mixture(mixture) => Some(mixture.weights(self.layer)),
            Mlp::Dense(_) => None,
        }
    }

    fn scale(&self, out: Tensor) -> Result<Tensor> {
        if self.residual_scale == 1.0 { Ok(out) } else { Ok((out * self.residual_scale)?) }
    }
}
