//! Above the feature table: search, what somebody said, dead or alive; and below it what is filtered, to be
//! taken away piece by piece.

use egui::{Align, Button, ComboBox, Layout, RichText, Role, TextEdit, Ui, WidgetInfo};

use super::order::{NoteFilter, Query};
use super::rows::Columns as ShownColumns;
use crate::theme::{palette, space, tokens::size};
use crate::widgets::{format, notice};

/// Width from which on search and buttons are in one line.
const ONE_LINE: f32 = 800.0;

/// What the person asked for besides another query.
#[derive(Debug, Default)]
pub struct Interaction {
    /// Save the table as it stands.
    pub export: bool,
    /// To the map.
    pub map: bool,
}

/// What the bar shows besides the query.
#[derive(Debug)]
pub struct Bar<'a> {
    /// Put the cursor into the search field.
    pub focus: bool,
    /// What "dead" refers to.
    pub tokens: u64,
    /// Whether the histograms are shown.
    pub histograms: &'a mut bool,
    /// Which columns are shown.
    pub columns: &'a mut ShownColumns,
    /// Whether there is a map to go to.
    pub has_map: bool,
}

/// Draws the bar and changes `query`.
pub fn show(ui: &mut Ui, query: &mut Query, bar: &mut Bar<'_>) -> Interaction {
    let mut asked = Interaction::default();
    // All in one line would lie over each other.
    let narrow = ui.available_width() < ONE_LINE;
    ui.horizontal_wrapped(|ui| {
        search(ui, query, bar.focus);
        ui.add_space(space::XS);
        let only =
            ComboBox::from_id_salt("only").width(112.0).selected_text(query.only.name()).show_ui(ui, |ui| {
                for only in NoteFilter::ALL {
                    ui.selectable_value(&mut query.only, only, only.name());
                }
            });
        only.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Which features"));
        let hover = format!(
            "Leave out features that fired on none of the {} indexed tokens",
            format::count(bar.tokens)
        );
        ui.checkbox(&mut query.hide_dead, "Hide dead").on_hover_text(hover);
        if !narrow {
            ui.with_layout(Layout::right_to_left(Align::Center), |ui| buttons(ui, bar, &mut asked));
        }
    });
    if narrow {
        ui.horizontal_wrapped(|ui| buttons(ui, bar, &mut asked));
    }
    asked
}

/// What is done with the table, from the right.
fn buttons(ui: &mut Ui, bar: &mut Bar<'_>, asked: &mut Interaction) {
    let toggle = ui.add(Button::new("Histograms").selected(*bar.histograms));
    if toggle.on_hover_text("The distributions of the numbers; drag over one to filter").clicked() {
        *bar.histograms = !*bar.histograms;
    }
    bar.columns.menu(ui);
    let export = ui.button("Export…").on_hover_text("Save the table as shown, as CSV");
    asked.export = export.clicked();
    if bar.has_map {
        asked.map = ui
            .button("Map")
            .on_hover_text("The features in a plane; similar directions are near each other")
            .clicked();
    }
}

fn search(ui: &mut Ui, query: &mut Query, focus: bool) {
    let field = TextEdit::singleline(&mut query.text)
        .hint_text("Search token, phrase, label or number  ( / )")
        .desired_width(250.0)
        .align(egui::Align2::LEFT_CENTER)
        .char_limit(200);
    let response = ui.add(field);
    response.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Search features"));
    if focus {
        response.request_focus();
    }
    if response.has_focus() && ui.input(|i| i.key_pressed(egui::Key::Escape)) {
        query.text.clear();
        response.surrender_focus();
    }
    response.on_hover_text(
        "First what fires on the text (of several words: on each of them), then labels, explanations and notes, then what \
        promotes it.\nIn one of them only: fires:… label:… explained:… note:… promotes:…",
    );
    if !query.text.is_empty() && ui.add(Button::new("×").small()).on_hover_text("Clear the search").clicked()
    {
        query.text.clear();
    }
}

/// How many pass, and each filter with a cross to take it away.
pub fn summary(ui: &mut Ui, query: &mut Query, shown: usize, all: usize, loading: bool) {
    let p = palette(ui);
    ui.horizontal_wrapped(|ui| {
        let text = if shown == all {
            format!("{} features", format::grouped(all as u64))
        } else {
            format!("{} of {} features", format::grouped(shown as u64), format::grouped(all as u64))
        };
        ui.label(RichText::new(text).color(p.weak));
        if loading {
            notice::busy(ui, 12.0);
        }
        let mut free = None;
        for range in &query.ranges {
            let end = |value: f32| range.number.text(f64::from(value));
            let text = format!("{}: {} to {}", range.number.name(), end(range.from), end(range.to));
            if chip(ui, &text) {
                free = Some(range.number);
            }
        }
        if let Some(number) = free {
            query.set_range(number, None);
        }
        if let Some(within) = &query.within
            && chip(ui, &format!("{} selected on the map", format::grouped(within.len() as u64)))
        {
            query.within = None;
        }
        if !query.is_open()
            && ui.add(Button::new(RichText::new("Reset filter").size(size::SMALL)).small()).clicked()
        {
            *query = Query { key: query.key, descending: query.descending, ..Query::default() };
        }
    });
}

fn chip(ui: &mut Ui, text: &str) -> bool {
    let shown = RichText::new(format!("{text}  ×")).size(size::SMALL).color(palette(ui).accent);
    let button = ui.add(Button::new(shown).small());
    button.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Remove filter {text}")));
    button.on_hover_text("Remove this filter").clicked()
}
