//! What other measurements say of a run, next to its curves: tasks whose attributes are known.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use app::address::Place;
use app::shell::Options;
use common::pictures::Look;
use common::{options, own_run, wait_for, wait_for_part, window};
use egui::Theme;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use lm::model::{LanguageModel, ModelSource};
use sae::task::TaskOptions;
use storage::task::{TaskFigure, TaskRecord};

/// Words that are one token of the embedded model, as the values of a task that it can hardly solve.
fn task(file: &Path) {
    let model = LanguageModel::load(&ModelSource::Default).unwrap();
    let words =
        ["time", "people", "world", "life", "state", "court", "law", "case", "year", "day", "man", "house"];
    let one = |word: &&&str| model.tokenizer().encode(&format!(" {word}")).unwrap().len() == 1;
    let words: Vec<String> = words.iter().filter(one).map(|word| format!("\"{word}\"")).collect();
    assert!(words.len() >= 6, "{words:?}");
    let text = format!(
        "name = \"words\"\nanswer = \"a\"\ninstead = \"b\"\nvariant = \"order\"\ndifferent = [[\"a\", \"b\"]]\n\
         [attributes]\na = \"w\"\nb = \"w\"\n[lists]\nw = [{}]\n\
         [[templates]]\nAB = \"The {{a}} and the {{b}}. Then the {{b}} saw the\"\nBA = \"The {{b}} and the {{a}}. Then the {{b}} saw the\"\n",
        words.join(", ")
    );
    std::fs::write(file, text).unwrap();
}

/// A run of its own that was evaluated on the task.
fn evaluated() -> (fixtures::Copied, PathBuf, TaskRecord) {
    let (folder, run) = own_run();
    let file = folder.join("words.toml");
    task(&file);
    let options = TaskOptions {
        train: 60,
        test: 16,
        position: Some("last".into()),
        ..TaskOptions::new(file.display().to_string())
    };
    let record = sae::task::run(&run, &options, &mut sae::Quiet).unwrap();
    std::fs::remove_file(&file).unwrap();
    (folder, run, record)
}

fn shown(figure: &TaskFigure) -> String {
    let two = |x: f64| {
        let text = format!("{:.2}", x.abs());
        if x < 0.0 && text != "0.00" { format!("−{text}") } else { text }
    };
    format!("{} ({} to {})", two(figure.value), two(figure.low), two(figure.high))
}

fn scroll_to(window: &mut Harness<'static, app::shell::App>, part: &str) {
    window.get_by_label_contains(part).scroll_to_me();
    window.run_steps(4);
}

#[test]
fn a_task_s_figures_stand_next_to_ceiling_and_controls() {
    let (folder, run, record) = evaluated();
    let place = Some(Place::Curves { run });
    let mut window = window(Options { folder: Some(folder.join("")), place, ..options() });
    wait_for(&mut window, "Task words");
    scroll_to(&mut window, "Task words");
    for title in ["Sufficiency", "Necessity"] {
        wait_for(&mut window, title);
    }
    assert_eq!(record.results.len(), 4);
    for result in &record.results {
        let name = if result.dictionary == "run" { "this run" } else { &result.dictionary };
        for figure in [result.sufficiency, result.necessity].iter().flatten() {
            assert!(window.query_all_by_label(&shown(figure)).count() > 0, "{name}: {}", shown(figure));
        }
        assert!(!result.edits.is_empty(), "{name}");
        for edit in &result.edits {
            let features = if edit.k == 1 { "1 feature".to_owned() } else { format!("{} features", edit.k) };
            let spoken = format!("{name}, {features} exchanged: {}", shown(&edit.agreement));
            assert!(window.query_all_by_label(&spoken).count() > 0, "{spoken}");
        }
        for label in &result.labels {
            let told = format!("{} of {}, F1 {:.2}", label.told, label.values, label.f1);
            wait_for_part(&mut window, &told);
        }
    }
}

#[test]
fn looks_of_a_task() {
    let (folder, run, _) = evaluated();
    let look = Look {
        name: "task",
        folder: folder.join(""),
        place: Place::Curves { run },
        size: [1100.0, 760.0],
        themes: &[Theme::Dark, Theme::Light],
        there: &["Task words"],
    };
    look.take(|window| scroll_to(window, "Edits of b"));
}
