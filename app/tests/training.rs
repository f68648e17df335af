//! Trainings that the window begins, pauses and resumes: with a stand-in that does what it is told to, and with the program itself.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use app::address::Place;
use app::shell::{App, Options, SettingsFile};
use common::{arguments, click, options, stand_in, wait, wait_for, wait_for_part, window};
use egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use storage::{RunRecord, RunStatus};

/// A folder with a dataset alone, and a place for the stand-in.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("folder");
    fixtures::data_without_routing(&root.join("data"));
    (dir, root)
}

/// A window with `root` open whose settings name `program`.
fn open(dir: &Path, root: &Path, program: &Path) -> Harness<'static, App> {
    let settings = dir.join("window.json");
    std::fs::write(&settings, serde_json::json!({ "program": program }).to_string()).unwrap();
    let settings = SettingsFile::at(settings);
    window(Options { folder: Some(root.to_owned()), place: Some(Place::Runs), settings, ..options() })
}

fn status(run: &Path) -> Option<RunStatus> {
    RunRecord::read(run).ok().map(|record| record.status)
}

#[test]
fn a_training_is_begun_paused_and_gone_on_with() {
    let (dir, root) = folder();
    // What a trainer leaves in its folder, as it runs and when it was stopped.
    for (name, status) in [("running", RunStatus::Running), ("stopped", RunStatus::Stopped)] {
        std::fs::create_dir_all(dir.path().join(name)).unwrap();
        let record = RunRecord::read(&common::run()).unwrap();
        RunRecord { status, tokens_done: record.tokens_total / 2, ..record }
            .write(&dir.path().join(name))
            .unwrap();
    }
    let here = dir.path().display();
    let body = format!(
        "stop() {{ cp '{here}/stopped/run.json' \"$out/run.json\"; echo '{{\"error\": \"training stood at step 7; continue with --resume\"}}'; exit 1; }}\ntrap stop INT\n\
         mkdir -p \"$out\"\ncp '{here}/running/run.json' \"$out/run.json\"\necho 'method = \"topk\"' > \"$out/train.toml\"\n\
         echo 'train: 12 %, 3 min left' >&2\nwhile true; do sleep 0.05; done"
    );
    let program = stand_in(dir.path(), &body);
    let mut window = open(dir.path(), &root, &program);
    wait_for(&mut window, "Start training");
    wait_for_part(&mut window, "sae train --data ");
    click(&mut window, "Start training");
    wait_for(&mut window, "Run run-1");
    click(&mut window, "Run run-1");
    // A bar and words, not a line of a log; the run's record is newer than a line of ten seconds ago.
    wait_for(&mut window, "train: 50.0 %");
    wait_for_part(&mut window, "3 min left");
    let data = root.join("data");
    let out = root.join("run-1");
    assert_eq!(
        arguments(dir.path()),
        [format!("train --data {} --out {} --json", data.display(), out.display())]
    );
    wait_for(&mut window, "Pause");
    click(&mut window, "Pause");
    wait_for(&mut window, "Resume");
    assert_eq!(status(&out), Some(RunStatus::Stopped));
    assert!(window.query_by_label_contains("stood at step 7").is_none(), "to be paused is not a failure");
    click(&mut window, "Resume");
    wait_for(&mut window, "Pause");
    wait(&mut window, "the second start", |_| arguments(dir.path()).len() == 2);
    // An interrupt before its trap would kill it.
    wait(&mut window, "the second run", |_| status(&out) == Some(RunStatus::Running));
    let second = &arguments(dir.path())[1];
    assert!(second.ends_with(&format!("--out {} --resume --json", out.display())), "{second}");
    wait_for(&mut window, "Pause");
    click(&mut window, "Pause");
    wait_for(&mut window, "Resume");
}

#[test]
fn a_program_that_fails_says_why_where_it_was_begun() {
    let (dir, root) = folder();
    let answer =
        r#"echo '{"error": "k is 900, d_sae = 64; give a smaller k", "remedy": "give a smaller k"}'; exit 2"#;
    let program = stand_in(dir.path(), answer);
    let mut window = open(dir.path(), &root, &program);
    wait_for(&mut window, "Start training");
    click(&mut window, "Start training");
    wait_for(&mut window, "run-1 did not start");
    wait_for(&mut window, "K is 900, d_sae = 64.");
    wait_for(&mut window, "Give a smaller k.");
    click(&mut window, "Dismiss");
    assert!(window.query_by_label("run-1 did not start").is_none());
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let (dir, root) = folder();
    let mut window = open(dir.path(), &root, &dir.path().join("nowhere"));
    wait_for(&mut window, "Start training");
    click(&mut window, "Start training");
    wait_for_part(&mut window, "Cannot start `");
    wait_for_part(&mut window, "Put the program `sae` next to `sae-app`");
}

#[test]
fn a_killed_training_is_a_failure_and_the_window_goes_on() {
    let (dir, root) = folder();
    let program = stand_in(dir.path(), "kill -KILL $$");
    let mut window = open(dir.path(), &root, &program);
    wait_for(&mut window, "Start training");
    click(&mut window, "Start training");
    wait_for(&mut window, "The training was killed.");
}

#[test]
fn names_that_would_hurt_are_refused() {
    let (dir, root) = folder();
    let program = stand_in(dir.path(), "exit 0");
    let mut window = open(dir.path(), &root, &program);
    wait_for(&mut window, "Start training");
    for (name, why) in [
        ("../elsewhere", "Enter a name for the run: a folder inside this one."),
        ("", "Enter a name for the run: a folder inside this one."),
        ("data", "A run or dataset with that name exists already."),
    ] {
        window.get_by_label("Name of the run").focus();
        window.run_steps(2);
        window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::A);
        window.key_press(egui::Key::Delete);
        window.run_steps(2);
        window.get_by_label("Name of the run").type_text(name);
        wait_for(&mut window, why);
    }
    click(&mut window, "Start training");
    assert!(arguments(dir.path()).is_empty());
}

#[test]
fn the_program_itself_trains_pauses_and_finishes() {
    let Some(program) = common::program("trainings that the window begins") else { return };
    let (dir, root) = folder();
    let long = "d_sae = 16\nk = 2\nbatch = 64\ntokens = 500000000\nlog_every = 50\n";
    std::fs::write(root.join("long.toml"), long).unwrap();
    let mut window = open(dir.path(), &root, &program);
    wait_for(&mut window, "Start training");
    click(&mut window, "Configuration of the training");
    click(&mut window, "a file");
    window.get_by_label("Configuration file").focus();
    window.run_steps(2);
    window.get_by_label("Configuration file").type_text("long.toml");
    wait_for_part(&mut window, "long.toml --data ");
    click(&mut window, "Start training");
    wait_for(&mut window, "Run run-1");
    click(&mut window, "Run run-1");
    let out = root.join("run-1");
    wait(&mut window, "some steps", |_| RunRecord::read(&out).is_ok_and(|record| record.step > 100));
    wait_for(&mut window, "Pause");
    click(&mut window, "Pause");
    wait_for(&mut window, "Resume");
    let stood = RunRecord::read(&out).unwrap();
    assert_eq!(stood.status, RunStatus::Stopped);
    click(&mut window, "Resume");
    wait(&mut window, "more steps", |_| RunRecord::read(&out).is_ok_and(|r| r.step > stood.step));
    wait_for(&mut window, "Pause");
    click(&mut window, "Pause");
    wait_for(&mut window, "Resume");
    // One that somebody began in a terminal is paused all the same.
    let mut terminal = std::process::Command::new(&program);
    terminal.args(["train", "--resume", "--quiet", "--out"]).arg(&out);
    let mut terminal =
        terminal.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    wait_for(&mut window, "Pause");
    let stood = RunRecord::read(&out).unwrap();
    wait(&mut window, "its steps", |_| RunRecord::read(&out).is_ok_and(|r| r.step > stood.step));
    wait_for(&mut window, "Pause");
    click(&mut window, "Pause");
    wait(&mut window, "its end", |_| status(&out) == Some(RunStatus::Stopped));
    assert_eq!(terminal.wait().unwrap().code(), Some(1));
    wait_for(&mut window, "Resume");
    // Another one with a configuration of a run that is there, and what the program itself refuses.
    std::fs::write(root.join("wrong.toml"), "d_sae = 16\nks = 2\n").unwrap();
    click(&mut window, "Train");
    click(&mut window, "Configuration of the training");
    click(&mut window, "a file");
    window.get_by_label("Configuration file").focus();
    window.run_steps(2);
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::A);
    window.get_by_label("Configuration file").type_text("wrong.toml");
    wait_for_part(&mut window, "wrong.toml --data ");
    click(&mut window, "Start training");
    wait_for_part(&mut window, "wrong.toml");
    wait_for(&mut window, "run-2 did not start");
}

#[test]
fn fields_change_the_configuration_and_the_program_says_what_it_needs() {
    let Some(program) = common::program("the estimate of a training") else { return };
    let (dir, root) = folder();
    let mut window = open(dir.path(), &root, &program);
    wait_for(&mut window, "Start training");
    // What an empty field means stands in it.
    let placeholder = |window: &Harness<'_, App>, field: &str| {
        window.get_by_role_and_label(Role::TextInput, field).accesskit_node().placeholder().map(str::to_owned)
    };
    wait(&mut window, "the defaults", |w| placeholder(w, "seed").as_deref() == Some("0"));
    let k = placeholder(&window, "k").unwrap();
    assert!(k.parse::<u64>().is_ok_and(|k| k > 0), "{k}");
    for (field, value) in [("features", "32"), ("k", "4"), ("tokens", "20_000"), ("learning rate", "1e-3")] {
        window.get_by_role_and_label(Role::TextInput, field).focus();
        window.run_steps(2);
        window.get_by_role_and_label(Role::TextInput, field).type_text(value);
        window.run_steps(2);
    }
    wait_for_part(&mut window, "--d-sae 32 --k 4 --tokens 20000 --learning-rate 1e-3");
    wait_for(&mut window, &format!("k = {k} → 4"));
    click(&mut window, "Estimate");
    wait_for_part(&mut window, " of memory");
    wait_for_part(&mut window, "about ");
    // What is different from what was asked about does not pass for it.
    window.get_by_role_and_label(Role::TextInput, "k").focus();
    window.run_steps(2);
    window.get_by_role_and_label(Role::TextInput, "k").type_text("x");
    wait_for(&mut window, "k must be a number.");
    window.key_press(egui::Key::Backspace);
    window.run_steps(2);
    wait(&mut window, "a start", |w| !w.get_by_label("Start training").accesskit_node().is_disabled());
    click(&mut window, "Start training");
    // The curves of the new run come to the front by themselves.
    let out = root.join("run-1");
    let curves = Place::Curves { run: out.clone() };
    wait(&mut window, "its curves", |w| w.state().here() == Some(curves.clone()));
    wait(&mut window, "its end", |_| status(&out) == Some(RunStatus::Finished));
    let text = std::fs::read_to_string(out.join("train.toml")).unwrap();
    assert!(
        text.contains("d_sae = 32") && text.contains("k = 4") && text.contains("learning_rate = 0.001"),
        "{text}"
    );
}

#[test]
fn a_method_of_the_form_is_one_that_the_program_takes() {
    for method in app::views::runs::METHODS {
        assert!(method.parse::<sae::train::Method>().is_ok(), "{method}");
    }
}

#[test]
fn the_demo_opens_when_it_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let program = stand_in(dir.path(), "true");
    let settings = dir.path().join("window.json");
    std::fs::write(&settings, serde_json::json!({ "program": program }).to_string()).unwrap();
    let settings = SettingsFile::at(settings);
    let mut window = window(Options { folder: None, settings, ..options() });
    click(&mut window, "Make the demo");
    // The stand-in makes nothing, so that the folder is asked for in vain.
    wait_for_part(&mut window, "sae-demo does not exist.");
    assert!(arguments(dir.path())[0].starts_with("demo --out"));
}
