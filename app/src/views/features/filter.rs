//! The bar above the feature table: search, density, dead or alive.

use egui::{Button, Popup, PopupCloseBehavior, RichText, Role, Slider, TextEdit, Ui, WidgetInfo};

use super::Query;
use crate::theme::{palette, space};
use crate::widgets::format;

/// Draws the bar and changes `query`. `tokens` is what "dead" refers to.
pub fn show(ui: &mut Ui, query: &mut Query, focus: bool, tokens: u64) {
    let field = TextEdit::singleline(&mut query.text)
        .hint_text("Search label, token or number  ( / )")
        .desired_width(260.0)
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
    if !query.text.is_empty() && ui.add(Button::new("×").small()).on_hover_text("Clear the search").clicked()
    {
        query.text.clear();
    }
    ui.add_space(space::XS);
    density(ui, query);
    let hover =
        format!("Leave out features that fired on none of the {} indexed tokens", format::count(tokens));
    ui.checkbox(&mut query.hide_dead, "Hide dead").on_hover_text(hover);
    if !query.is_open() && ui.button("Reset filter").clicked() {
        *query = Query { key: query.key, descending: query.descending, ..Query::default() };
    }
}

/// Density runs over many decades, so the sliders are logarithmic; their left end means 0.
fn density(ui: &mut Ui, query: &mut Query) {
    let open = query.min_density <= 0.0 && query.max_density >= 1.0;
    let text = if open {
        "Density: any".to_owned()
    } else {
        let share = |d: f32| format::percent(f64::from(d));
        format!("Density: {} – {}", share(query.min_density), share(query.max_density))
    };
    let button =
        ui.add(Button::new(text).selected(!open)).on_hover_text("Keep features within a range of density");
    button.widget_info(|| WidgetInfo::labeled(Role::Button, true, "Density filter"));
    Popup::menu(&button).close_behavior(PopupCloseBehavior::CloseOnClickOutside).show(|ui| {
        ui.set_min_width(280.0);
        ui.label(RichText::new("Share of tokens that the feature fires on").color(palette(ui).weak));
        let slider = |value| {
            Slider::new(value, 0.0..=1.0)
                .logarithmic(true)
                .smallest_positive(1e-7)
                .custom_formatter(|v, _| format::percent(v))
                .custom_parser(|text| {
                    text.trim_end_matches(['%', ' ']).parse::<f64>().ok().map(|p| p / 100.0)
                })
        };
        ui.add(slider(&mut query.min_density).text("at least"));
        ui.add(slider(&mut query.max_density).text("at most"));
        if ui.button("Any density").clicked() {
            query.min_density = 0.0;
            query.max_density = 1.0;
        }
    });
}
