//! One decoder block: two branches next to the residual stream.

use candle_core::Tensor;

use super::attention::{Attention, Batch};
use super::cache::LayerCache;
use super::config::{BlockConfig, BlockForm, TensorLayout};
use super::frozen::{FrozenBlock, FrozenNorm, Seen};
use super::fused::Join;
use super::load::{Loader, Norm};
use super::mixture::MoeLayer;
use super::mlp::Mlp;
use super::monet::MonetExperts;
use super::tap::Visitor;
use super::{Site, Tap};
use crate::Result;

/// A block with its weights.
#[derive(Debug)]
pub(super) struct Block {
    layer: usize,
    form: BlockForm,
    residual_scale: f64,
    /// Norms of the branches' inputs, if they have some.
    input_norms: Option<(Norm, Norm)>,
    attention: Attention,
    mlp: Mlp,
    /// Norms of the branches' outputs, if they have some.
    output_norms: Option<(Norm, Norm)>,
}

impl Block {
    /// Takes the weights of block `layer`.
    ///
    /// # Errors
    /// A tensor that is missing or has a different shape than `config` says, with its name.
    pub fn load(loader: &mut Loader<'_>, config: &BlockConfig, layer: usize, d_model: usize) -> Result<Self> {
        let inputs = match (loader.layout(), config.form) {
            (_, BlockForm::PostNorm) => None,
            (TensorLayout::Gpt2, _) => Some(("ln_1", "ln_2")),
            (_, BlockForm::Sandwich) => Some(("input_layernorm", "pre_feedforward_layernorm")),
            _ => Some(("input_layernorm", "post_attention_layernorm")),
        };
        let outputs = match config.form {
            BlockForm::Sandwich | BlockForm::PostNorm => {
                Some(("post_attention_layernorm", "post_feedforward_layernorm"))
            }
            _ => None,
        };
        let mut loader = loader.block(layer);
        let mut norms = |names: Option<(&str, &str)>| -> Result<Option<(Norm, Norm)>> {
            let Some((first, second)) = names else { return Ok(None) };
            let mut norm = |name| loader.norm(name, d_model, config.norm);
            Ok(Some((norm(first)?, norm(second)?)))
        };
        let (input_norms, output_norms) = (norms(inputs)?, norms(outputs)?);
        Ok(Self {
            layer,
            form: config.form,
            residual_scale: config.residual_scale,
            input_norms,
            attention: Attention::load(&mut loader, &config.attention, d_model)?,
            mlp: Mlp::load(&mut loader, &config.mlp, d_model)?,
            output_norms,
        })
    }

    /// `x [rows, len, d_model]` → the same shape, after the block. With a `cache` the tokens follow those that
    /// are in it.
    ///
    /// # Errors
    /// An error of the tap; shapes that do not fit.
    pub fn forward(
        &self,
        x: Tensor,
        batch: &Batch,
        mut cache: Option<&mut LayerCache>,
        tap: &mut dyn Tap,
    ) -> Result<Tensor> {
        let mut tap = Visitor::new(self.layer, tap);
        let before = tap.visit(Site::ResidPre, x)?;
        let middle = self.attended(&before, batch, cache.as_deref_mut(), &mut tap)?;
        // In a parallel block the MLP does not see attention's output, and there is no place between the two.
        let (read, middle) = match self.form {
            BlockForm::Parallel => (before, middle),
            _ => {
                let middle = tap.visit(Site::ResidMid, middle)?;
                (middle.clone(), middle)
            }
        };
        let after = self.through_the_mlp(&read, &middle, batch, cache, &mut tap)?;
        tap.visit(Site::ResidPost, after)
    }

    /// The stream and what attention reads of it and writes.
    fn attended(
        &self,
        x: &Tensor,
        batch: &Batch,
        cache: Option<&mut LayerCache>,
        tap: &mut Visitor<'_>,
    ) -> Result<Tensor> {
        let norm = self.output_norms.as_ref().map(|(norm, _)| norm);
        let input_norm = self.input_norms.as_ref().map(|(norm, _)| norm);
        if cache.is_none()
            && let Some(branch) = self.attention.branch(input_norm, self.join(norm), batch, tap)?
        {
            return Ok(branch.apply(x)?);
        }
        let past = cache.map(|cache| &mut cache.past);
        let mut out = self.attention.forward(&normed(input_norm, x)?, batch, past, tap)?;
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
        cache: Option<&mut LayerCache>,
        tap: &mut Visitor<'_>,
    ) -> Result<Tensor> {
        let norm = self.output_norms.as_ref().map(|(_, norm)| norm);
        let input_norm = self.input_norms.as_ref().map(|(_, norm)| norm);
        // That packs the matrices, which does not pay for the few tokens that follow others.
        if cache.is_none()
            && let Some(branch) = self.mlp.branch(input_norm, self.join(norm), tap)
        {
            return Ok(match self.form {
                BlockForm::Parallel => branch.apply_onto(x, base)?,
                _ => branch.apply(x)?,
            });
        }
        let h = tap.visit(Site::MlpIn, normed(input_norm, x)?)?;
        let used = cache.map(|cache| &mut cache.used);
        let mut out = self.mlp.forward(&h, batch, used, tap)?;
        if let Some(norm) = norm {
            out = norm.forward(&out)?;
        }
        let out = tap.visit(Site::MlpOut, self.scale(out)?)?;
        Ok((base + out)?)
    }

    /// The block at a text: see [`Frozen`](super::Frozen).
    ///
    /// # Errors
    /// Attention that is not linear in the stream once its pattern is held.
    pub fn freeze(&self, seen: Seen) -> Result<FrozenBlock> {
        let parallel = self.form == BlockForm::Parallel;
        let input = seen.at(Site::ResidPre)?;
        let read = if parallel { input } else { seen.at(Site::ResidMid)? };
        let norm = |norm: Option<&Norm>, x: &Tensor| norm.map(|norm| FrozenNorm::new(norm, x)).transpose();
        let (for_attention, for_mlp) = self.input_norms.as_ref().map(|(a, m)| (a, m)).unzip();
        let after_attention = self.output_norms.as_ref().map(|(norm, _)| norm);
        let attention = self.attention.freeze(
            norm(for_attention, input)?,
            |out| norm(after_attention, out),
            self.residual_scale,
            &seen,
        )?;
        Ok(FrozenBlock { parallel, attention, mlp_norm: norm(for_mlp, read)?, seen })
    }

    fn join(&self, norm: Option<&Norm>) -> Join {
        Join { norm: norm.cloned(), scale: self.residual_scale as f32 }
    }

    /// The weights of its experts; none in a dense block.
    pub fn experts(&self) -> Option<MoeLayer<'_>> {
        match &self.mlp {
            Mlp::Mixture(mixture) => {
                let gain = self.input_norms.as_ref().map(|(_, norm)| &norm.gain);
                Some(mixture.weights(self.layer, gain))
            }
            Mlp::Dense(_) | Mlp::Monet(_) => None,
        }
    }

    /// The numbers of its experts, if they are Monet's.
    pub fn monet(&self) -> Option<Result<MonetExperts>> {
        match &self.mlp {
            Mlp::Monet(monet) => Some(monet.parts()),
            _ => None,
        }
    }

    fn scale(&self, out: Tensor) -> Result<Tensor> {
        if self.residual_scale == 1.0 { Ok(out) } else { Ok((out * self.residual_scale)?) }
    }
}

fn normed(norm: Option<&Norm>, x: &Tensor) -> Result<Tensor> {
    norm.map_or_else(|| Ok(x.clone()), |norm| norm.forward(x))
}
