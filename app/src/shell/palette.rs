//! Ctrl+P: every command, run and dataset by a few letters, and every feature that has a name; a number goes to that
//! feature; a path opens it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{
    Context, Key, Label, Modal, Modifiers, RichText, Role, ScrollArea, Sense, TextEdit, Ui, WidgetInfo,
};

use super::Command;
use crate::address::{Address, Place};
use crate::data::{Folder, Notes, TokenLists};
use crate::load::{Lane, Workers};
use crate::theme::{palette, space, tokens::size};
use crate::views::{Action, Stores};
use crate::widgets::table;

/// Entries that are shown.
const SHOWN: usize = 12;
/// Features found by name that are offered.
const FEATURES: usize = 8;
/// Letters from which on names of features are searched.
const LETTERS: usize = 2;

/// The palette; `None` inside when it is closed.
#[derive(Debug, Default)]
pub struct Palette {
    text: Option<String>,
    chosen: usize,
    /// Enter was pressed while names were still being looked for: what is found first is meant.
    entered: bool,
}

/// What the palette can find besides commands.
#[derive(Default)]
pub struct Known<'a> {
    /// The open folder.
    pub folder: Option<&'a Folder>,
    /// The place in front.
    pub here: Option<&'a Place>,
    /// Folders opened before.
    pub recent: &'a [PathBuf],
    /// What is loaded.
    pub stores: Option<&'a mut Stores>,
    /// Where names are looked for.
    pub workers: Option<&'a Workers>,
}

struct Entry {
    name: String,
    about: String,
    key: String,
    action: Action,
}

impl Palette {
    /// Opens it, or closes it when it is open.
    pub fn toggle(&mut self) {
        self.text = if self.text.is_some() { None } else { Some(String::new()) };
        self.chosen = 0;
        self.entered = false;
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.text.is_some()
    }

    /// Draws it and reports what was chosen.
    pub fn show(&mut self, ctx: &Context, known: Known<'_>, actions: &mut Vec<Action>) {
        let Some(text) = &mut self.text else { return };
        let (entries, searching) = entries(ctx, text, known);
        self.chosen = self.chosen.min(entries.len().saturating_sub(1));
        let (down, up, enter) = ctx.input_mut(|i| {
            (
                i.consume_key(Modifiers::NONE, Key::ArrowDown),
                i.consume_key(Modifiers::NONE, Key::ArrowUp),
                i.consume_key(Modifiers::NONE, Key::Enter),
            )
        });
        if down && self.chosen + 1 < entries.len() {
            self.chosen += 1;
        }
        if up {
            self.chosen = self.chosen.saturating_sub(1);
        }
        self.entered |= enter;
        let mut done = (self.entered && !searching).then_some(self.chosen);
        self.entered &= searching;
        let area =
            Modal::default_area(egui::Id::unique("palette")).anchor(egui::Align2::CENTER_TOP, [0.0, 80.0]);
        let modal = Modal::new(egui::Id::unique("palette")).area(area).show(ctx, |ui| {
            ui.set_width(560.0);
            let field = TextEdit::singleline(text)
                .hint_text("Command, run, name or number of a feature, path")
                .desired_width(f32::INFINITY);
            let field = ui.add(field.margin(egui::Margin::symmetric(8, 6)));
            field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Palette"));
            field.request_focus();
            if field.changed() {
                self.chosen = 0;
            }
            ui.add_space(space::XS);
            if entries.is_empty() && !searching {
                ui.label(RichText::new("Nothing of that name").color(palette(ui).weak));
            }
            ScrollArea::vertical().max_height(400.0).show(ui, |ui| {
                for (i, entry) in entries.iter().take(SHOWN).enumerate() {
                    if line(ui, entry, i == self.chosen) {
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

fn line(ui: &mut Ui, entry: &Entry, chosen: bool) -> bool {
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
    response.clicked()
}

/// What `text` may mean, best first, and whether more is still being looked for.
fn entries(ctx: &Context, text: &str, known: Known<'_>) -> (Vec<Entry>, bool) {
    let text = text.trim();
    let Known { folder, here, recent, stores, workers } = known;
    let mut found: Vec<(i32, Entry)> = Vec::new();
    let mut offer = |name: String, about: String, key: String, action: Action| {
        if let Some(score) = score(&name, text) {
            found.push((score, Entry { name, about, key, action }));
        }
    };
    for command in Command::ALL {
        let key = command.shortcut().map(|s| ctx.format_shortcut(&s)).unwrap_or_default();
        offer(command.name().to_owned(), command.tooltip().to_owned(), key, Action::Do(command));
    }
    if let Some(folder) = folder {
        for run in &folder.runs {
            let about = run.path.display().to_string();
            if run.info.as_ref().is_ok_and(|i| i.indexed) {
                let place = Place::Features { run: run.path.clone() };
                offer(format!("Features of {}", run.name), about.clone(), String::new(), Action::Go(place));
            }
            if run.info.as_ref().is_ok_and(|i| i.mapped) {
                let place = Place::Map { run: run.path.clone() };
                offer(format!("Map of {}", run.name), about.clone(), String::new(), Action::Go(place));
            }
            for with in run.info.as_ref().map_or(&[][..], |i| &i.comparisons) {
                let place = Place::Compare { run: run.path.clone(), with: with.clone() };
                offer(
                    format!("Compare {} with {with}", run.name),
                    about.clone(),
                    String::new(),
                    Action::Go(place),
                );
            }
            if run.info.is_ok() {
                let place = Place::Prompt { run: run.path.clone(), feature: None };
                offer(format!("Prompt {}", run.name), about.clone(), String::new(), Action::Go(place));
            }
            offer(
                format!("Curves of {}", run.name),
                about,
                String::new(),
                Action::Go(Place::Curves { run: run.path.clone() }),
            );
        }
        for dataset in &folder.datasets {
            let about = dataset.path.display().to_string();
            let place = Place::Dataset { dataset: dataset.path.clone(), document: None };
            offer(format!("Documents of {}", dataset.name), about.clone(), String::new(), Action::Go(place));
            if dataset.info.as_ref().is_ok_and(|i| i.has_experts) {
                let place = Place::Experts { dataset: dataset.path.clone() };
                offer(format!("Experts of {}", dataset.name), about, String::new(), Action::Go(place));
            }
        }
    }
    for recent in recent {
        let name = recent.file_name().unwrap_or(recent.as_os_str()).to_string_lossy();
        let about = recent.display().to_string();
        offer(format!("Open recent {name}"), about, String::new(), Action::Open(recent.clone()));
    }
    found.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    let mut entries: Vec<Entry> = direct(text, folder, here).into_iter().collect();
    let mut searching = false;
    if let (Some(folder), Some(stores), Some(workers)) = (folder, stores, workers) {
        let named = features(text, folder, stores, here, workers);
        searching = named.1;
        entries.extend(named.0);
    }
    entries.extend(found.into_iter().map(|(_, entry)| entry));
    (entries, searching)
}

/// Features whose name has the text in it, of the run in front or of the first that is loaded, and whether they are still being looked
/// for: on a worker, because a million of names is no work for a frame.
fn features(
    text: &str,
    folder: &Folder,
    stores: &mut Stores,
    here: Option<&Place>,
    workers: &Workers,
) -> (Vec<Entry>, bool) {
    let nothing = (Vec::new(), false);
    let needle = text.to_lowercase();
    let mut runs =
        here.and_then(Place::folder).into_iter().chain(folder.runs.iter().map(|r| r.path.as_path()));
    let Some(run) = runs.find(|run| folder.run(run).is_some() && stores.run(run).tokens.value().is_some())
    else {
        return nothing;
    };
    if needle.chars().count() < LETTERS || needle.chars().all(|c| c.is_ascii_digit()) {
        return nothing;
    }
    let store = stores.run(run);
    let notes = Arc::clone(store.notes.notes());
    let tokens = store.tokens.value().cloned();
    let key = (run.to_owned(), needle.clone(), [store.tokens.version(), store.notes.version()]);
    stores.named.want(workers, Lane::Sort, &key, move || Ok(named(&needle, &notes, tokens.as_deref())));
    let found = stores.named.get(&key);
    let searching = found.is_none() && stores.named.problem(&key).is_none();
    let entry = |(feature, label): &(u32, String)| Entry {
        name: label.clone(),
        about: format!("feature {feature} of {}", folder.name_of(run)),
        key: String::new(),
        action: Action::Go(Place::Feature { run: run.to_owned(), feature: *feature }),
    };
    (found.iter().flat_map(|found| found.iter()).map(entry).collect(), searching)
}

/// The first features whose label, a person's or else the index's, has `needle` in it.
fn named(needle: &str, notes: &Notes, tokens: Option<&TokenLists>) -> Vec<(u32, String)> {
    let own =
        notes.iter().filter(|note| !note.label.is_empty()).map(|note| (note.feature, note.label.as_str()));
    let of_index = tokens.into_iter().flat_map(|t| &t.labels).map(|(f, label)| (*f, label.as_str()));
    own.chain(of_index.filter(|(feature, _)| notes.label(*feature).is_none()))
        .filter(|(_, label)| label.to_lowercase().contains(needle))
        .take(FEATURES)
        .map(|(feature, label)| (feature, label.to_owned()))
        .collect()
}

/// What was typed is itself a place: a feature's number, an address, a path.
fn direct(text: &str, folder: Option<&Folder>, here: Option<&Place>) -> Option<Entry> {
    let entry = |name: String, about: &str, action| {
        Some(Entry { name, about: about.to_owned(), key: String::new(), action })
    };
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
        return entry(format!("Open {text}"), "folder", Action::Open(Path::new(text).to_owned()));
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
    fn paths_and_addresses_are_places() {
        let ctx = Context::default();
        let (found, _) = entries(&ctx, "/tmp/x", Known::default());
        assert_eq!(found[0].action, Action::Open("/tmp/x".into()));
        let (found, _) = entries(&ctx, "some/run#feature=3", Known::default());
        assert_eq!(found[0].action, Action::Go(Place::Feature { run: "some/run".into(), feature: 3 }));
    }
}
