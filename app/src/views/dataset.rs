//! A dataset: what it is, its documents, and their text.

use std::path::{Path, PathBuf};

use egui::{Button, Frame, Label, Margin, Panel, RichText, Role, ScrollArea, Ui, WidgetInfo};

use super::{Scene, View};
use crate::address::Place;
use crate::data::dataset::TEXT_PAGE;
use crate::data::{DatasetInfo, DocumentRow, DocumentText, Documents, Vocabulary};
use crate::load::{Lane, Requested};
use crate::theme::{palette, space, tokens::height, tokens::size};
use crate::widgets::{example, facts, format, notice};

/// One dataset and the document that is read.
#[derive(Debug)]
pub struct DatasetView {
    dataset: PathBuf,
    document: Option<u32>,
    start: u32,
    text: Requested<DocumentText>,
    asked: Option<(u32, u32)>,
}

impl DatasetView {
    /// `dataset`, open at `document`.
    pub fn new(dataset: &Path, document: Option<u32>) -> Self {
        Self { dataset: dataset.to_owned(), document, start: 0, text: Requested::new(), asked: None }
    }

    fn list(&self, ui: &mut Ui, documents: &Documents, scene: &mut Scene<'_>) {
        let p = palette(ui);
        ui.horizontal(|ui| {
            facts::section(ui, "Documents");
            facts::caption(ui, format::grouped(documents.rows.len() as u64));
        });
        let area = ScrollArea::vertical().id_salt("documents").auto_shrink(false);
        area.show_rows(ui, height::ROW, documents.rows.len(), |ui, range| {
            for row in &documents.rows[range] {
                let chosen = self.document == Some(row.document);
                let (rect, response) = ui
                    .allocate_exact_size(egui::vec2(ui.available_width(), height::ROW), egui::Sense::click());
                crate::widgets::table::row_ground(ui, rect, chosen, response.hovered());
                response.widget_info(|| {
                    WidgetInfo::selected(Role::Row, true, chosen, format!("Document {}", row.name))
                });
                let inner = rect.shrink2(egui::vec2(space::S, 0.0));
                let layout = egui::Layout::right_to_left(egui::Align::Center);
                ui.scope_builder(egui::UiBuilder::new().max_rect(inner).layout(layout), |ui| {
                    ui.label(RichText::new(format::count(u64::from(row.tokens))).color(p.weak));
                    if row.held_out {
                        ui.label(RichText::new("held out").size(size::SMALL).color(p.warning));
                    }
                    ui.label(RichText::new(&row.domain).size(size::SMALL).color(p.weak));
                    ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                        ui.add(Label::new(RichText::new(&row.name).color(p.text)).truncate());
                    });
                });
                if response.on_hover_text(&row.source).clicked() {
                    scene.go(Place::Dataset { dataset: self.dataset.clone(), document: Some(row.document) });
                }
            }
        });
    }

    fn reader(&mut self, ui: &mut Ui, row: &DocumentRow, vocabulary: &Vocabulary) {
        let p = palette(ui);
        ui.add(Label::new(RichText::new(&row.name).size(size::TITLE).color(p.strong)).truncate());
        let end = row.tokens.min(self.start + TEXT_PAGE);
        ui.horizontal(|ui| {
            facts::caption(
                ui,
                format!(
                    "{} · tokens {} to {} of {}",
                    row.domain,
                    self.start,
                    end,
                    format::grouped(u64::from(row.tokens))
                ),
            );
            if ui.add_enabled(self.start > 0, Button::new("Earlier").small()).clicked() {
                self.start = self.start.saturating_sub(TEXT_PAGE);
            }
            if ui.add_enabled(end < row.tokens, Button::new("Later").small()).clicked() {
                self.start = end;
            }
        });
        ui.add_space(space::S);
        if let Some(problem) = self.text.problem() {
            return notice::problem_line(ui, problem);
        }
        let Some(text) = self.text.value().filter(|t| t.document == row.document).cloned() else {
            return notice::loading(ui, "Reading the text…");
        };
        if text.tokens.is_empty() && row.tokens > 0 {
            ui.label(
                RichText::new("The rows of this dataset came without tokens: there is no text.")
                    .color(p.weak),
            );
            return;
        }
        ScrollArea::vertical().id_salt(("text", row.document, text.start)).auto_shrink(false).show(
            ui,
            |ui| {
                let window = example::Window {
                    tokens: &text.tokens,
                    values: &[],
                    max: 0.0,
                    marked: None,
                    start: text.start,
                    breaks: true,
                };
                example::show(ui, vocabulary, &window);
            },
        );
    }

    fn about(ui: &mut Ui, info: &DatasetInfo) {
        facts::section(ui, "Dataset");
        facts::facts(ui, "manifest", info.facts.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        ui.add_space(space::L);
    }
}

impl View for DatasetView {
    fn place(&self) -> Place {
        Place::Dataset { dataset: self.dataset.clone(), document: self.document }
    }

    fn title(&self, scene: &Scene<'_>) -> String {
        format!("Data · {}", scene.folder.name_of(&self.dataset))
    }

    fn turn_to(&mut self, place: &Place) {
        if let Place::Dataset { document, .. } = place
            && *document != self.document
        {
            self.document = *document;
            self.start = 0;
        }
    }

    fn logic(&mut self, scene: &mut Scene<'_>) {
        let workers = scene.workers;
        let has_documents = scene
            .folder
            .dataset(&self.dataset)
            .and_then(|d| d.info.as_ref().ok())
            .is_some_and(|i| i.has_documents);
        let store = scene.stores.dataset(&self.dataset);
        if has_documents && store.documents.untouched() {
            store.ask_documents(workers);
        }
        let wanted = self.document.map(|document| (document, self.start));
        if let (Some((document, start)), Some(documents)) = (wanted, store.documents.value())
            && self.asked != wanted
            && let Some(row) = documents.rows.iter().find(|r| r.document == document).cloned()
        {
            self.asked = wanted;
            let dir = self.dataset.clone();
            self.text.ask(workers, Lane::Pages, move || crate::data::dataset::read_text(&dir, &row, start));
        }
        self.text.poll(workers);
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let Some(entry) = scene.folder.dataset(&self.dataset) else {
            return notice::empty(ui, "This dataset is gone", "It is no longer in the folder.");
        };
        let info = match &entry.info {
            Ok(info) => info,
            Err(problem) => {
                if notice::problem(ui, "This dataset can not be opened", problem) {
                    scene.act(super::Action::Do(crate::shell::Command::Reload));
                }
                return;
            }
        };
        let store = scene.stores.dataset(&self.dataset);
        let (documents, problem) = (store.documents.value().cloned(), store.documents.problem().cloned());
        let vocabulary = store.vocabulary.value().cloned().unwrap_or_default();
        let frame = Frame::new().fill(palette(ui).side).inner_margin(Margin::same(space::L as i8));
        Panel::left("dataset facts").frame(frame).default_size(380.0).size_range(260.0..=640.0).show(
            ui,
            |ui| {
                Self::about(ui, info);
                if let Some(problem) = &problem {
                    notice::problem_line(ui, problem);
                } else if let Some(documents) = &documents {
                    self.list(ui, documents, scene);
                }
            },
        );
        let chosen =
            documents.as_ref().and_then(|d| d.rows.iter().find(|r| Some(r.document) == self.document));
        Frame::new().inner_margin(Margin::same(space::L as i8)).show(ui, |ui| match chosen {
            Some(row) => self.reader(ui, row, &vocabulary),
            None => notice::empty(ui, "No document chosen", "Choose one at the left to read its text."),
        });
    }
}
