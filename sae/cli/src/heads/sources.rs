//! `sae heads sources`.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::inputs::ModelOption;
use crate::{Output, Session};
use sae::heads::{HeldText, Parts, PlacedDictionary, PlacedInModel, Reader, Written};
use sae::{Error, Result};

/// Take a feature's pre-activation at a token apart: what each head moved there from each token, what MLPs wrote, the embedding
///
/// Patterns and norms are held at what they are on the text; then the parts add up. `--through HEAD@TOKEN` looks at what one head moved from
/// one token in the same way, `--with` at the features there. To follow one of these on, give its run and number.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sae heads sources topk --text 'The court held that' --feature 12@3\n  \
                  sae heads sources topk --text 'The court held that' --feature 12@3 --through 2.1@1 --with below\n  \
                  sae heads sources topk --text 'The court held that' --feature 12@3 --through 2@1 --through 0.3@0")]
pub struct Sources {
    /// A run, or a dictionary of a different program: of the residual stream, of attn.hook_z or hook_attn_out, or a transcoder
    #[arg(value_name = "SOURCE")]
    run: String,
    /// Text to read
    #[arg(long)]
    text: String,
    /// The feature, and the token counted from 0; the last one if none is given
    #[arg(long, value_name = "FEATURE[@TOKEN]", value_parser = placed_feature)]
    feature: (u32, Option<usize>),
    /// Continue through a head (LAYER.HEAD@TOKEN) or all heads of a layer (LAYER@TOKEN); BOS is a token too. Several are taken in turn
    #[arg(long, num_args = 1, value_name = "HEAD@TOKEN", value_parser = step)]
    through: Vec<Step>,
    /// Dictionaries of the same model, whose features are shown where they are below
    #[arg(long, num_args = 1.., value_name = "SOURCE")]
    with: Vec<String>,
    /// Heads with tokens, MLPs and features that are listed, those that give most (--json has all)
    #[arg(long, default_value_t = 12, value_name = "N")]
    top: usize,
    /// Dataset that names the model and the hook [default: the one the run was trained on]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    model: ModelOption,
}

/// Through heads of a layer to a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    layer: usize,
    head: Option<usize>,
    /// `None` is BOS.
    token: Option<usize>,
}

fn placed_feature(text: &str) -> std::result::Result<(u32, Option<usize>), String> {
    let wrong = || "expected FEATURE or FEATURE@TOKEN, for example 512@7".to_owned();
    let (feature, token) = match text.split_once('@') {
        None => (text, None),
        Some((feature, token)) => (feature, Some(token.parse().map_err(|_| wrong())?)),
    };
    Ok((feature.parse().map_err(|_| wrong())?, token))
}

fn step(text: &str) -> std::result::Result<Step, String> {
    let wrong = || "expected LAYER.HEAD@TOKEN or LAYER@TOKEN, for example 5.1@3 or 5.1@BOS".to_owned();
    let (place, token) = text.split_once('@').ok_or_else(wrong)?;
    let (layer, head) = match place.split_once('.') {
        None => (place, None),
        Some((layer, head)) => (layer, Some(head.parse().map_err(|_| wrong())?)),
    };
    let token = match token {
        "BOS" | "bos" => None,
        token => Some(token.parse().map_err(|_| wrong())?),
    };
    Ok(Step { layer: layer.parse().map_err(|_| wrong())?, head, token })
}

/// The text in the words of the terminal: tokens are counted from 0, BOS apart.
struct Words<'a> {
    model: &'a lm::model::LanguageModel,
    text: &'a HeldText,
    begins: usize,
    texts: Vec<String>,
}

impl<'a> Words<'a> {
    fn new(model: &'a lm::model::LanguageModel, text: &'a HeldText) -> Self {
        let begins = usize::from(model.bos().is_some());
        let bytes = model.tokenizer().token_bytes();
        let of = |token: &u32| bytes.get(*token as usize).map_or(&[][..], Vec::as_slice);
        let texts = storage::vocabulary::in_context(&text.tokens().iter().map(of).collect::<Vec<_>>());
        Self { model, text, begins, texts }
    }

    /// The place in the context of a token of the text.
    fn place(&self, token: Option<usize>) -> Result<usize> {
        match token {
            None if self.begins == 0 => {
                Err(Error::request(format!("`{}` puts no BOS before a text", self.model.id())))
            }
            None => Ok(0),
            Some(token) if token + self.begins < self.text.tokens().len() => Ok(token + self.begins),
            Some(token) => Err(Error::request(format!(
                "the text has no token {token}: its {} tokens are numbered from 0",
                self.text.tokens().len() - self.begins
            ))),
        }
    }

    /// The number of a place among the tokens of the text; none for BOS.
    fn number(&self, place: usize) -> Option<usize> {
        place.checked_sub(self.begins)
    }

    fn name(&self, place: usize) -> String {
        match self.number(place) {
            None => "BOS".to_owned(),
            Some(number) => format!("{number} {:?}", self.texts[place]),
        }
    }
}

impl Sources {
    /// Runs the command.
    ///
    /// # Errors
    /// Dictionaries or a model that cannot be read or do not belong together; a feature, head or token that does not exist.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let choice = self.model.choice(session)?;
        let source = session.source(&self.run)?;
        let PlacedInModel { model, placed } = PlacedInModel::open(&source, self.data.as_deref(), &choice)?;
        let with =
            self.with.iter().map(|name| PlacedDictionary::open(&session.source(name)?, model.config()));
        let with: Vec<PlacedDictionary> = with.collect::<Result<_>>()?;
        let text = HeldText::of(&model, &self.text)?;
        let words = Words::new(&model, &text);
        let (feature, token) = self.feature;
        let last = text.tokens().len() - 1;
        let place = token.map_or(Ok(last), |token| words.place(Some(token)))?;
        let mut reader = text.feature(&placed, feature, place)?;
        for step in &self.through {
            reader = reader.through(step.layer, step.head, words.place(step.token)?)?;
        }
        let parts = reader.parts()?;
        let written = with.iter().map(|placed| Ok((placed, reader.written(placed)?)));
        let written: Vec<(&PlacedDictionary, Option<Written>)> = written.collect::<Result<_>>()?;
        let mut output = Output::new(json!({
            "model": model.id(), "hook": placed.hook.to_string(), "feature": feature,
            "token": words.number(place), "tokens": words.texts[words.begins..],
            "through": self.through.iter().map(|step| json!({
                "layer": step.layer, "head": step.head, "token": step.token,
            })).collect::<Vec<_>>(),
            "parts": parts_json(&parts, &words),
            "written": written.iter().filter_map(|(placed, written)| {
                Some(json!({ "source": placed.from, "parts": written.as_ref()? }))
            }).collect::<Vec<Value>>(),
        }));
        output.row("model", model.id());
        output.row("feature", format!("{feature} of {} at token {}", placed.hook, words.name(place)));
        for step in &self.through {
            output.row(
                "through",
                format!("{} from token {}", step.name(), words.name(words.place(step.token)?)),
            );
        }
        self.show(&mut output, &parts, &words);
        self.show_features(&mut output, &reader, &written, &words);
        Ok(output)
    }

    fn show(&self, output: &mut Output, parts: &Parts, words: &Words<'_>) {
        let heads: f32 = parts.heads.iter().map(sae::heads::HeadParts::sum).sum();
        let mlps: f32 = parts.mlps.iter().map(|mlp| mlp.value).sum();
        let mut sum = vec![format!("heads {heads:+.4}")];
        if !parts.mlps.is_empty() {
            sum.push(format!("MLPs {mlps:+.4}"));
        }
        sum.extend(parts.embedding.map(|embedding| format!("embedding {embedding:+.4}")));
        sum.push(format!("biases {:+.4}", parts.biases));
        output.row("reads", format!("{:+.4} = {}", parts.whole, sum.join(", ")));
        for (layer, head, source, value) in parts.strongest(self.top) {
            output.row(
                &format!("head {layer}.{head}"),
                format!("{value:+.4}  from token {}", words.name(source)),
            );
        }
        let mut mlps = parts.mlps.clone();
        mlps.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
        for mlp in mlps.iter().take(self.top) {
            output.row(&format!("MLP {}", mlp.layer), format!("{:+.4}", mlp.value));
        }
    }

    fn show_features(
        &self,
        output: &mut Output,
        reader: &Reader<'_>,
        written: &[(&PlacedDictionary, Option<Written>)],
        words: &Words<'_>,
    ) {
        for (placed, written) in written {
            let from = placed.from.display();
            let Some(written) = written else {
                output.row("with", format!("{from} ({}) is not below what is read here", placed.writes()));
                continue;
            };
            let left_out = if written.left_out { "; its norm is above the limit of training" } else { "" };
            output.row(
                "with",
                format!(
                    "{from}: {} at token {} gives {:+.4}, error {:+.4}, bias {:+.4}{left_out}",
                    written.hook,
                    words.name(reader.token()),
                    written.whole,
                    written.error,
                    written.bias
                ),
            );
            for part in written.features.iter().take(self.top) {
                let name = format!("feature {}", part.feature);
                output.row(&name, format!("{:+.4}  activation {:.4}", part.value, part.activation));
            }
        }
    }
}

impl Step {
    fn name(self) -> String {
        match self.head {
            Some(head) => format!("head {}.{head}", self.layer),
            None => format!("all heads of layer {}", self.layer),
        }
    }
}

fn parts_json(parts: &Parts, words: &Words<'_>) -> Value {
    let heads = parts.heads.iter().map(|head| {
        let sources = head.sources.iter().enumerate();
        let sources = sources.map(|(place, value)| json!({ "token": words.number(place), "value": value }));
        json!({ "layer": head.layer, "head": head.head, "value": head.sum(), "sources": sources.collect::<Vec<_>>() })
    });
    json!({
        "token": words.number(parts.token), "whole": parts.whole, "embedding": parts.embedding, "biases": parts.biases,
        "mlps": parts.mlps, "heads": heads.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_features_are_read() {
        assert_eq!(step("5.1@3"), Ok(Step { layer: 5, head: Some(1), token: Some(3) }));
        assert_eq!(step("5@BOS"), Ok(Step { layer: 5, head: None, token: None }));
        assert_eq!(placed_feature("12"), Ok((12, None)));
        assert_eq!(placed_feature("12@7"), Ok((12, Some(7))));
        for wrong in ["", "5", "5.1", "a@1", "5.x@1", "5.1@", "5.1@-1"] {
            assert!(step(wrong).unwrap_err().contains("5.1@3"), "{wrong}");
        }
        for wrong in ["", "@3", "x@1", "12@", "12@BOS"] {
            assert!(placed_feature(wrong).unwrap_err().contains("512@7"), "{wrong}");
        }
    }
}
