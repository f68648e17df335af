//! What the cases need: text and datasets of the embedded model, dictionaries trained on them, checks.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use lm::model::{LanguageModel, ModelSource};
use sae::Quiet;
use sae::check::{CheckOptions, check};
use sae::dictionary::Dictionary;
use sae::harvest::{self, HarvestConfig};
use sae::interop::dictionaries::open_path;
use sae::train::{self, Method, TrainConfig};
use serde_json::Value;
use storage::check::{Check, Judgement};
use storage::{Dataset, Dtype};
use tests::{Chance, sae};

pub const HOOK: &str = "blocks.2.hook_resid_post";
/// Width of the embedded model.
pub const D: usize = 128;

/// A folder with what all cases need, made once: `text`, datasets by hook, runs.
pub fn made() -> &'static Path {
    static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text");
        std::fs::create_dir_all(&text).unwrap();
        for (name, bytes) in lm::embedded::CORPUS {
            std::fs::write(text.join(name), &bytes[..whole_lines(bytes, 100_000)]).unwrap();
        }
        folder
    })
    .path()
}

/// The length of the whole lines among the first `most` bytes.
pub fn whole_lines(bytes: &[u8], most: usize) -> usize {
    bytes[..most.min(bytes.len())].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)
}

/// The dataset of `hook`, harvested when it is first asked for.
pub fn data(hook: &str) -> PathBuf {
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = LOCK.lock();
    let out = made().join(format!("data {hook}"));
    if !out.exists() {
        let config = HarvestConfig {
            text: vec![made().join("text")],
            hooks: vec![hook.parse().unwrap()],
            dtype: Dtype::F32,
            ..HarvestConfig::default()
        };
        harvest::run(&config, &LanguageModel::load(&ModelSource::Default).unwrap(), &out, &mut Quiet)
            .unwrap();
    }
    out
}

/// A dictionary of `data`, good enough to be told from a wrong one.
pub fn trained(data: &Path, method: Method, d_sae: usize) -> Dictionary {
    trained_on(data, method, d_sae, None)
}

/// The same, or a transcoder to the rows of `target`.
pub fn trained_on(data: &Path, method: Method, d_sae: usize, target: Option<&Path>) -> Dictionary {
    let config = TrainConfig {
        method,
        target: target.map(Path::to_owned),
        d_sae: Some(d_sae),
        k: 16,
        batch: 512,
        tokens: Some(500_000),
        learning_rate: Some(2e-3),
        ..TrainConfig::default()
    };
    let out = tempfile::tempdir().unwrap();
    let run = out.path().join("run");
    train::run(&config, data, &run, false, &mut Quiet).unwrap();
    Dictionary::load(&run).unwrap()
}

/// The dictionary of most cases: TopK at [`HOOK`].
pub fn topk() -> &'static Dictionary {
    static MADE: OnceLock<Dictionary> = OnceLock::new();
    MADE.get_or_init(|| trained(&data(HOOK), Method::Topk, 512))
}

/// `dictionary` as a SAELens folder that a different program published, with `changes` of its configuration.
pub fn published(dictionary: &Dictionary, hook: &str, changes: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut dictionary = dictionary.clone();
    dictionary.info.hook_name = Some(hook.to_owned());
    dictionary.info.model_name = None;
    dictionary.save(folder.path()).unwrap();
    let path = folder.path().join("cfg.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (key, value) in changes {
        config[*key] = value.clone();
    }
    std::fs::write(&path, config.to_string()).unwrap();
    folder
}

/// The check of what is in `folder`, on `data` or, without, on the embedded model.
pub fn checked(folder: &Path, data: Option<&Path>) -> Check {
    checked_at(folder, data, None)
}

/// The same, at `hook` whatever its files say.
pub fn checked_at(folder: &Path, data: Option<&Path>, hook: Option<&str>) -> Check {
    let options = CheckOptions {
        hook: hook.map(|hook| hook.parse().unwrap()),
        data: data.map(Path::to_owned),
        model: data.is_none().then_some(ModelSource::Default),
        ..CheckOptions::default()
    };
    check("published", open_path(folder).unwrap(), &options, &mut Quiet).unwrap().check
}

/// The readings as a table, for a test that fails.
pub fn table(check: &Check) -> String {
    let mut text = format!("{:?}: {}\n", check.judgement, check.verdict);
    for r in &check.readings {
        text += &format!("{:>24} FVE {:?} L0 {:.1}\n", r.id, r.fve, r.l0);
    }
    for h in check.hooks.iter().take(5) {
        text += &format!("{:>40} FVE {:?} L0 {:.1}\n", h.hook, h.fve, h.l0);
    }
    text
}

/// Mean norm of a token's row.
pub fn mean_norm(data: &Path) -> f64 {
    let rows = rows(data);
    let norm = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    rows.chunks_exact(D).map(norm).sum::<f64>() / (rows.len() / D) as f64
}

/// All rows of a dataset, `[n, D]`.
pub fn rows(data: &Path) -> Vec<f32> {
    let table = Dataset::open(data).unwrap().table("activations").unwrap();
    let mut rows = Vec::new();
    for batch in table.scan(storage::Scan::default()).unwrap() {
        storage::vector::fixed_size_rows(&batch.unwrap(), "activation", &mut rows).unwrap();
    }
    rows
}

/// Rows as a dataset, by the product's own import.
pub fn imported(folder: &Path, name: &str, rows: &[f32]) -> PathBuf {
    imported_as(folder, name, rows, D, Some(HOOK))
}

/// Rows of width `d` at `hook`.
pub fn imported_as(folder: &Path, name: &str, rows: &[f32], d: usize, hook: Option<&str>) -> PathBuf {
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {d}), }}\n", rows.len() / d);
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(rows.iter().flat_map(|x| x.to_le_bytes()));
    std::fs::write(folder.join(format!("{name}.npy")), bytes).unwrap();
    let hook = hook.map(|hook| format!("--hook {hook}")).unwrap_or_default();
    sae(folder, &format!("import {name}.npy {hook} --out {name} --dtype f32")).ok();
    folder.join(name)
}

/// Datasets of rows whose mean over the components drifts, which a layer norm lets a model use for nothing, and of the same rows without it.
pub fn drifting_and_centred(at: &Path, chance: &mut Chance) -> [PathBuf; 2] {
    let mut raw = rows(&data(HOOK));
    let spread = mean_norm(&data(HOOK)) / (D as f64).sqrt();
    for row in raw.chunks_exact_mut(D) {
        let drift = (2.0 * spread * (chance.unit() + 0.5)) as f32;
        row.iter_mut().for_each(|x| *x += drift);
    }
    let mut centred = raw.clone();
    for row in centred.chunks_exact_mut(D) {
        let mean = row.iter().sum::<f32>() / D as f32;
        row.iter_mut().for_each(|x| *x -= mean);
    }
    [imported(at, "raw", &raw), imported(at, "centred", &centred)]
}

/// The rows of [`HOOK`] in a basis of their own, as a model that was trained from different first weights has them.
pub fn in_a_different_basis(at: &Path, chance: &mut Chance) -> PathBuf {
    let basis: Vec<f32> = (0..D * D).map(|_| (chance.unit() - 0.5) as f32 * 0.3).collect();
    let product = |row: &[f32], b: &[f32]| row.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    let whole = rows(&data(HOOK));
    let other: Vec<f32> =
        whole.chunks_exact(D).flat_map(|row| basis.chunks_exact(D).map(move |b| product(row, b))).collect();
    imported(at, "other", &other)
}

/// A dataset of [`HOOK`] with the rows of BOS, which models make a hundred times as long as others.
pub fn with_rows_of_bos(at: &Path) -> PathBuf {
    let mut with_bos = rows(&data(HOOK));
    let bos: Vec<f32> = with_bos[..D].iter().rev().map(|x| x * 100.0).collect();
    with_bos.chunks_exact_mut(D).step_by(64).for_each(|row| row.copy_from_slice(&bos));
    imported(at, "bos", &with_bos)
}

/// What the MLP of block 1 reads, without the gain of the norm: TransformerLens folds it into what reads it.
pub fn norm_folded_away(at: &Path) -> PathBuf {
    let mut rows = rows(&data("blocks.1.hook_resid_mid"));
    for row in rows.chunks_exact_mut(D) {
        let rms = (row.iter().map(|x| x * x).sum::<f32>() / D as f32).sqrt();
        row.iter_mut().for_each(|x| *x /= rms);
    }
    imported(at, "folded", &rows)
}

/// The table of docs/check.md that is marked by `name`: written (`UPDATE_DOCS=1`) or compared.
pub fn documented(name: &str, table: &str) {
    let (begin, end) = (format!("<!-- table: {name} -->\n"), "<!-- end of the table -->\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/check.md");
    // Tests that write different tables run at the same time.
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one_at_a_time = LOCK.lock();
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(&begin).unwrap();
    let (old, after) = rest.split_once(end).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{begin}{table}{end}{after}")).unwrap();
        return;
    }
    assert_eq!(old, table, "docs/check.md has a different table; UPDATE_DOCS=1 writes this one");
}

/// The verdict as docs/check.md calls it.
pub fn called(judgement: Judgement) -> &'static str {
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
