//! The language model inside a model that also sees pictures.

use std::borrow::Cow;
use std::path::Path;

use serde_json::Value;

use super::fields::Fields;
use crate::Result;

/// Models around a language model that is one of the families read, the family where `text_config` does not
/// name it, and whether its output matrix is the embedding where the model does not say.
pub(super) const AROUND: [(&str, &str, bool); 9] = [
    ("gemma3", "gemma3_text", true),
    ("gemma3n", "gemma3n_text", true),
    ("gemma4", "gemma4_text", true),
    ("gemma4_unified", "gemma4_unified_text", true),
    ("llava", "llama", false),
    ("mistral3", "mistral", true),
    ("qwen2_vl", "qwen2_vl_text", false),
    ("qwen2_5_vl", "qwen2_5_vl_text", false),
    ("qwen3_vl", "qwen3_vl_text", false),
];

/// Fields that may stand outside `text_config` and mean the language model.
const SHARED: [&str; 3] = ["bos_token_id", "eos_token_id", "quantization_config"];

/// The configuration of the language model: `text_config` of a model around one, else the file itself.
pub(super) fn text_part<'a>(json: &'a Value, path: &Path) -> Result<Cow<'a, Value>> {
    let fields = Fields::new(json, path)?;
    let kind = fields.text(&["model_type"])?.unwrap_or_default();
    let Some((_, inner, tied)) = AROUND.iter().find(|(name, ..)| *name == kind) else {
        return Ok(Cow::Borrowed(json));
    };
    if fields.object(&["text_config"])?.is_none() {
        // The first Qwens that see pictures have the language model's fields in the file itself.
        if fields.get(&["hidden_size"]).is_none() {
            return Err(fields.error("has no text_config"));
        }
        let mut text = json.clone();
        text["model_type"] = (*inner).into();
        return Ok(Cow::Owned(text));
    }
    let tied = fields.flag("tie_word_embeddings", *tied)?;
    let mut text = json["text_config"].clone();
    if let Value::Object(map) = &mut text {
        map.entry("model_type").or_insert_with(|| (*inner).into());
        // The model's output matrix is outside the language model, and so is what its configuration has about it.
        if tied {
            map.insert("tie_word_embeddings".to_owned(), true.into());
        }
        for name in SHARED {
            if let Some(value) = json.get(name) {
                map.entry(name).or_insert_with(|| value.clone());
            }
        }
    }
    Ok(Cow::Owned(text))
}
