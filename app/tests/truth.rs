//! Truth against found in the window: a small made world, a dictionary trained on its rows, and its score.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use app::address::Place;
use app::shell::{App, Options};
use app::widgets::format;
use common::{click, options, wait, wait_for, wait_for_part, window};
use egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use sae::Quiet;
use sae::synth::dataset::{self, DatasetOptions};
use sae::synth::loss::LossOptions;
use sae::synth::{World, WorldOptions};
use sae::train::TrainConfig;
use sae::truth::{self, ScoreOptions};
use storage::truth::{FEATURES, FOLDER, ScoredFeatureRow, TrueFeatureRow, WORLD};

type Window = Harness<'static, App>;

/// A folder with `data` of a world of 40 features, which may plant a loss, and `run` of 24, scored.
fn scored(root: &Path, loss: Option<LossOptions>) {
    let options = WorldOptions {
        features: 40,
        d: 16,
        hierarchy: None,
        rank: 0,
        orthogonal_steps: 20,
        ..WorldOptions::small()
    };
    let world = World::make(&options, &mut Quiet).unwrap();
    let rows = DatasetOptions {
        rows: 4000,
        seed: 5,
        dtype: storage::Dtype::F32,
        generated: loss.is_some(),
        loss,
        ..DatasetOptions::default()
    };
    dataset::write(&world, &rows, &root.join("data"), &mut Quiet).unwrap();
    let config = TrainConfig {
        d_sae: Some(24),
        k: 3,
        batch: 100,
        tokens: Some(30_000),
        learning_rate: Some(0.01),
        ..TrainConfig::default()
    };
    let run = root.join("run");
    sae::train::run(&config, &root.join("data"), &run, false, &mut Quiet).unwrap();
    truth::run(&run, &ScoreOptions { rows: 5000, ..ScoreOptions::default() }, &mut Quiet).unwrap();
}

fn read<T: storage::row::Row>(run: &Path, file: &str) -> Vec<T> {
    let table = storage::row::open::<T>(&run.join(FOLDER).join(file)).unwrap();
    storage::row::read(&table, storage::Scan::default()).unwrap()
}

/// Numbers and outcomes of the rows whose names begin so, from the top.
fn rows(window: &Window, of: &str) -> Vec<(u32, String)> {
    let mut found: Vec<(f32, u32, String)> = window
        .query_all_by_role(Role::Row)
        .filter_map(|row| {
            let label = row.accesskit_node().label()?;
            let (number, outcome) = label.strip_prefix(of)?.split_once(": ")?;
            Some((row.rect().top(), number.trim().parse().ok()?, outcome.to_owned()))
        })
        .collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.into_iter().map(|(_, number, outcome)| (number, outcome)).collect()
}

#[test]
fn what_was_found_of_a_world_is_what_the_files_hold() {
    let folder = tempfile::tempdir().unwrap();
    scored(folder.path(), None);
    let run = folder.path().join("run");
    let (found, world): (Vec<ScoredFeatureRow>, Vec<TrueFeatureRow>) =
        (read(&run, FEATURES), read(&run, WORLD));
    let place = Some(Place::Truth { run: run.clone() });
    let mut window = window(Options { folder: Some(folder.path().to_owned()), place, ..options() });
    wait_for_part(&mut window, "24 features against 40 of the world world");
    let score = storage::truth::TruthScore::read(&run).unwrap().unwrap();
    wait_for(&mut window, &format!("{:.3}", score.mcc));
    assert!(window.query_by_label("loss recovered").is_none(), "no loss is planted");
    // The tree leads here too.
    wait_for(&mut window, "Truth of run");

    // Sorted by cosine, largest first, as the file has it.
    click(&mut window, "Sort by cosine");
    let mut by_cosine: Vec<u32> = (0..24).collect();
    by_cosine.sort_by(|a, b| found[*b as usize].cosine.total_cmp(&found[*a as usize].cosine));
    let first = |w: &Window| rows(w, "Scored feature ").first().map(|row| row.0);
    wait(&mut window, "the order", |w| first(w) == Some(by_cosine[0]));
    let shown: Vec<u32> = rows(&window, "Scored feature ").into_iter().map(|row| row.0).collect();
    assert_eq!(shown, by_cosine[..shown.len()]);

    // From a different threshold on, fewer are called found.
    let invented = |threshold: f32| {
        let fires = |row: &ScoredFeatureRow| row.true_positives + row.false_positives > 0;
        found.iter().filter(|row| fires(row) && row.cosine < threshold).count()
    };
    wait_for_part(&mut window, &format!("invented {} · ", invented(0.7)));

    // A truth is a link to its row in the table of the world.
    let truth = found[by_cosine[0] as usize].truth;
    click(&mut window, &format!("Go to true feature {truth}"));
    let outcome = match world[truth as usize].features {
        1 => "matched",
        _ => "split",
    };
    wait_for(&mut window, &format!("True feature {truth}: {outcome}"));
    wait_for_part(&mut window, &format!("missed {} · ", score.missed));
    click(&mut window, "Sort by best F1");
    let best = world.iter().filter_map(|row| Some((row.f1?, row.truth)));
    let best = best.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1))).unwrap().1;
    wait(&mut window, "the best", |w| rows(w, "True feature ").first().map(|row| row.0) == Some(best));
}

#[test]
fn a_damaged_score_names_the_command_that_makes_it_again() {
    let folder = tempfile::tempdir().unwrap();
    scored(folder.path(), None);
    let run = folder.path().join("run");
    fixtures::damage::truncate(&run.join(FOLDER).join(FEATURES));
    let place = Some(Place::Truth { run });
    let mut window = window(Options { folder: Some(folder.path().to_owned()), place, ..options() });
    wait_for_part(&mut window, "features.parquet");
    wait_for(&mut window, "Score against its world");
    wait_for_part(&mut window, "Copy command sae synth score");
}

#[test]
fn what_is_left_of_a_planted_loss_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    scored(folder.path(), Some(LossOptions { share: 0.5, seed: 1 }));
    let run = folder.path().join("run");
    let loss = storage::truth::TruthScore::read(&run).unwrap().unwrap().loss.unwrap();
    let place = Some(Place::Truth { run });
    let mut window = window(Options { folder: Some(folder.path().to_owned()), place, ..options() });
    wait_for(&mut window, "loss recovered");
    wait_for(&mut window, &format!("{:.3} / {:.3}", loss.at_reconstructions, loss.at_rows));
    wait_for(&mut window, &format::quality(loss.f1));
}
