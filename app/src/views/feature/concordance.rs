//! Every firing of a feature, one per line, the token that it fires on in one column: what comes before and after it lines up.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use egui::text::{LayoutJob, TextFormat};
use egui::{ComboBox, FontId, Label, RichText, Role, ScrollArea, Sense, Ui, WidgetInfo, pos2, vec2};

use crate::data::dataset::Documents;
use crate::data::firings::{self, FiringContext, FiringOrder, Firings};
use crate::data::{FeatureRow, Vocabulary};
use crate::load::{KeyedRequest, Lane, Request, Workers};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::{facts, format, notice, rule, text};

/// Lines whose text is read at a time.
const PAGE: usize = 64;
/// Pages of text that are kept.
const KEPT: usize = 64;
/// Tokens before and after the one that the line is about.
const AROUND: (u32, u32) = (16, 16);
/// Height of a line.
const LINE: f32 = 22.0;
/// Widths of the gutter: activation, domain, document.
const VALUE: f32 = 52.0;
const DOMAIN: f32 = 64.0;
const DOCUMENT: f32 = 96.0;
/// Width from which on document and domain are shown.
const WIDE: f32 = 620.0;

/// What is loaded of a feature's firings.
#[derive(Debug, Default)]
pub struct Concordance {
    order: FiringOrder,
    firings: KeyedRequest<u32, Firings>,
    ordered: KeyedRequest<(u32, FiringOrder), Vec<u32>>,
    /// Text by page of lines, of the order that was loaded last.
    pages: HashMap<usize, Request<Vec<FiringContext>>>,
    pages_of: Option<(u32, FiringOrder)>,
    /// The lines that were drawn last.
    wanted: Range<usize>,
}

/// From where text is read.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The run.
    pub run: &'a Path,
    /// The dataset that it was indexed on, where it is in the open folder.
    pub dataset: Option<&'a Path>,
    /// The documents of that dataset, once they are loaded.
    pub documents: Option<&'a Arc<Documents>>,
}

impl Concordance {
    /// Once per frame while it is shown: asks for what is missing.
    pub fn logic(&mut self, feature: u32, source: Source<'_>, workers: &Workers) {
        let run = source.run.to_owned();
        self.firings.want(workers, Lane::Pages, &feature, move || firings::read(&run, feature));
        let Some(firings) = self.firings.get(&feature) else { return };
        let (key, order) = ((feature, self.order), self.order);
        let all = Arc::clone(&firings);
        self.ordered.want(workers, Lane::Sort, &key, move || Ok(all.order(order)));
        let (Some(ordered), Some(dataset), Some(documents)) =
            (self.ordered.get(&key), source.dataset, source.documents)
        else {
            return;
        };
        if self.pages_of != Some(key) {
            self.pages_of = Some(key);
            self.pages.clear();
        }
        let pages = self.wanted.start / PAGE..self.wanted.end.div_ceil(PAGE).max(1);
        if self.pages.len() > KEPT {
            self.pages.retain(|page, _| pages.contains(page));
        }
        for page in pages {
            let lines = ordered.iter().skip(page * PAGE).take(PAGE);
            let places: Vec<(u32, u32)> =
                lines.map(|i| &firings.rows[*i as usize]).map(|row| (row.document, row.position)).collect();
            let request = self.pages.entry(page).or_default();
            if !places.is_empty() && request.untouched() {
                let (dataset, documents) = (dataset.to_owned(), Arc::clone(documents));
                request.ask(workers, Lane::Pages, move || {
                    firings::contexts(&dataset, &documents, &places, AROUND)
                });
            }
        }
        self.pages.values_mut().for_each(|page| {
            page.poll(workers);
        });
    }

    /// Draws the lines; gives the document and position to be read on at.
    pub fn show(
        &mut self,
        ui: &mut Ui,
        row: &FeatureRow,
        vocabulary: &Vocabulary,
        source: Source<'_>,
    ) -> Option<(u32, u32)> {
        let feature = row.feature;
        if let Some(problem) = self.firings.problem(&feature) {
            notice::problem_line(ui, problem);
            return None;
        }
        let (Some(firings), Some(order)) =
            (self.firings.get(&feature), self.ordered.get(&(feature, self.order)))
        else {
            notice::loading(ui, "Reading all firings…");
            return None;
        };
        self.head(ui, &firings, source);
        if let Some(problem) = self.pages.values().find_map(Request::problem) {
            notice::problem_line(ui, problem);
        }
        let mut read = None;
        let mut drawn = 0..0;
        let salt = ("concordance", feature, self.order.name());
        // Before the list, which counts with it how many lines there is room for.
        ui.spacing_mut().item_spacing.y = 0.0;
        ScrollArea::vertical().id_salt(salt).auto_shrink(false).show_rows(
            ui,
            LINE,
            order.len(),
            |ui, lines| {
                drawn = lines.clone();
                ui.spacing_mut().item_spacing.y = 0.0;
                for at in lines {
                    let fired = firings.rows[order[at] as usize];
                    let page = self.pages.get(&(at / PAGE)).and_then(|page| page.value());
                    let context = page.and_then(|page| page.get(at % PAGE));
                    let name = source.documents.and_then(|documents| documents.get(fired.document));
                    let line = Line { fired, context, name, max: row.max, firings: &firings, vocabulary };
                    if ui.push_id(at, |ui| line.show(ui)).inner {
                        read = Some((fired.document, fired.position));
                    }
                }
            },
        );
        if drawn != self.wanted {
            self.wanted = drawn;
            ui.ctx().request_repaint();
        }
        read.filter(|_| source.dataset.is_some())
    }

    fn head(&mut self, ui: &mut Ui, firings: &Firings, source: Source<'_>) {
        ui.horizontal(|ui| {
            let all = format::grouped(firings.total);
            let text = match firings.rows.len() as u64 {
                n if n < firings.total => format!("the first {} of {all} firings", format::grouped(n)),
                _ => format!("all {all} firings"),
            };
            facts::caption(ui, text);
            let combo = ComboBox::from_id_salt("order").selected_text(self.order.name()).show_ui(ui, |ui| {
                for order in FiringOrder::ALL {
                    ui.selectable_value(&mut self.order, order, order.name());
                }
            });
            combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Order of the firings"));
        });
        if source.dataset.is_none() {
            let why = "The dataset that was indexed is not in the open folder, so there is no text around the tokens.";
            ui.label(RichText::new(why).color(palette(ui).weak));
        }
        ui.add_space(space::XS);
    }
}

/// One firing and what it is drawn with.
struct Line<'a> {
    fired: firings::ActivationRow,
    context: Option<&'a FiringContext>,
    name: Option<&'a crate::data::DocumentRow>,
    max: f32,
    firings: &'a Firings,
    vocabulary: &'a Vocabulary,
}

impl Line<'_> {
    /// Draws it; true when the document is to be read there.
    fn show(&self, ui: &mut Ui) -> bool {
        let p = palette(ui);
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), LINE), Sense::click());
        let spoken = self.spoken();
        response.widget_info(|| WidgetInfo::labeled(Role::Row, true, &spoken));
        if response.hovered() {
            ui.painter().rect_filled(rect, 0.0, p.stripe);
        }
        let wide = rect.width() >= WIDE;
        let mut left = rect.left();
        let value = if self.max >= 1.0 {
            format!("{:.2}", self.fired.value)
        } else {
            format::value(f64::from(self.fired.value))
        };
        gutter(ui, rect, &mut left, VALUE, |ui| {
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                ui.add_space(space::S);
                ui.label(RichText::new(value).color(p.weak));
            });
        });
        if let Some(document) = self.name.filter(|_| wide) {
            gutter(ui, rect, &mut left, DOMAIN, |ui| {
                ui.add(
                    Label::new(RichText::new(&document.domain).size(size::SMALL).color(p.text)).truncate(),
                );
            });
            gutter(ui, rect, &mut left, DOCUMENT, |ui| {
                let short = RichText::new(&document.name).size(size::SMALL).color(p.weak);
                rule::name(ui, &document.name, short);
            });
        }
        if let Some(context) = self.context {
            self.text(ui, rect.with_min_x(left), context);
        }
        let place = format!("{spoken}\nClick to read the document there");
        response.on_hover_text_at_pointer(place).clicked()
    }

    /// The words of the line, for those who do not see it.
    fn spoken(&self) -> String {
        let name =
            self.name.map_or_else(|| format!("document {}", self.fired.document), |row| row.name.clone());
        let position = format::grouped(u64::from(self.fired.position));
        format!("{name}, position {position}: activation {}", format::value(f64::from(self.fired.value)))
    }

    /// The text with the token that the line is about at a third of the room.
    fn text(&self, ui: &Ui, rect: egui::Rect, context: &FiringContext) {
        let p = palette(ui);
        let at = self.fired.position.saturating_sub(context.start) as usize;
        let shown = self.vocabulary.in_context(&context.tokens);
        let part = |range: Range<usize>| {
            let mut job = LayoutJob::default();
            job.wrap.max_width = f32::INFINITY;
            for i in range {
                let value = self.firings.value(self.fired.document, context.start + i as u32);
                let share = if self.max > 0.0 { value / self.max } else { 0.0 };
                let color = if share > 0.0 { p.on_shade(share) } else { p.text };
                let format = TextFormat {
                    font_id: FontId::monospace(size::MONO),
                    color,
                    background: p.shade(share),
                    expand_bg: 0.0,
                    ..TextFormat::default()
                };
                job.append(&text::in_line(&shown[i]), 0.0, format);
            }
            job
        };
        let at = at.min(shown.len());
        let (before, after) = (part(0..at), part(at..shown.len()));
        let (before, after) = ui.fonts_mut(|fonts| (fonts.layout_job(before), fonts.layout_job(after)));
        let column = rect.left() + rect.width() * 0.4;
        let painter = ui.painter_at(rect.intersect(ui.clip_rect()));
        let top = rect.center().y - before.size().y.max(after.size().y) / 2.0;
        painter.galley(pos2(column - before.size().x, top), before, p.text);
        painter.galley(pos2(column, top), after, p.text);
    }
}

/// A part of the gutter, of this width.
fn gutter(ui: &mut Ui, rect: egui::Rect, left: &mut f32, width: f32, add: impl FnOnce(&mut Ui)) {
    let place = egui::Rect::from_min_size(pos2(*left, rect.top()), vec2(width - space::XS, rect.height()));
    *left += width;
    let layout = egui::Layout::left_to_right(egui::Align::Center);
    ui.scope_builder(egui::UiBuilder::new().max_rect(place).layout(layout), add);
}
