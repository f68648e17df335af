//! The same in the layouts of other programs: each dictionary was trained here and is published with one thing wrong. What the check says of
//! each is the table in docs/check.md, which this test writes (`UPDATE_DOCS=1`) or compares.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use sae::Quiet;
use sae::dictionary::{Dictionary, Selection};
use sae::export::{self, ExportOptions, Format};
use sae::train::Method;
use serde_json::{Value, json};
use storage::check::{Check, Judgement};
use tests::Chance;

use crate::made::{
    D, HOOK, checked, data, drifting_and_centred, imported, mean_norm, rows, table, topk, trained,
};

const BEGIN: &str = "<!-- table: tests/tests/check -->\n";
const END: &str = "<!-- end of the table -->\n";

/// CRC-32 as zip files have it.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0_u32, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// A `.npz` file as `numpy.savez` writes it: stored `.npy` members.
fn npz(arrays: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, shape, numbers) in arrays {
        let shape: String = shape.iter().map(|n| format!("{n}, ")).collect();
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}\n");
        let mut content = b"\x93NUMPY\x01\x00".to_vec();
        content.extend((header.len() as u16).to_le_bytes());
        content.extend(header.as_bytes());
        content.extend(numbers.iter().flat_map(|x| x.to_le_bytes()));
        let (name, at) = (format!("{name}.npy"), bytes.len() as u32);
        let mut about = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        for word in [crc(&content), content.len() as u32, content.len() as u32] {
            about.extend(word.to_le_bytes());
        }
        about.extend((name.len() as u16).to_le_bytes());
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&about);
        bytes.extend([0, 0]);
        bytes.extend(name.as_bytes());
        bytes.extend(content);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&about);
        directory.extend([0; 12]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, count) = (bytes.len() as u32, arrays.len() as u16);
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(count.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

fn safetensors(path: &Path, tensors: &[(&str, &[usize], &[f32])]) {
    let tensor = |numbers: &[f32], shape: &[usize]| Tensor::from_slice(numbers, shape, &Device::Cpu).unwrap();
    let all: HashMap<String, Tensor> =
        tensors.iter().map(|(name, shape, numbers)| ((*name).to_owned(), tensor(numbers, shape))).collect();
    candle_core::safetensors::save(&all, path).unwrap();
}

/// `[rows, columns]` turned into `[columns, rows]`.
fn turned(matrix: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|j| matrix.chunks_exact(columns).map(move |row| row[j])).collect()
}

/// Thresholds, or zeros, of all features.
fn thresholds(dictionary: &Dictionary) -> Vec<f32> {
    match &dictionary.selection {
        Selection::Threshold(thresholds) if thresholds.len() == 1 => vec![thresholds[0]; dictionary.d_sae],
        Selection::Threshold(thresholds) => thresholds.clone(),
        _ => vec![0.0; dictionary.d_sae],
    }
}

/// The encoder's bias of a dictionary that subtracts nothing first, for the same codes.
fn folded(dictionary: &Dictionary) -> Dictionary {
    let mut folded = dictionary.clone();
    for f in 0..folded.d_sae {
        let shift: f32 = folded.encoder_row(f).iter().zip(&folded.b_dec).map(|(w, b)| w * b).sum();
        folded.b_enc[f] -= shift;
    }
    folded
}

fn unfolded(dictionary: &Dictionary) -> Dictionary {
    let mut back = dictionary.clone();
    let shifted = folded(dictionary);
    back.b_enc.iter_mut().zip(&shifted.b_enc).for_each(|(b, s)| *b += *b - s);
    back
}

/// Gemma Scope: hook, L0 and all from the names of folders. `b_enc` as it is: the class subtracts nothing.
fn gemma_scope(at: &Path, dictionary: &Dictionary, layer: usize, l0: usize) -> PathBuf {
    let folder = at.join(format!("gemma-scope-2b-pt-res/layer_{layer}/width_1k/average_l0_{l0}"));
    std::fs::create_dir_all(&folder).unwrap();
    let (d, f) = (dictionary.d_in, dictionary.d_sae);
    let bytes = npz(&[
        ("W_enc", &[d, f], &turned(&dictionary.w_enc, d)),
        ("W_dec", &[f, d], &dictionary.w_dec),
        ("b_enc", &[f], &dictionary.b_enc),
        ("b_dec", &[d], &dictionary.b_dec),
        ("threshold", &[f], &thresholds(dictionary)),
    ]);
    std::fs::write(folder.join("params.npz"), bytes).unwrap();
    folder
}

/// Gemma Scope 2, likewise.
fn gemma_scope_2(at: &Path, dictionary: &Dictionary) -> PathBuf {
    let folder = at.join("resid_post/layer_2_width_1k_l0_small");
    std::fs::create_dir_all(&folder).unwrap();
    let (d, f) = (dictionary.d_in, dictionary.d_sae);
    safetensors(
        &folder.join("params.safetensors"),
        &[
            ("w_enc", &[d, f], &turned(&dictionary.w_enc, d)),
            ("w_dec", &[f, d], &dictionary.w_dec),
            ("b_enc", &[f], &dictionary.b_enc),
            ("b_dec", &[d], &dictionary.b_dec),
            ("threshold", &[f], &thresholds(dictionary)),
        ],
    );
    std::fs::write(
        folder.join("config.json"),
        json!({"architecture": "jump_relu", "hf_hook_point_in": "model.layers.2.output"}).to_string(),
    )
    .unwrap();
    folder
}

/// Llama Scope: weights for rows times `√d/norm`, one threshold.
fn llama_scope(at: &Path, dictionary: &Dictionary, norm: f64, threshold: f32) -> PathBuf {
    let folder = at.join("L2R");
    std::fs::create_dir_all(folder.join("checkpoints")).unwrap();
    let (d, f) = (dictionary.d_in, dictionary.d_sae);
    safetensors(
        &folder.join("checkpoints/final.safetensors"),
        &[
            ("encoder.weight", &[f, d], &dictionary.w_enc),
            ("encoder.bias", &[f], &dictionary.b_enc),
            ("decoder.weight", &[d, f], &turned(&dictionary.w_dec, d)),
            ("decoder.bias", &[d], &dictionary.b_dec),
        ],
    );
    let settings = json!({
        "d_model": d, "d_sae": f, "jump_relu_threshold": threshold, "act_fn": "jumprelu", "use_decoder_bias": true,
        "dataset_average_activation_norm": {"in": norm, "out": norm}, "hook_point_in": HOOK, "hook_point_out": HOOK,
    });
    std::fs::write(folder.join("hyperparams.json"), settings.to_string()).unwrap();
    folder
}

/// In a format that the product exports to, with changes of its configuration.
fn exported(
    at: &Path,
    dictionary: &Dictionary,
    to: Format,
    (inside, config): (&str, &str),
    changes: &[(&str, Value)],
) -> PathBuf {
    let mut dictionary = dictionary.clone();
    dictionary.info.hook_name = Some(HOOK.to_owned());
    dictionary.info.model_name = None;
    let (bare, out) = (at.join("bare"), at.join("out"));
    dictionary.save(&bare).unwrap();
    export::run(&bare, &ExportOptions::new(to, &out), &mut Quiet).unwrap();
    let path = out.join(inside).join(config);
    let mut settings: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (key, value) in changes {
        settings[*key] = value.clone();
    }
    std::fs::write(&path, settings.to_string()).unwrap();
    out.join(inside)
}

const SPARSIFY: (&str, &str) = ("layers.2", "cfg.json");
const LEARNING: (&str, &str) = ("trainer_0", "config.json");

/// One line of the table.
struct Case {
    layout: &'static str,
    wrong: &'static str,
    judgement: Judgement,
    /// What the remedy must name, if there is one.
    remedy: &'static str,
    check: Check,
}

/// A check of a dictionary that `write` publishes, on `data` or on the model.
fn case(
    layout: &'static str,
    wrong: &'static str,
    (judgement, remedy): (Judgement, &'static str),
    data: Option<&Path>,
    write: impl FnOnce(&Path) -> PathBuf,
) -> Case {
    let at = tempfile::tempdir().unwrap();
    let folder = write(at.path());
    Case { layout, wrong, judgement, remedy, check: checked(&folder, data) }
}

/// With thresholds and of the same data as [`topk`].
fn by_threshold() -> Dictionary {
    trained(&data(HOOK), Method::MutualChoice, 512)
}

fn cases() -> Vec<Case> {
    use Judgement::{Elsewhere, Fits, Foreign, Misread, Rows, Sparsity};
    let at = tempfile::tempdir().unwrap();
    let here = data(HOOK);
    let here = Some(&*here);
    let thresholded = by_threshold();
    let plain = folded(&thresholded);
    // The same rows twelve times as long, as other models have them.
    let long: Vec<f32> = rows(&data(HOOK)).iter().map(|x| x * 12.0).collect();
    let long = imported(at.path(), "long", &long);
    let norm = mean_norm(&long);
    let scale = ((D as f64).sqrt() / norm) as f32;
    let of_long = trained(&long, Method::MutualChoice, 512);
    // For rows times √d/norm, as Llama Scope has its weights.
    let scaled = folded(&of_long.clone().for_raw_activations(1.0 / scale));
    let median = |dictionary: &Dictionary| {
        let mut all = thresholds(dictionary);
        all.sort_by(f32::total_cmp);
        all[all.len() / 2]
    };
    let square = folded(&trained(&data(HOOK), Method::MutualChoice, D));
    let mut on_its_side = square.clone();
    on_its_side.w_dec = turned(&square.w_dec, D);
    let mut chance = Chance::new(3);
    let basis: Vec<f32> = (0..D * D).map(|_| (chance.unit() - 0.5) as f32 * 0.3).collect();
    let other: Vec<f32> = rows(&data(HOOK))
        .chunks_exact(D)
        .flat_map(|row| basis.chunks_exact(D).map(|b| row.iter().zip(b).map(|(x, y)| x * y).sum::<f32>()))
        .collect();
    let other = imported(at.path(), "other", &other);
    let of_other = folded(&trained(&other, Method::MutualChoice, 512));
    let mut with_bos = rows(&data(HOOK));
    let bos: Vec<f32> = with_bos[..D].iter().rev().map(|x| x * 100.0).collect();
    with_bos.chunks_exact_mut(D).step_by(64).for_each(|row| row.copy_from_slice(&bos));
    let with_bos = imported(at.path(), "bos", &with_bos);
    let [raw, centred] = drifting_and_centred(at.path(), &mut chance);
    let of_centred = trained(&centred, Method::Topk, 512);

    let sparsify = |dictionary: &Dictionary, changes: &[(&str, Value)], at: &Path| {
        exported(at, dictionary, Format::Sparsify, SPARSIFY, changes)
    };
    let learning = |dictionary: &Dictionary, at: &Path| {
        exported(at, dictionary, Format::DictionaryLearning, LEARNING, &[])
    };
    let right = (Fits, "");
    vec![
        case("sparsify", "nothing", right, here, |at| sparsify(topk(), &[], at)),
        case(
            "sparsify",
            "trained without a pre-bias, which sparsify always subtracts",
            (Misread, "--reading without-pre-bias"),
            here,
            |at| sparsify(&folded(topk()), &[], at),
        ),
        case(
            "sparsify",
            "trained on a model with centred weights",
            (Misread, "--reading centred"),
            Some(&*raw),
            |at| sparsify(&of_centred, &[], at),
        ),
        case("sparsify", "k 64 instead of 16 in `cfg.json`", right, here, |at| {
            sparsify(topk(), &[("k", json!(64))], at)
        }),
        case("dictionary_learning", "nothing", right, here, |at| learning(topk(), at)),
        case(
            "dictionary_learning",
            "`AutoEncoderTopK` that was trained without a pre-bias",
            (Misread, "--reading without-pre-bias"),
            here,
            |at| learning(&folded(topk()), at),
        ),
        case(
            "dictionary_learning",
            "`JumpReluAutoEncoder` with a pre-bias, which the class does not subtract",
            (Misread, "--reading with-pre-bias"),
            here,
            |at| {
                let mut each = unfolded(&thresholded);
                // Thresholds of their own: one for all would be a BatchTopKSAE.
                let mut own = thresholds(&each);
                own[0] *= 1.0001;
                each.selection = Selection::Threshold(own);
                learning(&each, at)
            },
        ),
        case(
            "dictionary_learning",
            "rows of BOS in the dataset",
            (Rows, "--norm-limit"),
            Some(&*with_bos),
            |at| learning(topk(), at),
        ),
        case("Gemma Scope", "nothing", right, here, |at| gemma_scope(at, &plain, 2, 16)),
        case(
            "Gemma Scope",
            "a pre-bias that was not folded",
            (Misread, "--reading with-pre-bias"),
            here,
            |at| gemma_scope(at, &thresholded, 2, 16),
        ),
        case(
            "Gemma Scope",
            "trained on x·√d/mean norm",
            (Misread, "--reading with-scale"),
            Some(&*long),
            |at| gemma_scope(at, &scaled, 2, 16),
        ),
        case(
            "Gemma Scope",
            "a folder of a different layer",
            (Elsewhere, "--hook blocks.2.hook_resid_post"),
            None,
            |at| gemma_scope(at, &plain, 0, 16),
        ),
        case("Gemma Scope", "a folder of a different L0, 400", (Sparsity, ""), here, |at| {
            gemma_scope(at, &plain, 2, 400)
        }),
        case("Gemma Scope 2", "nothing", right, here, |at| gemma_scope_2(at, &plain)),
        case(
            "Gemma Scope 2",
            "a square decoder on its side",
            (Misread, "--reading decoder-transposed"),
            here,
            |at| gemma_scope_2(at, &on_its_side),
        ),
        case("Gemma Scope 2", "a dictionary of a different model", (Foreign, ""), here, |at| {
            gemma_scope_2(at, &of_other)
        }),
        case(
            "Llama Scope",
            "nothing: the threshold is of activations as they are",
            right,
            Some(&*long),
            |at| llama_scope(at, &scaled, norm, median(&scaled) / scale),
        ),
        case(
            "Llama Scope",
            "the threshold is of scaled activations",
            (Misread, "--reading thresholds-published"),
            Some(&*long),
            |at| llama_scope(at, &scaled, norm, median(&scaled)),
        ),
        case(
            "Llama Scope",
            "weights for activations as they are",
            (Misread, "--reading without-scale"),
            Some(&*long),
            |at| {
                let raw = folded(&of_long);
                llama_scope(at, &raw, norm, median(&raw) / scale)
            },
        ),
    ]
}

/// The verdict as docs/check.md calls it.
fn called(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Fits => "fits",
        Judgement::Weak => "weak",
        Judgement::Misread => "misread",
        Judgement::Rows => "rows",
        Judgement::Elsewhere => "elsewhere",
        Judgement::Foreign => "does not belong",
        Judgement::Sparsity => "L0",
        Judgement::NotMeasured => "not measured",
    }
}

#[test]
fn misreadings_in_the_layouts_of_other_programs_are_named() {
    let cases = cases();
    let mut text = String::from("| layout | what is wrong | verdict | remedy |\n|---|---|---|---|\n");
    let mut failures = String::new();
    for case in &cases {
        let remedy = case.check.remedy.as_deref().unwrap_or_default();
        let good = case.check.judgement == case.judgement
            && remedy.contains(case.remedy)
            && (case.remedy.is_empty() || !remedy.is_empty());
        if !good {
            failures += &format!("{}, {}: {remedy}\n{}\n", case.layout, case.wrong, table(&case.check));
        }
        let shown = if case.remedy.is_empty() { String::new() } else { format!("`{}`", case.remedy) };
        let verdict = called(case.check.judgement);
        text += &format!("| {} | {} | {verdict} | {shown} |\n", case.layout, case.wrong);
    }
    println!("{text}");
    assert!(failures.is_empty(), "{failures}");
    documented(&text);
}

/// Random weights of the golden dictionaries belong to no rows, whatever their layout.
#[test]
fn random_dictionaries_of_all_formats_belong_to_nothing() {
    let at = tempfile::tempdir().unwrap();
    let whole = rows(&data(HOOK));
    let narrow: Vec<f32> = whole.chunks_exact(D).flat_map(|row| row[..6].to_vec()).collect();
    let narrow = crate::made::imported_as(at.path(), "narrow", &narrow, 6, None);
    let mut measured = 0;
    for folder in golden::folders() {
        let source = golden::place(&folder);
        let opened = sae::interop::dictionaries::open_path(&source).unwrap();
        let sae::interop::dictionaries::Content::Dictionary(dictionary) = &opened.content else { continue };
        if dictionary.target.is_some() {
            continue;
        }
        let check = checked(&source, Some(&narrow));
        assert_ne!(check.judgement, Judgement::Fits, "{}: {}", folder.display(), table(&check));
        measured += 1;
    }
    assert!(measured >= 20, "{measured}");
}

#[path = "../../../sae/tests/dictionaries/mod.rs"]
mod golden;

fn documented(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/check.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (old, after) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(old, table, "docs/check.md has a different table; UPDATE_DOCS=1 writes this one");
}
