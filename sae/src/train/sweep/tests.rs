//! Whole sweeps on datasets on disk.

use std::path::Path;

use storage::sweep::SweepRow;
use storage::{RunRecord, RunStatus, Scan};

use super::file::parse;
use super::*;
use crate::train::tests::methods::write_with_gradients;
use crate::train::tests::{small_config, weights};
use crate::train::{Method, TrainConfig};
use crate::{Error, Quiet};
use lm::progress::StopAfter;

fn names(text: &str) -> Vec<String> {
    parse(text).unwrap().into_iter().map(|run| run.name).collect()
}

#[test]
fn lists_are_crossed_and_runs_named_by_what_differs() {
    let text = r#"
        [base]
        data = "data"
        k = 8
        [[cross]]
        method = ["topk", "mutual-choice"]
        seed = [0, 1]
        tokens = 5000
        [[cross]]
        name = "beta"
        method = "gradient"
        score_beta = [0.5, 2.0]
        data = ["acts/blocks.0.hook_resid_post", "acts/blocks.1.hook_resid_post"]
        [[run]]
        method = "relu"
        sparsity_coefficient = 0.5
        [[run]]
        name = "nested"
        method = "matryoshka"
        widths = [8, 96]
    "#;
    let runs = parse(text).unwrap();
    assert_eq!(
        names(text),
        [
            "topk-seed0",
            "topk-seed1",
            "mutual-choice-seed0",
            "mutual-choice-seed1",
            "beta-score_beta0.5-blocks.0.hook_resid_post",
            "beta-score_beta0.5-blocks.1.hook_resid_post",
            "beta-score_beta2.0-blocks.0.hook_resid_post",
            "beta-score_beta2.0-blocks.1.hook_resid_post",
            "relu-sparsity_coefficient0.5",
            "nested",
        ]
    );
    assert_eq!((runs[3].config.seed, runs[3].config.tokens, runs[3].config.k), (1, Some(5000), 8));
    assert_eq!(runs[5].config.data.as_deref(), Some(Path::new("acts/blocks.1.hook_resid_post")));
    assert_eq!(runs[9].config.widths, Some(vec![8, 96]), "the one option that is a list is not crossed");
    let named = "[cross]\nname = \"mine\"\nmethod = [\"topk\", \"gradient\"]\nseed = 3";
    assert_eq!(names(named), ["mine-topk", "mine-gradient"]);
    let crossed = parse("[cross]\nmethod = \"matryoshka\"\nwidths = [[8, 96], [16, 96]]").unwrap();
    assert_eq!(crossed[1].config.widths, Some(vec![16, 96]));
    assert_eq!(crossed[1].name, "matryoshka-widths16_96");
}

#[test]
fn mistakes_are_answered_with_what_was_meant() {
    let wrong = |text: &str| parse(text).unwrap_err();
    assert!(wrong("[cross]\nmetod = [\"topk\"]").contains("unknown field `metod`; did you mean `method`?"));
    assert!(
        wrong("[base]\nlr = 1e-3\n[[run]]\nk = 3")
            .contains("[base]: unknown field `lr`; did you mean `learning_rate`?")
    );
    assert!(wrong("[[runs]]\nk = 3").contains("did you mean `run`?"));
    assert!(wrong("k = 3\n[[run]]\nseed = 1").contains("are under [base]"));
    assert!(wrong("[base]\nk = 3").contains("there is no run"));
    assert!(wrong("[cross]\nk = []").contains("the list of `k` is empty"));
    assert!(wrong("[cross]\nk = [1, 1]").contains("two runs are called `topk-k1`"));
    assert!(wrong("[[run]]\nname = \"../up\"").contains("cannot be the name"));
    assert!(wrong("[[run]]\nk = [1, 2]").contains("[[run]]:"), "lists are crossed under [[cross]] alone");
    assert!(wrong("[cross]\nmethod = [\"topk\", \"btachtopk\"]").contains("did you mean `batchtopk`"));
}

#[test]
fn an_alias_names_the_folder_of_its_method() {
    let runs = parse("[[cross]]\nmethod = [\"topk\", \"BatchTopK\"]\nseed = [0, 1]").unwrap();
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["topk-seed0", "topk-seed1", "mutual-choice-seed0", "mutual-choice-seed1"]);
    let runs = parse("[[cross]]\nname = \"short\"\nmethod = [\"topk\", \"batch_topk\"]").unwrap();
    assert_eq!(runs[1].name, "short-mutual-choice");
}

fn asked(data: &Path, methods: &[Method]) -> Vec<NamedConfig> {
    let mut asked = Vec::new();
    for &method in methods {
        for (k, seed, steps) in [(4, 0, 60), (5, 1, 47)] {
            let config = TrainConfig {
                data: Some(data.to_owned()),
                method,
                k,
                seed,
                data_seed: Some(7),
                tokens: Some(100 * steps),
                aux_rho: method.is_feature_choice().then_some(0.5),
                ..small_config()
            };
            asked.push(NamedConfig { name: format!("{method}-{seed}"), config });
        }
    }
    asked
}

fn sweep(
    asked: &[NamedConfig],
    out: &Path,
    resume: bool,
    progress: &mut dyn crate::Progress,
) -> crate::Result<SweepOutcome> {
    run(&Plan::new(asked, None, Some(2)).unwrap(), out, resume, progress)
}

const METHODS: [Method; 5] =
    [Method::Topk, Method::MutualChoice, Method::FeatureChoice, Method::GradientMutual, Method::Gated];

#[test]
fn every_run_ends_in_the_bits_it_has_when_trained_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_with_gradients(&data, 2500, 16);
    let mut asked = asked(&data, &METHODS);
    asked[1].config.shuffle_gradients = false;
    // Another order of rows, so another stream.
    asked[3].config.data_seed = None;
    let out = folder.path().join("sweep");
    let plan = Plan::new(&asked, None, Some(2)).unwrap();
    assert_eq!(plan.waves.iter().map(|wave| wave.runs.len()).collect::<Vec<_>>(), [9, 1]);
    let outcome = run(&plan, &out, false, &mut Quiet).unwrap();
    assert_eq!(outcome.failures(), None);
    for NamedConfig { name, config } in &asked {
        let alone = folder.path().join("alone").join(name);
        crate::train::run(config, &data, &alone, false, &mut Quiet).unwrap();
        assert!(weights(&out.join(name)) == weights(&alone), "{name}");
        let history = |run: &Path| std::fs::read(run.join("history/snapshots.parquet")).unwrap();
        assert!(history(&out.join(name)) == history(&alone), "{name}");
        let (a, b) = (RunRecord::read(&out.join(name)).unwrap(), RunRecord::read(&alone).unwrap());
        assert_eq!((&a.thresholds, a.status, a.step), (&b.thresholds, b.status, b.step), "{name}");
        let fve = |record: &RunRecord| record.last.unwrap().explained_variance;
        assert_eq!(fve(&a), fve(&b));
    }
    let table = storage::row::open::<SweepRow>(&out.join(TABLE)).unwrap();
    let rows = storage::row::read::<SweepRow>(&table, Scan::default()).unwrap();
    assert_eq!(rows.len(), 10);
    for (row, asked) in rows.iter().zip(&asked) {
        assert_eq!((row.run.as_str(), row.status.as_str()), (asked.name.as_str(), "finished"));
        assert_eq!((row.method.as_str(), row.seed), (asked.config.method.name(), asked.config.seed));
        assert!(row.fve.unwrap() > 0.0 && row.l0.unwrap() > 0.0);
        assert_eq!(row.l0_threshold.is_some(), asked.config.method.fits_thresholds());
    }
    // What is written down reproduces it, and a finished sweep is not trained again.
    assert_eq!(read_out(&out).unwrap().len(), 10);
    let before = weights(&out.join(&asked[0].name));
    std::fs::remove_file(out.join(TABLE)).unwrap();
    let again = sweep(&read_out(&out).unwrap(), &out, true, &mut StopAfter::new(1_000_000)).unwrap();
    assert_eq!(again.runs.len(), 10);
    assert!(out.join(TABLE).exists() && weights(&out.join(&asked[0].name)) == before);
}

#[test]
fn stopped_and_resumed_it_ends_in_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_with_gradients(&data, 2500, 16);
    let asked = asked(&data, &METHODS[..4]);
    let (whole, out) = (folder.path().join("whole"), folder.path().join("stopped"));
    sweep(&asked, &whole, false, &mut Quiet).unwrap();
    // In the middle of a turn, so that runs stand at different steps; and twice in the same one.
    for (i, stop) in [37, 3, 150, 41, 90].into_iter().enumerate() {
        let stopped = sweep(&asked, &out, i > 0, &mut StopAfter::new(stop));
        assert!(matches!(stopped, Err(Error::Stopped(_))), "{stopped:?}");
        let steps: Vec<u64> =
            asked.iter().map(|a| RunRecord::read(&out.join(&a.name)).unwrap().step).collect();
        println!("stopped at {steps:?}");
    }
    // One of them loses its newest checkpoint, as a killed process may leave it.
    let victim = out.join(&asked[2].name);
    let checkpoints = std::fs::read_dir(victim.join("checkpoints")).unwrap().map(|e| e.unwrap().path());
    let number =
        |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    std::fs::remove_dir_all(checkpoints.max_by_key(number).unwrap()).unwrap();
    sweep(&asked, &out, true, &mut Quiet).unwrap();
    for NamedConfig { name, .. } in &asked {
        assert!(weights(&out.join(name)) == weights(&whole.join(name)), "{name}");
        assert_eq!(RunRecord::read(&out.join(name)).unwrap().status, RunStatus::Finished);
        let steps = |run: &Path| -> Vec<u64> {
            let table = storage::Run::open(run).unwrap().metrics().unwrap();
            storage::metrics::read(&table).unwrap().iter().map(|row| row.step).collect()
        };
        assert_eq!(steps(&out.join(name)), steps(&whole.join(name)), "every logged step is there, once");
    }
}

#[test]
fn a_wave_takes_what_fits_and_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_with_gradients(&data, 2500, 16);
    let asked = asked(&data, &METHODS[..2]);
    let (together, apart) = (folder.path().join("together"), folder.path().join("apart"));
    let all = Plan::new(&asked, None, Some(2)).unwrap();
    assert_eq!(all.waves.len(), 1);
    let some = Plan::new(&asked, Some(all.peak_with_help() - all.runs[0].bytes), Some(2)).unwrap();
    assert!(some.waves.len() > 1 && some.peak() < all.peak(), "{:?}", some.waves);
    let least = Plan::new(&asked, Some(1), Some(2)).unwrap();
    assert_eq!(least.waves.len(), asked.len(), "a run that does not fit is tried alone");
    run(&all, &together, false, &mut Quiet).unwrap();
    run(&some, &apart, false, &mut Quiet).unwrap();
    for NamedConfig { name, .. } in &asked {
        assert!(weights(&together.join(name)) == weights(&apart.join(name)), "{name}");
    }
}

#[test]
fn a_run_that_fails_does_not_end_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_with_gradients(&data, 2500, 16);
    let mut asked = asked(&data, &METHODS[..2]);
    (asked[1].config.learning_rate, asked[1].config.warmup_steps) = (Some(1e30), Some(0));
    let out = folder.path().join("sweep");
    let outcome = sweep(&asked, &out, false, &mut Quiet).unwrap();
    let failures = outcome.failures().unwrap();
    assert!(failures.contains("1 of 4 runs failed") && failures.contains("topk-1: step"), "{failures}");
    let alone = folder.path().join("alone");
    crate::train::run(&asked[2].config, &data, &alone, false, &mut Quiet).unwrap();
    assert!(weights(&out.join(&asked[2].name)) == weights(&alone));
    let status = |name: &str| RunRecord::read(&out.join(name)).unwrap().status;
    assert_eq!((status("topk-1"), status("topk-0")), (RunStatus::Failed, RunStatus::Finished));
}

#[test]
fn what_makes_no_sense_is_said_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("sweep"));
    write_with_gradients(&data, 600, 16);
    let refused = |asked: &[NamedConfig]| {
        let message = match Plan::new(asked, None, None) {
            Ok(plan) => run(&plan, &out, false, &mut Quiet).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(!out.exists(), "{message}");
        message
    };
    let mut runs = asked(&data, &[Method::Topk]);
    runs[1].config.k = 1000;
    assert!(refused(&runs).contains("run topk-1: k is 1000"));
    // k means nothing where a penalty decides.
    let mut runs = asked(&data, &[Method::Relu]);
    (runs[1].config.seed, runs[1].config.tokens) = (runs[0].config.seed, runs[0].config.tokens);
    let message = refused(&runs);
    assert!(message.contains("runs relu-0 and relu-1 would be the same"), "{message}");
    assert!(
        run(&Plan::new(&asked(&data, &[Method::Topk]), None, None).unwrap(), &out, true, &mut Quiet)
            .unwrap_err()
            .to_string()
            .contains("does not hold a sweep to resume")
    );
}
