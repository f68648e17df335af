//! The language model inside a model that also sees pictures.

use std::borrow::Cow;
use std::path::Path;

use serde_json::Value;

use super::fields::Fields;
use crate::Result;

/// Models around a language model that is one of the families read, and the family where `text_config` does not name it.
pub(super) const AROUND: [(&str, &str); 3] =
    [("gemma3", "gemma3_text"), ("llava", "llama"), ("mistral3", "mistral")];

/// Fields that may stand outside `text_config` and mean the language model.
const SHARED: [&str; 4] = ["bos_token_id", "eos_token_id", "tie_word_embeddings", "quantization_config"];

/// The configuration of the language model: `text_config` of a model around one, else the file itself.
pub(super) fn text_part<'a>(json: &'a Value, path: &Path) -> Result<Cow<'a, Value>> {
    let fields = Fields::new(json, path)?;
    let kind = fields.text(&["model_type"])?.unwrap_or_default();
    let Some((_, inner)) = AROUND.iter().find(|(name, _)| *name == kind) else {
        return Ok(Cow::Borrowed(json));
    };
    if fields.object(&["text_config"])?.is_none() {
        return Err(fields.error("has no text_config"));
    }
    let mut text = json["text_config"].clone();
    if let Value::Object(map) = &mut text {
        map.entry("model_type").or_insert_with(|| (*inner).into());
        for name in SHARED {
            if let Some(value) = json.get(name) {
                map.entry(name).or_insert_with(|| value.clone());
            }
        }
    }
    Ok(Cow::Owned(text))
}
