//! Ctrl+P: every command, run and dataset by a few letters, and every feature that has a name; a number goes
//! to that feature; a path opens it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{
    Context, Key, Label, Modal, Modifiers, Response, RichText, Role, ScrollArea, Sense, TextEdit, Ui,
    WidgetInfo,
};

use crate::action::{Action, Command};
use crate::address::{Address, Place};
use crate::data::{self, DatasetEntry, Folder, Notes, RunEntry, TokenLists};
use crate::load::{KeyedRequest, Lane, Workers};
use crate::stores::Stores;
use crate::theme::{palette, space, tokens::size};
use crate::widgets::{format, table};
use crate::words::place;

/// Entries that are shown.
const SHOWN: usize = 12;
/// Features found by name that are offered.
const FEATURES: usize = 8;
/// Features that fire on what was typed that are offered.
const FIRING: usize = 4;
/// Letters from which on names of features are searched.
const LETTERS: usize = 2;

/// The palette; `None` inside when it is closed.
#[derive(Debug, Default)]
pub struct Palette {
    text: Option<String>,
    chosen: usize,
    /// The list is to be scrolled to its top.
    to_top: bool,
    /// Enter was pressed while names were still being looked for: what is found first is meant.
    entered: bool,
    /// The features found by name.
    named: KeyedRequest<Lookup, Vec<FoundFeature>>,
}

/// A feature that the palette offers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FoundFeature {
    feature: u32,
    name: String,
    /// Why it is offered.
    why: String,
}

/// A search for features by name: the run, the text, and the versions of its tokens and notes.
type Lookup = (PathBuf, String, [u64; 2]);

/// What the palette can find besides commands.
#[derive(Clone, Copy, Default)]
pub struct SearchScope<'a> {
    /// The open folder.
    pub folder: Option<&'a Folder>,
    /// The place in front.
    pub here: Option<&'a Place>,
    /// Folders opened before.
    pub recent: &'a [PathBuf],
    /// What is loaded.
    pub stores: Option<&'a Stores>,
}

struct Entry {
    name: String,
    about: String,
    key: String,
    action: Action,
}

impl Entry {
    /// An entry without a key.
    fn new(name: String, about: String, action: Action) -> Self {
        Self { name, about, key: String::new(), action }
    }
}

impl Palette {
    /// Opens it, or closes it when it is open.
    pub fn toggle(&mut self) {
        self.text = if self.text.is_some() { None } else { Some(String::new()) };
        self.chosen = 0;
        self.to_top = true;
        self.entered = false;
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.text.is_some()
    }

    /// Once per frame: looks for features by name, on a worker, because a million names are too much work for a
    /// frame.
    pub fn logic(&mut self, scope: SearchScope<'_>, workers: &Workers) {
        let Some(text) = &self.text else { return };
        let Some((run, needle, versions)) = lookup(text, scope) else { return };
        let Some(store) = scope.stores.map(|stores| stores.run(&run)) else { return };
        let notes = Arc::clone(store.notes.notes());
        let tokens = store.tokens.value().cloned();
        let key = (run.clone(), needle.clone(), versions);
        let (columns, vocabulary) = (store.columns.value().cloned(), store.vocabulary.value().cloned());
        self.named.want(workers, Lane::Sort, &key, move || {
            let mut found = named(&needle, &notes, tokens.as_deref());
            if let (Some(columns), Some(vocabulary)) = (columns, vocabulary) {
                // The table of features shows why an index cannot be read.
                let firing = data::firing::find(&run, &needle, &vocabulary).unwrap_or_default();
                let label = |f: u32| notes.label(f).or_else(|| tokens.as_ref().and_then(|t| t.label(f)));
                for one in firing.best(&columns.numbers.density, FIRING) {
                    if !found.iter().any(|other| other.feature == one.feature) {
                        let name = label(one.feature)
                            .map_or_else(|| format!("Feature {}", one.feature), str::to_owned);
                        let (count, of) = (format::grouped(one.count), format::grouped(one.occurrences));
                        let word = firing.word(one.word).unwrap_or(&needle);
                        let why = format!("fires on {count} of {of} · {word}");
                        found.push(FoundFeature { feature: one.feature, name, why });
                    }
                }
            }
            Ok(found)
        });
    }

    /// Draws it and reports what was chosen.
    pub fn show(&mut self, ctx: &Context, scope: SearchScope<'_>, actions: &mut Vec<Action>) {
        let Some(text) = &mut self.text else { return };
        let (mut entries, searching) = entries(ctx, text, scope, &self.named);
        // What is not shown cannot be selected either.
        entries.truncate(SHOWN);
        self.chosen = self.chosen.min(entries.len().saturating_sub(1));
        let (down, up, enter) = ctx.input_mut(|i| {
            (
                // A slow frame has several presses.
                i.count_and_consume_key(Modifiers::NONE, Key::ArrowDown),
                i.count_and_consume_key(Modifiers::NONE, Key::ArrowUp),
                i.consume_key(Modifiers::NONE, Key::Enter),
            )
        });
        let before = self.chosen;
        self.chosen = (self.chosen + down).min(entries.len().saturating_sub(1)).saturating_sub(up);
        let moved = self.chosen != before;
        self.entered |= enter;
        let mut done = (self.entered && !searching).then_some(self.chosen);
        self.entered &= searching;
        let area =
            Modal::default_area(egui::Id::unique("palette")).anchor(egui::Align2::CENTER_TOP, [0.0, 80.0]);
        let modal = Modal::new(egui::Id::unique("palette")).area(area).show(ctx, |ui| {
            ui.set_width(560.0);
            let field = TextEdit::singleline(text)
                .hint_text("Command, run, feature name or number, path")
                .desired_width(f32::INFINITY);
            let field = ui.add(field.margin(egui::Margin::symmetric(8, 6)));
            field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Palette"));
            field.request_focus();
            if field.changed() {
                self.chosen = 0;
                self.to_top = true;
                // For the names, which are looked up before the next frame.
                ui.ctx().request_repaint();
            }
            ui.add_space(space::XS);
            if entries.is_empty() && !searching {
                ui.label(RichText::new("No matches").color(palette(ui).weak));
            }
            // Without a least height the list stays as low as the shortest one that was ever shown here.
            let room = (ctx.content_rect().height() - 160.0).clamp(84.0, 440.0);
            let mut list = ScrollArea::vertical().max_height(room).min_scrolled_height(room);
            if std::mem::take(&mut self.to_top) {
                list = list.vertical_scroll_offset(0.0);
            }
            list.show(ui, |ui| {
                for (i, entry) in entries.iter().enumerate() {
                    let response = line(ui, entry, i == self.chosen);
                    if moved && i == self.chosen {
                        response.scroll_to_me(None);
                    }
                    if response.clicked() {
                        done = Some(i);
                    }
                }
            });
        });
        if let Some(entry) = done.and_then(|i| entries.get(i)) {
            actions.push(entry.action.clone());
            self.text = None;
        } else if modal.should_close() {
            self.text = None;
        }
    }
}

fn line(ui: &mut Ui, entry: &Entry, chosen: bool) -> Response {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(egui::vec2(ui.available_width(), 28.0), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::ListBoxOption, true, chosen, &entry.name));
    table::row_ground(ui, rect, chosen, response.hovered());
    let inner = rect.shrink2(egui::vec2(space::S, 0.0));
    let layout = egui::Layout::right_to_left(egui::Align::Center);
    ui.scope_builder(egui::UiBuilder::new().max_rect(inner).layout(layout), |ui| {
        ui.label(RichText::new(&entry.key).size(size::SMALL).color(p.weak));
        ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
            ui.add(Label::new(RichText::new(&entry.name).color(p.strong)).extend());
            ui.add(Label::new(RichText::new(&entry.about).size(size::SMALL).color(p.weak)).truncate());
        });
    });
    response
}

/// What `text` may mean, best first, and whether more is still being looked for.
fn entries(
    ctx: &Context,
    text: &str,
    scope: SearchScope<'_>,
    found: &KeyedRequest<Lookup, Vec<FoundFeature>>,
) -> (Vec<Entry>, bool) {
    let text = text.trim();
    let commands = Command::ALL.into_iter().map(|command| {
        let key = command.key_text(ctx);
        let (name, about) = (command.name().to_owned(), command.tooltip().to_owned());
        Entry { name, about, key, action: Action::Do(command) }
    });
    let recent = scope.recent.iter().map(|folder| {
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
        let about = folder.display().to_string();
        Entry::new(format!("Open recent {name}"), about, Action::Open(folder.clone()))
    });
    let places = scope.folder.into_iter().flat_map(places);
    let scored = commands.chain(places).chain(recent);
    let mut scored: Vec<_> = scored.filter_map(|entry| Some((score(&entry.name, text)?, entry))).collect();
    scored.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    let (features, searching) = features(text, scope, found);
    let direct = direct(text, scope.folder, scope.here);
    let (meant, others): (Vec<_>, Vec<_>) =
        scored.into_iter().map(|(_, entry)| entry).partition(|entry| is_meant(&entry.name, text));
    (direct.into_iter().chain(meant).chain(features).chain(others).collect(), searching)
}

/// Whether who types `text` means the entry, also where features fire on its letters: a beginning of its name, or a whole word of it,
/// as the name of a run is.
fn is_meant(name: &str, text: &str) -> bool {
    let (name, text) = (name.to_lowercase(), text.to_lowercase());
    name.starts_with(&text) || name.split_whitespace().any(|word| word == text)
}

/// All places of the runs and datasets of a folder.
fn places(folder: &Folder) -> impl Iterator<Item = Entry> {
    let graphs = folder.graphs.iter().map(|graph| {
        let place = Place::Graph { graph: graph.path.clone() };
        Entry::new(format!("Graph {}", graph.name), place::path(&graph.path), Action::Go(place))
    });
    let probes = folder.probes.iter().map(|probes| {
        let place = Place::Probes { probes: probes.path.clone() };
        Entry::new(format!("Probes {}", probes.name), place::path(&probes.path), Action::Go(place))
    });
    let models = folder.models.iter().map(|model| {
        let place = Place::Model { model: model.path.clone() };
        Entry::new(format!("Training of {}", model.name), place::path(&model.path), Action::Go(place))
    });
    let of_datasets = folder.datasets.iter().flat_map(places_of_dataset);
    folder.runs.iter().flat_map(places_of_run).chain(of_datasets).chain(graphs).chain(probes).chain(models)
}

fn places_of_run(run: &RunEntry) -> Vec<Entry> {
    let about = place::path(&run.path);
    let entry = |name: String, place: Place| Entry::new(name, about.clone(), Action::Go(place));
    let (name, path) = (&run.name, || run.path.clone());
    let mut entries = Vec::new();
    if let Ok(info) = &run.info {
        if info.indexed {
            entries.push(entry(format!("Features of {name}"), Place::Features { run: path() }));
        }
        if info.mapped {
            entries.push(entry(format!("Map of {name}"), Place::Map { run: path() }));
        }
        if info.scored {
            entries.push(entry(format!("Truth of {name}"), Place::Truth { run: path() }));
        }
        if info.fields {
            entries.push(entry(format!("Fields of {name}"), Place::Fields { run: path() }));
        }
        entries.extend(info.comparisons.iter().map(|with| {
            let place = Place::Matching { run: path(), with: with.clone() };
            entry(format!("Compare {name} with {with}"), place)
        }));
        if info.reads_text() {
            let what = if info.target_hook.is_some() { "Trace through" } else { "Prompt" };
            entries.push(entry(format!("{what} {name}"), Place::Prompt { run: path(), feature: None }));
        }
    }
    entries.push(entry(format!("Curves of {name}"), Place::Curves { run: path() }));
    entries
}

fn places_of_dataset(dataset: &DatasetEntry) -> Vec<Entry> {
    let about = place::path(&dataset.path);
    let entry = |name: String, place: Place| Entry::new(name, about.clone(), Action::Go(place));
    let (name, path) = (&dataset.name, || dataset.path.clone());
    let documents = Place::Dataset { dataset: path(), document: None };
    let mut entries = vec![entry(format!("Documents of {name}"), documents)];
    if dataset.info.as_ref().is_ok_and(|info| info.has_experts) {
        entries.push(entry(format!("Experts of {name}"), Place::Experts { dataset: path() }));
    }
    entries
}

/// The search for features by name that `text` asks for: in the run in front, or in the first that is loaded.
fn lookup(text: &str, scope: SearchScope<'_>) -> Option<Lookup> {
    let needle = text.trim().to_lowercase();
    if needle.chars().count() < LETTERS || needle.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let (folder, stores) = (scope.folder?, scope.stores?);
    let here = scope.here.and_then(Place::folder);
    let mut runs = here.into_iter().chain(folder.runs.iter().map(|run| run.path.as_path()));
    let run = runs.find(|run| folder.run(run).is_some() && stores.run(run).tokens.value().is_some())?;
    let store = stores.run(run);
    Some((run.to_owned(), needle, [store.tokens.version(), store.notes.version()]))
}

/// The features that were found by name, and whether they are still being looked for.
fn features(
    text: &str,
    scope: SearchScope<'_>,
    found: &KeyedRequest<Lookup, Vec<FoundFeature>>,
) -> (Vec<Entry>, bool) {
    let (Some(folder), Some(key)) = (scope.folder, lookup(text, scope)) else {
        return (Vec::new(), false);
    };
    let run = &key.0;
    let entry = |found: &FoundFeature| {
        let place = Place::Feature { run: run.clone(), feature: found.feature };
        let about = format!("{} · feature {} of {}", found.why, found.feature, folder.name_of(run));
        Entry::new(found.name.clone(), about, Action::Go(place))
    };
    match found.get(&key) {
        Some(found) => (found.iter().map(entry).collect(), false),
        None => (Vec::new(), found.problem(&key).is_none()),
    }
}

/// The first features whose label, a person's or else the index's, has `needle` in it.
fn named(needle: &str, notes: &Notes, tokens: Option<&TokenLists>) -> Vec<FoundFeature> {
    let own =
        notes.iter().filter(|note| !note.label.is_empty()).map(|note| (note.feature, note.label.as_str()));
    let of_index = tokens.into_iter().flat_map(|t| &t.labels).map(|(f, label)| (*f, label.as_str()));
    own.chain(of_index.filter(|(feature, _)| notes.label(*feature).is_none()))
        .filter(|(_, label)| label.to_lowercase().contains(needle))
        .take(FEATURES)
        .map(|(feature, label)| FoundFeature { feature, name: label.to_owned(), why: "label".to_owned() })
        .collect()
}

/// What was typed is itself a place: a feature's number, an address, a path.
fn direct(text: &str, folder: Option<&Folder>, here: Option<&Place>) -> Option<Entry> {
    let entry = |name: String, about: &str, action| Some(Entry::new(name, about.to_owned(), action));
    if let (Ok(feature), Some(folder)) = (text.trim_start_matches('#').parse::<u32>(), folder) {
        let indexed =
            |path: &Path| folder.run(path).is_some_and(|r| r.info.as_ref().is_ok_and(|i| i.indexed));
        let current = here.and_then(Place::folder).filter(|path| indexed(path));
        let first = || folder.runs.iter().map(|r| r.path.as_path()).find(|path| indexed(path));
        let run = current.or_else(first)?.to_owned();
        let about = folder.name_of(&run).into_owned();
        return entry(
            format!("Go to feature {feature}"),
            &about,
            Action::Go(Place::Feature { run, feature }),
        );
    }
    // Only what looks like a path is looked up, and only once it is complete.
    if text.contains('#') {
        let address = Address::parse(text).ok()?;
        return entry(format!("Go to {text}"), "address", Action::Go(address.place?));
    }
    if text.contains(['/', '\\']) {
        let what = if place::is_address(Path::new(text)) { "address" } else { "folder" };
        return entry(format!("Open {text}"), what, Action::Open(Path::new(text).to_owned()));
    }
    None
}

/// How well `name` matches the letters in `text`, in order; `None` when it does not.
fn score(name: &str, text: &str) -> Option<i32> {
    let name = name.to_lowercase();
    let mut score = 0;
    let mut from = 0;
    let mut last = None;
    for letter in text.to_lowercase().chars().filter(|c| !c.is_whitespace()) {
        let at = from + name[from..].find(letter)?;
        let begins_word = at == 0 || name[..at].ends_with(|c: char| !c.is_alphanumeric());
        score += if begins_word { 8 } else { 0 } + if last == Some(at) { 6 } else { 0 }
            - (at - from).min(4) as i32;
        from = at + letter.len_utf8();
        last = Some(from);
    }
    Some(score)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_match_in_order_and_beginnings_count_more() {
        assert_eq!(score("Zoom in", "xyz"), None);
        assert!(score("Open folder…", "of") > score("Copy address", "pd"));
        assert!(score("Zoom in", "zi") > score("Zoom in", "oi"));
        assert_eq!(score("anything", ""), Some(0));
        assert!(score("Größe ändern", "ä").is_some());
    }

    #[test]
    fn what_is_named_goes_before_features_that_fire_on_its_letters() {
        assert!(is_meant("Train…", "train") && is_meant("Test a claim", "test a cl"));
        assert!(is_meant("Features of topk", "TopK") && !is_meant("Features of topk", "top"));
        assert!(!is_meant("Curves of court", "our"));
    }

    #[test]
    fn paths_and_addresses_are_places() {
        let (ctx, none) = (Context::default(), KeyedRequest::default());
        let (found, _) = entries(&ctx, "/tmp/x", SearchScope::default(), &none);
        assert_eq!(found[0].action, Action::Open("/tmp/x".into()));
        let (found, _) = entries(&ctx, "some/run#feature=3", SearchScope::default(), &none);
        assert_eq!(found[0].action, Action::Go(Place::Feature { run: "some/run".into(), feature: 3 }));
    }
}
