//! What Gemma 3n and Gemma 4 have that no other family has: several streams, embeddings of every block, layers
//! that read the keys and values of earlier ones.

use serde::Serialize;
use serde_json::Value;

use super::families::Family;
use crate::Result;

/// Residual streams next to the one that the branches read and write (AltUp, Baykal et al. 2023,
/// arXiv:2301.13310).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StreamsConfig {
    /// Streams, the active one included.
    pub count: usize,
    /// The stream that the branches read and write.
    pub active: usize,
    /// Whether a learned gain stands before the gate of the block's own embedding.
    pub scaled: bool,
}

/// Embeddings that every block adds, of the token and of the model's embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PerLayerConfig {
    /// Tokens that have one; those after them take that of token 0.
    pub vocab_size: usize,
    /// Numbers per block.
    pub width: usize,
}

impl Family<'_> {
    /// Gemma 3n's text model.
    pub fn is_gemma_3n(&self) -> bool {
        self.is(&["gemma3n_text"])
    }

    /// Gemma 4's text models.
    pub fn is_gemma_4(&self) -> bool {
        self.is(&["gemma4_text", "gemma4_unified_text"])
    }

    pub fn streams(&self) -> Result<Option<StreamsConfig>> {
        if !self.is_gemma_3n() {
            return Ok(None);
        }
        let f = &self.fields;
        let count = f.size(&["altup_num_inputs"])?.unwrap_or(4);
        let active = f.size(&["altup_active_idx"])?.unwrap_or(0);
        if !(2..=64).contains(&count) || active >= count {
            let text = format!(
                "altup_num_inputs is {count} and altup_active_idx {active}; expected 2 to 64 streams, one of them active"
            );
            return Err(f.error(text));
        }
        Ok(Some(StreamsConfig { count, active, scaled: f.flag("altup_correct_scale", true)? }))
    }

    pub fn per_layer(&self) -> Result<Option<PerLayerConfig>> {
        if !self.is(&["gemma3n_text", "gemma4_text"]) {
            return Ok(None);
        }
        let f = &self.fields;
        let width = f.size(&["hidden_size_per_layer_input"])?.unwrap_or(256);
        let vocab_size = f.size(&["vocab_size_per_layer_input"])?.unwrap_or(262_144);
        let given = PerLayerConfig { vocab_size, width };
        Ok(Some(given).filter(|given| given.width > 0 || self.is_gemma_3n()))
    }

    /// Rank of the low-rank map next to attention.
    pub fn laurel(&self) -> Result<Option<usize>> {
        match self.is_gemma_3n() {
            true => Ok(Some(self.fields.size(&["laurel_rank"])?.unwrap_or(64))),
            false => Ok(None),
        }
    }

    /// Whether the layer reads the keys and values of an earlier one, and of which: the last layer of its kind
    /// that has its own.
    pub fn shares(&self, layer: usize) -> Result<Option<usize>> {
        let first = self.first_shared()?;
        if layer < first {
            return Ok(None);
        }
        let kind = self.slides(layer)?;
        for earlier in (0..first).rev() {
            if self.slides(earlier)? == kind {
                return Ok(Some(earlier));
            }
        }
        Err(self.fields.error(format!(
            "layer {layer} reads the keys and values of an earlier layer of its kind, and none of the first \
             {first} is of that kind (num_kv_shared_layers, layer_types)"
        )))
    }

    /// Whether later layers read the keys and values of this one.
    pub fn lends(&self, layer: usize) -> Result<bool> {
        let first = self.first_shared()?;
        if layer >= first || first == self.layers {
            return Ok(false);
        }
        let kind = self.slides(layer)?;
        for later in layer + 1..first {
            if self.slides(later)? == kind {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn first_shared(&self) -> Result<usize> {
        if !self.is_gemma_3n() && !self.is_gemma_4() {
            return Ok(self.layers);
        }
        let default = if self.is_gemma_3n() { 15 } else { 0 };
        let shared = self.fields.size(&["num_kv_shared_layers"])?.unwrap_or(default);
        match self.layers.checked_sub(shared) {
            Some(first) if first > 0 => Ok(first),
            _ => Err(self.fields.error(format!(
                "num_kv_shared_layers is {shared} of {} layers; expected fewer than all",
                self.layers
            ))),
        }
    }

    /// Gemma 4: a number that layers with full attention have different from the others.
    pub fn of_layer(&self, layer: usize, name: &'static str) -> Result<Option<usize>> {
        let f = &self.fields;
        if let Some(all) = f.object(&["per_layer_config"])? {
            let own = all.value(&layer.to_string()).and_then(|own| own.get(name)).filter(|v| !v.is_null());
            let number = |v: &Value| v.as_u64().filter(|n| *n <= 1 << 40).map(|n| n as usize);
            let wrong = |v: &Value| f.error(format!("per_layer_config has {v} as {name} of layer {layer}"));
            return own.map(|v| number(v).ok_or_else(|| wrong(v))).transpose();
        }
        match name {
            _ if self.slides(layer)? => Ok(None),
            "head_dim" => Ok(Some(f.size(&["global_head_dim"])?.unwrap_or(512))),
            "num_key_value_heads" if f.flag("attention_k_eq_v", false)? => {
                f.size(&["num_global_key_value_heads"])
            }
            _ => Ok(None),
        }
    }

    /// Hidden units of a layer's MLP: one number, or one for each layer.
    pub fn intermediate(&self, layer: usize) -> Result<usize> {
        let f = &self.fields;
        if self.is_gemma_3n()
            && let Some((_, Value::Array(each))) = f.get(&["intermediate_size"])
        {
            let one = each.get(layer).and_then(Value::as_u64).filter(|n| *n <= 1 << 40);
            let missing = || f.error(format!("intermediate_size says nothing of layer {layer}"));
            return one.map(|n| n as usize).ok_or_else(missing);
        }
        let size = f.needed(&["intermediate_size"])?;
        let wide =
            self.is_gemma_4() && f.flag("use_double_wide_mlp", false)? && self.shares(layer)?.is_some();
        Ok(if wide { 2 * size } else { size })
    }

    /// The share of a layer's gate that is left at 0, if it were normally distributed.
    pub fn sparsity(&self, layer: usize) -> Result<f64> {
        if !self.is_gemma_3n() {
            return Ok(0.0);
        }
        let f = &self.fields;
        let Some(each) = f.list("activation_sparsity_pattern")? else {
            return Ok(if self.layers > 10 && layer < 10 { 0.95 } else { 0.0 });
        };
        let one = each.get(layer).and_then(Value::as_f64).filter(|share| (0.0..1.0).contains(share));
        one.ok_or_else(|| {
            f.error(format!("activation_sparsity_pattern has no number from 0 to below 1 for layer {layer}"))
        })
    }
}
