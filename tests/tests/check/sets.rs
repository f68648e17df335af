//! Dictionaries of several layers with one thing wrong: circuit-tracer's sets of transcoders and its cross-layer transcoders.

use std::path::{Path, PathBuf};

use sae::dictionary::{Dictionary, Selection};
use sae::harvest::{self, HarvestConfig};
use sae::train::{self, Method, TrainConfig};
use storage::check::{Check, Judgement};
use storage::{Dataset, Dtype};

use crate::layouts::{safetensors, turned};
use crate::made::{D, checked, imported, made, rows};
use crate::misreadings::{Case, row};

const FEATURES: usize = 256;
/// Sites of inputs, before and after the norm, and of targets.
const SITES: [&str; 3] = ["hook_resid_mid", "hook_mlp_in", "hook_mlp_out"];

/// Rows of every site of the first layers, of the same tokens: `rows[layer][site]`.
fn harvested(at: &Path, layers: usize) -> Vec<Vec<Vec<f32>>> {
    let names: Vec<String> =
        (0..layers).flat_map(|layer| SITES.map(|site| format!("blocks.{layer}.{site}"))).collect();
    let config = HarvestConfig {
        text: vec![made().join("text")],
        hooks: names.iter().map(|name| name.parse().unwrap()).collect(),
        dtype: Dtype::F32,
        tokens: Some(60_000),
        ..HarvestConfig::default()
    };
    let model = lm::model::LanguageModel::load(&lm::model::ModelSource::Default).unwrap();
    let report = harvest::run(&config, &model, &at.join("harvest"), &mut sae::Quiet).unwrap();
    let of = |name: &String| {
        let is = |folder: &&PathBuf| {
            Dataset::open(folder).is_ok_and(|data| data.manifest().hook.as_ref() == Some(name))
        };
        rows(report.datasets.iter().find(is).unwrap())
    };
    let all: Vec<Vec<f32>> = names.iter().map(of).collect();
    all.chunks_exact(SITES.len()).map(<[_]>::to_vec).collect()
}

/// A transcoder of `x` to `y`.
fn trained(at: &Path, name: &str, [x, y]: [&[f32]; 2], d_sae: usize, skip: bool) -> Dictionary {
    let [from, to] = [("x", x), ("y", y)].map(|(side, rows)| imported(at, &format!("{name}-{side}"), rows));
    let config = TrainConfig {
        method: Method::MutualChoice,
        target: Some(to),
        d_sae: Some(d_sae),
        k: 16,
        batch: 512,
        tokens: Some(400_000),
        learning_rate: Some(2e-3),
        skip,
        ..TrainConfig::default()
    };
    let run = at.join(format!("{name}-run"));
    train::run(&config, &from, &run, false, &mut sae::Quiet).unwrap();
    Dictionary::load(&run).unwrap()
}

/// RMS norm without a gain.
fn normed(rows: &[f32]) -> Vec<f32> {
    let mut out = rows.to_vec();
    for row in out.chunks_exact_mut(D) {
        let rms = (row.iter().map(|x| x * x).sum::<f32>() / D as f32).sqrt();
        row.iter_mut().for_each(|x| *x /= rms);
    }
    out
}

/// Reads components in reverse order: what a different model's dictionary would do.
fn estranged(transcoder: &Dictionary) -> Dictionary {
    let mut other = transcoder.clone();
    other.w_enc.chunks_exact_mut(D).for_each(<[f32]>::reverse);
    other
}

fn configuration(at: &Path, kind: &str, [from, to]: [&str; 2]) {
    let text = format!(
        "model_kind: {kind}\nmodel_name: small-moe\nscan: test\nfeature_input_hook: {from}\nfeature_output_hook: {to}\n"
    );
    std::fs::write(at.join("config.yaml"), text).unwrap();
}

fn thresholds(transcoder: &Dictionary) -> Vec<f32> {
    match &transcoder.selection {
        Selection::Threshold(all) if all.len() == 1 => vec![all[0]; transcoder.d_sae],
        Selection::Threshold(all) => all.clone(),
        other => panic!("{other:?}"),
    }
}

/// The usual hooks, as circuit-tracer names them.
const USUAL: [&str; 2] = ["mlp.hook_in", "hook_mlp_out"];

/// A set of transcoders with these numbers.
fn set(at: &Path, of: &[(usize, &Dictionary)], hooks: [&str; 2]) -> Check {
    let folder = tempfile::tempdir_in(at).unwrap();
    configuration(folder.path(), "transcoder_set", hooks);
    for (layer, dictionary) in of {
        let f = dictionary.d_sae;
        let thresholds = thresholds(dictionary);
        let mut tensors: Vec<(&str, &[usize], &[f32])> = vec![
            ("W_enc", &[0, 0], &dictionary.w_enc),
            ("W_dec", &[0, 0], &dictionary.w_dec),
            ("b_enc", &[0], &dictionary.b_enc),
            ("b_dec", &[0], &dictionary.b_dec),
            ("activation_function.threshold", &[0], &thresholds),
        ];
        let (matrix, of_features, of_width, square) = ([f, D], [f], [D], [D, D]);
        tensors[0].1 = &matrix;
        tensors[1].1 = &matrix;
        tensors[2].1 = &of_features;
        tensors[3].1 = &of_width;
        tensors[4].1 = &of_features;
        if let Some(skip) = dictionary.target.as_ref().unwrap().skip.as_deref() {
            tensors.push(("W_skip", &square, skip));
        }
        safetensors(&folder.path().join(format!("layer_{layer}.safetensors")), &tensors);
    }
    checked(folder.path(), None)
}

/// A cross-layer transcoder of two layers; `later` is what the first writes into the second, `skips` are as the files have them.
fn cross_layer(
    at: &Path,
    of: [&Dictionary; 2],
    later: &[f32],
    skips: Option<[&[f32]; 2]>,
    hooks: [&str; 2],
) -> Check {
    let folder = tempfile::tempdir_in(at).unwrap();
    configuration(folder.path(), "cross_layer_transcoder", hooks);
    for (layer, dictionary) in of.into_iter().enumerate() {
        let f = dictionary.d_sae;
        let named = |name: &str| format!("{name}_{layer}");
        let names = ["W_enc", "b_enc", "b_dec", "threshold", "W_skip", "W_dec"].map(named);
        let thresholds = thresholds(dictionary);
        let (matrix, of_features, of_width, square) = ([f, D], [f], [D], [D, D]);
        let mut tensors: Vec<(&str, &[usize], &[f32])> = vec![
            (&names[0], &matrix, &dictionary.w_enc),
            (&names[1], &of_features, &dictionary.b_enc),
            (&names[2], &of_width, &dictionary.b_dec),
            (&names[3], &of_features, &thresholds),
        ];
        if let Some(skips) = skips {
            tensors.push((&names[4], &square, skips[layer]));
        }
        safetensors(&folder.path().join(format!("W_enc_{layer}.safetensors")), &tensors);
        let writes = 2 - layer;
        let decoders: Vec<f32> = match layer {
            0 => {
                let both = dictionary.w_dec.chunks_exact(D).zip(later.chunks_exact(D));
                both.flat_map(|(own, later)| [own, later].concat()).collect()
            }
            _ => dictionary.w_dec.clone(),
        };
        safetensors(
            &folder.path().join(format!("W_dec_{layer}.safetensors")),
            &[(&names[5], &[f, writes, D], &decoders)],
        );
    }
    checked(folder.path(), None)
}

fn skip(dictionary: &Dictionary) -> &[f32] {
    dictionary.target.as_ref().unwrap().skip.as_deref().unwrap()
}

pub fn cases() -> Vec<Case> {
    use Judgement::{Elsewhere, Fits, Foreign, Misread, Weak};
    const SET: &str = "circuit-tracer set";
    const CROSS_LAYER: &str = "circuit-tracer cross-layer";
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let all = harvested(at, 3);
    let of = |layer: usize| [&*all[layer][1], &*all[layer][2]];
    let right: Vec<Dictionary> =
        (0..3).map(|layer| trained(at, &format!("right-{layer}"), of(layer), FEATURES, false)).collect();
    let two = |name: &str, d_sae: usize, skip: bool| -> Vec<Dictionary> {
        (0..2).map(|layer| trained(at, &format!("{name}-{layer}"), of(layer), d_sae, skip)).collect()
    };
    // In these blocks it is nearly the same for all components, so that little is wrong: FVE 0.53 and 0.57.
    let without_gain = |layer: usize| {
        let x = normed(&all[layer][0]);
        trained(at, &format!("gain-{layer}"), [&x, &all[layer][2]], FEATURES, false)
    };
    let gain: Vec<Dictionary> = [1, 2].map(without_gain).into();
    let skipping = two("skip", 64, true);
    let mut square = two("square", D, false);
    square.iter_mut().for_each(|one| one.w_dec = turned(&one.w_dec, D));
    let turned_skips: Vec<Dictionary> = skipping
        .iter()
        .map(|one| {
            let mut other = one.clone();
            let target = other.target.as_mut().unwrap();
            target.skip = target.skip.take().map(|skip| turned(&skip, D));
            other
        })
        .collect();
    let strangers: Vec<Dictionary> = right.iter().map(estranged).collect();
    let numbered = |of: &'_ [Dictionary], numbers: &[usize]| -> Vec<(usize, Dictionary)> {
        numbers.iter().copied().zip(of.iter().cloned()).collect()
    };
    let check = |of: &[(usize, Dictionary)], hooks: [&str; 2]| {
        let of: Vec<(usize, &Dictionary)> = of.iter().map(|(layer, one)| (*layer, one)).collect();
        set(at, &of, hooks)
    };
    let mut one_bad = numbered(&right, &[0, 1, 2]);
    one_bad[1].1 = strangers[1].clone();
    let mut cases = vec![
        row("nothing", Fits, "").case(SET, check(&numbered(&right, &[0, 1, 2]), USUAL)),
        row("nothing, with paths past the features", Fits, "")
            .case(SET, check(&numbered(&skipping, &[0, 1]), USUAL)),
        row("square decoders on their side", Misread, "--reading decoder-transposed")
            .case(SET, check(&numbered(&square, &[0, 1]), USUAL)),
        row("paths past the features on their side", Misread, "--reading skip-transposed")
            .case(SET, check(&numbered(&turned_skips, &[0, 1]), USUAL)),
        row(
            "trained on rows after a norm without its gain, which is nearly the same for all components",
            Fits,
            "",
        )
        .case(SET, check(&numbered(&gain, &[1, 2]), USUAL)),
        row("layers numbered from 1", Elsewhere, "1 → 0, 2 → 1, 3 → 2")
            .case(SET, check(&numbered(&right, &[1, 2, 3]), USUAL)),
        row("two layers in each other's place", Elsewhere, "0 → 2, 2 → 0")
            .case(SET, check(&numbered(&right, &[2, 1, 0]), USUAL)),
        row("the input before the norm in place of after it", Elsewhere, "feature_input_hook: mlp.hook_in")
            .case(SET, check(&numbered(&right, &[0, 1, 2]), ["hook_resid_mid", "hook_mlp_out"])),
        row(
            "the stream after the block in place of what the MLP adds",
            Elsewhere,
            "feature_output_hook: hook_mlp_out",
        )
        .case(SET, check(&numbered(&right, &[0, 1, 2]), ["mlp.hook_in", "hook_resid_post"])),
        row("a file of a different model among the others", Weak, "bring their files again")
            .case(SET, check(&one_bad, USUAL)),
        row("dictionaries of a different model", Foreign, "--model")
            .case(SET, check(&numbered(&strangers, &[0, 1, 2]), USUAL)),
    ];
    // What a different model's first layer would write into the second.
    let strange: Vec<f32> = right[0].w_dec.iter().rev().copied().collect();
    let nothing = vec![0.0; FEATURES * D];
    let of_skips = vec![0.0; 64 * D];
    let [as_here, lying]: [Vec<&[f32]>; 2] =
        [skipping.iter().map(skip).collect(), turned_skips.iter().map(skip).collect()];
    cases.extend([
        row("nothing", Fits, "")
            .case(CROSS_LAYER, cross_layer(at, [&right[0], &right[1]], &nothing, None, USUAL)),
        // Files have them [d_in, d_out].
        row("nothing, with paths past the features", Fits, "").case(
            CROSS_LAYER,
            cross_layer(at, [&skipping[0], &skipping[1]], &of_skips, Some([lying[0], lying[1]]), USUAL),
        ),
        row("paths past the features on their side", Misread, "skip-transposed").case(
            CROSS_LAYER,
            cross_layer(at, [&skipping[0], &skipping[1]], &of_skips, Some([as_here[0], as_here[1]]), USUAL),
        ),
        row("the input before the norm in place of after it", Elsewhere, "feature_input_hook: mlp.hook_in")
            .case(
                CROSS_LAYER,
                cross_layer(at, [&right[0], &right[1]], &nothing, None, ["hook_resid_mid", "hook_mlp_out"]),
            ),
        row(
            "what the first layer writes into the second, of a different model",
            Weak,
            "bring their files again",
        )
        .case(CROSS_LAYER, cross_layer(at, [&right[0], &right[1]], &strange, None, USUAL)),
        row("dictionaries of a different model", Foreign, "--model")
            .case(CROSS_LAYER, cross_layer(at, [&strangers[0], &strangers[1]], &nothing, None, USUAL)),
    ]);
    cases
}
