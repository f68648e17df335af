//! The frame around the views: palette, tabs, live runs, hints, trade-off.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod common;

use app::address::Place;
use app::shell::Options;
use common::{click, options, own_run, root, run, wait, wait_for, wait_for_part, window, window_at};
use egui_kittest::kittest::Queryable as _;
use storage::metrics::MetricsLog;
use storage::{Run, RunRecord, RunStatus};

#[test]
fn a_feature_is_found_by_its_name_in_the_palette() {
    let (folder, run) = own_run();
    storage::notes::change(&run, &[(7, &|note| note.label = "quarrels about borders".into())]).unwrap();
    let place = Some(Place::Features { run: run.clone() });
    let mut window = window(Options { folder: Some(folder.path()), place, ..options() });
    click(&mut window, "Sort by feature");
    wait_for(&mut window, "quarrels about borders");
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::P);
    window.run_steps(3);
    window.get_by_label("Palette").type_text("borders");
    window.run_steps(3);
    window.key_press(egui::Key::Enter);
    wait(&mut window, "feature 7", |w| {
        w.state().here() == Some(Place::Feature { run: run.clone(), feature: 7 })
    });
}

#[test]
fn every_command_is_in_the_palette() {
    let mut window = window_at(Some(Place::Runs));
    wait_for(&mut window, "Run topk");
    for command in app::shell::Command::ALL {
        window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::P);
        window.run_steps(2);
        window.get_by_label("Palette").type_text(command.name());
        window.run_steps(2);
        assert!(
            window.query_all_by_label(command.name()).next().is_some(),
            "{} is not offered",
            command.name()
        );
        window.key_press(egui::Key::Escape);
        window.run_steps(2);
    }
}

/// A slow frame holds several keys; what they mean is their order.
#[test]
fn keys_of_one_frame_are_done_one_after_the_other() {
    use egui::{Event, Key, Modifiers};
    let key = |key: Key, modifiers: Modifiers| Event::Key {
        key,
        physical_key: None,
        pressed: true,
        repeat: false,
        modifiers,
    };
    let typed = |text: &str| -> Vec<Event> {
        let one =
            |c: char| [key(Key::from_name(&c.to_string()).unwrap(), Modifiers::NONE), Event::Text(c.into())];
        text.chars().flat_map(one).collect()
    };
    let feature = Place::Feature { run: run(), feature: 7 };
    let mut window = window_at(Some(feature.clone()));
    wait_for(&mut window, "Nearest decoder rows");
    // Closed and open before: the palette opens, and the letters are in it. On the page N is the next feature.
    for open_before in [false, true] {
        if open_before {
            window.key_press_modifiers(Modifiers::COMMAND, Key::P);
            wait_for(&mut window, "Palette");
        }
        let keys = [key(Key::Escape, Modifiers::NONE), key(Key::P, Modifiers::COMMAND)];
        window.input_mut().events.extend(keys.into_iter().chain(typed("nnb")));
        window.run_steps(6);
        wait_for(&mut window, "Palette");
        let field = window.get_by_label("Palette");
        assert_eq!(egui_kittest::kittest::NodeT::accesskit_node(&field).value().as_deref(), Some("nnb"));
        assert_eq!(window.state().here(), Some(feature.clone()));
        assert!(window.query_by_label("Bookmark feature 7").is_some());
        window.key_press(Key::Escape);
        wait(&mut window, "the palette closed", |w| w.query_by_label("Palette").is_none());
    }
    // The whole way to a place in one frame.
    let keys = [key(Key::P, Modifiers::COMMAND)];
    let enter = [key(Key::Enter, Modifiers::NONE)];
    window.input_mut().events.extend(keys.into_iter().chain(typed("9")).chain(enter));
    wait(&mut window, "feature 9", |w| w.state().here() == Some(Place::Feature { run: run(), feature: 9 }));
}

#[test]
fn a_place_is_shown_twice_and_tabs_are_turned_with_keys() {
    let mut window = window_at(Some(Place::Feature { run: run(), feature: 7 }));
    wait_for(&mut window, "Nearest decoder rows");
    let count = |w: &egui_kittest::Harness<'static, app::shell::App>| {
        w.query_all_by_label("Nearest decoder rows").count()
    };
    assert_eq!(count(&window), 1);
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::Backslash);
    wait(&mut window, "a second page", |w| count(w) == 2);
    window.key_press(egui::Key::N);
    // The next one is the next of the table.
    let listed = common::facts::listed();
    let next = listed[listed.iter().position(|feature| *feature == 7).unwrap() + 1];
    wait(&mut window, "the right one turned", |w| {
        let shown = |label: &str| w.query_all_by_label(label).count();
        (shown("Bookmark feature 7"), shown(&format!("Bookmark feature {next}"))) == (1, 1)
    });
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::W);
    wait(&mut window, "one page", |w| count(w) == 1);

    let mut window = window_at(None);
    wait_for(&mut window, "Run topk");
    assert_eq!(window.state().here(), Some(Place::Curves { run: run() }));
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::PageDown);
    window.run_steps(3);
    assert!(matches!(window.state().here(), Some(Place::Features { .. })), "{:?}", window.state().here());
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::PageUp);
    window.run_steps(3);
    assert!(matches!(window.state().here(), Some(Place::Runs | Place::Curves { .. })));
}

#[test]
fn a_run_that_is_trained_is_followed() {
    // A run as it was after its first rows, and as its trainer continues.
    let (folder, run) = own_run();
    let whole = RunRecord::read(&run).unwrap();
    let rows = storage::metrics::read(&Run::open(&run).unwrap().metrics().unwrap()).unwrap();
    assert!(rows.len() > 20, "a test of nothing");
    let train_until = |rows: &[storage::metrics::MetricsRow]| {
        let mut log = MetricsLog::open(&run.join("metrics.parquet"), None).unwrap();
        rows.iter().for_each(|row| log.append(*row).unwrap());
        log.flush().unwrap();
        let last = *rows.last().unwrap();
        let (status, step, tokens_done) = (RunStatus::Running, last.step, last.tokens);
        RunRecord { status, step, tokens_done, last: Some(last), ..whole.clone() }.write(&run).unwrap();
    };
    train_until(&rows[..5]);
    let place = Some(Place::Curves { run: run.clone() });
    let mut window = window(Options { folder: Some(folder.path()), place, ..options() });
    wait_for(&mut window, "Logarithmic FVE");
    wait_for(&mut window, "live");
    let shown = |w: &egui_kittest::Harness<'static, app::shell::App>| {
        let texts = w.query_all_by_label_contains("0.");
        texts.filter_map(|n| egui_kittest::kittest::NodeT::accesskit_node(&n).value()).collect::<Vec<_>>()
    };
    let before = shown(&window);
    // The resolution of file times.
    std::thread::sleep(std::time::Duration::from_millis(20));
    train_until(&rows);
    wait(&mut window, "the newer numbers", |w| shown(w) != before);
}

#[test]
fn quality_over_sparsity_is_shown_for_all_runs() {
    let mut window = window_at(Some(Place::Runs));
    wait_for(&mut window, "Run topk");
    click(&mut window, "Trade-off");
    wait_for(&mut window, "Loss recovered");
    wait_for(&mut window, "3 runs");
    click(&mut window, "Curves");
    wait_for(&mut window, "Logarithmic FVE");
}

#[test]
fn a_run_with_many_dead_features_gets_a_hint_with_its_evidence() {
    let (folder, run) = own_run();
    let mut record = RunRecord::read(&run).unwrap();
    record.last.as_mut().unwrap().dead_features = Some(108.0);
    record.write(&run).unwrap();
    // Where a run was evaluated or indexed, those numbers come first.
    std::fs::remove_dir_all(run.join("evaluation")).unwrap();
    std::fs::remove_dir_all(run.join("features")).unwrap();
    let place = Some(Place::Curves { run });
    let mut window = window(Options { folder: Some(folder.path()), place, ..options() });
    wait_for(&mut window, "Many features are dead");
    wait_for_part(&mut window, "42.2 %: 108 of 256 features were silent for the last ");
}

#[derive(Debug)]
struct Dropped(std::path::PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &std::path::Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        Err("a folder has no bytes".into())
    }
}

#[test]
fn a_folder_that_is_dropped_on_the_window_is_opened() {
    let mut window = window(options());
    window.run_steps(2);
    window.input_mut().dropped_files.push(std::sync::Arc::new(Dropped(root())));
    window.step();
    wait_for(&mut window, "Run topk");
}

#[test]
fn a_training_is_begun_from_the_palette() {
    let mut window = window_at(Some(Place::Features { run: run() }));
    wait_for_part(&mut window, "256 features");
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::P);
    window.run_steps(3);
    window.get_by_label("Palette").type_text("Train…");
    window.run_steps(3);
    window.key_press(egui::Key::Enter);
    wait_for(&mut window, "Start training");
}

#[test]
fn motion_is_switched_off_and_stays_off() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("window.json");
    let at = || app::shell::SettingsFile::at(file.clone());
    let open =
        || window(Options { folder: Some(root()), place: Some(Place::Runs), settings: at(), ..options() });
    let mut window = open();
    wait_for(&mut window, "Run topk");
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::P);
    window.run_steps(2);
    window.get_by_label("Palette").type_text("Motion");
    window.run_steps(2);
    window.key_press(egui::Key::Enter);
    wait_for(&mut window, "Motion is off");
    wait(&mut window, "the file", |_| {
        at().read().0 == app::shell::Settings { motion: false, ..at().read().0 }
    });
    // Opened again it is off, and the palette switches it on.
    let mut again = open();
    wait_for(&mut again, "Run topk");
    again.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::P);
    again.run_steps(2);
    again.get_by_label("Palette").type_text("Motion");
    again.run_steps(2);
    again.key_press(egui::Key::Enter);
    wait_for(&mut again, "Motion is on");
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy_all(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

#[test]
fn a_tree_of_many_runs_is_folded_and_filtered() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..14 {
        let run =
            folder.path().join(format!("sweep/topk-{n:03}-with-a-long-name-that-differs-at-the-end-{n}"));
        copy_all(&common::run(), &run);
    }
    let mut window =
        window(Options { folder: Some(folder.path().to_owned()), place: Some(Place::Runs), ..options() });
    let name = |n: usize| format!("sweep/topk-{n:03}-with-a-long-name-that-differs-at-the-end-{n}");
    wait_for(&mut window, &format!("Unfold {}", name(3)));
    let features = |w: &egui_kittest::Harness<'static, app::shell::App>| {
        w.query_all_by_label_contains("Features of ").count()
    };
    let before = features(&window);
    assert!(before <= 1, "only what is in front is unfolded");
    click(&mut window, &format!("Unfold {}", name(3)));
    wait(&mut window, "its parts", |w| features(w) == before + 1);
    window.get_by_label("Filter runs and datasets by name").focus();
    window.run_steps(2);
    window.get_by_label("Filter runs and datasets by name").type_text("end-12");
    wait(&mut window, "one run", |w| w.query_all_by_label_contains("Unfold sweep/").count() <= 1);
}

/// A folder with `n` runs in two sweeps; most of them are the same files.
fn many_runs(n: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..n {
        let run = folder.path().join(format!("{}/run-{i:03}", ["lr", "width"][i % 2]));
        std::fs::create_dir_all(&run).unwrap();
        for file in ["run.json", "cfg.json", "sae_weights.safetensors", "train.toml", "metrics.parquet"] {
            let from = common::run().join(file);
            if from.exists() {
                std::fs::hard_link(&from, run.join(file))
                    .or_else(|_| std::fs::copy(&from, run.join(file)).map(drop))
                    .unwrap();
            }
        }
    }
    folder
}

#[test]
fn folders_of_the_tree_fold_and_pins_stay_at_its_top() {
    let folder = many_runs(100);
    let settings = tempfile::tempdir().unwrap().keep().join("window.json");
    let at = || app::shell::SettingsFile::at(settings.clone());
    let open = || {
        let (folder, place) = (Some(folder.path().to_owned()), Some(Place::Runs));
        window(Options { folder, place, settings: at(), ..options() })
    };
    let mut window = open();
    let listed = |w: &egui_kittest::Harness<'static, app::shell::App>, part: &str| {
        w.query_all_by_label_contains("Pin ")
            .filter(|node| {
                let label = egui_kittest::kittest::NodeT::accesskit_node(node).label().unwrap_or_default();
                label.starts_with(&format!("Pin {part}"))
            })
            .count()
    };
    // So many runs are folded at first, except where the person is: at the curves of the first.
    wait_for(&mut window, "Fold folder lr");
    wait_for(&mut window, "Unfold folder width");
    assert_eq!((listed(&window, "lr/"), listed(&window, "width/")), (50, 0));
    common::press(&mut window, "Unfold folder width");
    wait(&mut window, "the other sweep", |w| listed(w, "width/") == 50);
    common::press(&mut window, "Fold folder lr");
    wait(&mut window, "the first folded", |w| listed(w, "lr/") == 0);
    common::press(&mut window, "Pin width/run-007");
    wait_for(&mut window, "Pinned");
    let top = |w: &egui_kittest::Harness<'static, app::shell::App>| {
        let pinned = w.get_by_label("Pin width/run-007").rect().top();
        pinned < w.get_by_label("Fold folder width").rect().top()
    };
    wait(&mut window, "it at the top", |w| w.query_by_label("Pin width/run-007").is_some() && top(w));
    wait(&mut window, "the file", |_| {
        let kept = at().read().0.preferences;
        kept.pinned == [folder.path().join("width/run-007")] && kept.folded.len() == 2
    });
    drop(window);
    // Opened again all is as it was left.
    let mut again = open();
    wait_for(&mut again, "Unfold folder lr");
    assert!(top(&again));
    assert_eq!(listed(&again, "width/"), 50);
    click(&mut again, "Pin width/run-007");
    wait(&mut again, "no pins", |w| w.query_by_label("Pinned").is_none());
}

#[test]
fn columns_of_the_runs_are_chosen_and_runs_grouped() {
    use egui::accesskit::Role;
    let (folder, run) = own_run();
    let other = folder.join("variants/small");
    let record = RunRecord::read(&other).unwrap();
    RunRecord { hook: "blocks.0.hook_resid_pre".into(), ..record }.write(&other).unwrap();
    let settings = folder.join("window.json");
    let at = || app::shell::SettingsFile::at(settings.clone());
    let open = || {
        let place = Some(Place::Curves { run: run.clone() });
        window(Options { folder: Some(folder.path()), place, settings: at(), ..options() })
    };
    let mut window = open();
    wait_for(&mut window, "Run topk");
    assert!(window.query_by_label("Sort by model").is_none());
    click(&mut window, "Columns");
    window.get_by_role_and_label(Role::CheckBox, "model").click();
    wait_for(&mut window, "Sort by model");
    window.get_by_role_and_label(Role::CheckBox, "status").click();
    wait(&mut window, "no status", |w| w.query_by_label("Sort by status").is_none());
    window.key_press(egui::Key::Escape);
    window.run_steps(4);
    click(&mut window, "group by model · hook · data");
    let group = |hook: &str| format!("group {} · {hook} · data", record_model(&run));
    let (own, others) = (group(fixtures::HOOK), group("blocks.0.hook_resid_pre"));
    wait_for(&mut window, &format!("Fold {own}"));
    wait_for(&mut window, &format!("Fold {others}"));
    wait_for(&mut window, "Fold group runs that cannot be read");
    let top =
        |w: &egui_kittest::Harness<'static, app::shell::App>, label: &str| w.get_by_label(label).rect().top();
    assert!(top(&window, &format!("Fold {own}")) < top(&window, "Run topk"));
    click(&mut window, &format!("Fold {own}"));
    wait_for(&mut window, &format!("Unfold {own}"));
    assert!(
        window.query_by_label("Run topk").is_none() && window.query_by_label("Run variants/small").is_some()
    );
    wait(&mut window, "the file", |_| {
        let kept = at().read().0.preferences;
        kept.grouped_runs && kept.run_columns == [("model".into(), true), ("status".into(), false)].into()
    });
    drop(window);
    let mut again = open();
    wait_for(&mut again, "Sort by model");
    wait_for(&mut again, &format!("Fold {own}"));
    assert!(again.query_by_label("Sort by status").is_none());
    click(&mut again, "Columns");
    click(&mut again, "As the room allows");
    wait_for(&mut again, "Sort by status");
}

fn record_model(run: &std::path::Path) -> String {
    RunRecord::read(run).unwrap().model.id
}

#[test]
fn charts_tell_the_values_of_all_runs_and_are_smoothed() {
    let mut window = window_at(Some(Place::Curves { run: run() }));
    wait_for(&mut window, "Run topk");
    click(&mut window, "Curves of variants/small");
    let shown = |w: &egui_kittest::Harness<'static, app::shell::App>, run: &str| {
        let prefix = format!("FVE of {run}: ");
        let found = w.query_all_by_label_contains(&prefix).next()?;
        let label = egui_kittest::kittest::NodeT::accesskit_node(&found).value()?;
        label.strip_prefix(&prefix).map(ToOwned::to_owned)
    };
    let logged = |name: &str| {
        let run = Run::open(&root().join(name)).unwrap();
        storage::metrics::read(&run.metrics().unwrap()).unwrap()
    };
    let fve = |rows: &[storage::metrics::MetricsRow], i: usize| {
        app::widgets::format::value(f64::from(rows[i].explained_variance.unwrap()))
    };
    let (own, other) = (logged("topk"), logged("variants/small"));
    // Without a pointer the last values of both.
    wait_for(&mut window, "last logged values");
    wait(&mut window, "both values", |w| {
        let last = |rows: &[storage::metrics::MetricsRow]| Some(fve(rows, rows.len() - 1));
        shown(w, "topk") == last(&own) && shown(w, "variants/small") == last(&other)
    });
    // With the pointer on the chart of the loss those of its step, of all runs, on all charts.
    let chart = window.get_by_label("Logarithmic Loss").rect();
    window.hover_at(egui::pos2(chart.right() - 120.0, chart.bottom() + 80.0));
    window.run_steps(4);
    wait_for_part(&mut window, "step ");
    let at = window.query_all_by_label_contains("step ").find_map(|node| {
        let label = egui_kittest::kittest::NodeT::accesskit_node(&node).value()?;
        label.strip_prefix("step ")?.replace(' ', "").parse::<f64>().ok()
    });
    let at = at.expect("the step under the pointer");
    let nearest = |rows: &[storage::metrics::MetricsRow]| {
        let near = |i: &usize| (rows[*i].step as f64 - at).abs();
        (0..rows.len()).min_by(|a, b| near(a).total_cmp(&near(b))).unwrap()
    };
    assert_eq!(shown(&window, "topk"), Some(fve(&own, nearest(&own))));
    assert_eq!(shown(&window, "variants/small"), Some(fve(&other, nearest(&other))));
    // Smoothed charts are labelled so; a value is the mean of as many values before it as after.
    window.hover_at(egui::pos2(2.0, 2.0));
    window.run_steps(4);
    click(&mut window, "Smoothing");
    click(&mut window, "mean of 5 logged steps");
    wait(&mut window, "said on every chart", |w| w.query_all_by_label("mean of 5 logged steps").count() > 5);
    let chart = window.get_by_label("Logarithmic Loss").rect();
    window.hover_at(egui::pos2(chart.right() - 120.0, chart.bottom() + 80.0));
    window.run_steps(4);
    let i = nearest(&own);
    let mean: f64 =
        own[i - 2..=i + 2].iter().map(|row| f64::from(row.explained_variance.unwrap())).sum::<f64>() / 5.0;
    assert_eq!(shown(&window, "topk"), Some(app::widgets::format::value(f64::from(mean as f32))));
}
