//! Which token begins every context, and which file decides it.

use std::path::Path;
use std::str::FromStr;

use serde_json::Value;

use crate::{Error, Result};

/// What a person asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BosRule {
    /// As the tokenizer's own files say.
    #[default]
    Auto,
    /// Every context begins with the model's begin token.
    Always,
    /// No context begins with one.
    Never,
}

impl FromStr for BosRule {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            other => Err(format!("`{other}` is not one of auto, always, never")),
        }
    }
}

impl std::fmt::Display for BosRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        })
    }
}

/// How contexts begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// The token that begins every context, if one does.
    pub token: Option<u32>,
    /// The model's begin token, whether or not contexts begin with it.
    pub named: Option<u32>,
    /// What decided it, for people: a file and what it says.
    pub because: String,
}

impl Beginning {
    /// A token that the caller knows.
    pub(super) fn given(token: Option<u32>) -> Self {
        Self { token, named: token, because: "config.json: bos_token_id".to_owned() }
    }

    /// By a rule that somebody gave.
    ///
    /// # Errors
    /// [`Error::Request`] for `always` where no file names a begin token.
    pub fn by(&self, rule: BosRule) -> Result<Self> {
        let because = format!("--bos {rule}");
        match rule {
            BosRule::Auto => Ok(self.clone()),
            BosRule::Never => Ok(Self { token: None, named: self.named, because }),
            BosRule::Always => match self.named {
                Some(token) => Ok(Self { token: Some(token), named: self.named, because }),
                None => Err(Error::request("no file of the model names a token that begins a text")
                    .with_remedy("leave out --bos always, or name bos_token in tokenizer_config.json")),
            },
        }
    }
}

/// What the files of a folder say: `add_bos_token` of `tokenizer_config.json`, else the template of
/// `tokenizer.json`. Where `tokenizer_config.json` is there and neither decides, transformers adds none; where
/// it is not there, `config.json` is all there is.
pub(super) fn of_folder(
    folder: &Path,
    tokenizer: &tokenizers::Tokenizer,
    configured: Option<u32>,
) -> Result<Beginning> {
    let path = folder.join("tokenizer_config.json");
    let written = if path.is_file() { Some(json(&path)?) } else { None };
    let written_token = written.as_ref().and_then(|w| text_of(&w["bos_token"])).map(str::to_owned);
    let named = written_token.and_then(|token| tokenizer.token_to_id(&token)).or(configured);
    let template = template(tokenizer);
    let beginning = |token: Option<u32>, because: &str| Beginning {
        token,
        named: token.or(named),
        because: because.to_owned(),
    };
    let flag = written.as_ref().and_then(|w| w["add_bos_token"].as_bool());
    Ok(match (flag, template) {
        (Some(false), _) => beginning(None, "tokenizer_config.json: add_bos_token is false"),
        (Some(true), template) if named.or(template).is_some() => {
            beginning(named.or(template), "tokenizer_config.json: add_bos_token is true")
        }
        (_, Some(token)) => beginning(Some(token), "tokenizer.json: the template of its post-processor"),
        (_, None) if written.is_some() => {
            beginning(None, "tokenizer_config.json and tokenizer.json: nothing adds one")
        }
        (_, None) => beginning(configured, "config.json: bos_token_id"),
    })
}

fn json(path: &Path) -> Result<Value> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::format(path, format!("is not JSON: {e}")))
}

/// A token is written as a text or as an object with `content`.
pub(crate) fn text_of(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token["content"].as_str())
}

/// The special token that a template of the post-processor puts before a text.
fn template(tokenizer: &tokenizers::Tokenizer) -> Option<u32> {
    let processor = serde_json::to_value(tokenizer.get_post_processor()).ok()?;
    let alone = [processor.clone()];
    let steps = processor["processors"].as_array().map_or(&alone[..], Vec::as_slice);
    steps.iter().find_map(|step| match step["type"].as_str()? {
        "TemplateProcessing" => {
            let name = step["single"][0]["SpecialToken"]["id"].as_str()?;
            let id = &step["special_tokens"][name]["ids"][0];
            id.as_u64().and_then(|id| u32::try_from(id).ok()).or_else(|| tokenizer.token_to_id(name))
        }
        "BertProcessing" | "RobertaProcessing" => {
            step["cls"][1].as_u64().and_then(|id| u32::try_from(id).ok())
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Tokenizer;
    use super::*;

    fn tokenizer_json(processor: &Value) -> String {
        let special = |id: u32, content: &str| {
            serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        };
        serde_json::json!({"version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [special(2, "<s>"), special(3, "</s>")],
            "normalizer": null, "pre_tokenizer": null, "post_processor": processor, "decoder": null,
            "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}})
        .to_string()
    }

    /// `[single, pair]` of a template that puts `<s>` first, after another step, as Llama 3's does.
    fn llama() -> Value {
        let special = serde_json::json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
        let sequence = |id: &str| serde_json::json!({"Sequence": {"id": id, "type_id": 0}});
        serde_json::json!({"type": "Sequence", "processors": [
            {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
            {"type": "TemplateProcessing", "single": [special, sequence("A")], "pair": [special, sequence("A"), sequence("B")],
             "special_tokens": {"<s>": {"id": "<s>", "ids": [2], "tokens": ["<s>"]}}}]})
    }

    #[allow(clippy::needless_pass_by_value)] // Tests read better without borrows of literals.
    fn beginning(processor: Value, config: Option<Value>, configured: Option<u32>) -> Beginning {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), tokenizer_json(&processor)).unwrap();
        if let Some(config) = config {
            std::fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        }
        Tokenizer::from_folder(folder.path(), configured).unwrap().0.beginning().clone()
    }

    #[test]
    fn the_tokenizers_own_files_decide() {
        let no = serde_json::json!({"add_bos_token": false, "bos_token": null});
        let yes = serde_json::json!({"add_bos_token": true, "bos_token": {"content": "</s>"}});
        let silent = serde_json::json!({"bos_token": "<s>"});
        let token = |processor, config, configured| beginning(processor, config, configured).token;
        // Qwen: config.json names a token that the tokenizer does not add.
        assert_eq!(token(Value::Null, Some(no.clone()), Some(3)), None);
        assert_eq!(beginning(Value::Null, Some(no.clone()), Some(3)).named, Some(3));
        assert_eq!(token(llama(), Some(no), Some(3)), None);
        assert_eq!(token(Value::Null, Some(yes), Some(2)), Some(3));
        assert_eq!(token(llama(), Some(silent.clone()), None), Some(2));
        assert_eq!(token(llama(), None, Some(3)), Some(2));
        assert_eq!(token(Value::Null, Some(silent.clone()), Some(3)), None, "as transformers");
        assert_eq!(beginning(Value::Null, Some(silent), None).named, Some(2));
        assert_eq!(token(Value::Null, None, Some(3)), Some(3), "no file of the tokenizer decides");
    }

    #[test]
    fn a_person_may_decide_otherwise() {
        let files = Beginning { token: None, named: Some(2), because: String::new() };
        assert_eq!(files.by(BosRule::Always).unwrap().token, Some(2));
        assert_eq!(files.by("never".parse().unwrap()).unwrap().token, None);
        assert_eq!(files.by(BosRule::Auto).unwrap(), files);
        let error = Beginning { named: None, ..files }.by(BosRule::Always).unwrap_err();
        assert!(error.remedy().unwrap().contains("--bos"), "{error}");
        assert!("maybe".parse::<BosRule>().is_err());
    }
}
