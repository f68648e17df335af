//! The variables of a model in training: how they begin, and how they are stored for others.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use kernels::chance::{Purpose, generator, normal};

use super::{Branch, Llama, ModelConfig};
use crate::model::{Decoder, Weights};
use crate::{Error, Result};

/// Spread of the first weights; the matrices that write to the residual stream are narrower by √(2 · layers).
const SPREAD: f64 = 0.02;

/// Logarithm of the temperatures of a layer's switches.
pub(super) const TEMPERATURE: &str = "mlp.gate.temperature";

/// Every variable by name, in order of name. The experts of a layer are stacked into two tensors.
#[derive(Debug)]
pub struct Parameters {
    variables: BTreeMap<String, Var>,
    kept: BTreeMap<String, Tensor>,
}

/// Every variable's shape, by name.
fn shapes(c: &ModelConfig) -> BTreeMap<String, Vec<usize>> {
    let (vocab_size, d, layers, tied) = c.size();
    let mut shapes = BTreeMap::from([
        ("model.embed_tokens.weight".to_owned(), vec![vocab_size, d]),
        ("model.norm.weight".to_owned(), vec![d]),
    ]);
    if !tied {
        shapes.insert("lm_head.weight".to_owned(), vec![vocab_size, d]);
    }
    for layer in 0..layers {
        let mut block = vec![
            ("input_layernorm.weight", vec![d]),
            ("post_attention_layernorm.weight", vec![d]),
            ("self_attn.q_proj.weight", vec![d, d]),
            ("self_attn.k_proj.weight", vec![d, d]),
            ("self_attn.v_proj.weight", vec![d, d]),
            ("self_attn.o_proj.weight", vec![d, d]),
        ];
        block.extend(of_branch(c, layer, d));
        shapes.extend(block.into_iter().map(|(name, shape)| (format!("model.layers.{layer}.{name}"), shape)));
    }
    shapes
}

/// The variables that not every architecture has.
fn of_branch(c: &ModelConfig, layer: usize, d: usize) -> Vec<(&'static str, Vec<usize>)> {
    let c = match c {
        ModelConfig::TopK(c) => {
            let (e, hidden) = (c.num_experts, c.intermediate_size);
            return vec![
                ("self_attn.q_norm.weight", vec![d]),
                ("self_attn.k_norm.weight", vec![d]),
                ("mlp.gate.weight", vec![e, d]),
                ("mlp.experts.gate_up_proj", vec![e, 2 * hidden, d]),
                ("mlp.experts.down_proj", vec![e, d, hidden]),
            ];
        }
        ModelConfig::Llama(c) => c,
    };
    match c.branch {
        Branch::Dense { intermediate_size: hidden } => {
            // Gate and up are one variable: a model made of two would hold a copy that training does not reach.
            let up = match c.model_type {
                "llama" => ("mlp.gate_up_proj.weight", vec![2 * hidden, d]),
                _ => ("mlp.up_proj.weight", vec![hidden, d]),
            };
            vec![up, ("mlp.down_proj.weight", vec![d, hidden])]
        }
        Branch::PlainMoe { intermediate_size: hidden, num_experts: e, router, .. } => {
            let gate = match router {
                "learned" => vec![("mlp.gate.weight", vec![e, d])],
                "switched" => vec![
                    ("mlp.gate.weight", vec![2 * e, d]),
                    ("mlp.gate.bias", vec![2 * e]),
                    (TEMPERATURE, vec![e]),
                ],
                _ => Vec::new(),
            };
            let rest =
                [("mlp.experts.up_proj", vec![e, hidden, d]), ("mlp.experts.down_proj", vec![e, d, hidden])];
            gate.into_iter().chain(rest).collect()
        }
        Branch::Monet { moe_dim, moe_heads, moe_experts: n, moe_groups, moe_decompose, .. } => {
            let routers =
                [("router.w1.weight", vec![moe_heads * n, d]), ("router.w2.weight", vec![moe_heads * n, d])];
            let routers = routers.into_iter().filter(|_| layer.is_multiple_of(moe_groups));
            let (width, half) = (n * moe_dim, n * moe_dim / 2);
            let experts = match moe_decompose {
                "horizontal" => vec![
                    ("moe.u.weight", vec![width, d]),
                    ("moe.u.bias", vec![width]),
                    ("moe.v.weight", vec![d, width]),
                    ("moe.b", vec![n, d]),
                ],
                _ => vec![
                    ("moe.u1.weight", vec![half, d]),
                    ("moe.u1.bias", vec![half]),
                    ("moe.u2.weight", vec![half, d]),
                    ("moe.u2.bias", vec![half]),
                    ("moe.v11.weight", vec![d / 2, half]),
                    ("moe.v12.weight", vec![d / 2, half]),
                    ("moe.v21.weight", vec![d / 2, half]),
                    ("moe.v22.weight", vec![d / 2, half]),
                    ("moe.b1", vec![n, d / 2]),
                    ("moe.b2", vec![n, d / 2]),
                ],
            };
            routers.chain(experts).collect()
        }
    }
}

/// What is stored with the weights but not learned by gradients: of Monet's routers the mean and variance of
/// their logits, head by head.
fn kept(c: &ModelConfig) -> Result<BTreeMap<String, Tensor>> {
    let ModelConfig::Llama(Llama { branch: Branch::Monet { moe_heads, moe_groups, .. }, .. }) = c else {
        return Ok(BTreeMap::new());
    };
    let (.., layers, _) = c.size();
    let mut kept = BTreeMap::new();
    for layer in (0..layers).step_by(*moe_groups) {
        for norm in ["norm1", "norm2"] {
            let prefix = format!("model.layers.{layer}.router.{norm}");
            let zeros = Tensor::zeros(*moe_heads, DType::F32, &Device::Cpu)?;
            kept.insert(format!("{prefix}.running_var"), zeros.ones_like()?);
            kept.insert(format!("{prefix}.running_mean"), zeros);
        }
    }
    Ok(kept)
}

/// How a variable begins.
fn begins(name: &str) -> Begin {
    let part = name.rsplit_once("layers.").map_or(name, |(_, rest)| rest);
    let is = |ends: &[&str]| ends.iter().any(|end| part.ends_with(end));
    if is(&["moe.b", "moe.b1", "moe.b2", ".bias", TEMPERATURE]) {
        return Begin::Zero;
    }
    let writes = [
        "o_proj.weight",
        "down_proj",
        "down_proj.weight",
        "v.weight",
        "v11.weight",
        "v12.weight",
        "v21.weight",
        "v22.weight",
    ];
    match is(&writes) {
        true => Begin::Narrow,
        false => Begin::Plain,
    }
}

/// The first numbers of a variable that is not a gain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begin {
    Zero,
    /// Normal; the matrix writes to the residual stream.
    Narrow,
    /// Normal.
    Plain,
}

impl Parameters {
    /// Random weights: gains 1, biases 0, matrices normal.
    ///
    /// # Errors
    /// None for an architecture that [`ModelConfig::config`] accepts.
    pub fn random(config: &ModelConfig, seed: u64) -> Result<Self> {
        let (.., layers, _) = config.size();
        let mut variables = BTreeMap::new();
        for (number, (name, shape)) in (0..).zip(shapes(config)) {
            let mut rng = generator(seed, Purpose::Weights, number, 0);
            let n = shape.iter().product();
            let begin = begins(&name);
            let narrow = begin == Begin::Narrow;
            let spread = if narrow { SPREAD / (2.0 * layers as f64).sqrt() } else { SPREAD };
            let numbers: Vec<f32> = match shape.len() {
                _ if begin == Begin::Zero => vec![0.0; n],
                1 => vec![1.0; n],
                _ => (0..n).map(|_| (spread * f64::from(normal(&mut rng))) as f32).collect(),
            };
            let tensor = Tensor::from_vec(numbers, shape, &Device::Cpu)?;
            variables.insert(name, Var::from_tensor(&tensor)?);
        }
        Ok(Self { variables, kept: kept(config)? })
    }

    /// The variables by name, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.variables.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// What is stored but not learned by gradients, by name.
    pub fn kept(&self) -> &BTreeMap<String, Tensor> {
        &self.kept
    }

    /// Replaces numbers of [`Parameters::kept`].
    pub(super) fn keep(&mut self, name: &str, value: Tensor) {
        if let Some(kept) = self.kept.get_mut(name) {
            *kept = value;
        }
    }

    /// How many numbers there are.
    pub fn count(&self) -> usize {
        self.variables.values().map(|v| v.elem_count()).sum()
    }

    /// A decoder that reads these variables: it changes with them and its gradients are theirs.
    ///
    /// # Errors
    /// Variables of a different architecture.
    pub fn decoder(&self, config: &ModelConfig) -> Result<Decoder> {
        let variables = self.variables.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
        let kept = self.kept.iter().map(|(name, kept)| (name.clone(), kept.clone()));
        let tensors = variables.chain(kept).collect();
        Decoder::new(config.config()?, Weights::new(tensors, "the model in training"))
    }

    /// The checkpoint as Hugging Face stores it, in f16 (statistics of routers in f32): one tensor for each expert's gate, up and down
    /// matrix.
    ///
    /// # Errors
    /// Variables whose shapes are not those of such a model.
    pub fn to_hugging_face(&self) -> Result<Vec<u8>> {
        let mut tensors: HashMap<String, Tensor> =
            self.kept.iter().map(|(name, kept)| (name.clone(), kept.clone())).collect();
        for (name, var) in self.iter() {
            let half = var.as_tensor().to_dtype(DType::F16)?;
            match name.split_once(".experts.") {
                None if name.ends_with("mlp.gate_up_proj.weight") => {
                    let hidden = half.dim(0)? / 2;
                    for (part, from) in [("gate_proj", 0), ("up_proj", hidden)] {
                        let own = half.narrow(0, from, hidden)?.contiguous()?;
                        tensors.insert(name.replace("gate_up_proj", part), own);
                    }
                }
                None => {
                    tensors.insert(name.to_owned(), half);
                }
                Some((prefix, which)) => {
                    for e in 0..half.dim(0)? {
                        let one = half.get(e)?;
                        let mut put = |part: &str, t: Tensor| -> Result<()> {
                            tensors.insert(format!("{prefix}.experts.{e}.{part}.weight"), t.contiguous()?);
                            Ok(())
                        };
                        if which == "gate_up_proj" {
                            let hidden = one.dim(0)? / 2;
                            put("gate_proj", one.narrow(0, 0, hidden)?)?;
                            put("up_proj", one.narrow(0, hidden, hidden)?)?;
                        } else {
                            put(which, one)?;
                        }
                    }
                }
            }
        }
        let metadata = Some(HashMap::from([("format".to_owned(), "pt".to_owned())]));
        let ordered: BTreeMap<String, Tensor> = tensors.into_iter().collect();
        safetensors::serialize(ordered, metadata).map_err(|e| Error::data(format!("storing the model: {e}")))
    }

    /// Writes `config.json` and `model.safetensors` into `folder`.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn save(&self, config: &ModelConfig, folder: &Path) -> Result<()> {
        storage::atomic::write(&folder.join("model.safetensors"), &self.to_hugging_face()?)?;
        storage::atomic::write_json(&folder.join("config.json"), config)?;
        Ok(())
    }
}
