//! Probes of labelled prompts in the window.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use app::address::Place;
use app::shell::Options;
use common::pictures::Look;
use common::{click, options, wait, wait_for, wait_for_part, window};
use egui::Theme;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use storage::probe::{self, ProbeMeanRow, ProbeRow};

type Window = Harness<'static, app::shell::App>;

fn root() -> &'static Path {
    fixtures::probes()
}

fn read<T: storage::row::Row>(file: &str) -> Vec<T> {
    let table = storage::row::open::<T>(&root().join("probes").join(file)).unwrap();
    storage::row::read(&table, storage::Scan::default()).unwrap()
}

fn probes() -> Window {
    let place = Some(Place::Probes { probes: root().join("probes") });
    window(Options { folder: Some(root().to_owned()), place, ..options() })
}

/// AUC of a set, straight from the table.
fn auc(set: &str, dictionary: &str, k: u32) -> f64 {
    let rows: Vec<ProbeRow> = read(probe::PROBES);
    let same = |row: &&ProbeRow| {
        row.set == set && row.dictionary == dictionary && row.k == k && row.split == "different"
    };
    rows.iter().find(same).unwrap().test_auc
}

#[test]
fn sets_show_what_the_files_hold_and_lead_to_the_features() {
    let mut window = probes();
    wait_for_part(&mut window, "3 sets of prompts");
    let means: Vec<ProbeMeanRow> = read(probe::MEANS);
    let of = |dictionary: &str, k: u32| {
        let same =
            |row: &&ProbeMeanRow| row.dictionary == dictionary && row.k == k && row.split == "different";
        means.iter().find(same).unwrap().auc
    };
    // Over all sets, dictionaries and controls.
    for dictionary in ["topk", "small", sae::probe::RAW] {
        wait_for(&mut window, dictionary);
        wait_for_part(&mut window, &format!("k 1: {:.3}", of(dictionary, 1)));
        wait_for_part(&mut window, &format!("k 5: {:.3}", of(dictionary, 5)));
    }
    wait_for(&mut window, &format!("{:.3}", auc("1_german", "topk", 5)));
    click(&mut window, "Set 1_german");
    wait_for(&mut window, "The probe of topk with k 5");
    let rows: Vec<ProbeRow> = read(probe::PROBES);
    let same = |row: &&ProbeRow| {
        row.set == "1_german" && row.dictionary == "topk" && row.k == 5 && row.split == "different"
    };
    let probe = rows.iter().find(same).unwrap();
    wait_for_part(&mut window, &format!("AUC {:.3} on {} prompts", probe.test_auc, probe.test));
    let first = format!("feature {}", probe.features[0]);
    wait_for(&mut window, &first);
    click(&mut window, &first);
    wait_for(&mut window, &format!("Feature {}", probe.features[0]));
}

#[test]
fn sets_are_sorted_and_other_dictionaries_and_splits_are_chosen() {
    let mut window = probes();
    wait_for_part(&mut window, "3 sets of prompts");
    let order = |w: &Window| {
        let mut sets: Vec<(f32, String)> = ["1_german", "2_code", "3_prose"]
            .into_iter()
            .map(|set| (w.get_by_label(&format!("Set {set}")).rect().top(), set.to_owned()))
            .collect();
        sets.sort_by(|a, b| a.0.total_cmp(&b.0));
        sets.into_iter().map(|(_, set)| set).collect::<Vec<_>>()
    };
    wait_for(&mut window, "Set 3_prose");
    assert_eq!(order(&window), ["1_german", "2_code", "3_prose"]);
    click(&mut window, "Sort by k 1");
    let mut expected = ["1_german", "2_code", "3_prose"].map(|set| (auc(set, "topk", 1), set));
    expected.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(b.1)));
    expected.reverse();
    let expected: Vec<&str> = expected.iter().map(|(_, set)| *set).collect();
    wait(&mut window, "the order", |w| order(w) == expected);
    click(&mut window, "Choose the dictionary");
    // The list lies above the curves, which name it, too.
    window.get_by_role_and_label(egui::accesskit::Role::Button, "small").click();
    window.run_steps(3);
    wait_for(&mut window, &format!("{:.3}", auc("2_code", "small", 1)));
}

#[test]
fn unfinished_probes_say_how_they_are_finished() {
    let copied = fixtures::copy(root());
    std::fs::remove_file(copied.join("probes").join(probe::PROBES)).unwrap();
    let place = Some(Place::Probes { probes: copied.join("probes") });
    let mut window = window(Options { folder: Some(copied.join("")), place, ..options() });
    wait_for_part(&mut window, "the probes are not finished");
    wait_for_part(&mut window, "it resumes");
}

#[test]
fn looks_of_probes() {
    let look = Look {
        name: "probes",
        place: Place::Probes { probes: root().join("probes") },
        folder: root().to_owned(),
        size: [1100.0, 620.0],
        themes: &[Theme::Dark, Theme::Light],
        there: &["3 sets of prompts", "Set 2_code"],
    };
    look.take(|window| {
        click(window, "Set 2_code");
        wait_for_part(window, "The probe of topk");
    });
}
