//! Rows of the tables Neuron, Activation and Explanation.

use std::collections::HashMap;

use serde_json::{Value, json};
use storage::examples::ExampleRow;

use super::super::indexed::{Feature, Indexed, RANDOM};
use super::super::number::decimals;
use super::{CREATOR, Source};

/// Decimals of every number.
const PLACES: i32 = 5;
/// Components of the decoder row that are listed.
const ALIGNED: usize = 3;

/// What Neuronpedia's own exporter gives every feature; here for those that never fired, the others have their maximum, which means the
/// same in every model.
const STRENGTH: f32 = 10.0;

/// A row of Neuron.
pub(super) fn feature(source: &Source<'_>, indexed: &Indexed, feature: &Feature) -> Value {
    let row = &feature.row;
    let decoder = source.subject.dictionary.decoder_row(row.feature as usize);
    let l1: f32 = decoder.iter().map(|v| v.abs()).sum();
    let mut aligned: Vec<usize> = (0..decoder.len()).collect();
    aligned.sort_by(|&a, &b| decoder[b].total_cmp(&decoder[a]).then(a.cmp(&b)));
    aligned.truncate(ALIGNED);
    let text = |tokens: &[(u32, f32)]| -> Vec<String> {
        tokens.iter().map(|(token, _)| storable(indexed.words.one(*token))).collect()
    };
    let values = |tokens: &[(u32, f32)]| numbers(tokens.iter().map(|(_, value)| *value));
    let logits = (
        row.bottom_logits.first().map_or(0.0, |(_, logit)| *logit),
        row.top_logits.first().map_or(0.0, |(_, logit)| *logit),
    );
    json!({
        "modelId": source.model,
        "layer": source.id,
        "index": row.feature.to_string(),
        "sourceSetName": source.set,
        "creatorId": CREATOR,
        "createdAt": source.time,
        "maxActApprox": decimals(row.max, PLACES),
        "hasVector": true,
        "vector": numbers(decoder.iter().copied()),
        "vectorLabel": null,
        "vectorDefaultSteerStrength": decimals(if row.max > 0.0 { row.max } else { STRENGTH }, PLACES),
        "hookName": source.subject.hook(),
        "topkCosSimIndices": row.neighbours.iter().map(|(feature, _)| *feature).collect::<Vec<_>>(),
        "topkCosSimValues": values(&row.neighbours),
        "neuron_alignment_indices": aligned,
        "neuron_alignment_values": numbers(aligned.iter().map(|&i| decoder[i])),
        "neuron_alignment_l1": numbers(aligned.iter().map(|&i| if l1 > 0.0 { decoder[i].abs() / l1 } else { 0.0 })),
        "correlated_neurons_indices": [],
        "correlated_neurons_pearson": [],
        "correlated_neurons_l1": [],
        "correlated_features_indices": [],
        "correlated_features_pearson": [],
        "correlated_features_l1": [],
        "neg_str": text(&row.bottom_logits),
        "neg_values": values(&row.bottom_logits),
        "pos_str": text(&row.top_logits),
        "pos_values": values(&row.top_logits),
        "frac_nonzero": decimals(row.density, 8),
        "freq_hist_data_bar_heights": row.histogram,
        "freq_hist_data_bar_values": middles(0.0, row.max, row.histogram.len()),
        "logits_hist_data_bar_heights": row.logit_histogram,
        "logits_hist_data_bar_values": middles(logits.0, logits.1, row.logit_histogram.len()),
        "decoder_weights_dist": [],
    })
}

/// Rows of Activation: the strongest examples and those of every fifth of the feature's strength.
pub(super) fn activations(
    source: &Source<'_>,
    indexed: &Indexed,
    feature: Feature,
    count: Option<usize>,
) -> Vec<Value> {
    let Feature { row, mut examples, .. } = feature;
    examples
        .retain(|example| example.interval != RANDOM && !example.is_empty() && !example.tokens.is_empty());
    if let Some(count) = count {
        examples = super::super::indexed::pick(examples, count);
    }
    let one = |example: &ExampleRow| {
        let tokens: Vec<String> =
            indexed.words.in_context(&example.tokens).into_iter().map(storable).collect();
        let highest = |best: usize, i: usize| if example.values[i] > example.values[best] { i } else { best };
        let at = (0..example.values.len()).fold(0, highest);
        let lowest = example.values.iter().copied().fold(f32::INFINITY, f32::min);
        let (low, high, share) = bin(example.interval, &row.histogram, row.max, row.count);
        json!({
            "id": id('a', &format!("{}/{}", source.model, source.id), row.feature, example.interval, example.rank),
            "tokens": tokens,
            "index": row.feature.to_string(),
            "layer": source.id,
            "modelId": source.model,
            "maxValue": decimals(example.values[at], PLACES),
            "maxValueTokenIndex": at,
            "minValue": decimals(lowest, PLACES),
            "values": numbers(example.values.iter().copied()),
            "creatorId": CREATOR,
            "dataSource": null,
            "dataIndex": example.document.to_string(),
            "dfaValues": [],
            "dfaTargetIndex": null,
            "dfaMaxValue": null,
            "createdAt": source.time,
            "lossValues": [],
            "logitContributions": null,
            "binMin": low,
            "binMax": high,
            "binContains": share,
            "qualifyingTokenIndex": example.marked(),
            "zIndices": null,
            "zValues": null,
        })
    };
    examples.iter().map(one).collect()
}

/// Rows of Explanation: a person's label, then what the sources say.
pub(super) fn explanations(source: &Source<'_>, feature: &Feature) -> Vec<Value> {
    let label = (!feature.label.is_empty())
        .then(|| ("label".to_owned(), feature.label.clone(), "label".to_owned(), None));
    let told = feature.told.iter().map(|told| {
        let scores: Vec<String> = told
            .explanation
            .scores
            .iter()
            .map(|score| format!("{} {:.3}", score.kind, score.value))
            .collect();
        let notes = (!scores.is_empty()).then(|| scores.join(", "));
        let whose = format!("source {}", told.source);
        // The model of a language model's explanation has no place of its own: see below.
        let made = match told.explanation.by.as_str() {
            "" => told.explanation.method.clone(),
            by => format!("{} by {by}", told.explanation.method),
        };
        (whose, told.explanation.text.clone(), made, notes)
    });
    // A number among those of the same source: a label that is written later must not change the ids of the others.
    let mut before: HashMap<String, u16> = HashMap::new();
    let row = |(whose, text, method, scores): (String, String, String, Option<String>)| {
        let from = format!("{}/{}/{whose}", source.model, source.id);
        let number = before.entry(whose).or_default();
        let id = id('e', &from, feature.row.feature, 0, *number);
        *number += 1;
        let notes = [Some(format!("SAE Workbench: {method}")), scores].into_iter().flatten();
        json!({
            "id": id,
            "modelId": source.model,
            "layer": source.id,
            "index": feature.row.feature.to_string(),
            "description": storable(text),
            "authorId": CREATOR,
            "embedding": null,
            // Both are keys of tables of theirs; a name that is not there would be refused.
            "typeName": null,
            "explanationModelName": null,
            "notes": notes.collect::<Vec<_>>().join("; "),
            "createdAt": source.time,
        })
    };
    label.into_iter().chain(told).map(row).collect()
}

/// Lower and upper end of an example's bin and the share of the activations in it. The strongest have −1, −1 there.
fn bin(interval: i8, histogram: &[u32], max: f32, count: u64) -> (Value, Value, Value) {
    let Some(from_top) = usize::try_from(interval).ok().filter(|&i| (1..=5).contains(&i)) else {
        return (json!(-1), decimals(max, PLACES), json!(-1));
    };
    let fifth = 5 - from_top;
    let edge = |n: usize| decimals(max * n as f32 / 5.0, PLACES);
    let width = histogram.len() / 5;
    let inside: u64 = histogram.iter().skip(fifth * width).take(width).map(|&n| u64::from(n)).sum();
    (edge(fifth), edge(fifth + 1), decimals(inside as f32 / count.max(1) as f32, PLACES))
}

fn numbers(values: impl Iterator<Item = f32>) -> Vec<Value> {
    values.map(|value| decimals(value, PLACES)).collect()
}

/// Middles of `bins` equal bins.
fn middles(low: f32, high: f32, bins: usize) -> Vec<Value> {
    (0..bins).map(|bin| decimals(low + (high - low) * (bin as f32 + 0.5) / bins as f32, PLACES)).collect()
}

/// 25 characters that no other row of the table has: a hash of the source, then the row's own numbers.
fn id(kind: char, source: &str, feature: u32, interval: i8, rank: u16) -> String {
    // FNV-1a: any spread will do, the rest of the id is unique within the source.
    let hash = source.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("c{kind}{:010x}{feature:08x}{:01x}{rank:04x}", hash >> 24, interval.rem_euclid(16))
}

/// PostgreSQL stores every character but NUL.
fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "␀") } else { text }
}
