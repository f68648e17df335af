//! Taking a decoder's parts out of a checkpoint: prefixes, joined and transposed matrices.

use candle_core::{DType, Device, Tensor};

use super::compute::{Compute, Rounded};
use super::config::{NormConfig, NormKind, TensorLayout};
use super::ops::{layer_norm, linear_in, rms_norm};
use super::weights::Rows;
use super::{Config, Weights};
use crate::Result;

/// `y = x Wᵀ + b`, `W [out, in]`.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
    /// The weight in bfloat16, if it multiplies in that.
    pub rounded: Option<Rounded>,
}

impl Linear {
    /// In single precision.
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias, rounded: None }
    }

    /// Multiplies in `compute` from now on.
    pub fn set_compute(&mut self, compute: Compute) {
        self.rounded = compute.rounded();
    }

    /// True if its numbers are variables.
    pub fn is_trained(&self) -> bool {
        self.weight.track_op()
    }

    /// `x [.., in]` → `[.., out]`.
    ///
    /// # Errors
    /// An `x` whose last dimension is not `in`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(linear_in(x, &self.weight, self.bias.as_ref(), self.rounded.as_ref())?)
    }
}

/// A norm with its gain; Gemma's 1 + w is added up when it is loaded.
#[derive(Debug, Clone)]
pub(super) struct Norm {
    pub gain: Tensor,
    pub bias: Option<Tensor>,
    pub eps: f64,
}

impl Norm {
    /// A norm over `d` numbers without a gain of its own.
    pub fn plain(d: usize, eps: f64) -> Result<Self> {
        Ok(Self { gain: Tensor::ones(d, DType::F32, &Device::Cpu)?, bias: None, eps })
    }

    /// True if its numbers are variables.
    pub fn is_trained(&self) -> bool {
        self.gain.track_op()
    }

    /// Over the last dimension of `x`.
    ///
    /// # Errors
    /// A last dimension that is not the gain's.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match &self.bias {
            Some(bias) => layer_norm(x, &self.gain, bias, self.eps)?,
            None => rms_norm(x, &self.gain, self.eps)?,
        })
    }
}

/// A checkpoint and where in it the model's tensors are.
pub(super) struct Loader<'a> {
    weights: &'a mut Weights,
    layout: TensorLayout,
    prefix: &'static str,
}

impl<'a> Loader<'a> {
    /// Finds the prefix: checkpoints of the bare decoder have none, those of models that also see pictures a
    /// longer one.
    pub fn new(weights: &'a mut Weights, config: &Config) -> Self {
        let prefixes: &[&'static str] = match config.layout {
            TensorLayout::Llama => &["model.", "", "language_model.model.", "model.language_model."],
            TensorLayout::Gpt2 => &["transformer.", ""],
            TensorLayout::NeoX => &["gpt_neox.", ""],
        };
        let embedding = Self::embedding_name(config.layout);
        let found = prefixes.iter().find(|prefix| weights.has(&format!("{prefix}{embedding}")));
        Self { prefix: found.copied().unwrap_or(prefixes[0]), layout: config.layout, weights }
    }

    fn embedding_name(layout: TensorLayout) -> &'static str {
        match layout {
            TensorLayout::Llama => "embed_tokens.weight",
            TensorLayout::Gpt2 => "wte.weight",
            TensorLayout::NeoX => "embed_in.weight",
        }
    }

    pub fn layout(&self) -> TensorLayout {
        self.layout
    }

    /// `[V, d_model]`.
    ///
    /// # Errors
    /// No such tensor, or one of a different shape.
    pub fn embedding(&mut self, config: &Config) -> Result<Tensor> {
        self.take(Self::embedding_name(self.layout), &[config.vocab_size, config.hidden_size])
    }

    /// The learned positions, `[positions, d_model]`.
    ///
    /// # Errors
    /// No such tensor, or one of a different shape.
    pub fn positions(&mut self, config: &Config) -> Result<Tensor> {
        self.take("wpe.weight", &[config.max_position_embeddings, config.hidden_size])
    }

    /// The output matrix `[V, d_model]`: the file's own, or the embedding. A file may have one although its
    /// configuration says that the embedding is used; if its numbers are different, they count, as in
    /// transformers 5.
    ///
    /// # Errors
    /// No output matrix where the embedding is not used for it, or one of a different shape.
    pub fn output(&mut self, config: &Config, embedding: &Tensor) -> Result<Tensor> {
        let name = self.output_name();
        if config.tie_word_embeddings && !self.weights.has(&name) {
            return Ok(embedding.clone());
        }
        let own = self.weights.take(&name, &[config.vocab_size, config.hidden_size])?;
        let same =
            config.tie_word_embeddings && (&own - embedding)?.abs()?.max_all()?.to_scalar::<f32>()? == 0.0;
        Ok(if same { embedding.clone() } else { own })
    }

    fn output_name(&self) -> String {
        let name = match self.layout {
            TensorLayout::NeoX => "embed_out.weight",
            _ => "lm_head.weight",
        };
        let inside = self.prefix.strip_suffix("model.").unwrap_or_default();
        let long = format!("{inside}{name}");
        if self.weights.has(&long) { long } else { name.to_owned() }
    }

    /// The norm before the output matrix.
    ///
    /// # Errors
    /// No such tensor, or one of a different shape.
    pub fn final_norm(&mut self, config: &Config) -> Result<Norm> {
        let name = match self.layout {
            TensorLayout::Llama => "norm",
            TensorLayout::Gpt2 => "ln_f",
            TensorLayout::NeoX => "final_layer_norm",
        };
        self.norm(name, config.hidden_size, config.final_norm)
    }

    /// The tensors of one block.
    pub fn block(&mut self, layer: usize) -> BlockLoader<'_, 'a> {
        let blocks = if self.layout == TensorLayout::Gpt2 { "h" } else { "layers" };
        BlockLoader { prefix: format!("{blocks}.{layer}."), loader: self }
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.weights.take(&format!("{}{name}", self.prefix), shape)
    }

    /// A matrix of which single rows are read.
    pub fn rows(&mut self, name: &str, shape: [usize; 2]) -> Result<Rows> {
        self.weights.take_rows(&format!("{}{name}", self.prefix), shape)
    }

    /// `NAME.weight [out, in]`.
    pub fn linear(&mut self, name: &str, output: usize, input: usize) -> Result<Linear> {
        Ok(Linear::new(self.take(&format!("{name}.weight"), &[output, input])?, None))
    }

    pub fn norm(&mut self, name: &str, d: usize, norm: NormConfig) -> Result<Norm> {
        let gain = self.take(&format!("{name}.weight"), &[d])?;
        let gain = if norm.kind == NormKind::RmsPlusOne { (gain + 1.0)? } else { gain };
        let bias = match norm.kind {
            NormKind::Layer => Some(self.take(&format!("{name}.bias"), &[d])?),
            _ => None,
        };
        Ok(Norm { gain, bias, eps: norm.eps })
    }
}

/// The tensors of one block, by the names they have inside it.
pub(super) struct BlockLoader<'b, 'a> {
    loader: &'b mut Loader<'a>,
    prefix: String,
}

impl BlockLoader<'_, '_> {
    pub fn layout(&self) -> TensorLayout {
        self.loader.layout()
    }

    fn name(&self, name: &str) -> String {
        format!("{}{}{name}", self.loader.prefix, self.prefix)
    }

    pub fn has(&self, name: &str) -> bool {
        self.loader.weights.has(&self.name(name))
    }

    /// Tensor `name` of this block.
    ///
    /// # Errors
    /// No such tensor, or one of a different shape.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let name = self.name(name);
        self.loader.weights.take(&name, shape)
    }

    /// `NAME(e)` of every expert, stacked.
    ///
    /// # Errors
    /// A matrix that is missing or has a different shape, with its name.
    pub fn stacked(
        &mut self,
        experts: usize,
        name: impl Fn(usize) -> String,
        shape: &[usize],
    ) -> Result<Tensor> {
        let names: Vec<String> = (0..experts).map(|e| self.name(&name(e))).collect();
        self.loader.weights.take_stacked(names.into_iter(), shape)
    }

    /// The norm `name` of this block, of width `d`.
    ///
    /// # Errors
    /// No such tensor, or one of a different shape.
    pub fn norm(&mut self, name: &str, d: usize, norm: NormConfig) -> Result<Norm> {
        let name = format!("{}{name}", self.prefix);
        self.loader.norm(&name, d, norm)
    }

    /// `NAME.weight [out, in]` and, if there is one, `NAME.bias [out]`.
    ///
    /// # Errors
    /// A tensor that is missing or has a different shape.
    pub fn linear(&mut self, name: &str, output: usize, input: usize, bias: bool) -> Result<Linear> {
        let weight = self.take(&format!("{name}.weight"), &[output, input])?;
        let bias = if bias { Some(self.take(&format!("{name}.bias"), &[output])?) } else { None };
        Ok(Linear::new(weight, bias))
    }

    /// The same of a checkpoint that stores `[in, out]` (GPT-2).
    ///
    /// # Errors
    /// A tensor that is missing or has a different shape.
    pub fn transposed(&mut self, name: &str, output: usize, input: usize) -> Result<Linear> {
        let weight = self.take(&format!("{name}.weight"), &[input, output])?.t()?.contiguous()?;
        let bias = Some(self.take(&format!("{name}.bias"), &[output])?);
        Ok(Linear::new(weight, bias))
    }

    /// One matrix that holds several, one's rows after another's; without biases.
    ///
    /// # Errors
    /// A tensor that is missing, or whose rows are not the sum of `rows`.
    pub fn split(&mut self, name: &str, rows: &[usize], input: usize) -> Result<Vec<Linear>> {
        let all = self.take(&format!("{name}.weight"), &[rows.iter().sum(), input])?;
        let mut at = 0;
        let mut part = |n: usize| {
            at += n;
            Ok(Linear::new(all.narrow(0, at - n, n)?.copy()?, None))
        };
        rows.iter().map(|&n| part(n)).collect()
    }

    /// Two matrices that read the same input as one, the first one's rows first.
    ///
    /// # Errors
    /// A tensor of the two that is missing or has a different shape.
    pub fn pair(&mut self, names: [&str; 2], output: usize, input: usize, bias: bool) -> Result<Linear> {
        let [first, second] = names.map(|name| self.linear(name, output, input, bias));
        let (first, second) = (first?, second?);
        let bias = match (first.bias, second.bias) {
            (Some(a), Some(b)) => Some(Tensor::cat(&[a, b], 0)?),
            _ => None,
        };
        Ok(Linear::new(Tensor::cat(&[first.weight, second.weight], 0)?, bias))
    }
}
