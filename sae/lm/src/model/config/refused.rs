//! Why a model is not read, where more can be said than that its family is unknown.

use std::path::Path;

use super::text_part::AROUND;
use crate::Error;

/// What a `model_type` begins with and what kind of model that is. The first that fits counts.
const KINDS: [(&str, &str); 35] = [
    ("mamba", RECURRENT),
    ("falcon_mamba", RECURRENT),
    ("rwkv", RECURRENT),
    ("xlstm", RECURRENT),
    ("jamba", HYBRID),
    ("zamba", HYBRID),
    ("bamba", HYBRID),
    ("falcon_h1", HYBRID),
    ("granitemoehybrid", HYBRID),
    ("nemotron_h", HYBRID),
    ("recurrent_gemma", HYBRID),
    ("qwen3_next", HYBRID),
    ("qwen3_5", HYBRID),
    ("lfm2", HYBRID),
    ("lfm3", HYBRID),
    ("kimi_linear", HYBRID),
    ("olmo_hybrid", HYBRID),
    ("bailing_hybrid", HYBRID),
    ("gemma4", GEMMA_4),
    ("diffusion_gemma", "generates by diffusion: a token's activation depends on the tokens after it"),
    ("llada", "generates by diffusion: a token's activation depends on the tokens after it"),
    ("t5", ENCODER_DECODER),
    ("mt5", ENCODER_DECODER),
    ("umt5", ENCODER_DECODER),
    ("switch_transformers", ENCODER_DECODER),
    ("bart", ENCODER_DECODER),
    ("whisper", ENCODER_DECODER),
    ("bert", ENCODER),
    ("roberta", ENCODER),
    ("xlm-roberta", ENCODER),
    ("distilbert", ENCODER),
    ("modernbert", ENCODER),
    ("deberta", ENCODER),
    ("clip", PICTURES),
    ("siglip", PICTURES),
];

const RECURRENT: &str =
    "is a recurrent model: it has a state in place of attention, and no hooks of attention";
const HYBRID: &str = "has recurrent or linear-attention layers between its attention layers";
const GEMMA_4: &str = "drafts tokens for a Gemma 4 model and reads the keys and values of that model";
const ENCODER_DECODER: &str = "is an encoder with a decoder";
const ENCODER: &str = "is an encoder: a token's activation depends on the tokens after it";
const PICTURES: &str = "is not a language model but sees pictures";

/// llama.cpp's names of architectures that are not Hugging Face's with other signs.
const GGUF_NAMES: [(&str, &str); 13] = [
    ("granitehybrid", "granitemoehybrid"),
    ("qwen3next", "qwen3_next"),
    ("qwen35", "qwen3_5"),
    ("plamo2", "jamba"),
    ("arwkv", "rwkv"),
    ("nomic_bert", "bert"),
    ("neo_bert", "bert"),
    ("jina_bert", "bert"),
    ("eurobert", "bert"),
    ("modern_bert", "bert"),
    ("gemma_embedding", "bert"),
    ("dream", "llada"),
    ("rnd1", "llada"),
];

/// What kind of model an architecture of GGUF files is, if that is why it is not read.
pub(in crate::model) fn kind_of_architecture(name: &str) -> Option<&'static str> {
    let plain = name.replace('-', "_");
    // Hugging Face's type of this beginning drafts tokens; the architecture is the model itself.
    if plain.starts_with("gemma4") || plain.starts_with("gemma3n") {
        return Some(
            "is read from a folder in safetensors, but no test compares the tensors of its GGUF files yet",
        );
    }
    let of = GGUF_NAMES.iter().find(|(gguf, _)| plain.starts_with(gguf)).map_or(&*plain, |(_, kind)| kind);
    KINDS.iter().find(|(prefix, _)| of.starts_with(prefix)).map(|(_, what)| *what)
}

/// The error about a `model_type` that is none of `families`, those that are read.
pub(super) fn error(kind: &str, families: &[&'static str], path: &Path) -> Error {
    let mut known: Vec<&str> = families.iter().copied().chain(AROUND.map(|(name, ..)| name)).collect();
    known.sort_unstable();
    let problem = match KINDS.iter().find(|(prefix, _)| kind.starts_with(prefix)) {
        Some((_, what)) => {
            format!("model_type is `{kind}`, which {what}; this version reads decoder-only transformers")
        }
        None => format!("model_type is `{kind}`, a family that is not read"),
    };
    let remedy = "import activations that another program computed (`sae import`), or take a model of a family that is read";
    Error::format(path, problem).with_remedy(format!("{remedy}: {}", known.join(", ")))
}
