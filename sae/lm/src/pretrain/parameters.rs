//! The variables of a model in training: how they begin, and how they are stored for others.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use kernels::chance::{Purpose, generator, normal};

use super::Architecture;
use crate::model::{Decoder, Weights, stacked_names};
use crate::{Error, Result};

/// Spread of the first weights; the matrices that write to the residual stream are narrower by √(2 · layers).
const SPREAD: f64 = 0.02;

/// Every variable by name, in order of name. The experts of a layer are stacked into two tensors.
#[derive(Debug)]
pub struct Parameters {
    variables: BTreeMap<String, Var>,
}

fn shapes(c: &Architecture) -> BTreeMap<String, Vec<usize>> {
    let (d, e, hidden) = (c.hidden_size, c.num_experts, c.intermediate_size);
    let mut shapes = BTreeMap::from([
        ("model.embed_tokens.weight".to_owned(), vec![c.vocab_size, d]),
        ("model.norm.weight".to_owned(), vec![d]),
    ]);
    if !c.tie_word_embeddings {
        shapes.insert("lm_head.weight".to_owned(), vec![c.vocab_size, d]);
    }
    for layer in 0..c.num_hidden_layers {
        let [gate_up, down] = stacked_names(layer);
        let block = [
            ("input_layernorm.weight", vec![d]),
            ("post_attention_layernorm.weight", vec![d]),
            ("self_attn.q_norm.weight", vec![d]),
            ("self_attn.k_norm.weight", vec![d]),
            ("self_attn.q_proj.weight", vec![d, d]),
            ("self_attn.k_proj.weight", vec![d, d]),
            ("self_attn.v_proj.weight", vec![d, d]),
            ("self_attn.o_proj.weight", vec![d, d]),
            ("mlp.gate.weight", vec![e, d]),
        ];
        shapes.extend(block.map(|(name, shape)| (format!("model.layers.{layer}.{name}"), shape)));
        shapes.insert(gate_up, vec![e, 2 * hidden, d]);
        shapes.insert(down, vec![e, d, hidden]);
    }
    shapes
}

impl Parameters {
    /// Random weights: gains 1, matrices normal.
    ///
    /// # Errors
    /// None for an architecture that [`Architecture::config`] accepts.
    pub fn random(config: &Architecture, seed: u64) -> Result<Self> {
        let mut variables = BTreeMap::new();
        for (number, (name, shape)) in (0..).zip(shapes(config)) {
            let mut rng = generator(seed, Purpose::Weights, number, 0);
            let n = shape.iter().product();
            let writes = name.ends_with("o_proj.weight") || name.ends_with("experts.down_proj");
            let spread =
                if writes { SPREAD / (2.0 * config.num_hidden_layers as f64).sqrt() } else { SPREAD };
            let numbers: Vec<f32> = match shape.len() {
                1 => vec![1.0; n],
                _ => (0..n).map(|_| (spread * f64::from(normal(&mut rng))) as f32).collect(),
            };
            let tensor = Tensor::from_vec(numbers, shape, &Device::Cpu)?;
            variables.insert(name, Var::from_tensor(&tensor)?);
        }
        Ok(Self { variables })
    }

    /// The variables by name, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.variables.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// How many numbers there are.
    pub fn count(&self) -> usize {
        self.variables.values().map(|v| v.elem_count()).sum()
    }

    /// A decoder that reads these variables: it changes with them and its gradients are theirs.
    ///
    /// # Errors
    /// As [`Architecture::config`] and [`Decoder::new`].
    pub fn decoder(&self, config: &Architecture) -> Result<Decoder> {
        let tensors =
            self.variables.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
        Decoder::new(config.config()?, Weights::new(tensors, "the model in training"))
    }

    /// The checkpoint as Hugging Face stores it, in f16: one tensor for each expert's gate, up and down
    /// matrix.
    ///
    /// # Errors
    /// Variables that are not those of `config`.
    pub fn to_hugging_face(&self, config: &Architecture) -> Result<Vec<u8>> {
        let mut tensors: HashMap<String, Tensor> = HashMap::new();
        for (name, var) in self.iter() {
            let half = var.as_tensor().to_dtype(DType::F16)?;
            match name.split_once(".experts.") {
                None => {
                    tensors.insert(name.to_owned(), half);
                }
                Some((prefix, which)) => {
                    for e in 0..config.num_experts {
                        let one = half.get(e)?;
                        let mut put = |part: &str, t: Tensor| -> Result<()> {
                            tensors.insert(format!("{prefix}.experts.{e}.{part}.weight"), t.contiguous()?);
                            Ok(())
                        };
                        if which == "down_proj" {
                            put("down_proj", one)?;
                        } else {
                            put("gate_proj", one.narrow(0, 0, config.intermediate_size)?)?;
                            put(
                                "up_proj",
                                one.narrow(0, config.intermediate_size, config.intermediate_size)?,
                            )?;
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
    /// As [`Parameters::to_hugging_face`]; a folder that cannot be written to.
    pub fn save(&self, config: &Architecture, folder: &Path) -> Result<()> {
        storage::atomic::write(&folder.join("model.safetensors"), &self.to_hugging_face(config)?)?;
        storage::atomic::write_json(&folder.join("config.json"), config)?;
        Ok(())
    }
}
