//! A dictionary of a different program is opened: a card says what it is, and its button makes a run of it, which is shown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod common;

use app::shell::{Options, SettingsFile};
use common::{click, options, program, wait, wait_for, wait_for_part, window};

#[test]
fn a_foreign_dictionary_is_recognised_and_imported() {
    let copied = fixtures::copy(fixtures::sample());
    // The same dictionary without its record is a SAELens folder.
    let folder = copied.path();
    let bare = folder.join("bare");
    std::fs::create_dir(&bare).unwrap();
    for file in ["cfg.json", "sae_weights.safetensors"] {
        std::fs::copy(folder.join("topk").join(file), bare.join(file)).unwrap();
    }
    let Some(program) = program("the import of a dictionary from the window") else { return };
    // Its run is made in the working folder, which is this test's own.
    let home = tempfile::tempdir().unwrap();
    std::env::set_current_dir(home.path()).unwrap();
    // A file in it is as good as the folder.
    for source in [bare.join("sae_weights.safetensors"), bare.clone()] {
        let file = home.path().join("settings.json");
        std::fs::write(&file, serde_json::json!({ "program": program }).to_string()).unwrap();
        let settings = SettingsFile::at(file);
        let mut window = window(Options { folder: Some(source.clone()), settings, ..options() });
        wait_for_part(&mut window, "SAELens v6");
        wait_for(&mut window, "Import");
        if source.is_file() {
            continue;
        }
        click(&mut window, "Import");
        wait_for(&mut window, "Show Import bare");
        let made = std::env::current_dir().unwrap().join("bare-run");
        assert!(made.join("run.json").exists() && made.join("check.json").exists());
        click(&mut window, "Show Import bare");
        wait(&mut window, "the run", |w| {
            let folder = w.state().workspace().and_then(|open| open.folder.value());
            folder.is_some_and(|folder| folder.root == made && folder.runs.len() == 1)
        });
    }
}
