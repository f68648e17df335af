//! What people tripped over: searches that answer, steps that are buttons, dialogs that are not there, features that say whose they
//! are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod common;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use app::address::Place;
use app::shell::{App, FixedPicker, Options, SettingsFile};
use common::{
    click, data, facts, finish_reading, options, own_run, root, rows, run, wait, wait_for, wait_for_part,
    window,
};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use fixtures::damage;
use storage::{Run, RunRecord};

fn at(folder: &Path, place: Place) -> Harness<'static, App> {
    window(Options { folder: Some(folder.to_owned()), place: Some(place), ..options() })
}

/// Where every feature of `run` fires: (document, position) by feature.
fn firings(run: &Path) -> BTreeMap<u32, HashSet<(u32, u32)>> {
    let table = Run::open(run).unwrap().activations().unwrap().unwrap();
    let all = storage::feature_activations::read_rows(&table, 0..table.rows()).unwrap();
    let mut found: BTreeMap<u32, HashSet<(u32, u32)>> = BTreeMap::new();
    for row in all {
        found.entry(row.feature).or_default().insert((row.document, row.position));
    }
    found
}

/// Where a word stands in the dataset, whatever the case and the space before it.
fn occurrences(word: &str) -> HashSet<(u32, u32)> {
    let vocabulary = facts::vocabulary();
    let documents = storage::documents::read(
        &storage::Dataset::open(&data()).unwrap().table(storage::schema::DOCUMENTS).unwrap(),
    )
    .unwrap();
    let mut found = HashSet::new();
    for document in 0..documents.len() as u32 {
        for (token, position) in facts::tokens_of(&data(), document).into_iter().zip(0..) {
            if vocabulary[token as usize].trim().to_lowercase() == word {
                found.insert((document, position));
            }
        }
    }
    found
}

fn search(window: &mut Harness<'static, App>, text: &str) {
    wait_for(window, "Search features");
    window.get_by_label("Search features").focus();
    window.run_steps(2);
    window.get_by_label("Search features").type_text(text);
    window.run_steps(3);
}

#[test]
fn a_search_lists_what_fires_on_the_word_and_says_how_often() {
    let word = facts::explained().token.trim().to_lowercase();
    let there = occurrences(&word);
    let fired = firings(&run());
    let of = |feature: u32| fired.get(&feature).map_or(0, |places| places.intersection(&there).count());
    let mut window = at(&root(), Place::Features { run: run() });
    search(&mut window, &word);
    let count = of(facts::explained().feature);
    assert!(count > 0, "a test of nothing");
    wait_for_part(&mut window, &format!("fires on {count} of {} · {word}", there.len()));
    // First those that fire on it, by how much more often than on any token; every one that does is there.
    let tokens: usize = (0..6).map(|document| facts::tokens_of(&data(), document).len()).sum();
    let worth = |feature: u32| {
        let density = fired[&feature].len() as f64 / tokens as f64;
        let share = of(feature) as f64 / there.len() as f64;
        share * (share / density).ln().max(0.0)
    };
    let listed = rows(&window);
    let firing: Vec<u32> = listed.iter().copied().take_while(|f| of(*f) > 0).collect();
    assert!(firing.windows(2).all(|pair| worth(pair[0]) >= worth(pair[1]) - 1e-6), "{firing:?}");
    let best = fired.keys().copied().max_by(|a, b| worth(*a).total_cmp(&worth(*b)));
    assert_eq!(firing.first().copied(), best);

    // Of two words both count.
    let mut window = at(&root(), Place::Features { run: run() });
    search(&mut window, &format!("{word} the"));
    let the = occurrences("the");
    let both = |f: &u32| fired[f].intersection(&there).count() > 0 && fired[f].intersection(&the).count() > 0;
    let expected = fired.keys().filter(|f| both(f)).count();
    wait_for_part(&mut window, " of 256 features");
    wait(&mut window, "features that fire on both", |w| rows(w).iter().all(&both) == (expected > 0));
    // The counts are those of one of the words, which is named; both together were not counted.
    let named = |part: &str| window.query_all_by_label_contains(part).count();
    assert_eq!(named(&format!(" · {word} the")), 0);
    assert!(expected == 0 || named(&format!(" · {word}")) + named(" · the") > 0);
}

#[test]
fn the_name_of_a_run_means_the_run_in_the_palette() {
    let mut window = at(&root(), Place::Features { run: run() });
    wait(&mut window, "rows", |w| rows(w).len() > 3);
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::P);
    wait_for(&mut window, "Palette");
    window.get_by_label("Palette").type_text("topk");
    wait(&mut window, "a place of the run first", |w| {
        let mut options = w.query_all_by_role(egui::accesskit::Role::ListBoxOption);
        let first = options.find_map(|node| node.accesskit_node().label());
        first.is_some_and(|first| first.contains("topk") && !first.starts_with("Feature "))
    });
}

#[test]
fn the_palette_offers_what_fires_on_the_word() {
    let word = facts::explained().token.trim().to_lowercase();
    let mut window = at(&root(), Place::Features { run: run() });
    wait(&mut window, "rows", |w| rows(w).len() > 3);
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::P);
    wait_for(&mut window, "Palette");
    window.get_by_label("Palette").type_text(&word);
    wait_for_part(&mut window, &format!(" · {word}"));
}

#[test]
fn an_older_index_opens_and_the_search_says_what_to_run() {
    let (folder, run) = own_run();
    damage::remove(&run.join("features/token_features.parquet"));
    let mut window = at(&folder.path(), Place::Features { run });
    search(&mut window, "the");
    wait_for(&mut window, "Index again");
    wait_for_part(&mut window, "Copy command sae index ");
    wait_for_part(&mut window, "fires on a token with the");
}

#[test]
fn without_a_file_dialog_a_path_is_typed() {
    let (folder, run) = own_run();
    let picker = Box::new(FixedPicker::without_dialog());
    let place = Some(Place::Features { run: run.clone() });
    let mut window = window(Options { folder: Some(folder.path()), place, picker, ..options() });
    wait_for(&mut window, "256 features");
    window.run_steps(10);
    click(&mut window, "Export…");
    wait_for(&mut window, "Path");
    // What is proposed lies at the run.
    click(&mut window, "Save");
    let file = run.join("topk-features.csv");
    wait(&mut window, "the file", |_| file.exists());
    wait_for_part(&mut window, "Saved ");

    // And a folder is opened so, too.
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::O);
    wait_for(&mut window, "Path");
    click(&mut window, "Cancel");
    assert!(window.query_by_label("Path").is_none());
}

#[cfg(unix)]
#[test]
fn the_next_step_is_a_button_that_runs_and_can_be_cancelled() {
    let (folder, run) = own_run();
    std::fs::remove_dir_all(run.join("features")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    // A program that counts until it is interrupted, and the second time comes to its end.
    let body = format!(
        "if [ -e '{0}/again' ]; then echo '{{}}'; exit 0; fi; touch '{0}/again'\n\
         stop() {{ echo '{{\"error\": \"the index was not finished\"}}'; exit 1; }}\ntrap stop INT\n\
         echo 'index: 40 %, 10 s left, 12.3 k tokens/s  ' >&2\nwhile true; do sleep 0.05; done",
        dir.path().display()
    );
    let program = common::stand_in(dir.path(), &body);
    let settings = dir.path().join("window.json");
    std::fs::write(&settings, serde_json::json!({ "program": program }).to_string()).unwrap();
    let settings = SettingsFile::at(settings);
    let place = Some(Place::Curves { run: run.clone() });
    let mut window = window(Options { folder: Some(folder.path()), place, settings, ..options() });
    wait_for(&mut window, "Index");
    wait_for_part(&mut window, "Copy command sae index ");
    click(&mut window, "Index");
    wait_for(&mut window, "index: 40.0 %");
    wait_for_part(&mut window, "10 s left");
    // The record of a copied run names the dataset that it was copied with: the command is told of the copy.
    let (run, data) = (run.display(), folder.join("data"));
    assert_eq!(common::arguments(dir.path()), [format!("index {run} --data {} --json", data.display())]);
    click(&mut window, "Cancel Index topk");
    wait_for_part(&mut window, "cancelled");
    assert!(window.query_by_label_contains("was not finished").is_none(), "to be cancelled is not a failure");
    click(&mut window, "Dismiss Index topk");
    assert!(window.query_by_label("Dismiss Index topk").is_none());
    click(&mut window, "Index");
    wait_for(&mut window, "Show Index topk");
    wait_for_part(&mut window, "finished in");
    click(&mut window, "Show Index topk");
    wait_for(&mut window, "Run topk");
}

#[test]
fn a_feature_says_whose_it_is() {
    let explained = facts::explained();
    let mut window = at(&root(), Place::Feature { run: run(), feature: explained.feature });
    wait_for(&mut window, "Features of topk");
    wait_for_part(&mut window, fixtures::HOOK);
    // The tab: number, what it is about, and the run.
    let token = explained.token.trim();
    wait(&mut window, "the tab", |w| {
        w.query_all_by_label_contains(&format!("{} ", explained.feature)).any(|tab| {
            tab.accesskit_node().label().is_some_and(|l| l.contains(token) && l.ends_with("· topk"))
        })
    });
}

#[test]
fn a_run_that_is_opened_alone_finds_its_dataset() {
    let folder = app::data::folder::find(&run()).unwrap();
    assert_eq!(folder.data_of(&run()).map(|found| found.path.clone()), Some(data()));
    let mut window = at(&run(), Place::Feature { run: run(), feature: facts::explained().feature });
    wait_for(&mut window, "Strongest");
    let value = window.query_all_by_label_contains("Experts").count();
    assert!(value > 0, "what its tokens are routed to is known of the dataset");
}

#[test]
fn a_pair_says_whether_both_fire_on_the_same_tokens() {
    let small = root().join("variants/small");
    let (here, there) = (firings(&run()), firings(&small));
    let nearest = facts::nearest("features.parquet");
    let feature = here.keys().copied().find(|f| there.contains_key(&nearest[*f as usize].nearest)).unwrap();
    let (a, b) = (&here[&feature], &there[&nearest[feature as usize].nearest]);
    let both = a.intersection(b).count();
    let place = Place::Matching { run: run(), with: "small".into() };
    let mut window = at(&root(), place);
    let row = format!("Pair of feature {feature}");
    wait_for(&mut window, &row);
    click(&mut window, &row);
    wait_for(&mut window, "Agreement of firing");
    wait_for_part(&mut window, &format!("{both} tokens in common of {} and {}", a.len(), b.len()));
    assert!(window.query_by_label_contains("Both trainings began with seed").is_none());
}

#[test]
fn agreement_of_firing_is_a_column_that_sorts_once_all_are_known() {
    let small = root().join("variants/small");
    let (here, there) = (firings(&run()), firings(&small));
    let none = HashSet::new();
    let share = |feature: u32, nearest: u32| {
        let [a, b] = [here.get(&feature), there.get(&nearest)].map(|places| places.unwrap_or(&none));
        let both = a.intersection(b).count();
        let either = a.len() + b.len() - both;
        (either > 0).then(|| both as f64 / either as f64)
    };
    let nearest = facts::nearest("features.parquet");
    let mut order: Vec<(u32, Option<f64>)> =
        nearest.iter().zip(0..).map(|(row, feature)| (feature, share(feature, row.nearest))).collect();
    order.sort_by(|a, b| b.1.unwrap_or(-1.0).total_cmp(&a.1.unwrap_or(-1.0)).then(a.0.cmp(&b.0)));
    assert!(order[0].1 > order[40].1, "a test of nothing");
    let mut window = at(&root(), Place::Matching { run: run(), with: "small".into() });
    wait_for(&mut window, "Pair of feature 0");
    wait_for_part(&mut window, &format!("Largest cosine of each feature: {} values", nearest.len()));
    let shown = |w: &Harness<'static, App>| common::numbered(w, "Pair of feature ");
    click(&mut window, "Sort by agreement");
    let features = |pairs: &[(u32, Option<f64>)]| pairs.iter().map(|pair| pair.0).collect::<Vec<_>>();
    wait(&mut window, "those that agree most first", |w| shown(w).starts_with(&features(&order[..8])));
    wait_for_part(&mut window, &app::widgets::format::percent(order[0].1.unwrap()));
    wait_for_part(&mut window, "median agreement of matched ");
    // Smallest first; those of which neither fires are last either way.
    click(&mut window, "Sort by agreement");
    let least = order.iter().filter_map(|pair| pair.1).fold(f64::MAX, f64::min);
    wait(&mut window, "those that agree least first", |w| {
        shown(w)
            .first()
            .is_some_and(|first| order.iter().any(|pair| pair.0 == *first && pair.1 == Some(least)))
    });
    // The other way round the pairs are others.
    finish_reading(&mut window);
    window.get_by_role_and_label(egui::accesskit::Role::Button, "Features of small").click();
    wait_for(&mut window, &format!("all {}", fixtures::SMALL_FEATURES));
    wait_for(&mut window, "Sort by agreement");
}

#[test]
fn without_an_index_agreement_is_unknown_and_the_index_is_offered() {
    let (folder, run) = own_run();
    std::fs::remove_dir_all(folder.join("variants/small/features")).unwrap();
    let mut window = at(&folder.path(), Place::Matching { run, with: "small".into() });
    wait_for(&mut window, "agreement of firing unknown");
    wait_for(&mut window, "Index");
    assert!(window.query_by_label("Sort by agreement").is_none());
}

#[test]
fn two_runs_of_one_seed_are_said_to_be_so() {
    let (folder, run) = own_run();
    let small = folder.join("variants/small");
    let seed = RunRecord::read(&run).unwrap().seed;
    RunRecord { seed, ..RunRecord::read(&small).unwrap() }.write(&small).unwrap();
    let mut window = at(&folder.path(), Place::Matching { run, with: "small".into() });
    wait_for_part(&mut window, &format!("Both trainings began with seed {seed}"));
}

#[test]
fn without_a_vocabulary_the_table_shows_numbers_of_tokens() {
    let (folder, run) = own_run();
    damage::remove(&run.join("features/vocabulary.parquet"));
    let mut window = at(&folder.path(), Place::Features { run });
    wait_for_part(&mut window, "Tokens show as numbers");
    wait(&mut window, "numbers", |w| w.query_all_by_label_contains("‹").next().is_some());
    assert!(window.query_by_label("…").is_none());
}

#[test]
fn the_page_of_an_expert_begins_with_a_run_that_is_joined() {
    let folder = fixtures::copy(&root());
    // Before `topk` by name, and not joined.
    std::fs::rename(folder.join("variants/small"), folder.join("a-small")).unwrap();
    let place = Place::Expert { dataset: folder.join("data"), layer: 1, expert: 0 };
    let mut window = at(&folder.path(), place);
    wait_for_part(&mut window, "lie within this expert");
    assert!(window.query_by_label("Join experts").is_none());
}

#[test]
fn figures_of_training_are_marked_and_dead_says_over_what() {
    let mut window = at(&root(), Place::Runs);
    wait_for(&mut window, "Run topk");
    // `small` was never evaluated, `topk` was.
    let marked = window.query_all_by_label_contains("○ ").count();
    assert!(marked >= 2, "{marked} figures are marked");
    let info = app::data::run::read_info(&run()).unwrap();
    let dead = info.dead.unwrap();
    let core = facts::evaluation_of(&run());
    assert_eq!(core["dead"], dead.count);
    assert!(
        dead.about.ends_with(&format!(
            "none of the {} evaluated tokens",
            app::widgets::format::grouped(core["tokens"].as_u64().unwrap())
        )),
        "{}",
        dead.about
    );
    let small = app::data::run::read_info(&root().join("variants/small")).unwrap().dead.unwrap();
    assert!(!small.in_training && small.about.contains("indexed tokens"), "{}", small.about);
    let stopped = app::data::run::read_info(&root().join("unfinished")).unwrap().dead.unwrap();
    assert!(stopped.in_training && stopped.about.contains("for the last "), "{}", stopped.about);
}

#[test]
fn nothing_of_a_narrow_page_is_painted_over_something_else() {
    let place = Place::Feature { run: run(), feature: facts::explained().feature };
    let options = Options { folder: Some(root()), place: Some(place), ..options() };
    let mut window = common::builder()
        .with_size([640.0, 480.0])
        .build_eframe(|cc| App::new(&cc.egui_ctx, options).unwrap());
    wait_for(&mut window, "Strongest");
    wait_for(&mut window, "More actions");
    let title = window.get_by_label("Examples").rect();
    for name in ["Which examples", "repeats", "line breaks"] {
        let other = window.get_by_label(name).rect();
        assert!(!title.intersects(other), "Examples {title:?} is under {name} {other:?}");
        assert!(other.right() <= 640.0, "{name} {other:?}");
    }
}

#[test]
fn every_firing_is_listed_and_leads_to_its_document() {
    let feature = facts::explained().feature;
    let mut window = at(&root(), Place::Feature { run: run(), feature });
    wait_for(&mut window, "Strongest");
    click(&mut window, "Which examples");
    click(&mut window, "every firing");
    let places = firings(&run())[&feature].len();
    wait_for(&mut window, &format!("all {places} firings"));
    // The strongest first.
    let table = Run::open(&run()).unwrap().activations().unwrap().unwrap();
    let mut all = storage::feature_activations::read(&table, feature).unwrap();
    all.sort_by(|a, b| {
        b.value.total_cmp(&a.value).then((a.document, a.position).cmp(&(b.document, b.position)))
    });
    let value = app::widgets::format::value(f64::from(all[0].value));
    wait_for_part(&mut window, &format!(": activation {value}"));
    finish_reading(&mut window);
    let rows: Vec<_> = window.query_all_by_label_contains(": activation ").collect();
    assert!(rows.len() > 3 && rows.len() < 60, "only what is seen is drawn: {}", rows.len());
    let first = rows.iter().min_by(|a, b| a.rect().top().total_cmp(&b.rect().top())).unwrap();
    first.click();
    window.run_steps(4);
    let (document, token) = (all[0].document, all[0].position);
    let place = Place::Token { dataset: data(), document, token };
    wait(&mut window, "the document", |w| w.state().here() == Some(place.clone()));
}

/// Document, position and activation of every token of a dataset.
fn activations(dataset: &Path) -> Vec<((u32, u32), Vec<f32>)> {
    let dataset = storage::Dataset::open(dataset).unwrap();
    let width = dataset.manifest().d_model;
    let table = dataset.table(storage::schema::ACTIVATIONS).unwrap();
    let columns = ["document", "position", storage::schema::activations::ACTIVATION];
    let mut all = Vec::new();
    for batch in table.scan(storage::Scan::of(&columns)).unwrap() {
        let batch = batch.unwrap();
        let mut values = Vec::new();
        storage::vector::fixed_size_rows(&batch, columns[2], &mut values).unwrap();
        let number = |name: &str| {
            let column = batch.column_by_name(name).unwrap();
            column.as_any().downcast_ref::<arrow::array::UInt32Array>().unwrap().values().to_vec()
        };
        let places = number("document").into_iter().zip(number("position"));
        all.extend(places.zip(values.chunks(width).map(<[f32]>::to_vec)));
    }
    all
}

#[test]
fn tokens_that_are_like_a_token_are_found_by_activation_and_by_features() {
    let place = (3, 10);
    let all = activations(&data());
    let norm = |row: &[f32]| row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let own = &all.iter().find(|row| row.0 == place).unwrap().1;
    let cosine = |row: &[f32]| {
        own.iter().zip(row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() / (norm(own) * norm(row))
    };
    let others = all.iter().filter(|row| row.0 != place);
    let (document, position) =
        others.max_by(|a, b| cosine(&a.1).total_cmp(&cosine(&b.1))).map(|row| row.0).unwrap();
    let here = Place::Token { dataset: data(), document: place.0, token: place.1 };
    let mut window = at(&root(), here);
    common::press(&mut window, "Find similar tokens");
    wait_for(&mut window, "rank correlation");
    wait_for_part(&mut window, ", by shared features");
    common::press(&mut window, &format!("Go to position {position} of document {document}, by activation"));
    let there = Place::Token { dataset: data(), document, token: position };
    wait(&mut window, "the other token", |w| w.state().here() == Some(there.clone()));
}
