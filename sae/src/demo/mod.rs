//! The embedded default: a small mixture-of-experts model and its text.

/// `config.json` of the embedded model.
pub const CONFIG: &[u8] = include_bytes!("../../../assets/model/config.json");
/// `model.safetensors` of the embedded model.
pub const WEIGHTS: &[u8] = include_bytes!("../../../assets/model/model.safetensors");
/// `tokenizer.json` of the embedded model.
pub const TOKENIZER: &[u8] = include_bytes!("../../../assets/model/tokenizer.json");
