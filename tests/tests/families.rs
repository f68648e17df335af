//! Every family of language models against Hugging Face transformers, on tiny random models.
//!
//! `tests/parity/families/NAME/` holds a model as transformers stored it and what transformers computed on it, made by
//! `tests/parity/families.py`. Hidden states, logits and the loss agree to 1e-4 of the largest number, routing is the same at
//! every token and gradients agree to 1e-3.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, Var};
use lm::model::{Config, Decoder, Hook, Routing, Site, Tap, Weights, summed_loss};
use lm::text::Contexts;

/// Keeps the residual stream after every block, and a zero added to it whose gradient is the stream's.
#[derive(Default)]
struct Record {
    /// Look at every other value too: a block whose inside is looked at is computed operation by operation, another by one
    /// operation a branch.
    inside: bool,
    hidden: Vec<Tensor>,
    shifts: Vec<Var>,
    routing: Vec<Routing>,
}

impl Tap for Record {
    fn wants(&self, hook: &Hook) -> bool {
        self.inside || hook.site == Site::ResidPost
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> sae::Result<Option<Tensor>> {
        if hook.site != Site::ResidPost {
            return Ok(None);
        }
        let shift = Var::zeros(value.shape(), DType::F32, &Device::Cpu)?;
        self.hidden.push(value.clone());
        let shifted = (value + shift.as_tensor())?;
        self.shifts.push(shift);
        Ok(Some(shifted))
    }

    fn routing(&mut self, routing: &Routing) -> sae::Result<()> {
        self.routing.push(routing.clone());
        Ok(())
    }
}

struct Golden {
    name: String,
    tensors: HashMap<String, Tensor>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/families").join(name)
}

fn decoder(name: &str) -> Decoder {
    let path = folder(name).join("config.json");
    let config = Config::parse(&std::fs::read_to_string(&path).unwrap(), &path).unwrap();
    let path = folder(name).join("model.safetensors");
    let weights = Weights::from_safetensors(&std::fs::read(&path).unwrap(), &path).unwrap();
    Decoder::new(config, weights).unwrap()
}

fn contexts(tokens: &Tensor) -> Contexts {
    let (rows, len) = tokens.dims2().unwrap();
    let tokens = tokens.flatten_all().unwrap().to_dtype(DType::U32).unwrap().to_vec1().unwrap();
    Contexts {
        rows,
        len,
        tokens,
        segments: vec![1; rows * len],
        positions: (0..rows).flat_map(|_| 0..len as u32).collect(),
        origin: (0..rows as u32).flat_map(|r| (0..len as u32).map(move |p| Some((r, p)))).collect(),
    }
}

fn numbers(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

impl Golden {
    fn read(name: &str) -> Self {
        let path = folder(name).join("golden.safetensors");
        let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        Self { name: name.to_owned(), tensors }
    }

    /// `ours` is the tensor of this name to `tolerance` of its largest number.
    fn close(&self, key: &str, ours: &Tensor, tolerance: f32) -> f32 {
        let theirs = self.tensors.get(key).unwrap_or_else(|| panic!("{}: no {key}", self.name));
        assert_eq!(ours.elem_count(), theirs.elem_count(), "{}: {key}", self.name);
        let (ours, theirs) = (numbers(ours), numbers(theirs));
        let largest = theirs.iter().fold(0f32, |m, v| m.max(v.abs()));
        assert!(largest > 0.0, "{}: {key} is all zero", self.name);
        let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max) / largest;
        assert!(worst <= tolerance, "{}: {key} differs by {worst:.1e} of the largest number", self.name);
        worst
    }

    /// The same experts at every token, with the same weights; the order among the chosen is nobody's business.
    fn same_routing(&self, routing: &Routing) {
        let theirs = &self.tensors[&format!("chosen.{}", routing.layer)];
        let weights = numbers(&self.tensors[&format!("weights.{}", routing.layer)]);
        let ids = numbers(theirs);
        let k = routing.k;
        assert_eq!(theirs.dims(), [routing.chosen.len() / k, k], "{}", self.name);
        for token in 0..ids.len() / k {
            let at = token * k..(token + 1) * k;
            let mut ours: Vec<(u32, f32)> =
                at.clone().map(|i| (routing.chosen[i], routing.weights[i])).collect();
            let mut theirs: Vec<(u32, f32)> = at.map(|i| (ids[i] as u32, weights[i])).collect();
            ours.sort_by_key(|c| c.0);
            theirs.sort_by_key(|c| c.0);
            for (a, b) in ours.iter().zip(&theirs) {
                assert_eq!(a.0, b.0, "{}: layer {}, token {token}", self.name, routing.layer);
                assert!((a.1 - b.1).abs() <= 1e-4 * b.1.abs().max(0.1), "{}: {a:?}, {b:?}", self.name);
            }
        }
    }
}

fn check(name: &str) {
    for inside in [false, true] {
        check_way(name, inside);
    }
}

fn check_way(name: &str, inside: bool) {
    let golden = Golden::read(name);
    let decoder = decoder(name);
    let contexts = contexts(&golden.tensors["tokens"]);
    let mut record = Record { inside, ..Record::default() };
    let logits = decoder.forward(&contexts, &mut record).unwrap();
    let mut worst = golden.close("logits", &logits, 1e-4);
    for (layer, hidden) in record.hidden.iter().enumerate() {
        worst = worst.max(golden.close(&format!("hidden.{layer}"), hidden, 1e-4));
    }
    let layers_with_experts = golden.tensors.keys().filter(|k| k.starts_with("chosen.")).count();
    assert_eq!(record.routing.len(), layers_with_experts, "{name}");
    record.routing.iter().for_each(|routing| golden.same_routing(routing));
    let loss = summed_loss(&logits, &contexts).unwrap();
    golden.close("loss", &loss, 1e-5);
    let grads = loss.backward().unwrap();
    let mut gradient = 0f32;
    for (layer, shift) in record.shifts.iter().enumerate() {
        let ours =
            grads.get(shift.as_tensor()).unwrap_or_else(|| panic!("{name}: no gradient at layer {layer}"));
        gradient = gradient.max(golden.close(&format!("gradient.{layer}"), ours, 1e-3));
    }
    println!(
        "{name}, inside {inside}: hidden states and logits {worst:.1e}, gradients {gradient:.1e}, {layers_with_experts} MoE layers"
    );
}

/// One test a family, and one that no stored family is forgotten.
macro_rules! families {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            check($name);
        })*

        #[test]
        fn every_stored_family_is_checked() {
            let mut stored: Vec<String> = std::fs::read_dir(folder("")).unwrap()
                .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
                .collect();
            stored.sort();
            let mut checked = vec![$($name.to_owned()),*];
            checked.sort();
            assert_eq!(stored, checked);
        }
    };
}

families! {
    gpt2: "gpt2",
    gpt2_inverse_layer: "gpt2-inverse-layer",
    gpt_neox: "gpt_neox",
    gpt_neox_sequential: "gpt_neox-sequential",
    llama: "llama",
    llama_biases: "llama-biases",
    mistral: "mistral",
    qwen2: "qwen2",
    qwen3: "qwen3",
    gemma2: "gemma2",
    gemma3: "gemma3",
    granite: "granite",
    olmoe: "olmoe",
    olmoe_clipped: "olmoe-clipped",
    olmoe_top1: "olmoe-top1",
    mixtral: "mixtral",
    qwen2_moe: "qwen2_moe",
    qwen3_moe: "qwen3_moe",
    deepseek_v2: "deepseek_v2",
    deepseek_v2_groups: "deepseek_v2-groups",
    deepseek_v3: "deepseek_v3",
    deepseek_v3_plain: "deepseek_v3-plain",
    gpt_oss: "gpt_oss",
    gpt_oss_mxfp4: "gpt_oss-mxfp4",
    granitemoe: "granitemoe",
    granitemoeshared: "granitemoeshared",
    olmo2: "olmo2",
    olmo3: "olmo3",
    phi3: "phi3",
    phi3_plain: "phi3-plain",
    smollm3: "smollm3",
    ministral: "ministral",
    ministral3: "ministral3",
    gemma3_pictures: "gemma3-pictures",
    mistral3_pictures: "mistral3-pictures",
    llava_pictures: "llava-pictures",
    mixtral_fused: "mixtral-fused",
    olmoe_fused: "olmoe-fused",
    qwen2_moe_fused: "qwen2_moe-fused",
    gemma3n: "gemma3n",
    gemma3n_second_stream: "gemma3n-second-stream",
    gemma4: "gemma4",
    gemma4_experts: "gemma4-experts",
    gemma4_pictures: "gemma4-pictures",
    gemma4_unified: "gemma4-unified",
    gemma: "gemma",
    arcee: "arcee",
    mistral4: "mistral4",
    qwen2_vl_pictures: "qwen2_vl-pictures",
    qwen2_5_vl_pictures: "qwen2_5_vl-pictures",
    qwen3_vl_pictures: "qwen3_vl-pictures",
}

/// A graph is traced through a model that is linear once its patterns and norms are held. These are not, and refuse.
#[test]
fn models_with_more_than_one_stream_cannot_be_traced() {
    let text = Contexts {
        rows: 1,
        len: 4,
        tokens: vec![5, 6, 7, 8],
        segments: vec![1; 4],
        positions: vec![0, 1, 2, 3],
        origin: (0..4).map(|position| Some((0, position))).collect(),
    };
    assert!(decoder("gemma2").freeze(&text).is_ok() && decoder("gemma").freeze(&text).is_ok());
    for name in ["gemma3n", "gemma3n-second-stream", "gemma4", "gemma4-experts", "gemma4-unified"] {
        let error = decoder(name).freeze(&text).unwrap_err().to_string();
        assert!(error.contains("cannot be traced"), "{name}: {error}");
    }
}
