//! The embedded default: a small mixture-of-experts model and text of five domains.
//!
//! The model was trained by [`pretrain`](crate::pretrain) on a larger corpus of the same kinds; see `assets/model/README.md` and
//! `assets/corpus/README.md` in the repository.

/// `config.json` of the embedded model.
pub const CONFIG: &[u8] = include_bytes!("../../../assets/model/config.json");
/// `model.safetensors` of the embedded model.
pub const WEIGHTS: &[u8] = include_bytes!("../../../assets/model/model.safetensors");
/// `tokenizer.json` of the embedded model.
pub const TOKENIZER: &[u8] = include_bytes!("../../../assets/model/tokenizer.json");

/// `pretrain.json` of the embedded model: the options that it was made with.
pub const PRETRAIN: &[u8] = include_bytes!("../../../assets/model/pretrain.json");

/// The embedded text: a `.jsonl` file per domain, held-out documents marked.
pub const CORPUS: [(&str, &[u8]); 5] = [
    ("code.jsonl", include_bytes!("../../../assets/corpus/code.jsonl")),
    ("english.jsonl", include_bytes!("../../../assets/corpus/english.jsonl")),
    ("french.jsonl", include_bytes!("../../../assets/corpus/french.jsonl")),
    ("legal.jsonl", include_bytes!("../../../assets/corpus/legal.jsonl")),
    ("reference.jsonl", include_bytes!("../../../assets/corpus/reference.jsonl")),
];
