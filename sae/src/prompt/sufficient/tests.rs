//! Sets against the definition: what ablations of all other codes do, by the changes that a person makes.

use std::path::Path;

use super::*;
use crate::Quiet;
use crate::prompt::{Change, Edit, Intervention, Plan, Scope};
use crate::rows::fixture;
use lm::model::Hook;
use lm::progress::StopAfter;

/// Tokens a and b.
const TEXT: &str = "abbab";
const TOKEN: u32 = 7;

fn at(hook: &str, features: usize, k: usize, folder: &Path) -> Prompter {
    let model = fixture::model(folder);
    let hook: Hook = hook.parse().unwrap();
    let width = hook.width(model.config()).unwrap();
    Prompter::new(fixture::dictionary(width, features, k, 3), model, hook, None, None).unwrap()
}

fn options(position: usize, within: f64) -> SufficientOptions {
    SufficientOptions {
        token: TOKEN,
        position,
        measure: Measure::Probability,
        within,
        rest: Rest::Zero,
        draws: 3,
        seed: 5,
    }
}

/// (position, feature) of every code up to `position`.
fn codes(reading: &Reading, position: usize) -> Vec<(usize, u32)> {
    (0..=position).flat_map(|t| reading.codes.row(t).0.iter().map(move |&f| (t, f))).collect()
}

/// What is measured when only `kept` stay, by changes of features on the whole text.
fn left(prompter: &Prompter, reading: &Reading, options: &SufficientOptions, kept: &[(usize, u32)]) -> f64 {
    let gone = codes(reading, options.position);
    let change = |&(token, feature): &(usize, u32)| Change {
        feature,
        edit: match options.rest {
            Rest::Zero => Edit::Ablate,
            Rest::Mean => Edit::Clamp(prompter.means.as_ref().unwrap()[feature as usize]),
        },
        at: Scope::Tokens(vec![token]),
    };
    let changes = gone.iter().filter(|code| !kept.contains(code)).map(change).collect();
    let plan = Plan { changes, maxima: Vec::new() };
    let (residual, _) = prompter.replaced(reading, Intervention::Changes(&plan)).unwrap();
    let logits = prompter.model.decoder().logits(&residual).unwrap();
    let logits: Vec<Vec<f32>> = logits.squeeze(0).unwrap().to_vec2().unwrap();
    let logits: Vec<f64> =
        logits[reading.batch.first + options.position].iter().map(|&v| f64::from(v)).collect();
    match options.measure {
        Measure::Logit => logits[TOKEN as usize] - logits.iter().sum::<f64>() / logits.len() as f64,
        Measure::Probability => {
            logits[TOKEN as usize].exp() / logits.iter().map(|logit| logit.exp()).sum::<f64>()
        }
    }
}

fn near(found: f32, wanted: f64) -> bool {
    (f64::from(found) - wanted).abs() < 1e-3 * (wanted.abs() + 1e-3)
}

/// Clean, none, value and the curve are what changes of features give; the set keeps the prediction; without any one of its
/// members it does not.
#[test]
fn a_set_keeps_the_prediction_and_needs_every_member() {
    let folder = tempfile::tempdir().unwrap();
    let (mut sets, mut sizes) = (0, Vec::new());
    for hook in ["blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"] {
        let mut prompter = at(hook, 40, 5, folder.path());
        prompter.means = Some((0..40).map(|f| 0.02 * f as f32).collect());
        let reading = prompter.read(TEXT).unwrap();
        for (measure, rest, position, within) in [
            (Measure::Probability, Rest::Zero, 4, 0.1),
            (Measure::Probability, Rest::Mean, 4, 0.2),
            (Measure::Logit, Rest::Zero, 3, 0.1),
            (Measure::Probability, Rest::Zero, 2, 0.3),
        ] {
            let options = SufficientOptions { measure, rest, ..options(position, within) };
            let found = prompter.sufficient_set(&reading, &options, &mut Quiet).unwrap();
            let left = |kept: &[(usize, u32)]| left(&prompter, &reading, &options, kept);
            let all = codes(&reading, position);
            let clean = left(&all);
            assert!(near(found.clean, clean) && near(found.none, left(&[])), "{hook} {options:?}");
            let set: Vec<(usize, u32)> = found.members.iter().map(|m| (m.position, m.feature)).collect();
            assert!(set.iter().all(|member| all.contains(member)));
            assert!(near(found.value, left(&set)), "{hook} {options:?}: {} {}", found.value, left(&set));
            let keeps = |value: f64| (value - clean).abs() <= within * clean.abs();
            assert!(keeps(left(&set)), "{hook} {options:?}");
            for i in 0..set.len() {
                let mut less = set.clone();
                less.remove(i);
                assert!(!keeps(left(&less)), "{hook} {options:?} needs no {:?}", set[i]);
            }
            sets += 1;
            sizes.push((set.len(), found.candidates));
            assert!(found.random.len() == 3 && found.curve.iter().all(|point| point.random.len() == 3));
            let (first, last) = (found.curve.first().unwrap(), found.curve.last().unwrap());
            assert_eq!((first.size, last.size), (0, found.candidates));
            assert!(near(first.strongest, f64::from(found.none)) && near(last.random[2], clean));
            assert_eq!(found.faithfulness(found.none), Some(0.0));
            assert!(found.candidates <= all.len());
        }
    }
    assert!(
        sets == 8 && sizes.iter().any(|(set, all)| *set > 1 && set < all),
        "a test of nothing: {sizes:?}"
    );
}

/// No smaller set of the codes at one token keeps the prediction, where all sets can be tried.
#[test]
fn a_small_set_is_the_smallest() {
    let folder = tempfile::tempdir().unwrap();
    let prompter = at("blocks.1.hook_resid_post", 40, 8, folder.path());
    let reading = prompter.read(TEXT).unwrap();
    let mut nontrivial = 0;
    for (position, within) in [(1, 0.1), (2, 0.2), (3, 0.1), (4, 0.3)] {
        let options = options(position, within);
        let found = prompter.sufficient_set(&reading, &options, &mut Quiet).unwrap();
        // After the last block only the token's own codes reach its prediction.
        assert!(found.candidates <= 8 && found.members.iter().all(|m| m.position == position));
        let own: Vec<(usize, u32)> =
            codes(&reading, position).into_iter().filter(|code| code.0 == position).collect();
        let others: Vec<(usize, u32)> =
            codes(&reading, position).into_iter().filter(|code| code.0 != position).collect();
        let clean = f64::from(found.clean);
        let keeps = |bits: u32| {
            let mut kept = others.clone();
            kept.extend((0..own.len()).filter(|i| bits >> i & 1 == 1).map(|i| own[i]));
            (left(&prompter, &reading, &options, &kept) - clean).abs() <= within * clean
        };
        let smallest = (0..1u32 << own.len()).filter(|&bits| keeps(bits)).map(u32::count_ones).min().unwrap();
        let size = found.members.len() as u32;
        assert!(size >= smallest && size <= smallest + 1, "{size} codes, {smallest} are enough");
        nontrivial += u32::from(smallest > 0 && (smallest as usize) < own.len());
    }
    assert!(nontrivial > 0, "a test of nothing");
}

/// Σ (c − c') · W_dec · gradient at a point of the path is how fast the measure changes along it, by finite differences.
#[test]
fn attributions_are_slopes_along_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let prompter = at("blocks.1.hook_resid_pre", 40, 5, folder.path());
    let reading = prompter.read(TEXT).unwrap();
    for measure in [Measure::Probability, Measure::Logit] {
        let mut subsets = Subsets::new(&prompter, &reading, (TOKEN, 4), measure, Rest::Zero).unwrap();
        let sum: f64 = subsets.attributions().unwrap().iter().map(|a| f64::from(*a)).sum();
        // A share `at` of every code is a dictionary whose codes are that much larger: their rest is (1 − at) of what they are.
        let mut value = |at: f64| {
            let codes = subsets.codes.clone();
            for code in &mut subsets.codes {
                code.rest = (at * f64::from(code.activation)) as f32;
            }
            let none = vec![false; codes.len()];
            let value = f64::from(subsets.values(&[none]).unwrap()[0]);
            subsets.codes = codes;
            if measure == Measure::Probability { value.ln() } else { value }
        };
        let h = 2e-3;
        let mut slopes: Vec<f64> = Vec::new();
        for step in 0..8 {
            let at = (f64::from(step) + 0.5) / 8.0;
            slopes.push((value(at + h) - value(at - h)) / (2.0 * h));
        }
        let wanted = slopes.iter().sum::<f64>() / 8.0;
        assert!((sum - wanted).abs() < 0.03 * (wanted.abs() + 0.3), "{measure:?}: {sum} {wanted} {slopes:?}");
        assert!(wanted.abs() > 0.1, "a test of nothing: {wanted}");
    }
}

/// Where the dictionary misses nothing, its reconstruction is the model's own value.
#[test]
fn a_whole_reconstruction_predicts_as_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture::model(folder.path());
    let mut dictionary = fixture::components(16);
    // Both signs of every component.
    dictionary.d_sae = 32;
    dictionary.w_enc.extend(fixture::components(16).w_enc.iter().map(|w| -w));
    dictionary.w_dec.extend(fixture::components(16).w_dec.iter().map(|w| -w));
    dictionary.b_enc = vec![0.0; 32];
    dictionary.selection = crate::dictionary::Selection::TopK(32);
    let hook = "blocks.0.hook_resid_post".parse().unwrap();
    let prompter = Prompter::new(dictionary, model, hook, None, None).unwrap();
    let reading = prompter.read(TEXT).unwrap();
    let found = prompter.sufficient_set(&reading, &options(4, 0.1), &mut Quiet).unwrap();
    assert!(near(found.reconstruction, f64::from(found.clean)));
    assert!(!near(found.none, f64::from(found.clean)), "a test of nothing");
}

#[test]
fn the_same_seed_draws_the_same_sets() {
    let folder = tempfile::tempdir().unwrap();
    let prompter = at("blocks.0.hook_resid_post", 40, 5, folder.path());
    let reading = prompter.read(TEXT).unwrap();
    let with = |seed| {
        let options = SufficientOptions { seed, ..options(4, 0.1) };
        prompter.sufficient_set(&reading, &options, &mut Quiet).unwrap()
    };
    assert_eq!(with(1), with(1));
    let (one, other) = (with(1), with(2));
    assert_eq!((&one.members, one.value), (&other.members, other.value));
    let middle = one.curve.len() / 2;
    assert_ne!(one.curve[middle].random, other.curve[middle].random);
}

#[test]
fn what_cannot_be_explained_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut prompter = at("blocks.0.hook_resid_post", 40, 5, folder.path());
    let reading = prompter.read(TEXT).unwrap();
    let error = |options: &SufficientOptions, prompter: &Prompter, reading: &Reading| {
        prompter.sufficient_set(reading, options, &mut Quiet).unwrap_err().to_string()
    };
    assert!(error(&options(5, 0.1), &prompter, &reading).contains("no token 5"));
    for within in [0.0, 1.0, -0.1, f64::NAN] {
        assert!(error(&options(4, within), &prompter, &reading).contains("within"), "{within}");
    }
    let token = SufficientOptions { token: 60, ..options(4, 0.1) };
    assert!(error(&token, &prompter, &reading).contains("no token 60"));
    let mean = SufficientOptions { rest: Rest::Mean, ..options(4, 0.1) };
    assert!(error(&mean, &prompter, &reading).contains("no index"));
    let stopped = prompter.sufficient_set(&reading, &options(4, 0.1), &mut StopAfter::new(0));
    assert!(matches!(stopped, Err(Error::Stopped(_))));
    prompter.norm_limit = Some(0.0);
    let reading = prompter.read(TEXT).unwrap();
    assert!(error(&options(4, 0.1), &prompter, &reading).contains("no feature fires"));
}

#[test]
fn sizes_end_with_all() {
    assert_eq!(sizes(0), [0]);
    assert_eq!(sizes(1), [0, 1]);
    assert_eq!(sizes(9), [0, 1, 2, 3, 4, 6, 8, 9]);
    assert_eq!(sizes(13), [0, 1, 2, 3, 4, 6, 8, 12, 13]);
}
