//! What `sae prompt` prints.

use serde_json::{Value, json};

use crate::Output;
use sae::dictionary::recode::Coding;
use sae::prompt::{
    Attribution, Change, Continuation, Edit, Effect, Maximum, MaximumSource, Prompter, Reading, Sampling,
    Spread, SufficientSet, Target,
};

/// Order of a token's features.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    Activation,
    Share,
    Effect,
}

/// A continuation and the name of the intervention it was made with.
pub struct NamedContinuation {
    pub name: &'static str,
    pub continuation: Continuation,
}

/// Everything that `sae prompt` shows.
pub struct Answer<'a> {
    pub prompter: &'a Prompter,
    pub reading: &'a Reading,
    pub attribution: Option<Attribution>,
    pub changes: Vec<Change>,
    pub maxima: Vec<Maximum>,
    pub effect: Option<Effect>,
    pub explained: Option<SufficientSet>,
    /// The likeliest tokens through a lens, of every token.
    pub lens: Option<Vec<Vec<(u32, f32)>>>,
    pub sampling: Sampling,
    pub continued: Vec<NamedContinuation>,
}

/// A feature of a token.
struct Code {
    feature: u32,
    activation: f32,
    /// Share of the feature's own maximum.
    share: Option<f32>,
    effect: Option<f32>,
}

impl Answer<'_> {
    pub fn output(&self, by: Order, top: usize) -> Output {
        let mut output = Output::new(self.json());
        let opened = self.prompter.info();
        output.row("model", &opened.model);
        output.row("at", format!("{}, {} features", opened.hook, opened.d_sae));
        if let Some(coding) = self.prompter.recoded() {
            output.row("codes", format!("searched by {}", coding.name()));
        }
        let losses: Vec<f32> = self.reading.predictions.iter().filter_map(|p| p.loss).collect();
        let loss = match losses.len() {
            0 => String::new(),
            n => format!(", loss {:.4} nats per token", losses.iter().sum::<f32>() / n as f32),
        };
        output.row("text", format!("{} tokens{loss}", self.reading.len()));
        if let Some(attribution) = &self.attribution {
            output.row("effect", self.target(attribution));
        }
        for (token, text) in self.prompter.texts(&self.reading.tokens).iter().enumerate() {
            let name = format!("{token} {text:?}");
            output.row(&name, self.features(token, by, top));
        }
        for (token, likely) in self.lens.iter().flatten().enumerate() {
            let word = |&(token, p): &(u32, f32)| format!("{:?} {:.1} %", self.text(token), 100.0 * p);
            output.row(&format!("lens {token}"), likely.iter().map(word).collect::<Vec<_>>().join(", "));
        }
        if let Some(set) = &self.explained {
            super::explain::show(&mut output, set, self.prompter, self.reading);
        }
        if let Some(effect) = &self.effect {
            self.changed(&mut output, effect);
        }
        for NamedContinuation { name, continuation } in &self.continued {
            let end = if continuation.ended { " (end)" } else { "" };
            output.row(&format!("continued, {name}"), format!("{:?}{end}", continuation.text));
        }
        output
    }

    fn text(&self, token: u32) -> &str {
        self.prompter.token_text(token)
    }

    fn target(&self, attribution: &Attribution) -> String {
        let value = attribution.value;
        match attribution.target {
            Target::Loss => format!("on the summed loss, {value:.4} nats; below 0 helps"),
            Target::Logit { token, position } => {
                format!("on the logit of {:?} after token {position}, {value:.4}", self.text(token))
            }
        }
    }

    /// The codes of a token, in order.
    fn codes(&self, token: usize, by: Order) -> Vec<Code> {
        let codes = &self.reading.codes;
        let range = codes.offsets[token]..codes.offsets[token + 1];
        let of = |i: usize| Code {
            feature: codes.features[i],
            activation: codes.values[i],
            share: self
                .prompter
                .maximum(self.reading, codes.features[i])
                .ok()
                .map(|m| codes.values[i] / m.value),
            effect: self.attribution.as_ref().map(|attribution| attribution.effects[i]),
        };
        let mut all: Vec<Code> = range.map(of).collect();
        let size = |code: &Code| match by {
            Order::Activation => code.activation,
            Order::Share => code.share.unwrap_or_default(),
            Order::Effect => code.effect.unwrap_or_default().abs(),
        };
        // At the last token effects on the loss are all 0: there activations decide the order.
        let order =
            |a: &Code, b: &Code| size(b).total_cmp(&size(a)).then(b.activation.total_cmp(&a.activation));
        all.sort_by(|a, b| order(a, b).then(a.feature.cmp(&b.feature)));
        all
    }

    fn features(&self, token: usize, by: Order, top: usize) -> String {
        if self.reading.left_out[token] {
            return "left out: its norm is above the limit of training".to_owned();
        }
        let codes = self.codes(token, by);
        let one = |code: &Code| match (code.effect, code.share) {
            (Some(effect), _) => format!("{} {:.3} ({effect:+.4})", code.feature, code.activation),
            (None, Some(share)) if matches!(by, Order::Share) => {
                format!("{} {:.3} ({:.1} %)", code.feature, code.activation, 100.0 * share)
            }
            _ => format!("{} {:.3}", code.feature, code.activation),
        };
        let more = if codes.len() > top { format!(", {} more", codes.len() - top) } else { String::new() };
        let shown: Vec<String> = codes.iter().take(top).map(one).collect();
        if shown.is_empty() && codes.is_empty() { "–".to_owned() } else { shown.join(", ") + &more }
    }

    fn changed(&self, output: &mut Output, effect: &Effect) {
        for change in &self.changes {
            let unit = self.maxima.iter().find(|maximum| maximum.feature == change.feature);
            let unit = unit.map_or(String::new(), |maximum| {
                let of = match maximum.of {
                    MaximumSource::Index => "the index",
                    MaximumSource::Text => "this text; the run has no index",
                };
                format!(", of its maximum {:.4} in {of}", maximum.value)
            });
            let what = match change.edit {
                Edit::Ablate => "ablated".to_owned(),
                Edit::Clamp(share) => format!("held at {share}{unit}"),
                Edit::Add(share) => format!("{share:+}{unit}"),
            };
            output.row(&format!("feature {}", change.feature), what);
        }
        let ratio = effect.mean_ratio();
        let changed = effect.deltas.iter().filter(|delta| **delta > 0.0).count();
        let step = ratio.map_or_else(
            || "nothing changes: the features do not fire here".to_owned(),
            |ratio| format!("{ratio:.4}, mean over {changed} changed tokens"),
        );
        output.row("‖δ‖/‖x‖", step);
        let of = |spread: Option<Spread>| match spread {
            Some(s) => format!("; control {:.4} ({:.4} to {:.4})", s.mean, s.low, s.high),
            None => "; no control".to_owned(),
        };
        output.row("KL", format!("{:.4} nats per token{}", effect.after.mean_kl(), of(effect.control_kl())));
        if let (Some(before), Some(after)) = (effect.mean_before(), effect.after.mean_loss()) {
            output.row("loss", format!("{before:.4} → {after:.4}{}", of(effect.control_loss())));
        }
    }

    fn json(&self) -> Value {
        let texts = self.prompter.texts(&self.reading.tokens);
        let tokens: Vec<Value> = texts.iter().enumerate().map(|(i, text)| self.token(i, text)).collect();
        let continuations: Vec<Value> = self
            .continued
            .iter()
            .map(|NamedContinuation { name, continuation }| json!({ "with": name, "continuation": continuation }))
            .collect();
        let target = self.attribution.as_ref().map(|a| json!({ "target": a.target, "value": a.value }));
        let effect = self.effect.as_ref().map(|effect| {
            json!({
                "changes": self.changes, "maxima": self.maxima,
                "mean_ratio": effect.mean_ratio(),
                "mean_kl": effect.after.mean_kl(), "control_kl": effect.control_kl(),
                "loss_before": effect.mean_before(), "loss_after": effect.after.mean_loss(),
                "control_loss": effect.control_loss(),
                "tokens": effect,
            })
        });
        json!({
            "opened": self.prompter.info(),
            "text": self.reading.text,
            "recoded": self.prompter.recoded().map(Coding::name),
            "effect_on": target,
            "tokens": tokens,
            "changed": effect,
            "explained": self.explained.as_ref().map(|set| super::explain::json(set, self.prompter, self.reading)),
            "sampling": self.sampling,
            "continuations": continuations,
        })
    }

    fn token(&self, token: usize, text: &str) -> Value {
        let prediction = &self.reading.predictions[token];
        let code = |code: &Code| {
            let (feature, activation) = (code.feature, code.activation);
            json!({ "feature": feature, "activation": activation, "share": code.share, "effect": code.effect })
        };
        let likely = |&(token, p): &(u32, f32)| json!({ "token": token, "text": self.text(token), "p": p });
        let expert = |(expert, weight): (u32, f32)| json!({ "expert": expert, "weight": weight });
        let layers = self.reading.experts.iter();
        let experts: Vec<Value> = layers
            .map(|l| json!({ "layer": l.layer, "experts": l.of(token).map(expert).collect::<Vec<_>>() }))
            .collect();
        json!({
            "position": token,
            "token": self.reading.tokens[token],
            "text": text,
            "norm": self.reading.norms[token],
            "left_out": self.reading.left_out[token],
            "loss": prediction.loss,
            "experts": experts,
            "top": prediction.top.iter().map(likely).collect::<Vec<_>>(),
            "lens": self.lens.as_ref().map(|all| all[token].iter().map(likely).collect::<Vec<_>>()),
            "features": self.codes(token, Order::Activation).iter().map(code).collect::<Vec<_>>(),
        })
    }
}
