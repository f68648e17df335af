//! Writers of the layouts of other programs: those that the product exports to, and those that it only reads.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use sae::Quiet;
use sae::dictionary::{Dictionary, Selection};
use sae::export::{self, ExportOptions, Format};
use serde_json::{Value, json};

use crate::made::published;

/// CRC-32 as zip files have it.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0_u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// A `.npz` file as `numpy.savez` writes it: stored `.npy` members.
fn npz(arrays: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, shape, numbers) in arrays {
        let shape: String = shape.iter().map(|n| format!("{n}, ")).collect();
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}\n");
        let mut content = b"\x93NUMPY\x01\x00".to_vec();
        content.extend((header.len() as u16).to_le_bytes());
        content.extend(header.as_bytes());
        content.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        let (name, at) = (format!("{name}.npy"), bytes.len() as u32);
        let mut about = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        for word in [crc(&content), content.len() as u32, content.len() as u32] {
            about.extend(word.to_le_bytes());
        }
        about.extend((name.len() as u16).to_le_bytes());
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&about);
        bytes.extend([0, 0]);
        bytes.extend(name.as_bytes());
        bytes.extend(content);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&about);
        directory.extend([0; 12]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, count) = (bytes.len() as u32, arrays.len() as u16);
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(count.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

pub fn safetensors(path: &Path, tensors: &[(&str, &[usize], &[f32])]) {
    let tensor = |numbers: &[f32], shape: &[usize]| Tensor::from_slice(numbers, shape, &Device::Cpu).unwrap();
    let all: HashMap<String, Tensor> =
        tensors.iter().map(|(name, shape, numbers)| ((*name).to_owned(), tensor(numbers, shape))).collect();
    candle_core::safetensors::save(&all, path).unwrap();
}

/// `[rows, columns]` turned into `[columns, rows]`.
pub fn turned(matrix: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|j| matrix.chunks_exact(columns).map(move |row| row[j])).collect()
}

/// Thresholds, or zeros, of all features.
fn thresholds(dictionary: &Dictionary) -> Vec<f32> {
    match &dictionary.selection {
        Selection::Threshold(thresholds) if thresholds.len() == 1 => vec![thresholds[0]; dictionary.d_sae],
        Selection::Threshold(thresholds) => thresholds.clone(),
        _ => vec![0.0; dictionary.d_sae],
    }
}

/// The encoder's bias of a dictionary that subtracts nothing first, for the same codes.
pub fn folded(dictionary: &Dictionary) -> Dictionary {
    let mut folded = dictionary.clone();
    for f in 0..folded.d_sae {
        let shift: f32 = folded.encoder_row(f).iter().zip(&folded.b_dec).map(|(w, b)| w * b).sum();
        folded.b_enc[f] -= shift;
    }
    folded
}

fn unfolded(dictionary: &Dictionary) -> Dictionary {
    let mut back = dictionary.clone();
    let shifted = folded(dictionary);
    back.b_enc.iter_mut().zip(&shifted.b_enc).for_each(|(b, s)| *b += *b - s);
    back
}

/// What is to be published.
pub struct Published<'a> {
    /// Its biases are written as they are.
    pub dictionary: &'a Dictionary,
    /// The hook that names and configurations say.
    pub hook: &'a str,
    /// Whether the decoder's bias is to be subtracted first, where a layout says it.
    pub subtracts: bool,
    /// Mean norm of the rows, where a layout says it.
    pub norm: f64,
}

impl Published<'_> {
    fn layer(&self) -> usize {
        self.hook.split('.').nth(1).unwrap().parse().unwrap()
    }

    fn is_of_the_stream(&self) -> bool {
        self.hook.ends_with("hook_resid_post")
    }
}

/// What a layout does with the decoder's bias.
#[derive(Clone, Copy, PartialEq)]
pub enum Bias {
    /// Always subtracts it first.
    Subtracted,
    /// Never does.
    Kept,
    /// Its configuration says.
    Said,
}

/// A layout of sparse autoencoders.
pub struct Layout {
    pub name: &'static str,
    pub bias: Bias,
    /// Whether it keeps the k best, rather than what passes thresholds.
    pub by_k: bool,
    pub write: fn(&Path, &Published<'_>) -> PathBuf,
}

pub const LAYOUTS: [Layout; 7] = [
    Layout { name: "SAELens", bias: Bias::Said, by_k: true, write: saelens },
    Layout { name: "sparsify", bias: Bias::Subtracted, by_k: true, write: sparsify },
    Layout { name: "dictionary_learning TopK", bias: Bias::Subtracted, by_k: true, write: learning },
    Layout { name: "dictionary_learning JumpReLU", bias: Bias::Kept, by_k: false, write: learning_jump },
    Layout { name: "Gemma Scope", bias: Bias::Kept, by_k: false, write: gemma_scope },
    Layout { name: "Gemma Scope 2", bias: Bias::Kept, by_k: false, write: gemma_scope_2 },
    Layout { name: "Llama Scope", bias: Bias::Kept, by_k: false, write: llama_scope },
];

fn saelens(at: &Path, of: &Published<'_>) -> PathBuf {
    let folder = published(of.dictionary, of.hook, &[("apply_b_dec_to_input", json!(of.subtracts))]);
    std::fs::rename(folder.path(), at.join("saelens")).unwrap();
    at.join("saelens")
}

/// Hook and layer, and the L0 that is published, from the names of folders.
fn gemma_scope(at: &Path, of: &Published<'_>) -> PathBuf {
    gemma_scope_with_l0(at, of, 16)
}

pub fn gemma_scope_with_l0(at: &Path, of: &Published<'_>, l0: usize) -> PathBuf {
    let site = if of.is_of_the_stream() { "res" } else { "mlp" };
    let folder = at.join(format!("gemma-scope-2b-pt-{site}/layer_{}/width_1k/average_l0_{l0}", of.layer()));
    std::fs::create_dir_all(&folder).unwrap();
    let (dictionary, d, f) = (of.dictionary, of.dictionary.d_in, of.dictionary.d_sae);
    let bytes = npz(&[
        ("W_enc", &[d, f], &turned(&dictionary.w_enc, d)),
        ("W_dec", &[f, d], &dictionary.w_dec),
        ("b_enc", &[f], &dictionary.b_enc),
        ("b_dec", &[d], &dictionary.b_dec),
        ("threshold", &[f], &thresholds(dictionary)),
    ]);
    std::fs::write(folder.join("params.npz"), bytes).unwrap();
    folder
}

fn gemma_scope_2(at: &Path, of: &Published<'_>) -> PathBuf {
    let folder = at.join(format!("resid_post/layer_{}_width_1k_l0_small", of.layer()));
    std::fs::create_dir_all(&folder).unwrap();
    let (dictionary, d, f) = (of.dictionary, of.dictionary.d_in, of.dictionary.d_sae);
    safetensors(
        &folder.join("params.safetensors"),
        &[
            ("w_enc", &[d, f], &turned(&dictionary.w_enc, d)),
            ("w_dec", &[f, d], &dictionary.w_dec),
            ("b_enc", &[f], &dictionary.b_enc),
            ("b_dec", &[d], &dictionary.b_dec),
            ("threshold", &[f], &thresholds(dictionary)),
        ],
    );
    let place = if of.is_of_the_stream() { "output" } else { "post_feedforward_layernorm.output" };
    let point = format!("model.layers.{}.{place}", of.layer());
    let config = json!({"architecture": "jump_relu", "hf_hook_point_in": point});
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    folder
}

fn llama_scope(at: &Path, of: &Published<'_>) -> PathBuf {
    llama_scope_with(at, of, true, true)
}

/// Weights for rows times `√d/norm` if `scaled`, the one threshold of activations as they are if `raw`.
pub fn llama_scope_with(at: &Path, of: &Published<'_>, scaled: bool, raw: bool) -> PathBuf {
    let folder = at.join("L2R");
    std::fs::create_dir_all(folder.join("checkpoints")).unwrap();
    let scale = ((of.dictionary.d_in as f64).sqrt() / of.norm) as f32;
    let mut dictionary = of.dictionary.clone();
    if scaled {
        dictionary = dictionary.for_raw_activations(1.0 / scale);
    }
    let (d, f) = (dictionary.d_in, dictionary.d_sae);
    safetensors(
        &folder.join("checkpoints/final.safetensors"),
        &[
            ("encoder.weight", &[f, d], &dictionary.w_enc),
            ("encoder.bias", &[f], &dictionary.b_enc),
            ("decoder.weight", &[d, f], &turned(&dictionary.w_dec, d)),
            ("decoder.bias", &[d], &dictionary.b_dec),
        ],
    );
    let mut all = thresholds(&dictionary);
    all.sort_by(f32::total_cmp);
    let threshold = all[all.len() / 2] / if raw { scale } else { 1.0 };
    let settings = json!({
        "d_model": d, "d_sae": f, "jump_relu_threshold": threshold, "act_fn": "jumprelu", "use_decoder_bias": true,
        "dataset_average_activation_norm": {"in": of.norm, "out": of.norm}, "hook_point_in": of.hook, "hook_point_out": of.hook,
    });
    std::fs::write(folder.join("hyperparams.json"), settings.to_string()).unwrap();
    folder
}

/// In a format that the product exports to, with changes of its configuration.
pub fn exported(
    at: &Path,
    dictionary: &Dictionary,
    hook: &str,
    (to, config): (Format, &str),
    changes: &[(&str, Value)],
) -> PathBuf {
    let mut dictionary = dictionary.clone();
    dictionary.info.hook_name = Some(hook.to_owned());
    dictionary.info.model_name = None;
    let (bare, out) = (at.join("bare"), at.join("out"));
    dictionary.save(&bare).unwrap();
    export::run(&bare, &ExportOptions::new(to, &out), &mut Quiet).unwrap();
    // The dictionary is in the folder itself, or in the only one inside.
    let inside =
        std::fs::read_dir(&out).unwrap().flatten().map(|entry| entry.path()).find(|path| path.is_dir());
    let folder = inside.unwrap_or(out);
    if !changes.is_empty() {
        let path = folder.join(config);
        let mut settings: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for (key, value) in changes {
            settings[*key] = value.clone();
        }
        std::fs::write(&path, settings.to_string()).unwrap();
    }
    folder
}

pub const SPARSIFY: (Format, &str) = (Format::Sparsify, "cfg.json");
const LEARNING: (Format, &str) = (Format::DictionaryLearning, "config.json");

fn sparsify(at: &Path, of: &Published<'_>) -> PathBuf {
    exported(at, of.dictionary, of.hook, SPARSIFY, &[])
}

fn learning(at: &Path, of: &Published<'_>) -> PathBuf {
    exported(at, of.dictionary, of.hook, LEARNING, &[])
}

/// The export folds the bias that our dictionaries subtract: it is given one of which that makes what is to be written.
fn learning_jump(at: &Path, of: &Published<'_>) -> PathBuf {
    let mut each = unfolded(of.dictionary);
    // Thresholds of their own: one for all would be a BatchTopKSAE.
    let mut own = thresholds(&each);
    own[0] *= 1.0001;
    each.selection = Selection::Threshold(own);
    exported(at, &each, of.hook, LEARNING, &[])
}

/// A transcoder, as a set of the one layer.
pub fn circuit_tracer(at: &Path, transcoder: &Dictionary, hook: &str) -> PathBuf {
    let layer = hook.split('.').nth(1).unwrap();
    let mut transcoder = transcoder.clone();
    transcoder.target.as_mut().unwrap().hook = Some(format!("blocks.{layer}.hook_mlp_out"));
    let folder = exported(at, &transcoder, hook, (Format::CircuitTracer, ""), &[]);
    folder.join(format!("layer_{layer}.safetensors"))
}
