//! One decoder block: two branches next to the residual stream.

use candle_core::Tensor;

use super::altup::{AltUp, Laurel, Streams};
use super::attention::{Attention, Batch};
use super::cache::LayerCache;
use super::compute::Compute;
use super::config::{BlockConfig, BlockForm, Config, MlpConfig, TensorLayout};
use super::frozen::{FrozenBlock, FrozenNorm, Seen};
use super::fused::Join;
use super::load::{Loader, Norm};
use super::mixture::MoeLayer;
use super::mlp::Mlp;
use super::monet::MonetExperts;
use super::per_layer::PerLayerGate;
use super::tap::Visitor;
use super::{Site, Tap};
use crate::{Error, Result};

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
    altup: Option<AltUp>,
    laurel: Option<Laurel>,
    per_layer: Option<PerLayerGate>,
    /// What the stream after the block is multiplied by.
    scalar: Option<f64>,
}

/// What blocks hand on besides the residual stream.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// All residual streams of a model that has several, the active one as it was before its hook.
    pub streams: Vec<Tensor>,
    /// The blocks' own embeddings, `[rows, len, blocks · width]`.
    pub inputs: Option<Tensor>,
    /// Keys and values that later blocks read, with their block.
    pub lent: Vec<(usize, Tensor, Tensor)>,
}

impl Aside {
    /// The streams of an embedding `x [rows, len, d_model]`, and the active one.
    pub fn split(&mut self, streams: Option<&Streams>, x: Tensor) -> Result<Tensor> {
        let Some(streams) = streams else { return Ok(x) };
        self.streams = streams.split(&x)?;
        Ok(self.streams[streams.active()].clone())
    }
}

impl Block {
    /// Multiplies with the weights of attention, MLP and experts in `compute` from now on.
    pub fn set_compute(&mut self, compute: Compute) {
        self.attention.set_compute(compute);
        self.mlp.set_compute(compute);
    }

    /// Takes the weights of block `layer`.
    ///
    /// # Errors
    /// A tensor that is missing or has a different shape than `all` says, with its name.
    pub fn load(loader: &mut Loader<'_>, all: &Config, layer: usize) -> Result<Self> {
        let (config, d_model): (&BlockConfig, usize) = (&all.blocks[layer], all.hidden_size);
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
            mlp: Mlp::load(&mut loader, &config.mlp, config.norm, d_model)?,
            output_norms,
            altup: match all.streams {
                Some(streams) => Some(AltUp::load(&mut loader, streams, config.norm, d_model)?),
                None => None,
            },
            laurel: match config.laurel {
                Some(rank) => Some(Laurel::load(&mut loader, rank, config.norm, d_model)?),
                None => None,
            },
            per_layer: match all.per_layer {
                Some(own) => {
                    let activation = match &config.mlp {
                        MlpConfig::Dense(dense) => dense.activation,
                        MlpConfig::Experts(experts) => experts.activation,
                        MlpConfig::Monet(_) => {
                            return Err(Error::data(
                                "Monet's blocks have no embeddings of their own".to_owned(),
                            ));
                        }
                    };
                    Some(PerLayerGate::load(&mut loader, (own.width, activation), config.norm, d_model)?)
                }
                None => None,
            },
            scalar: match config.scaled {
                true => Some(f64::from(loader.take("layer_scalar", &[1])?.get(0)?.to_scalar::<f32>()?)),
                false => None,
            },
        })
    }

    /// `x [rows, len, d_model]` → the same shape, after the block. With a `cache` (of all blocks) the tokens
    /// follow those that are in it.
    ///
    /// # Errors
    /// An error of the tap; shapes that do not fit.
    pub fn forward(
        &self,
        x: Tensor,
        batch: &Batch,
        mut cache: Option<&mut [LayerCache]>,
        aside: &mut Aside,
        tap: &mut dyn Tap,
    ) -> Result<Tensor> {
        let mut tap = Visitor::new(self.layer, tap);
        let mut before = tap.visit(Site::ResidPre, x)?;
        let predictions = match &self.altup {
            None => None,
            Some(altup) => {
                aside.streams[altup.active()] = before;
                let predictions = altup.predict(&aside.streams)?;
                before = predictions[altup.active()].clone();
                Some((altup, predictions))
            }
        };
        let middle = self.attended(&before, batch, cache.as_deref_mut(), aside, &mut tap)?;
        // In a parallel block the MLP does not see attention's output, and there is no place between the two.
        let (read, middle) = match self.form {
            BlockForm::Parallel => (before, middle),
            _ => {
                let middle = tap.visit(Site::ResidMid, middle)?;
                (middle.clone(), middle)
            }
        };
        let cache = cache.and_then(|all| all.get_mut(self.layer));
        let mut after = self.through_the_mlp(&read, &middle, batch, cache, &mut tap)?;
        if let Some((altup, predictions)) = predictions {
            return tap.visit(Site::ResidPost, self.corrected(altup, &predictions, &after, aside)?);
        }
        if let (Some(gate), Some(inputs)) = (&self.per_layer, &aside.inputs) {
            after = (&after + gate.forward(&after, inputs, self.layer)?)?;
        }
        if let Some(scalar) = self.scalar {
            after = (after * scalar)?;
        }
        tap.visit(Site::ResidPost, after)
    }

    /// Corrects all streams by what the branches made of the active one, which is returned.
    fn corrected(
        &self,
        altup: &AltUp,
        predictions: &[Tensor],
        after: &Tensor,
        aside: &mut Aside,
    ) -> Result<Tensor> {
        let mut streams = altup.correct(predictions, after)?;
        if let (Some(gate), Some(inputs)) = (&self.per_layer, &aside.inputs) {
            let own = gate.forward(&altup.for_the_gate(&streams)?, inputs, self.layer)?;
            // The first stream never gets it, whichever is active.
            for stream in &mut streams[1..] {
                *stream = (&*stream + &own)?;
            }
        }
        let active = streams[altup.active()].clone();
        aside.streams = streams;
        Ok(active)
    }

    /// The stream and what attention reads of it and writes.
    fn attended(
        &self,
        x: &Tensor,
        batch: &Batch,
        cache: Option<&mut [LayerCache]>,
        aside: &mut Aside,
        tap: &mut Visitor<'_>,
    ) -> Result<Tensor> {
        let norm = self.output_norms.as_ref().map(|(norm, _)| norm);
        let input_norm = self.input_norms.as_ref().map(|(norm, _)| norm);
        if cache.is_none()
            && self.laurel.is_none()
            && let Some(branch) = self.attention.branch(input_norm, self.join(norm), batch, tap)?
        {
            return Ok(branch.apply(x)?);
        }
        let h = normed(input_norm, x)?;
        let mut out = self.attention.forward(&h, batch, cache, &mut aside.lent, tap)?;
        if let Some(norm) = norm {
            out = norm.forward(&out)?;
        }
        let out = tap.visit(Site::AttnOut, self.scale(out)?)?;
        let sum = (x + out)?;
        match &self.laurel {
            Some(laurel) => Ok(((sum + laurel.forward(&h)?)? * std::f64::consts::FRAC_1_SQRT_2)?),
            None => Ok(sum),
        }
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
        let mut out = self.mlp.forward(&h, x, batch, used, tap)?;
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
