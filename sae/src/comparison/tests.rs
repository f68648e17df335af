//! Comparisons of runs on datasets on disk.

use std::path::Path;

use storage::Scan;
use storage::comparison::{ComparisonRow, MeanRow};

use super::*;
use crate::train::sweep::{NamedConfig, Plan};
use crate::train::tests::{planted, small_config, write};
use crate::train::{FrozenDecoder, Method, TrainConfig};
use crate::{ModelChoice, Quiet};

fn row(group: &str, seed: u64, fve: f64) -> ComparisonRow {
    ComparisonRow { group: group.into(), seed, fve: Some(fve), l0: 4.0, ..ComparisonRow::default() }
}

#[test]
fn means_and_spread_are_over_seeds() {
    let rows = [row("a", 0, 1.0), row("a", 1, 2.0), row("a", 2, 6.0), row("b", 0, 5.0)];
    let means: Vec<MeanRow> = rows.chunk_by(means::same_group).flat_map(means::means).collect();
    let fve: Vec<&MeanRow> = means.iter().filter(|row| row.figure == "fve").collect();
    assert_eq!((fve[0].seeds, fve[0].mean, fve[0].sd), (3, 3.0, Some(7f64.sqrt())));
    // t.975 of two degrees of freedom is 4.3027.
    let half = 4.302_652_73 * (7.0 / 3.0_f64).sqrt();
    assert!(
        (fve[0].low.unwrap() - (3.0 - half)).abs() < 1e-6
            && (fve[0].high.unwrap() - (3.0 + half)).abs() < 1e-6
    );
    assert_eq!((fve[0].least, fve[0].most), (1.0, 6.0));
    assert_eq!((fve[1].seeds, fve[1].mean, fve[1].sd), (1, 5.0, None));
    assert!(!means.iter().any(|row| row.figure == "kl"), "a figure that nobody has has no row");
}

/// Two methods with two seeds, a variant, and one run that is not finished.
fn sweep(folder: &Path) -> PathBuf {
    let (data, out) = (folder.join("data"), folder.join("sweep"));
    write(&data, &planted(2500, 16, 40, 3).0, None, 16, 130, |document| document % 5 == 4);
    let asked = |name: &str, method, seed, freeze_decoder| NamedConfig {
        name: name.to_owned(),
        config: TrainConfig { data: Some(data.clone()), method, seed, freeze_decoder, ..small_config() },
    };
    let runs = [
        asked("t0", Method::Topk, 0, None),
        asked("t1", Method::Topk, 1, None),
        asked("m0", Method::MutualChoice, 0, None),
        asked("f0", Method::Topk, 0, Some(FrozenDecoder::Random)),
    ];
    crate::train::sweep::run(&Plan::new(&runs, None, Some(1)).unwrap(), &out, false, &mut Quiet).unwrap();
    let mut record = RunRecord::read(&out.join("m0")).unwrap();
    record.status = storage::RunStatus::Stopped;
    let unfinished = out.join("unfinished");
    std::fs::create_dir_all(&unfinished).unwrap();
    record.write(&unfinished).unwrap();
    out
}

#[test]
fn runs_are_grouped_measured_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = sweep(folder.path());
    let options = CompareOptions {
        evaluate: EvaluateOptions { model: ModelChoice::Without, ..EvaluateOptions::default() },
        ..CompareOptions::default()
    };
    let found = run(&out, &options, &mut Quiet).unwrap();
    let names: Vec<&str> = found.runs.iter().map(|row| row.run.as_str()).collect();
    let computed =
        ["pca-first-k4", "pca-largest-k4", "raw-largest-k4", "random-rows-k4", "permuted-decoder-k4"];
    assert_eq!(names, [&["t0", "t1", "t0", "t1", "f0", "f0", "m0"], &computed[..]].concat());
    let controls: Vec<&str> = found.runs.iter().map(|row| row.control.as_str()).collect();
    assert_eq!(controls[..7], ["", "", "", "", "frozen decoder", "frozen decoder", ""]);
    assert!(controls[7..].iter().all(|control| !control.is_empty()));
    let groups: Vec<&str> = found.runs.iter().map(|row| row.group.as_str()).collect();
    let expected = [
        "topk k 4",
        "topk k 4",
        "topk (by one threshold) k 4",
        "topk (by one threshold) k 4",
        "topk (freeze_decoder=random) k 4",
        "topk (freeze_decoder=random by one threshold) k 4",
        "mutual-choice k 4",
    ];
    assert_eq!(groups[..7], expected);
    // The threshold was fitted on other documents, to the L0 that the k best have.
    assert!((found.runs[2].l0 - 4.0).abs() < 0.4 && found.runs[2].l0_sd > Some(0.1), "{:?}", found.runs[2]);
    // Orders of rows differ, so limits of norms do: all are measured on the rows that none of them left out.
    let limit = |name: &str| RunRecord::read(&out.join(name)).unwrap().norm_limit.unwrap() as f32;
    let least = ["t0", "t1", "f0", "m0"].map(limit).into_iter().reduce(f32::min);
    let best = found.runs.iter().filter(|row| !row.group.contains("by one threshold"));
    for row in best.filter(|row| !computed.contains(&row.run.as_str())) {
        let options = EvaluateOptions { norm_limit: least, ..options.evaluate.clone() };
        let alone = evaluate::run(&out.join(&row.run), &options, &mut Quiet).unwrap();
        assert_eq!((row.fve, row.l0, row.dead_share), (alone.fve, alone.l0, alone.dead_share), "{}", row.run);
        assert!(row.fve.unwrap() > 0.1 && row.under_used_share.is_some());
    }
    assert_eq!((found.runs[0].selection.as_str(), found.runs[6].selection.as_str()), ("best", "one"));
    assert!(found.runs[0].fve > found.runs[4].fve, "a decoder that is trained is better than a random one");
    assert!(found.runs[0].fve > found.runs[7].fve, "{:?}", found.runs);

    // The permuted decoder has the first run's codes and none of its reconstruction.
    assert_eq!(found.runs[11].l0, found.runs[0].l0);
    assert!(found.runs[0].fve.unwrap() > found.runs[11].fve.unwrap() + 0.3, "{:?}", found.runs[11]);
    let of = |group: &str, other: &str, figure: &str| {
        let pair = |row: &&DifferenceRow| row.group == group && row.other == other && row.figure == figure;
        found.differences.iter().find(pair).unwrap()
    };
    let permuted = of("topk k 4", "permuted-decoder k 4", "fve");
    // One of them has a single run: documents alone decide.
    assert!(permuted.apart && permuted.low.is_none() && permuted.data_low.unwrap() > 0.0, "{permuted:?}");
    assert!(permuted.detectable.unwrap() < permuted.difference);
    let itself = of("topk k 4", "topk (by one threshold) k 4", "fve");
    assert!(itself.low.is_some() && itself.data_low.is_some(), "{itself:?}");
    for row in found.means.iter().filter(|row| row.figure == "fve") {
        let (low, high) = (row.data_low.unwrap(), row.data_high.unwrap());
        assert!(low < row.mean && row.mean < high && high - low < 0.5, "{row:?}");
    }

    let table = storage::row::open::<ComparisonRow>(&found.out.join("runs.parquet")).unwrap();
    assert_eq!(storage::row::read::<ComparisonRow>(&table, Scan::default()).unwrap(), found.runs);
    let table = storage::row::open::<MeanRow>(&found.out.join("means.parquet")).unwrap();
    assert_eq!(storage::row::read::<MeanRow>(&table, Scan::default()).unwrap(), found.means);
    let table = storage::row::open::<DifferenceRow>(&found.out.join("differences.parquet")).unwrap();
    let read = storage::row::read::<DifferenceRow>(&table, Scan::default()).unwrap();
    assert_eq!(read, found.differences);
    let page = std::fs::read_to_string(found.out.join("comparison.md")).unwrap();
    let (seen, ranked) = (page.find("smallest difference").unwrap(), page.find("| topk | 2 |").unwrap());
    assert!(seen < ranked && !page.contains("better"), "{page}");
    assert!(
        page.contains("| topk | 2 |")
            && page.contains("| topk, freeze\\_decoder=random (control: frozen decoder) | 1 |"),
        "{page}"
    );
    let picture = std::fs::read_to_string(found.out.join("fve.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("mutual-choice") && !picture.contains("NaN"));
    // Nothing has changed: evaluations are taken from the runs, except the first, next to which baselines are measured.
    let stamp = |name: &str| {
        std::fs::metadata(out.join(name).join("evaluation/core.json")).unwrap().modified().unwrap()
    };
    let before = stamp("m0");
    // Figures that were read back from JSON may differ in the last digit.
    let again = run(&out, &options, &mut Quiet).unwrap();
    assert_eq!(again.runs.len(), found.runs.len());
    for (a, b) in again.runs.iter().zip(&found.runs) {
        assert_eq!((&a.run, &a.group, a.evaluated), (&b.run, &b.group, b.evaluated));
        assert!((a.l0 - b.l0).abs() < 1e-9 && (a.fve.unwrap() - b.fve.unwrap()).abs() < 1e-9, "{a:?} {b:?}");
    }
    assert_eq!(stamp("m0"), before);
}

#[test]
fn a_folder_without_runs_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let message = run(folder.path(), &CompareOptions::default(), &mut Quiet).unwrap_err().to_string();
    assert!(message.contains("no finished run") && message.contains("--config sweep.toml"), "{message}");
}
