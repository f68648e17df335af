//! The features of a dictionary of patches as pictures, in the order of what `sae fields` measured.

mod grid;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Button, ComboBox, Frame, Key, Margin, RichText, Role, Slider, Ui, WidgetInfo};

use self::grid::{Grid, Pages, Textures};
use super::{Scene, View};
use crate::address::Place;
use crate::data::fields::{self, FieldKind, FieldOfFeature, FieldRow, FieldSheet, Fields, SortFields};
use crate::load::{KeyedRequest, Lane, Request, Workers};
use crate::theme::{palette, space, tokens::size};
use crate::training::Job;
use crate::widgets::side::SidePanel;
use crate::widgets::{facts, format, notice};

/// The panel of the selected field.
const FIELD: SidePanel = SidePanel { id: "field", width: 260.0, range: (200.0, 420.0) };
/// Points of a side of the selected field's picture.
const LARGE: f32 = 180.0;

/// Orders, and what each is called.
const SORTS: [(SortFields, &str); 4] = [
    (SortFields::Orientation, "orientation"),
    (SortFields::Frequency, "frequency"),
    (SortFields::Usage, "use"),
    (SortFields::Feature, "number"),
];

/// What is listed, and in which order.
type Choice = (Option<FieldKind>, SortFields);

/// The fields of one run.
#[derive(Debug)]
pub struct FieldsView {
    run: PathBuf,
    sheet: Request<FieldSheet>,
    /// The pictures, made once the sheet is there.
    pages: Request<Pages>,
    /// The pictures on the graphics card.
    textures: Textures,
    choice: Choice,
    order: KeyedRequest<Choice, Vec<u32>>,
    /// What was shown last, until the next order is there.
    shown: Option<Arc<Vec<u32>>>,
    selected: Option<u32>,
    scroll_to: Option<usize>,
    /// Points of a side of a field.
    points: f32,
    /// Fields in a line and lines that were seen last.
    page: (usize, usize),
}

impl FieldsView {
    /// The fields of `run`.
    pub fn new(run: &Path) -> Self {
        Self {
            run: run.to_owned(),
            sheet: Request::new(),
            pages: Request::new(),
            textures: Textures::default(),
            choice: (None, SortFields::Orientation),
            order: KeyedRequest::default(),
            shown: None,
            selected: None,
            scroll_to: None,
            points: 48.0,
            page: (1, 1),
        }
    }

    fn head(&mut self, ui: &mut Ui, sheet: &FieldSheet, scene: &Scene<'_>) {
        let p = palette(ui);
        let summary = &sheet.summary;
        ui.label(RichText::new("Fields").size(size::TITLE).color(p.strong));
        let of = format!(
            "{} · {} features of {side} × {side} pixels · use counted on {} patches",
            scene.folder.name_of(&self.run),
            format::grouped(summary.features),
            format::grouped(summary.rows),
            side = summary.side
        );
        facts::caption(ui, of);
        ui.add_space(space::S);
        figures(ui, sheet);
        ui.add_space(space::S);
        self.choices(ui, sheet);
        ui.add_space(space::XS);
    }

    fn choices(&mut self, ui: &mut Ui, sheet: &FieldSheet) {
        ui.horizontal_wrapped(|ui| {
            let all = format!("all {}", format::grouped(sheet.rows.len() as u64));
            if ui.add(Button::new(all).selected(self.choice.0.is_none())).clicked() {
                self.choose((None, self.choice.1));
            }
            for kind in FieldKind::ALL {
                let count = sheet.rows.iter().filter(|row| FieldKind::of(row) == kind).count();
                let on = self.choice.0 == Some(kind);
                let text = format!("{} {}", kind.name(), format::grouped(count as u64));
                if ui.add(Button::new(text).selected(on)).clicked() {
                    self.choose(((!on).then_some(kind), self.choice.1));
                }
            }
            ui.add_space(space::M);
            let name = SORTS.iter().find(|sort| sort.0 == self.choice.1).map_or("", |sort| sort.1);
            let combo =
                ComboBox::from_id_salt("order").selected_text(format!("by {name}")).show_ui(ui, |ui| {
                    for (sort, name) in SORTS {
                        if ui.selectable_label(sort == self.choice.1, name).clicked() {
                            self.choose((self.choice.0, sort));
                        }
                    }
                });
            combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Order"));
            ui.add(Slider::new(&mut self.points, 16.0..=128.0).show_value(false).text("size"));
        });
    }

    /// Lists something else, from the top.
    fn choose(&mut self, choice: Choice) {
        self.choice = choice;
        self.scroll_to = Some(0);
    }

    /// The selected field in large, with what was measured of it.
    fn side(&mut self, ui: &mut Ui, sheet: &FieldSheet, feature: u32, scene: &mut Scene<'_>) {
        let Some(row) = sheet.rows.get(feature as usize) else { return };
        facts::section(ui, &format!("Feature {feature}"));
        grid::one(ui, sheet.field(feature), LARGE.min(ui.available_width()));
        ui.add_space(space::S);
        measured(ui, row, &sheet.summary);
        ui.add_space(space::S);
        ui.horizontal(|ui| {
            if self.has_pages(scene)
                && ui.button("Open").on_hover_text("The page of this feature (Enter)").clicked()
            {
                scene.go(Place::Feature { run: self.run.clone(), feature });
            }
            if ui.button("Close").clicked() {
                self.selected = None;
            }
        });
    }

    /// Whether features have pages.
    fn has_pages(&self, scene: &Scene<'_>) -> bool {
        scene.folder.run(&self.run).is_some_and(|run| run.info.as_ref().is_ok_and(|info| info.indexed))
    }

    /// Arrows, Page Up and Down, Home and End move the selection; Enter opens its page.
    fn keyboard(&mut self, ui: &Ui, order: &[u32], scene: &mut Scene<'_>) {
        if ui.memory(|m| m.focused()).is_some() || order.is_empty() {
            return;
        }
        let (across, lines) = (self.page.0 as i64, self.page.1 as i64);
        let (last, page) = (order.len() as i64 - 1, across * (lines - 1).max(1));
        let steps = [
            (Key::ArrowRight, 1),
            (Key::ArrowLeft, -1),
            (Key::ArrowDown, across),
            (Key::ArrowUp, -across),
            (Key::PageDown, page),
            (Key::PageUp, -page),
            (Key::Home, -last),
            (Key::End, last),
        ];
        let by: Option<i64> = ui.input(|i| {
            let pressed = steps.iter().filter(|(key, _)| i.key_pressed(*key) && !i.modifiers.any());
            pressed.map(|(key, by)| by * i.num_presses(*key) as i64).reduce(|a, b| a + b)
        });
        if let Some(by) = by {
            let at = self.selected.and_then(|f| order.iter().position(|o| *o == f));
            // Without a selection the first field is where the first key leads.
            let to =
                at.map_or(if by == last { last } else { 0 }, |at| at as i64 + by).clamp(0, last) as usize;
            self.selected = order.get(to).copied();
            self.scroll_to = Some(to);
        }
        let enter = ui.input(|i| i.key_pressed(Key::Enter));
        if let (Some(feature), true, true) = (self.selected, enter, self.has_pages(scene)) {
            scene.go(Place::Feature { run: self.run.clone(), feature });
        }
    }

    fn fields(
        &mut self,
        ui: &mut Ui,
        sheet: &FieldSheet,
        pages: &Pages,
        order: &[u32],
        scene: &mut Scene<'_>,
    ) {
        self.keyboard(ui, order, scene);
        let margin = Frame::new().inner_margin(Margin::symmetric(space::L as i8, space::S as i8));
        if let Some(feature) = self.selected {
            FIELD.show(ui, margin, |ui| self.side(ui, sheet, feature, scene));
        }
        let grid = Grid {
            sheet,
            pages,
            textures: &self.textures,
            order,
            selected: self.selected,
            size: self.points,
            scroll_to: self.scroll_to.take(),
        };
        let asked = margin.show(ui, |ui| grid.show(ui)).inner;
        self.page = (asked.across, asked.lines);
        if asked.clicked.is_some() {
            self.selected = asked.clicked;
        }
        if let Some(feature) = asked.opened.filter(|_| self.has_pages(scene)) {
            scene.go(Place::Feature { run: self.run.clone(), feature });
        }
    }
}

fn figures(ui: &mut Ui, sheet: &FieldSheet) {
    let summary = &sheet.summary;
    let optional =
        |value: Option<f64>| value.map_or(format::MISSING.to_owned(), |value| format!("{value:.2}"));
    let middle = summary.frequencies.get(1).copied();
    let all = [
        (
            format::percent(summary.localised),
            "localised",
            "Their energy is less spread than that of 99 of 100 random fields",
        ),
        (
            format::percent(summary.oriented),
            "oriented",
            "They prefer an orientation more than 99 of 100 random fields do",
        ),
        (format::percent(summary.both), "both", "Share of features that are localised and oriented"),
        (optional(middle), "cycles per pixel", "Median frequency of those that are both"),
        (
            optional(summary.octaves),
            "octaves",
            "Between the quartiles of the frequency of those that are both",
        ),
        (
            optional(summary.orientation_bias),
            "orientation bias",
            "Of those that are both: 0 where all orientations occur alike, 1 where there is one",
        ),
    ];
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing.x = space::XL;
        for (value, name, about) in all {
            facts::figure(ui, &value, name, about);
        }
    });
}

/// What was measured of one field.
fn measured(ui: &mut Ui, row: &FieldRow, limits: &Fields) {
    let rows = [
        ("kind", FieldKind::of(row).name().to_owned()),
        ("fires on", format!("{} of patches", format::percent(row.usage))),
        ("frequency", format!("{:.3} cycles per pixel", row.frequency)),
        ("orientation", format!("{:.0}°", row.orientation)),
        ("selectivity", format!("{:.3} (random: {:.3})", row.selectivity, limits.selectivity_limit)),
        ("spread", format!("{:.3} (random: {:.3})", row.spread, limits.spread_limit)),
    ];
    facts::facts(ui, "field", rows.iter().map(|(name, value)| (*name, value.as_str())));
}

/// The field of a feature on its page. True when the person wants to see all of them.
pub fn of_feature(ui: &mut Ui, field: &FieldOfFeature) -> bool {
    ui.add_space(space::L);
    facts::section(ui, "Field");
    grid::one(ui, &field.greys, LARGE.min(ui.available_width()));
    ui.add_space(space::S);
    measured(ui, &field.row, &field.summary);
    ui.link("All fields").clicked()
}

impl View for FieldsView {
    fn place(&self) -> Place {
        Place::Fields { run: self.run.clone() }
    }

    fn title(&self, scene: &Scene<'_>) -> String {
        format!("Fields · {}", scene.folder.name_of(&self.run))
    }

    fn feature(&self) -> Option<(&Path, u32)> {
        self.selected.map(|feature| (&*self.run, feature))
    }

    fn logic(&mut self, _scene: &mut Scene<'_>, workers: &Workers) {
        if self.sheet.untouched() {
            let run = self.run.clone();
            self.sheet.ask(workers, Lane::Tables, move || fields::read(&run));
        }
        self.sheet.poll(workers);
        let Some(sheet) = self.sheet.value().cloned() else { return };
        if self.pages.untouched() {
            let sheet = Arc::clone(&sheet);
            self.pages.ask(workers, Lane::Tables, move || Ok(Pages::new(&sheet)));
        }
        self.pages.poll(workers);
        let choice = self.choice;
        let (kind, sort) = choice;
        self.order.want(workers, Lane::Sort, &choice, move || Ok(fields::listed(&sheet, kind, sort)));
        if let Some(order) = self.order.get(&choice) {
            self.shown = Some(order);
        }
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        if let Some(problem) = self.sheet.problem().cloned() {
            let remedy = ("Measure the fields", Job::measure_fields(&self.run));
            if scene.problem(ui, "The fields cannot be shown", &problem, [remedy]) {
                self.sheet = Request::new();
            }
            return;
        }
        let (Some(sheet), Some(order)) = (self.sheet.value().cloned(), self.shown.clone()) else {
            return notice::loading(ui, "Reading the fields…");
        };
        Frame::new().inner_margin(Margin::symmetric(space::L as i8, space::M as i8)).show(ui, |ui| {
            self.head(ui, &sheet, scene);
        });
        if order.is_empty() {
            return notice::empty(ui, "No field of this kind", "Choose a different one above.");
        }
        let Some(pages) = self.pages.value().cloned() else {
            return notice::loading(ui, "Drawing the fields…");
        };
        if self.textures.is_empty() {
            self.textures = pages.load(ui);
        }
        self.fields(ui, &sheet, &pages, &order, scene);
    }
}
