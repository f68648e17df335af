//! The room against its definitions, on a small random model with large weights and on the embedded one.

mod continuations;
mod opening;

use std::path::Path;

use candle_core::{Device, Tensor};
use storage::features::{FeatureRow, FeatureWriter};
use storage::{Manifest, ModelRef};

use super::batch::Batch;
use super::*;
use crate::dictionary::Dictionary;
use crate::rows::{ModelChoice, fixture};
use crate::{Quiet, Result};
use kernels::chance::{Purpose, generator, uniform};
use lm::model::{Hook, LanguageModel, ModelSource, NoTap, Site, Tap};
use lm::progress::StopAfter;

/// Tokens a and b.
const TEXT: &str = "abbabaab";

fn at(hook: &str) -> Prompter {
    let folder = tempfile::tempdir().unwrap();
    prompter(fixture::model(folder.path()), hook, None)
}

fn prompter(model: LanguageModel, hook: &str, maxima: Option<Vec<f32>>) -> Prompter {
    let hook: Hook = hook.parse().unwrap();
    let width = hook.width(model.config()).unwrap();
    Prompter::new(fixture::dictionary(width, 40, 5, 3), model, hook, None, maxima).unwrap()
}

fn everywhere(feature: u32, edit: Edit) -> Change {
    Change { feature, edit, at: Scope::Everywhere }
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Rows of the text's tokens of the value at the hook, after the change.
fn rows(prompter: &Prompter, reading: &Reading, with: Intervention<'_>) -> Vec<Vec<f32>> {
    let changed = prompter.changed(&reading.batch, &reading.value, with).unwrap();
    let value = changed.map_or_else(|| reading.value.clone(), |(value, _)| value);
    let all: Vec<Vec<f32>> = value.squeeze(0).unwrap().to_vec2().unwrap();
    all[reading.batch.first..][..reading.len()].to_vec()
}

fn norm(row: &[f32]) -> f64 {
    row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()
}

fn minus(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// Changes the value at the hook.
struct Changed<'a>(&'a Prompter, &'a Batch, Intervention<'a>);

impl Tap for Changed<'_> {
    fn wants(&self, hook: &Hook) -> bool {
        *hook == self.0.hook
    }

    fn at(&mut self, _: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        Ok(self.0.changed(self.1, value, self.2)?.map(|(value, _)| value))
    }
}

/// The final residual stream of a pass over all tokens, changed at the hook.
fn through(prompter: &Prompter, batch: &Batch, with: Intervention<'_>) -> Tensor {
    let layers = prompter.model.config().num_hidden_layers;
    let mut tap = Changed(prompter, batch, with);
    prompter.model.decoder().residual(&batch.contexts, layers, &mut tap).unwrap()
}

/// Keeps every value at one hook.
struct Watch(Hook, Vec<Tensor>);

impl Tap for Watch {
    fn wants(&self, hook: &Hook) -> bool {
        *hook == self.0
    }

    fn at(&mut self, _: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        self.1.push(value.clone());
        Ok(None)
    }
}

#[test]
fn a_reading_is_what_model_and_dictionary_say() {
    let prompter = at("blocks.0.hook_resid_post");
    let reading = prompter.read(TEXT).unwrap();
    assert_eq!(reading.tokens, [1, 2, 2, 1, 2, 1, 1, 2]);
    // BOS comes first and is not a token of the text.
    assert_eq!((reading.batch.first, reading.batch.contexts.tokens[0]), (1, 0));
    let mut watch = Watch("blocks.0.hook_resid_post".parse().unwrap(), Vec::new());
    let contexts = &reading.batch.contexts;
    let logits = prompter.model.forward(contexts, &mut watch).unwrap();
    let rows: Vec<Vec<f32>> = watch.1[0].squeeze(0).unwrap().to_vec2().unwrap();
    assert_eq!(reading.codes, prompter.dictionary.encode(&rows[1..].concat()));
    for (found, row) in reading.norms.iter().zip(&rows[1..]) {
        assert!((f64::from(*found) - norm(row)).abs() < 1e-4);
    }
    let losses = lm::model::losses(&logits, contexts).unwrap();
    for (prediction, loss) in reading.predictions.iter().zip(&losses[1..]) {
        assert_eq!(prediction.loss.is_some(), loss.is_some());
        assert!((prediction.loss.unwrap_or_default() - loss.unwrap_or_default()).abs() < 1e-4);
    }
    let logits: Vec<Vec<f32>> = logits.squeeze(0).unwrap().to_vec2().unwrap();
    for (prediction, logits) in reading.predictions.iter().zip(&logits[1..]) {
        let mut order: Vec<usize> = (0..60).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let tokens: Vec<usize> = prediction.top.iter().map(|(token, _)| *token as usize).collect();
        assert_eq!(tokens, order[..5]);
        let sum: f64 = logits.iter().map(|&v| f64::from(v).exp()).sum();
        assert!((f64::from(prediction.top[0].1) - f64::from(logits[order[0]]).exp() / sum).abs() < 1e-5);
    }
    let feature = reading.codes.features[0];
    let by_token = reading.activations(feature);
    assert_eq!(by_token.len(), 8);
    assert_eq!(by_token.iter().copied().reduce(f32::max), reading.maximum(feature));
    assert_eq!(by_token[0], reading.codes.values[0]);
}

/// Nothing asked for is nothing done, to the bit.
#[test]
fn no_change_leaves_the_logits_as_they_are() {
    for hook in ["blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"] {
        let prompter = at(hook);
        let reading = prompter.read(TEXT).unwrap();
        let clean = prompter.model.forward(&reading.batch.contexts, &mut NoTap).unwrap();
        // A step of length 0 goes through the replacement of the value, an empty plan does not.
        let feature = reading.codes.features[0];
        for changes in [vec![], vec![everywhere(feature, Edit::Add(0.0))]] {
            let plan = prompter.plan(&reading, &changes).unwrap();
            let through = through(&prompter, &reading.batch, Intervention::Changes(&plan));
            assert_eq!(
                numbers(&prompter.model.decoder().logits(&through).unwrap()),
                numbers(&clean),
                "{hook}"
            );
            let (behind, deltas) = prompter.replaced(&reading, Intervention::Changes(&plan)).unwrap();
            assert_eq!(
                numbers(&prompter.model.decoder().logits(&behind).unwrap()),
                numbers(&clean),
                "{hook}"
            );
            assert_eq!(deltas, [0.0; 8]);
            let effect = prompter.effect(&reading, &plan, (2, 0), &mut Quiet).unwrap();
            assert_eq!((effect.after.kl, effect.after.losses), (vec![0.0; 8], effect.before));
            assert!(effect.controls.iter().all(|control| control.kl == [0.0; 8]));
        }
    }
}

/// x' = x − codes · W_dec: what is left is the error and b_dec, and no other token is touched.
#[test]
fn ablating_all_features_of_a_token_leaves_the_error() {
    let prompter = at("blocks.0.hook_resid_post");
    let reading = prompter.read(TEXT).unwrap();
    let (features, values) = reading.codes.row(3);
    assert_eq!(features.len(), 5);
    let ablate = |&feature: &u32| Change { feature, edit: Edit::Ablate, at: Scope::Tokens(vec![3]) };
    let plan = prompter.plan(&reading, &features.iter().map(ablate).collect::<Vec<_>>()).unwrap();
    assert!(plan.maxima.is_empty(), "to ablate nobody needs to know a maximum");
    let (before, after) = (
        rows(&prompter, &reading, Intervention::Nothing),
        rows(&prompter, &reading, Intervention::Changes(&plan)),
    );
    for token in (0..8).filter(|t| *t != 3) {
        assert_eq!(before[token], after[token]);
    }
    let mut sum = vec![0.0_f64; prompter.dictionary.d_in];
    for (&f, &v) in features.iter().zip(values) {
        let row = prompter.dictionary.decoder_row(f as usize);
        sum.iter_mut().zip(row).for_each(|(sum, w)| *sum += f64::from(v) * f64::from(*w));
    }
    for c in 0..sum.len() {
        assert!((f64::from(before[3][c]) - sum[c] - f64::from(after[3][c])).abs() < 1e-4);
    }
    let reconstruction = prompter.dictionary.decode(&prompter.dictionary.encode(&before[3]));
    let error = minus(&before[3], &reconstruction);
    for c in 0..sum.len() {
        assert!((after[3][c] - error[c] - prompter.dictionary.b_dec[c]).abs() < 1e-4);
    }
}

#[test]
fn strengths_are_shares_of_the_features_own_maximum() {
    let folder = tempfile::tempdir().unwrap();
    let maxima: Vec<f32> = (0..40).map(|f| f as f32 + 0.5).collect();
    let prompter = prompter(fixture::model(folder.path()), "blocks.0.hook_resid_post", Some(maxima));
    let reading = prompter.read(TEXT).unwrap();
    let (features, values) = reading.codes.row(2);
    let (on, code) = (features[1], values[1]);
    let off = (0..40).find(|f| !features.contains(f)).unwrap();
    let step = |changes: &[Change], token: usize| -> Vec<(u32, f32)> {
        let plan = prompter.plan(&reading, changes).unwrap();
        let (features, values) = reading.codes.row(token);
        let (features, differences) = plan.differences(features, values, token);
        features.into_iter().zip(differences).collect()
    };
    let unit = |feature: u32| feature as f32 + 0.5;
    let added = step(&[everywhere(on, Edit::Add(2.0))], 2);
    assert_eq!(added.len(), 1);
    assert!((added[0].1 - 2.0 * unit(on)).abs() < 1e-5 * unit(on));
    assert_eq!(step(&[everywhere(on, Edit::Clamp(1.5))], 2), [(on, 1.5 * unit(on) - code)]);
    assert_eq!(step(&[everywhere(on, Edit::Clamp(0.0))], 2), [(on, -code)]);
    assert_eq!(step(&[everywhere(off, Edit::Clamp(1.0))], 2), [(off, unit(off))]);
    assert_eq!(step(&[everywhere(off, Edit::Ablate)], 2), []);
    // One after the other, in order.
    let first_add = [everywhere(on, Edit::Add(1.0)), everywhere(on, Edit::Ablate)];
    assert_eq!(step(&first_add, 2), [(on, -code)]);
    let then_add = [everywhere(on, Edit::Ablate), everywhere(on, Edit::Add(-1.0))];
    assert_eq!(step(&then_add, 2), [(on, -unit(on) - code)]);
    let here = Change { feature: off, edit: Edit::Add(1.0), at: Scope::Tokens(vec![2, 5]) };
    assert_eq!(step(std::slice::from_ref(&here), 2).len(), 1);
    assert_eq!(step(std::slice::from_ref(&here), 3), []);
    let plan = prompter.plan(&reading, &[here]).unwrap();
    assert_eq!(plan.maxima, [Maximum { feature: off, value: unit(off), of: MaximumSource::Index }]);
    // δ is the differences times the decoder's rows.
    let before = rows(&prompter, &reading, Intervention::Nothing);
    let after = rows(&prompter, &reading, Intervention::Changes(&plan));
    let row = prompter.dictionary.decoder_row(off as usize);
    for (c, (delta, w)) in minus(&after[2], &before[2]).iter().zip(row).enumerate() {
        assert!((delta - unit(off) * w).abs() < 1e-4 * unit(off), "{c}");
    }
}

/// Without an index the unit is the maximum on the text, and the answer tells which.
#[test]
fn without_an_index_the_text_gives_the_unit() {
    let prompter = at("blocks.0.hook_resid_post");
    let reading = prompter.read(TEXT).unwrap();
    let feature = reading.codes.features[0];
    let plan = prompter.plan(&reading, &[everywhere(feature, Edit::Clamp(1.0))]).unwrap();
    let strongest = reading.activations(feature).into_iter().fold(0.0, f32::max);
    assert_eq!(plan.maxima, [Maximum { feature, value: strongest, of: MaximumSource::Text }]);
}

/// c · (W_dec · ∂T/∂x) against the change of T itself for small steps along W_dec, at places that the stream
/// passes and that it does not.
#[test]
fn attributions_agree_with_finite_differences() {
    for hook in [
        "blocks.0.hook_resid_post",
        "blocks.1.hook_resid_pre",
        "blocks.0.attn.hook_z",
        "blocks.1.hook_mlp_out",
    ] {
        let prompter = at(hook);
        let reading = prompter.read(TEXT).unwrap();
        for target in [Target::Loss, Target::Logit { token: 7, position: 6 }] {
            let attribution = prompter.attribute(&reading, target).unwrap();
            assert_eq!(attribution.effects.len(), reading.codes.values.len());
            let with = |token: usize, feature: u32, step: f32| -> f64 {
                let mut values = numbers(&reading.value);
                let d = prompter.dictionary.d_in;
                let row = &mut values[(reading.batch.first + token) * d..][..d];
                let direction = prompter.dictionary.decoder_row(feature as usize);
                row.iter_mut().zip(direction).for_each(|(x, w)| *x += step * w);
                let value = Tensor::from_vec(values, reading.value.shape(), &Device::Cpu).unwrap();
                let residual = prompter.after(&reading.batch, &value).unwrap();
                f64::from(prompter.target(&reading, target, &residual).unwrap().to_scalar::<f32>().unwrap())
            };
            let mut largest: f64 = 0.0;
            let (mut pairs, mut kinks) = (0, 0);
            for token in 0..reading.len() {
                let (features, values) = reading.codes.row(token);
                for (i, (&feature, &code)) in features.iter().zip(values).enumerate() {
                    let found = f64::from(attribution.effects[reading.codes.offsets[token] + i]);
                    let slope =
                        |h: f32| (with(token, feature, h) - with(token, feature, -h)) / f64::from(2.0 * h);
                    let wanted = f64::from(code) * slope(4e-3);
                    pairs += 1;
                    // A router changes its choice in steps: where one lies between −h and h, the loss has no slope there.
                    if (wanted - f64::from(code) * slope(2e-3)).abs()
                        > 0.1 * wanted.abs() + 0.02 * f64::from(code)
                    {
                        kinks += 1;
                        continue;
                    }
                    largest = largest.max(found.abs());
                    let tolerance = 0.03 * wanted.abs() + 0.01 * f64::from(code);
                    assert!(
                        (found - wanted).abs() < tolerance,
                        "{hook} {target:?} {token} {feature}: {found} {wanted}"
                    );
                }
            }
            assert!(kinks * 10 <= pairs, "{hook} {target:?}: {kinks} of {pairs} have no slope");
            assert!(largest > 0.05, "{hook} {target:?}: a test of nothing, {largest}");
        }
    }
}

/// What comes after a position has no effect on its logit, and the last token none on the loss.
#[test]
fn effects_go_forward_only() {
    let prompter = at("blocks.0.hook_resid_post");
    let reading = prompter.read(TEXT).unwrap();
    let logit = prompter.attribute(&reading, Target::Logit { token: 7, position: 4 }).unwrap();
    let behind = reading.codes.offsets[5];
    assert!(logit.effects[behind..].iter().all(|e| *e == 0.0));
    assert!(logit.effects[reading.codes.offsets[4]..behind].iter().any(|e| *e != 0.0));
    let loss = prompter.attribute(&reading, Target::Loss).unwrap();
    assert!(loss.effects[reading.codes.offsets[7]..].iter().all(|e| *e == 0.0));
    let sum: f32 = reading.predictions.iter().filter_map(|p| p.loss).sum();
    assert_eq!(loss.value, sum);
}

#[test]
fn a_control_takes_steps_of_the_same_length() {
    let prompter = at("blocks.0.hook_resid_post");
    let reading = prompter.read(TEXT).unwrap();
    let (features, _) = reading.codes.row(1);
    let changes: Vec<Change> = features.iter().map(|&f| everywhere(f, Edit::Ablate)).collect();
    let plan = prompter.plan(&reading, &changes).unwrap();
    let before = rows(&prompter, &reading, Intervention::Nothing);
    let changed = rows(&prompter, &reading, Intervention::Changes(&plan));
    // The first control of seed 5, by another implementation of the generator.
    for (found, golden) in
        prompter.direction(5, 0).0.iter().zip([-0.178_658_84, 0.014_127_865, 0.158_934_81, 0.054_952_955])
    {
        assert!((found - golden).abs() < 1e-6, "{found} {golden}");
    }
    let mut others = Vec::new();
    for draw in 0..3 {
        let direction = prompter.direction(5, draw);
        assert!((norm(&direction.0) - 1.0).abs() < 1e-5);
        let control = rows(&prompter, &reading, Intervention::Control(&plan, &direction));
        for token in 0..reading.len() {
            let wanted = norm(&minus(&changed[token], &before[token]));
            let step = minus(&control[token], &before[token]);
            assert!((norm(&step) - wanted).abs() < 1e-4 * (1.0 + wanted), "token {token}");
            for (step, u) in step.iter().zip(&direction.0) {
                assert!((f64::from(*step) - wanted * f64::from(*u)).abs() < 1e-4 * (1.0 + wanted));
            }
        }
        others.push(direction);
    }
    assert!(others[0] != others[1] && others[1] != others[2] && others[0] != prompter.direction(6, 0));
}

/// KL and losses of an effect against the decoder's own comparison, which shares no code with it.
#[test]
fn an_effect_agrees_with_the_decoders_comparison() {
    let prompter = at("blocks.0.hook_resid_post");
    let reading = prompter.read(TEXT).unwrap();
    let changes = [everywhere(reading.codes.features[0], Edit::Clamp(1.5))];
    let plan = prompter.plan(&reading, &changes).unwrap();
    let effect = prompter.effect(&reading, &plan, (2, 9), &mut Quiet).unwrap();
    let direction = prompter.direction(9, 1);
    let whole = |with| through(&prompter, &reading.batch, with);
    let clean = whole(Intervention::Nothing);
    let others = [whole(Intervention::Changes(&plan)), whole(Intervention::Control(&plan, &direction))];
    let compared = prompter.model.decoder().compare(&clean, &others, &reading.batch.contexts).unwrap();
    for (found, other) in [&effect.after, &effect.controls[1]].into_iter().zip(compared.others) {
        assert!(found.mean_kl() > 0.01, "a test of nothing: {}", found.mean_kl());
        for (token, pair) in other[1..].iter().enumerate() {
            assert_eq!(found.losses[token].is_some(), pair.is_some());
            let Some((loss, kl)) = pair else { continue };
            assert!((found.losses[token].unwrap() - loss).abs() < 1e-3);
            assert!((found.kl[token] - kl).abs() < 1e-3 * (1.0 + kl));
        }
    }
    assert!(effect.after.kl[7] > 0.0, "after the last token, too");
    for (token, shifts) in effect.shifts.iter().enumerate() {
        let (before, top) = (&reading.predictions[token].top, &shifts[..5]);
        assert_eq!(top.iter().map(|s| (s.token, s.before)).collect::<Vec<_>>(), before[..]);
        assert!(shifts.iter().any(|shift| shift.before != shift.after));
    }
    for ((delta, ratio), norm) in effect.deltas.iter().zip(&effect.ratios).zip(&reading.norms) {
        assert!((delta / norm - ratio).abs() < 1e-6);
    }
    let spread = effect.control_kl().unwrap();
    let means = effect.controls.iter().map(Outcome::mean_kl).collect::<Vec<_>>();
    assert!(
        spread.low <= means[0].min(means[1]) && (spread.mean - (means[0] + means[1]) / 2.0).abs() < 1e-12
    );
}

#[test]
fn tokens_beyond_the_limit_have_no_codes_and_stay() {
    let mut prompter = at("blocks.0.hook_resid_post");
    let reading = prompter.read(TEXT).unwrap();
    let mut norms = reading.norms.clone();
    norms.sort_by(f32::total_cmp);
    prompter.norm_limit = Some((norms[3] + norms[4]) / 2.0);
    let limited = prompter.read(TEXT).unwrap();
    assert_eq!(limited.left_out.iter().filter(|l| **l).count(), 4);
    let feature = reading.codes.features[0];
    let plan = Plan::default();
    assert!(plan.is_empty());
    let maxima = vec![1.0; 40];
    prompter.maxima = Some(maxima);
    let plan = prompter.plan(&limited, &[everywhere(feature, Edit::Add(1.0))]).unwrap();
    let effect = prompter.effect(&limited, &plan, (0, 0), &mut Quiet).unwrap();
    for token in 0..8 {
        assert_eq!(limited.left_out[token], limited.codes.row(token).0.is_empty());
        assert_eq!(limited.left_out[token], effect.deltas[token] == 0.0);
    }
}

#[test]
fn work_can_be_stopped() {
    let prompter = at("blocks.0.hook_resid_post");
    let reading = prompter.read(TEXT).unwrap();
    let stopped = prompter
        .continuation(&reading, Intervention::Nothing, 9, Sampling::Greedy, &mut StopAfter::new(2))
        .unwrap_err();
    assert!(stopped.to_string().starts_with("stopped"), "{stopped}");
    let plan = prompter.plan(&reading, &[everywhere(reading.codes.features[0], Edit::Ablate)]).unwrap();
    let stopped = prompter.effect(&reading, &plan, (9, 0), &mut StopAfter::new(2)).unwrap_err();
    assert!(stopped.to_string().starts_with("stopped"), "{stopped}");
}

#[test]
fn nonsense_is_refused_by_name() {
    let prompter = at("blocks.0.hook_resid_post");
    let message = |result: Result<()>| result.unwrap_err().to_string();
    assert!(message(prompter.read("").map(drop)).contains("empty"));
    assert!(message(prompter.read(&"ab".repeat(40)).map(drop)).contains("80 tokens"));
    let reading = prompter.read(TEXT).unwrap();
    let silent = (0..40).find(|f| reading.maximum(*f).is_none()).unwrap();
    let fires = reading.codes.features[0];
    let at = |tokens: Vec<usize>| Change { feature: fires, edit: Edit::Ablate, at: Scope::Tokens(tokens) };
    for (change, part) in [
        (everywhere(40, Edit::Ablate), "no feature 40"),
        (everywhere(fires, Edit::Add(f32::NAN)), "NaN"),
        (everywhere(silent, Edit::Add(1.0)), "sae index"),
        (at(vec![2, 8]), "token 8"),
    ] {
        let message = message(prompter.plan(&reading, &[change]).map(drop));
        assert!(message.contains(part), "{message}");
    }
    for (target, part) in [
        (Target::Logit { token: 60, position: 0 }, "no token 60"),
        (Target::Logit { token: 1, position: 8 }, "no token 8"),
    ] {
        let message = message(prompter.attribute(&reading, target).map(drop));
        assert!(message.contains(part), "{message}");
    }
    let one = prompter.read("a").unwrap();
    assert!(message(prompter.attribute(&one, Target::Loss).map(drop)).contains("one token"));
    assert_eq!((prompter.token("a").unwrap(), prompter.token("#59").unwrap()), (1, 59));
    assert!(message(prompter.token("ab").map(drop)).contains("`a` (#1), `b` (#2)"));
    assert!(message(prompter.token("#60").map(drop)).contains("no token 60"));
    let go_on = |tokens, temperature| {
        let sampling = Sampling::Drawn { temperature, seed: 0 };
        message(
            prompter.continuation(&reading, Intervention::Nothing, tokens, sampling, &mut Quiet).map(drop),
        )
    };
    assert!(go_on(3, 0.0).contains("temperature"));
    assert!(go_on(100, 1.0).contains("room for 55"));
    let folder = tempfile::tempdir().unwrap();
    let wrong = fixture::dictionary(9, 40, 5, 3);
    let hook = Hook::new(0, Site::ResidPost);
    let refused = Prompter::new(wrong, fixture::model(folder.path()), hook, None, None).unwrap_err();
    assert!(refused.to_string().contains("width 16"), "{refused}");
}

/// The embedded model says sensible things and a feature added with force changes them.
#[test]
fn the_embedded_model_can_be_steered() {
    let model = LanguageModel::load(&ModelSource::Default).unwrap();
    let prompter = prompter(model, "blocks.2.hook_resid_post", Some(vec![1.0; 40]));
    let reading = prompter.read("The court held that the").unwrap();
    assert_eq!(reading.tokens.iter().map(|&t| prompter.token_text(t)).collect::<String>(), reading.text);
    // A character of several tokens is whole at the first of them.
    let foreign = "naïve 好 𝄞".to_owned();
    let tokens = prompter.read(&foreign).unwrap().tokens;
    assert!(tokens.iter().any(|&token| prompter.token_text(token).contains('‹')), "{tokens:?}");
    assert_eq!(prompter.texts(&tokens).concat().replace("‹›", ""), foreign);
    assert_eq!((prompter.texts(&tokens).len(), prompter.text(&tokens)), (tokens.len(), foreign));
    let change = [everywhere(3, Edit::Add(40.0))];
    let plan = prompter.plan(&reading, &change).unwrap();
    let effect = prompter.effect(&reading, &plan, (1, 0), &mut Quiet).unwrap();
    assert!(effect.after.mean_kl() > 0.1, "{}", effect.after.mean_kl());
    assert!(effect.mean_ratio().unwrap() > 0.5);
    let said = |with| prompter.continuation(&reading, with, 8, Sampling::Greedy, &mut Quiet).unwrap();
    let (plain, steered) = (said(Intervention::Nothing), said(Intervention::Changes(&plan)));
    assert_eq!(plain.tokens.len(), 8);
    assert_ne!(plain.tokens, steered.tokens);
    // A small ablation: the first-order estimate has the sign and the size of what really happens to the logit.
    let target = Target::Logit { token: plain.tokens[0], position: reading.len() - 1 };
    let attribution = prompter.attribute(&reading, target).unwrap();
    let best = (0..attribution.effects.len())
        .max_by(|&a, &b| attribution.effects[a].abs().total_cmp(&attribution.effects[b].abs()))
        .unwrap();
    let token = reading.codes.offsets.partition_point(|&o| o <= best) - 1;
    let feature = reading.codes.features[best];
    let step = -0.01 * reading.codes.values[best];
    let change = [Change { feature, edit: Edit::Add(step), at: Scope::Tokens(vec![token]) }];
    let plan = prompter.plan(&reading, &change).unwrap();
    let (residual, _) = prompter.replaced(&reading, Intervention::Changes(&plan)).unwrap();
    let now = prompter.target(&reading, target, &residual).unwrap().to_scalar::<f32>().unwrap();
    let (fell, wanted) = (attribution.value - now, 0.01 * attribution.effects[best]);
    assert!((fell - wanted).abs() < 0.2 * wanted.abs() + 1e-4, "{fell} {wanted}");
}

/// Softmax of the router's logits and the two best of it, by hand.
#[test]
fn experts_are_the_best_of_the_routers_logits() {
    let prompter = at("blocks.0.hook_resid_post");
    let reading = prompter.read(TEXT).unwrap();
    let layers: Vec<usize> = reading.experts.iter().map(|layer| layer.layer).collect();
    assert_eq!(layers, [0, 1]);
    let mut different = 0;
    for layer in &reading.experts {
        assert_eq!((layer.experts, layer.k, layer.chosen.len(), layer.weights.len()), (4, 2, 16, 16));
        let mut watch =
            Watch(format!("blocks.{}.mlp.hook_router_logits", layer.layer).parse().unwrap(), Vec::new());
        prompter.model.forward(&reading.batch.contexts, &mut watch).unwrap();
        let logits: Vec<Vec<f32>> = watch.1[0].squeeze(0).unwrap().to_vec2().unwrap();
        // BOS comes first.
        for (token, logits) in logits[1..].iter().enumerate() {
            let mut order = [0u32, 1, 2, 3];
            order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
            let found: Vec<(u32, f32)> = layer.of(token).collect();
            assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), order[..2]);
            let odds = (logits[order[0] as usize] - logits[order[1] as usize]).exp();
            assert!((found[0].1 / found[1].1 - odds).abs() < 1e-3 * odds, "{found:?}, {odds}");
            different += usize::from(found[0].0 != layer.chosen[0]);
        }
    }
    assert!(different > 0, "tokens go to different experts");
}
