//! What the pages are made of: columns of the index, and shards of features.

use std::collections::HashMap;

use serde_json::{Value, json};
use storage::examples::ExampleRow;

use super::super::indexed::Feature;
use super::super::number::significant;
use super::super::text::{Words, visible};

/// Digits that are shown.
const DIGITS: usize = 4;
/// Digits of an activation in an example.
const SHADES: usize = 3;
/// Tokens in a list.
const LISTED: usize = 10;
/// Tokens in the table of features.
const NAMED: usize = 4;

/// One line per feature, as columns.
#[derive(Debug, Default)]
pub(super) struct Index {
    feature: Vec<u32>,
    count: Vec<u64>,
    density: Vec<Value>,
    max: Vec<Value>,
    label: Vec<String>,
    text: Vec<String>,
    score: Vec<Value>,
    fires: Vec<Vec<String>>,
    promotes: Vec<Vec<String>>,
}

impl Index {
    pub(super) fn add(&mut self, feature: &Feature, words: &Words) {
        let row = &feature.row;
        self.feature.push(row.feature);
        self.count.push(row.count);
        self.density.push(significant(row.density, DIGITS));
        self.max.push(significant(row.max, DIGITS));
        self.label.push(visible(&feature.label));
        let first = feature.told.first();
        self.text.push(first.map_or_else(String::new, |told| visible(&told.explanation.text)));
        self.score.push(
            first.and_then(|told| told.score()).map_or(Value::Null, |(_, score)| significant(score, 3)),
        );
        self.fires
            .push(row.fires_on.iter().take(NAMED).map(|(token, _)| visible(&words.one(*token))).collect());
        self.promotes
            .push(row.top_logits.iter().take(NAMED).map(|(token, _)| visible(&words.one(*token))).collect());
    }

    pub(super) fn value(&self, run: &Value, shard: usize) -> Value {
        json!({
            "run": run, "shard": shard, "feature": self.feature, "count": self.count, "density": self.density,
            "max": self.max, "label": self.label, "text": self.text, "score": self.score, "fires": self.fires,
            "promotes": self.promotes,
        })
    }
}

/// Features with their examples. Tokens are numbers of `words`, as most occur again and again.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) number: usize,
    features: Vec<Value>,
    words: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Shard {
    pub(super) fn len(&self) -> usize {
        self.features.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.features.is_empty()
    }

    /// Its contents; it begins the next one.
    pub(super) fn take(&mut self) -> Value {
        self.numbers.clear();
        let (features, words) = (std::mem::take(&mut self.features), std::mem::take(&mut self.words));
        let value = json!({ "shard": self.number, "words": words, "features": features });
        self.number += 1;
        value
    }

    pub(super) fn add(&mut self, feature: &Feature, words: &Words) {
        let row = &feature.row;
        let examples: Vec<Value> = feature
            .examples
            .iter()
            .filter(|e| !e.is_empty())
            .map(|example| self.example(example, words))
            .collect();
        let told: Vec<Value> = feature
            .told
            .iter()
            .map(|told| {
                let explanation = &told.explanation;
                let scores: Vec<Value> =
                    explanation.scores.iter().map(|s| json!([s.kind, significant(s.value, 3)])).collect();
                json!({
                    "source": told.source, "text": visible(&explanation.text), "method": explanation.method,
                    "by": explanation.by, "scores": scores,
                })
            })
            .collect();
        self.features.push(json!({
            "feature": row.feature,
            "count": row.count,
            "density": significant(row.density, DIGITS),
            "mean": significant(row.mean, DIGITS),
            "max": significant(row.max, DIGITS),
            "bias": significant(row.bias, DIGITS),
            "encoder_norm": significant(row.encoder_norm, DIGITS),
            "decoder_norm": significant(row.decoder_norm, DIGITS),
            "cosine": significant(row.encoder_decoder_cosine, DIGITS),
            "histogram": row.histogram,
            "logit_histogram": row.logit_histogram,
            "top": tokens(&row.top_logits, words),
            "bottom": tokens(&row.bottom_logits, words),
            "fires": row.fires_on.iter().take(LISTED).map(|(token, n)| json!([visible(&words.one(*token)), n])).collect::<Vec<_>>(),
            "near": row.neighbours.iter().map(|(f, c)| json!([f, significant(*c, 3)])).collect::<Vec<_>>(),
            "together": row.coactive.iter().take(LISTED).map(|(f, n, lift)| json!([f, n, significant(*lift, 3)])).collect::<Vec<_>>(),
            "label": visible(&feature.label),
            "note": feature.note,
            "told": told,
            "examples": examples,
        }));
    }

    /// `v`: pairs of place and value, where it fires.
    fn example(&mut self, example: &ExampleRow, words: &Words) -> Value {
        let tokens: Vec<usize> =
            words.in_context(&example.tokens).iter().map(|word| self.word(visible(word))).collect();
        let fires = example.values.iter().enumerate().filter(|(_, value)| **value != 0.0);
        let values: Vec<Value> =
            fires.flat_map(|(i, value)| [json!(i), significant(*value, SHADES)]).collect();
        json!({
            "i": example.interval, "d": example.document, "p": example.position, "x": significant(example.value, SHADES),
            "m": example.marked(), "n": example.len(), "t": tokens, "v": values,
        })
    }

    fn word(&mut self, word: String) -> usize {
        let next = self.words.len();
        *self.numbers.entry(word).or_insert_with_key(|word| {
            self.words.push(word.clone());
            next
        })
    }
}

fn tokens(list: &[(u32, f32)], words: &Words) -> Vec<Value> {
    list.iter()
        .take(LISTED)
        .map(|(token, logit)| json!([visible(&words.one(*token)), significant(*logit, 3)]))
        .collect()
}
