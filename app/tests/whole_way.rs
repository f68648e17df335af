//! The window on what the program `sae` made of a text, as a user types it: harvest, train, index, explain, evaluate, experts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::Command;

use app::address::Place;
use app::shell::Options;
use app::widgets::format;
use common::{facts, options, press, rows, wait, wait_for, wait_for_part, window};

/// Runs `sae LINE` in `folder`; words are divided by spaces.
fn sae(program: &Path, folder: &Path, line: &str) {
    let done = Command::new(program).args(line.split(' ')).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "sae {line}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_run_that_the_program_finished_is_shown_as_its_files_say() {
    let Some(program) = common::program("the window on a run of the program") else { return };
    let dir = tempfile::tempdir().unwrap();
    fixtures::write_text(&dir.path().join("text/corpus.jsonl"));
    for line in [
        "harvest --text text --hook blocks.1.hook_resid_post --routing --out folder/data --quiet",
        "train --data folder/data --d-sae 64 --k 8 --batch 256 --tokens 12800 --out folder/run --quiet",
        "index folder/run --quiet",
        "explain folder/run --least 0.3 --quiet",
        "evaluate folder/run --quiet",
        "experts folder/data --quiet",
        "experts --features folder/run --quiet",
    ] {
        sae(&program, dir.path(), line);
    }
    let (folder, run) = (dir.path().join("folder"), dir.path().join("folder/run"));
    // The same search in a terminal: what fires on the word comes first, with how often.
    let found = ["find", "folder/run", "the", "--json"];
    let found = Command::new(&program).args(found).current_dir(dir.path()).output().unwrap();
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    let best = &found["found"]["features"][0];
    assert_eq!(best["why"], "fires_on", "{found:#}");
    let (count, of) = (best["count"].as_u64().unwrap(), best["occurrences"].as_u64().unwrap());
    assert!(count > 0 && count <= of && best["share"].as_f64().unwrap() == count as f64 / of as f64);
    let open = |place| window(Options { folder: Some(folder.clone()), place: Some(place), ..options() });

    // Every number of the evaluation.
    let core = facts::evaluation_of(&run);
    let mut window = open(Place::Curves { run: run.clone() });
    wait_for(&mut window, "Logarithmic FVE");
    press(&mut window, "All figures");
    for name in ["fve", "l0", "cosine", "l2_ratio", "ce_clean", "ce_reconstructed", "loss_recovered", "kl"] {
        let value = core[name].as_f64().unwrap_or_else(|| panic!("core.json has no {name}: {core:#}"));
        wait_for_part(&mut window, &format::value(value));
    }

    // All features, and a page with the token that the files name.
    let features = facts::features_of(&run);
    assert_eq!(features.len(), 64);
    let mut window = open(Place::Features { run: run.clone() });
    wait_for(&mut window, "64 features");
    let listed = facts::listed_of(&run, &features);
    wait(&mut window, "rows", |w| rows(w).starts_with(&listed[..3]));
    let liveliest = features.iter().max_by_key(|row| row.count).unwrap();
    let mut window = open(Place::Feature { run, feature: liveliest.feature });
    wait_for(&mut window, "Strongest");
    wait_for(&mut window, &format!("Activation histogram: {} values in 40 bins", liveliest.count));
    wait_for(&mut window, &format::value(f64::from(liveliest.max)));

    // A token of the dataset that the run names from where the program was started.
    let chosen = facts::routing_of(&folder.join("data"))[&(3, 5)].clone();
    let mut window = open(Place::Token { dataset: folder.join("data"), document: 3, token: 5 });
    wait_for_part(&mut window, "fn merge");
    for (layer, experts) in chosen {
        wait_for(&mut window, &format!("Go to expert {layer}:{}", experts[0].0));
    }
    wait_for_part(&mut window, "Go to feature ");
}
