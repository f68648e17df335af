//! The list of documents: narrowed by name, kind of text, held-out mark.

use std::path::Path;
use std::sync::Arc;

use egui::{
    Align, Button, ComboBox, Label, Layout, RichText, Role, ScrollArea, Sense, TextEdit, Ui, WidgetInfo, vec2,
};

use crate::address::Place;
use crate::data::{DocumentRow, Documents};
use crate::load::{KeyedRequest, Lane, Workers};
use crate::theme::{palette, space, tokens::height, tokens::size};
use crate::views::Scene;
use crate::widgets::{facts, format, table};

/// What the list is narrowed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Filter {
    name: String,
    /// `None`: all.
    domain: Option<String>,
    held_out: bool,
}

impl Filter {
    fn passes(&self, row: &DocumentRow) -> bool {
        let name = self.name.trim().to_lowercase();
        (name.is_empty() || row.name.to_lowercase().contains(&name) || row.document.to_string() == name)
            && self.domain.as_ref().is_none_or(|domain| row.domain == *domain)
            && (!self.held_out || row.held_out)
    }
}

/// What is shown, as indices into the documents, and all kinds of text there are.
#[derive(Debug, Default)]
struct ListedDocuments {
    rows: Vec<usize>,
    domains: Vec<String>,
    tokens: u64,
}

/// The list's own state.
#[derive(Debug, Default)]
pub struct List {
    filter: Filter,
    shown: KeyedRequest<(Filter, usize), ListedDocuments>,
    last: Option<u32>,
}

impl List {
    /// Narrows the list in the background.
    pub fn logic(&mut self, workers: &Workers, documents: &Arc<Documents>) {
        let (filter, documents) = (self.filter.clone(), Arc::clone(documents));
        let key = (self.filter.clone(), documents.rows.len());
        self.shown.want(workers, Lane::Sort, &key, move || {
            let mut domains: Vec<String> = documents.rows.iter().map(|row| row.domain.clone()).collect();
            domains.sort();
            domains.dedup();
            let passing = documents.rows.iter().enumerate().filter(|(_, row)| filter.passes(row));
            let rows: Vec<usize> = passing.map(|(i, _)| i).collect();
            let tokens = rows.iter().map(|i| u64::from(documents.rows[*i].tokens)).sum();
            Ok(ListedDocuments { rows, domains, tokens })
        });
    }

    /// The document `by` places further in the list.
    pub fn step(&self, documents: &Documents, from: Option<u32>, by: i64) -> Option<u32> {
        let shown = self.shown.last()?;
        let number =
            |place: usize| shown.rows.get(place).and_then(|i| documents.rows.get(*i)).map(|r| r.document);
        let at = from.and_then(|from| (0..shown.rows.len()).find(|place| number(*place) == Some(from)));
        let next = at.map_or(0, |at| at as i64 + by);
        usize::try_from(next).ok().and_then(number)
    }

    /// Draws it.
    pub fn show(
        &mut self,
        ui: &mut Ui,
        dataset: &Path,
        documents: &Documents,
        chosen: Option<u32>,
        scene: &mut Scene<'_>,
    ) {
        let shown = self.shown.last().unwrap_or_default();
        self.controls(ui, &shown);
        let all = documents.rows.len();
        let count = match shown.rows.len() {
            n if n == all => format!("{} documents", format::grouped(all as u64)),
            n => format!("{} of {} documents", format::grouped(n as u64), format::grouped(all as u64)),
        };
        facts::caption(ui, format!("{count} · {} tokens", format::count(shown.tokens)));
        ui.add_space(space::XS);
        if shown.rows.is_empty() && all > 0 {
            ui.label(RichText::new("No document passes the filter.").color(palette(ui).weak));
            return;
        }
        let mut area = ScrollArea::vertical().id_salt("documents").auto_shrink(false);
        if chosen != self.last {
            self.last = chosen;
            // The person may have come here by an address or by a step: bring it into view.
            let place = chosen
                .and_then(|chosen| shown.rows.iter().position(|i| documents.rows[*i].document == chosen));
            if let Some(place) = place.filter(|place| *place > 12) {
                area = area.vertical_scroll_offset((place as f32 - 6.0) * height::ROW);
            }
        }
        ui.spacing_mut().item_spacing.y = 0.0;
        area.show_rows(ui, height::ROW, shown.rows.len(), |ui, range| {
            for row in shown.rows[range].iter().filter_map(|i| documents.rows.get(*i)) {
                if line(ui, row, chosen == Some(row.document)) {
                    scene.go(Place::Dataset { dataset: dataset.to_owned(), document: Some(row.document) });
                }
            }
        });
    }

    fn controls(&mut self, ui: &mut Ui, shown: &ListedDocuments) {
        let field = TextEdit::singleline(&mut self.filter.name).hint_text("name or number");
        let field = ui.add(field.desired_width(ui.available_width() - space::S));
        field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Filter documents"));
        ui.horizontal(|ui| {
            let all = "all kinds";
            let text = self.filter.domain.clone().unwrap_or_else(|| all.to_owned());
            let combo = ComboBox::from_id_salt("domain").selected_text(text).width(112.0);
            let combo = combo.show_ui(ui, |ui| {
                ui.selectable_value(&mut self.filter.domain, None, all);
                for domain in &shown.domains {
                    ui.selectable_value(&mut self.filter.domain, Some(domain.clone()), domain);
                }
            });
            combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Kind of document"));
            let held = self.filter.held_out;
            let button = ui.add(Button::selectable(held, "held out"));
            let name = "Only held-out documents";
            button.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, held, name));
            if button.on_hover_text("Only documents that were kept out of training").clicked() {
                self.filter.held_out = !held;
            }
        });
    }
}

fn line(ui: &mut Ui, row: &DocumentRow, chosen: bool) -> bool {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), height::ROW), Sense::click());
    table::row_ground(ui, rect, chosen, response.hovered());
    response.widget_info(|| WidgetInfo::selected(Role::Row, true, chosen, format!("Document {}", row.name)));
    let inner = rect.shrink2(vec2(space::S, 0.0));
    let layout = Layout::right_to_left(Align::Center);
    ui.scope_builder(egui::UiBuilder::new().max_rect(inner).layout(layout), |ui| {
        let small = |text: &str, colour| RichText::new(text).size(size::SMALL).color(colour);
        ui.allocate_ui_with_layout(vec2(48.0, height::ROW), layout, |ui| {
            ui.set_width(48.0);
            ui.label(small(&format::count(u64::from(row.tokens)), p.weak));
        });
        ui.label(small(&row.domain, p.weak));
        if row.held_out {
            ui.label(small("held out", p.warning));
        }
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            ui.add(Label::new(RichText::new(&row.name).color(p.text)).truncate());
        });
    });
    let hover = format!("{}\n{}\ndocument {}", row.name, row.source, row.document);
    response.on_hover_text(hover).clicked()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_pass_by_name_number_kind_and_mark() {
        let row = DocumentRow {
            document: 12,
            name: "Alice.txt".into(),
            domain: "prose".into(),
            ..DocumentRow::default()
        };
        let passes = |name: &str, domain: Option<&str>, held_out| {
            Filter { name: name.into(), domain: domain.map(Into::into), held_out }.passes(&row)
        };
        assert!(
            passes("alice", Some("prose"), false) && passes("12", None, false) && passes(" ", None, false)
        );
        assert!(!passes("1", None, false) && !passes("", Some("law"), false) && !passes("", None, true));
    }
}
