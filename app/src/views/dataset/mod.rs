//! A dataset: what it is, its documents, and their text token by token.
//!
//! Left the list of documents or the search, in the middle the text, right what is known of the chosen token.

mod colour;
mod find;
mod list;
mod page;
mod reader;
mod similar;
mod token;

use std::path::{Path, PathBuf};

pub use token::about as about_feature;

use egui::{Button, CollapsingHeader, Frame, Key, Margin, Panel, Role, ScrollArea, Ui, WidgetInfo};

use super::{Scene, View, ViewCommand};
use crate::action::{Action, Command};
use crate::address::Place;
use crate::data::dataset::TEXT_PAGE;
use crate::data::{DatasetInfo, DocumentRow, Documents, Vocabulary, codes, routing};
use crate::load::{KeyedRequest, Lane, Workers};
use crate::stores::Need;
use crate::theme::{palette, space};
use crate::widgets::side::SidePanel;
use crate::widgets::{facts, notice, reading};

/// Below this width the token's panel goes away while nothing is chosen.
const NARROW: f32 = 900.0;
/// From this width on the list stands next to the text.
const BOTH: f32 = 660.0;
/// What is known of the chosen token.
const TOKEN: SidePanel = SidePanel { id: "token", width: 320.0, range: (240.0, 560.0) };

/// What the left side shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Side {
    #[default]
    Documents,
    Find,
}

/// One dataset and the document that is read.
#[derive(Debug)]
pub struct DatasetView {
    dataset: PathBuf,
    document: Option<u32>,
    token: Option<u32>,
    /// Position of the page's first token.
    start: u32,
    side: Side,
    list: list::List,
    find: find::Find,
    page: page::Page,
    colour: colour::Colour,
    style: reading::Style,
    options: token::Options,
    similar: similar::SimilarTokens,
    /// Whether the tables of the index hold codes by token, and where the routing is; looked up once.
    has: KeyedRequest<Vec<PathBuf>, Tables>,
    /// Bring the chosen token into view.
    scroll: bool,
}

/// What there is besides the text.
#[derive(Debug, Default)]
struct Tables {
    routing: bool,
    /// Runs with a table of features by token.
    codes: Vec<PathBuf>,
}

impl DatasetView {
    /// `dataset`, open at `place`.
    pub fn new(dataset: &Path, place: &Place) -> Self {
        let mut view = Self {
            dataset: dataset.to_owned(),
            document: None,
            token: None,
            start: 0,
            side: Side::default(),
            list: list::List::default(),
            find: find::Find::default(),
            page: page::Page::default(),
            colour: colour::Colour::default(),
            style: reading::Style::default(),
            options: token::Options::default(),
            similar: similar::SimilarTokens::default(),
            has: KeyedRequest::default(),
            scroll: false,
        };
        view.turn_to(place);
        view
    }

    /// Runs that were indexed on this dataset: folder and name.
    fn runs(&self, scene: &Scene<'_>) -> Vec<(PathBuf, String)> {
        let mut runs = scene.folder.runs_on(&self.dataset);
        // The one that was evaluated says most; the others stay in the order of their names.
        runs.sort_by_key(|run| !run.info.as_ref().is_ok_and(|info| info.evaluation.is_some()));
        runs.into_iter().map(|run| (run.path.clone(), run.name.clone())).collect()
    }

    /// The run whose features are shown.
    fn run(&self, runs: &[(PathBuf, String)]) -> Option<PathBuf> {
        let chosen = self.colour.run.as_ref().filter(|run| runs.iter().any(|r| r.0 == **run));
        // One that has the table comes before one that would say that it has none.
        let has = self.has.last();
        let with = runs.iter().map(|r| &r.0).find(|run| has.as_ref().is_some_and(|h| h.codes.contains(run)));
        chosen.or(with).or(runs.first().map(|r| &r.0)).cloned()
    }

    fn go(&self, document: u32, token: Option<u32>, scene: &mut Scene<'_>) {
        let dataset = self.dataset.clone();
        scene.go(match token {
            Some(token) => Place::Token { dataset, document, token },
            None => Place::Dataset { dataset, document: Some(document) },
        });
    }

    /// To another page of the same document.
    fn turn_page(&mut self, by: i64, row: &DocumentRow) {
        let last = row.tokens.saturating_sub(1) / TEXT_PAGE;
        let page = (i64::from(self.start / TEXT_PAGE) + by).clamp(0, i64::from(last));
        self.start = page as u32 * TEXT_PAGE;
    }

    fn keyboard(&mut self, ui: &Ui, documents: &Documents, row: &DocumentRow, scene: &mut Scene<'_>) {
        if ui.memory(|m| m.focused()).is_some() || ui.ctx().egui_wants_keyboard_input() {
            return;
        }
        let pressed = |key| ui.input(|i| i.key_pressed(key) && !i.modifiers.any());
        let step = i64::from(pressed(Key::ArrowRight)) - i64::from(pressed(Key::ArrowLeft));
        if step != 0 {
            let from = self.token.map_or_else(|| i64::from(self.start) - i64::from(step > 0), i64::from);
            let next = (from + step).clamp(0, i64::from(row.tokens.max(1)) - 1) as u32;
            self.go(row.document, Some(next), scene);
        }
        if pressed(Key::PageDown) {
            self.turn_page(1, row);
        }
        if pressed(Key::PageUp) {
            self.turn_page(-1, row);
        }
        let other = i64::from(pressed(Key::CloseBracket)) - i64::from(pressed(Key::OpenBracket));
        if other != 0
            && let Some(document) = self.list.step(documents, Some(row.document), other)
        {
            self.go(document, None, scene);
        }
        if pressed(Key::Escape) && self.token.is_some() {
            self.go(row.document, None, scene);
        }
    }

    fn left(
        &mut self,
        ui: &mut Ui,
        info: &DatasetInfo,
        documents: Option<&Documents>,
        vocabulary: &Vocabulary,
        scene: &mut Scene<'_>,
    ) {
        // Else the panel would shrink to what is there while the list is read, and stay so.
        ui.take_available_width();
        CollapsingHeader::new("About this dataset").show(ui, |ui| {
            facts::facts(ui, "manifest", info.facts.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        });
        ui.add_space(space::S);
        ui.horizontal(|ui| {
            for (side, name) in [(Side::Documents, "Documents"), (Side::Find, "Find")] {
                let tab = ui.add(Button::selectable(self.side == side, name));
                tab.widget_info(|| WidgetInfo::selected(Role::Tab, true, self.side == side, name));
                if tab.clicked() {
                    self.side = side;
                }
            }
        });
        ui.add_space(space::XS);
        let Some(documents) = documents else { return };
        match self.side {
            Side::Documents => self.list.show(ui, &self.dataset, documents, self.document, scene),
            Side::Find => {
                let here = self.document.zip(self.token);
                self.find.show(ui, &self.dataset, documents, vocabulary, here, scene);
            }
        }
    }

    /// The panel of the chosen token.
    fn right(&mut self, ui: &mut Ui, row: &DocumentRow, vocabulary: &Vocabulary, scene: &mut Scene<'_>) {
        let Some(position) = self.token else {
            return notice::empty(
                ui,
                "No token chosen",
                "Click a token, or step with ← and →, to see its features, experts and activation.",
            );
        };
        if position >= row.tokens {
            let problem = token::missing(row.document, row.tokens, position);
            return notice::problem_line(ui, &problem);
        }
        let Some(Ok(page)) = self.page.text() else {
            return notice::loading(ui, "Reading the token…");
        };
        // The page may have been turned away from the chosen token; what is shown stays that of the page in
        // front.
        let Some(token) = position.checked_sub(page.start).and_then(|i| page.tokens.get(i as usize)) else {
            return notice::empty(
                ui,
                "The selected token is on a different page",
                "Turn back, or choose one here.",
            );
        };
        let runs = self.runs(scene);
        let shown = token::Token {
            dataset: &self.dataset,
            document: row.document,
            position,
            token: *token,
            tokens: &page.tokens,
            start: page.start,
            vocabulary,
            page: &self.page,
            runs: &runs,
            run: self.run(&runs),
        };
        ScrollArea::vertical().id_salt(("token", row.document)).auto_shrink(false).show(ui, |ui| {
            let state = token::State {
                options: &mut self.options,
                colour: &mut self.colour,
                similar: &mut self.similar,
            };
            shown.show(ui, state, scene);
        });
    }
}

impl View for DatasetView {
    fn place(&self) -> Place {
        let dataset = self.dataset.clone();
        match (self.document, self.token) {
            (Some(document), Some(token)) => Place::Token { dataset, document, token },
            (document, _) => Place::Dataset { dataset, document },
        }
    }

    fn title(&self, scene: &Scene<'_>) -> String {
        format!("Data · {}", scene.folder.name_of(&self.dataset))
    }

    fn turn_to(&mut self, place: &Place) {
        let (document, token) = match place {
            Place::Dataset { document, .. } => (*document, None),
            Place::Token { document, token, .. } => (Some(*document), Some(*token)),
            _ => return,
        };
        if let Some(token) = token {
            self.start = token / TEXT_PAGE * TEXT_PAGE;
            self.scroll = true;
        } else if document != self.document {
            self.start = 0;
        }
        (self.document, self.token) = (document, token);
    }

    fn logic(&mut self, scene: &mut Scene<'_>, workers: &Workers) {
        let entry = scene.folder.dataset(&self.dataset);
        let Some(info) = entry.and_then(|d| d.info.as_ref().ok()) else { return };
        let (has_documents, has_rows) = (info.has_documents, info.has_activations);
        let runs = self.runs(scene);
        let paths: Vec<PathBuf> = runs.iter().map(|r| r.0.clone()).collect();
        let (dir, asked) = (self.dataset.clone(), paths.clone());
        self.has.want(workers, Lane::Folders, &paths, move || {
            let codes = asked.into_iter().filter(|run| codes::exist(run)).collect();
            Ok(Tables { routing: routing::folder_of(&dir).is_some(), codes })
        });
        let run = self.run(&runs);
        if let Some(run) = &run {
            scene.load_features(run);
        }
        self.find.logic(&self.dataset, workers);
        if has_documents {
            scene.load_documents(&self.dataset);
        }
        let Some(documents) = scene.stores.dataset(&self.dataset).documents.value().cloned() else { return };
        self.list.logic(workers, &documents);
        self.similar.logic(&self.dataset, &documents, workers);
        let Some(row) = self.document.and_then(|number| documents.get(number)) else { return };
        let token = self.token.is_some();
        let wants = page::PageNeeds {
            routing: self.has.last().is_some_and(|has| has.routing),
            codes: run.as_deref().filter(|_| token || self.colour.by == colour::ColourSource::Features),
            row: self.token.filter(|_| has_rows),
        };
        self.page.logic(workers, &self.dataset, row, self.start, wants);
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let Some(entry) = scene.folder.dataset(&self.dataset) else {
            return notice::empty(ui, "This dataset is gone", "It is no longer in the folder.");
        };
        let info = match &entry.info {
            Ok(info) => info,
            Err(problem) => {
                if notice::problem(ui, "This dataset cannot be opened", problem) {
                    scene.act(Action::Do(Command::Reload));
                }
                return;
            }
        };
        let store = scene.stores.dataset(&self.dataset);
        let (documents, problem) = (store.documents.value().cloned(), store.documents.problem().cloned());
        let vocabulary = store.vocabulary.value().cloned().unwrap_or_default();
        let row = self.document.and_then(|number| documents.as_ref()?.get(number)).cloned();
        if let (Some(documents), Some(row)) = (&documents, &row) {
            self.keyboard(ui, documents, row, scene);
        }
        let side = Frame::new().fill(palette(ui).side).inner_margin(Margin::same(space::M as i8));
        let wide = ui.available_width() >= NARROW;
        let both = ui.available_width() >= BOTH;
        if !both && self.document.is_none() && problem.is_none() {
            // There is room for one of both: the list, until a document is chosen.
            Frame::new().inner_margin(Margin::same(space::M as i8)).show(ui, |ui| {
                self.left(ui, info, documents.as_deref(), &vocabulary, scene);
            });
            return;
        }
        if both {
            let panel =
                Panel::left("dataset facts").frame(side).default_size(340.0).size_range(260.0..=560.0);
            panel.show(ui, |ui| self.left(ui, info, documents.as_deref(), &vocabulary, scene));
        }
        if let Some(row) = row.as_ref().filter(|_| wide || self.token.is_some()) {
            TOKEN.show(ui, side, |ui| self.right(ui, row, &vocabulary, scene));
        }
        let margin = Margin::symmetric(space::L as i8, space::M as i8);
        Frame::new().inner_margin(margin).show(ui, |ui| {
            if !both && ui.button("All documents").clicked() {
                scene.go(Place::Dataset { dataset: self.dataset.clone(), document: None });
            }
            if let Some(problem) = &problem {
                if notice::problem(ui, "The documents cannot be read", problem) {
                    scene.act(Action::Retry(Need::Documents(self.dataset.clone())));
                }
                return;
            }
            match (&row, &documents, self.document) {
                (Some(row), _, _) => self.reader(ui, row, &vocabulary, scene),
                (None, None, _) if info.has_documents => notice::loading(ui, "Reading the documents…"),
                (None, None, _) => {
                    let how = "`sae harvest` writes one from text; this dataset was made in a different way.";
                    notice::empty(ui, "This dataset has no table of documents", how);
                }
                (None, Some(documents), Some(number)) => {
                    let most = documents.rows.last().map_or(0, |row| row.document);
                    let how = format!(
                        "Its documents are {} to {most}.",
                        documents.rows.first().map_or(0, |r| r.document)
                    );
                    notice::empty(ui, &format!("There is no document {number}"), &how);
                }
                (None, Some(_), None) => {
                    let how = "Select one on the left, or search for a word or phrase in all of them.";
                    notice::empty(ui, "No document selected", how);
                }
            }
        });
    }

    fn perform(&mut self, command: ViewCommand) -> bool {
        if command != ViewCommand::Search {
            return false;
        }
        self.side = Side::Find;
        self.find.focus();
        true
    }
}
