//! Features × tokens: which features fire where in a text, with the loss under each token and what the changes do to it.

use std::ops::Range;

use egui::{
    Align2, Color32, FontId, Label, Layout, Link, Rect, RichText, Role, ScrollArea, Sense, Stroke,
    StrokeKind, Ui, WidgetInfo, vec2,
};

use crate::data::Vocabulary;
use crate::prompt::{Attribution, ChangeEffect, Reading};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::{format, rule, text};

/// Height of a row.
const ROW: f32 = 21.0;
/// Least and greatest width of a token.
const TOKEN: (f32, f32) = (36.0, 110.0);
/// Room for the names of features, where the whole is wide and where it is not.
const NAMES: (f32, f32) = (250.0, 132.0);
/// Width from which on it is wide.
const WIDE: f32 = 760.0;
/// Least scale of the colours under the tokens, in nats: what is shown as 0 has no colour either.
const LEAST_LOSS: f32 = 0.1;
/// Room at both sides of the chosen token that is brought into view with it.
const AROUND: f32 = 120.0;
/// Rows before the rest is asked for.
pub const ROWS: usize = 12;

/// What rows are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RowOrder {
    /// The strongest activation.
    Activation,
    /// The largest share of the feature's own maximum.
    #[default]
    Share,
    /// The largest effect on what was asked for.
    Effect,
}

/// What to draw.
pub struct Grid<'a> {
    /// The text.
    pub reading: &'a Reading,
    /// The tokens that are shown.
    pub range: Range<usize>,
    /// Texts of tokens.
    pub vocabulary: &'a Vocabulary,
    /// Each feature's maximum; 0 where it is not known.
    pub max: &'a dyn Fn(u32) -> f32,
    /// A feature in words.
    pub name: &'a dyn Fn(u32) -> String,
    /// The effects, where they are asked for.
    pub attribution: Option<&'a Attribution>,
    /// What the changes do.
    pub changed: Option<&'a ChangeEffect>,
    /// The token that is looked at: its features come first if `at_chosen`.
    pub chosen: Option<usize>,
    /// The feature that it is about: the first row, whatever the order.
    pub first: Option<u32>,
    /// What rows are ordered by.
    pub order: RowOrder,
    /// What is looked for: the number of a feature, words of its name, or a phrase of the text. Empty: nothing.
    pub find: &'a str,
}

/// What the person does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GridClick {
    /// To the page of this feature.
    pub follow: Option<u32>,
    /// Change this feature.
    pub change: Option<u32>,
    /// Look at this token.
    pub token: Option<usize>,
    /// Show all rows, or the strongest only.
    pub more: bool,
}

/// A feature and where it fires.
#[derive(Clone, Debug, PartialEq)]
struct FeatureRow {
    feature: u32,
    /// Token, activation.
    fires: Vec<(usize, f32)>,
    /// What it is ordered by.
    key: f32,
}

impl Grid<'_> {
    /// The rows, the first ones first.
    fn rows(&self) -> Vec<FeatureRow> {
        let codes = &self.reading.codes;
        let mut all: Vec<(u32, usize, f32, f32)> = Vec::new();
        for token in self.range.clone() {
            for i in codes.offsets[token]..codes.offsets[token + 1] {
                let (feature, value) = (codes.features[i], codes.values[i]);
                let key = match (self.order, self.attribution) {
                    (RowOrder::Effect, Some(attribution)) => attribution.effects[i].abs(),
                    (RowOrder::Share, _) => value / self.most(feature),
                    _ => value,
                };
                all.push((feature, token, value, key));
            }
        }
        all.sort_by_key(|one| (one.0, one.1));
        let mut rows: Vec<FeatureRow> = Vec::new();
        for (feature, token, value, key) in all {
            match rows.last_mut().filter(|row| row.feature == feature) {
                Some(row) => {
                    row.fires.push((token, value));
                    row.key = row.key.max(key);
                }
                None => rows.push(FeatureRow { feature, fires: vec![(token, value)], key }),
            }
        }
        if let Some(first) = self.first.filter(|first| rows.iter().all(|row| row.feature != *first)) {
            rows.push(FeatureRow { feature: first, fires: Vec::new(), key: 0.0 });
        }
        let is_first = |row: &FeatureRow| Some(row.feature) != self.first;
        rows.sort_by(|a, b| {
            is_first(a).cmp(&is_first(b)).then(b.key.total_cmp(&a.key)).then(a.feature.cmp(&b.feature))
        });
        rows
    }

    fn most(&self, feature: u32) -> f32 {
        match (self.max)(feature) {
            max if max > 0.0 => max,
            _ => self.reading.maximum(feature).unwrap_or(1.0).max(f32::MIN_POSITIVE),
        }
    }

    /// The tokens of the range that the phrase that is looked for lies on, whatever the case.
    fn found_tokens(&self) -> Vec<bool> {
        let tokens = &self.reading.tokens[self.range.clone()];
        let shown: Vec<String> =
            self.vocabulary.in_context(tokens).iter().map(|t| t.to_lowercase()).collect();
        phrase(&shown, &self.find.to_lowercase())
    }

    /// Keeps the rows that answer what is looked for: by number or name, or because they fire on one of the `found` tokens.
    fn keep_found(&self, rows: &mut Vec<FeatureRow>, found: &[bool]) {
        let text = self.find.trim().to_lowercase();
        let number = text.parse::<u32>().ok();
        let fires = |row: &FeatureRow| row.fires.iter().any(|(token, _)| found[token - self.range.start]);
        rows.retain(|row| {
            number == Some(row.feature)
                || fires(row)
                || (self.name)(row.feature).to_lowercase().contains(&text)
        });
    }

    /// Draws it: `all` rows or the strongest.
    pub fn show(&self, ui: &mut Ui, all: bool) -> GridClick {
        let mut rows = self.rows();
        let looks = !self.find.trim().is_empty();
        let found = if looks { self.found_tokens() } else { Vec::new() };
        if looks {
            let before = rows.len();
            self.keep_found(&mut rows, &found);
            let tokens = found.iter().filter(|found| **found).count();
            let words = format!("{} of {before} features, {tokens} tokens found", rows.len());
            ui.label(RichText::new(words).size(size::SMALL).color(palette(ui).weak));
        }
        let total = rows.len();
        if !all {
            rows.truncate(ROWS);
        }
        let mut click = GridClick::default();
        let names = if ui.available_width() >= WIDE { NAMES.0 } else { NAMES.1 };
        let under = self.under();
        let height = ROW * (1.0 + rows.len() as f32 + under.len() as f32) + space::XS;
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing = vec2(0.0, 0.0);
            let layout = Layout::top_down(egui::Align::Min);
            ui.allocate_ui_with_layout(vec2(names, height), layout, |ui| {
                ui.set_width(names);
                ui.add_space(ROW);
                for row in &rows {
                    self.row_name(ui, row, names, &mut click);
                }
                ui.add_space(space::XS);
                for (name, about, _) in &under {
                    let (rect, response) = ui.allocate_exact_size(vec2(names, ROW), Sense::hover());
                    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, *name));
                    let p = palette(ui);
                    let font = FontId::proportional(size::SMALL);
                    ui.painter().text(rect.left_center(), Align2::LEFT_CENTER, name, font, p.weak);
                    response.on_hover_text(*about);
                }
            });
            let area = ScrollArea::horizontal().id_salt("grid").auto_shrink([false, true]);
            area.show(ui, |ui| self.cells(ui, &rows, (&under, &found), height, &mut click));
        });
        if total > ROWS {
            let rest = total - ROWS;
            let name =
                if all { "Strongest features only".to_owned() } else { format!("{rest} more features") };
            click.more = ui.link(name).clicked();
        }
        click
    }

    fn row_name(&self, ui: &mut Ui, row: &FeatureRow, width: f32, click: &mut GridClick) {
        let feature = row.feature;
        let size = vec2(width, ROW);
        ui.push_id(("grid row", feature), |ui| {
            ui.allocate_ui_with_layout(size, Layout::left_to_right(egui::Align::Center), |ui| {
                ui.set_width(width);
                ui.spacing_mut().item_spacing.x = space::S;
                let plus = ui.small_button("+");
                plus.widget_info(|| {
                    WidgetInfo::labeled(Role::Button, true, format!("Change feature {feature} here"))
                });
                if plus.on_hover_text("Ablate, clamp or add it").clicked() {
                    click.change = Some(feature);
                }
                let link = RichText::new(feature.to_string());
                let link = ui.add(Link::new(if self.first == Some(feature) { link.strong() } else { link }));
                let spoken = self.spoken(row);
                link.widget_info(|| WidgetInfo::labeled(Role::Link, true, &spoken));
                if link.on_hover_text(&spoken).clicked() {
                    click.follow = Some(feature);
                }
                let name = (self.name)(feature);
                if !name.is_empty() {
                    let mut rest = ui.available_rect_before_wrap();
                    rest.max.x -= space::S;
                    let layout = Layout::left_to_right(egui::Align::Center);
                    ui.scope_builder(egui::UiBuilder::new().max_rect(rest).layout(layout), |ui| {
                        rule::show(ui, &name, size::SMALL);
                    });
                }
            });
        });
    }

    /// A row in words, for those who do not see it.
    fn spoken(&self, row: &FeatureRow) -> String {
        let Some((token, value)) = row.fires.iter().max_by(|a, b| a.1.total_cmp(&b.1)) else {
            return format!("Feature {} does not fire here", row.feature);
        };
        let shown = text::in_list(&self.vocabulary.show(self.reading.tokens[*token]));
        let times =
            if row.fires.len() == 1 { "1 token".to_owned() } else { format!("{} tokens", row.fires.len()) };
        format!(
            "Feature {} fires on {times}, most on ‹{shown}›: {}",
            row.feature,
            format::value(f64::from(*value))
        )
    }

    /// The lines below the features: name, explanation, a number under each token.
    #[allow(clippy::type_complexity)]
    fn under(&self) -> Vec<(&'static str, &'static str, Vec<Option<f32>>)> {
        let before = |losses: &dyn Fn(usize) -> Option<f32>| -> Vec<Option<f32>> {
            // The loss of a token is that of the prediction before it.
            self.range.clone().map(|token| token.checked_sub(1).and_then(losses)).collect()
        };
        let loss = before(&|token| self.reading.predictions[token].loss);
        let mut lines =
            vec![("loss", "Cross-entropy of the token, in nats: how unexpected it was", loss.clone())];
        if let Some(changed) = self.changed {
            let after = before(&|token| changed.effect.after.losses[token]);
            let by = loss.iter().zip(&after).map(|(a, b)| Some((*b)? - (*a)?)).collect();
            lines.push(("loss, change", "How much the changes add to the loss of the token, in nats", by));
            let kl = self.range.clone().map(|token| Some(changed.effect.after.kl[token])).collect();
            lines.push((
                "KL after it",
                "KL(unchanged ‖ changed) of the prediction after the token, in nats",
                kl,
            ));
        }
        lines
    }

    fn widths(&self, ui: &Ui, shown: &[String]) -> Vec<f32> {
        let font = FontId::monospace(size::MONO);
        let width = |text: &String| {
            let galley = ui.fonts_mut(|f| f.layout_no_wrap(text.clone(), font.clone(), Color32::PLACEHOLDER));
            (galley.size().x + 8.0).clamp(TOKEN.0, TOKEN.1)
        };
        shown.iter().map(width).collect()
    }

    fn cells(
        &self,
        ui: &mut Ui,
        rows: &[FeatureRow],
        (under, found): (&[(&'static str, &'static str, Vec<Option<f32>>)], &[bool]),
        height: f32,
        click: &mut GridClick,
    ) {
        let p = palette(ui);
        let tokens = &self.reading.tokens[self.range.clone()];
        let shown: Vec<String> =
            self.vocabulary.in_context(tokens).iter().map(|t| text::in_list(t)).collect();
        let widths = self.widths(ui, &shown);
        let mut lefts = vec![0.0];
        widths.iter().for_each(|width| lefts.push(lefts[lefts.len() - 1] + width));
        let wide = lefts[lefts.len() - 1];
        let (rect, response) = ui.allocate_exact_size(vec2(wide, height), Sense::click());
        let words = shown.concat();
        response
            .widget_info(|| WidgetInfo::labeled(Role::Image, true, format!("Features by tokens: {words}")));
        let column = |i: usize| rect.left() + lefts[i]..=rect.left() + lefts[i + 1];
        let line = |top: f32, i: usize| Rect::from_x_y_ranges(column(i), top..=top + ROW);
        let at = |pos: egui::Pos2| {
            let x = pos.x - rect.left();
            let token =
                lefts.partition_point(|left| *left <= x).checked_sub(1).filter(|i| *i < shown.len())?;
            Some((token, ((pos.y - rect.top()) / ROW) as usize))
        };
        let chosen = self.chosen.and_then(|chosen| chosen.checked_sub(self.range.start));
        if let Some(i) = chosen.filter(|i| *i < shown.len()) {
            bring_into_view(ui, self.chosen, line(rect.top(), i));
        }
        let painter = ui.painter_at(rect.expand(2.0));
        for (i, token) in shown.iter().enumerate() {
            let cell = line(rect.top(), i);
            let chosen = self.chosen == Some(self.range.start + i);
            let painter = painter.with_clip_rect(cell.intersect(ui.clip_rect()));
            if found.get(i) == Some(&true) {
                painter.rect_filled(cell.shrink(1.0), 2.0, p.selection);
            }
            let color = if chosen { p.accent } else { p.strong };
            painter.text(cell.center(), Align2::CENTER_CENTER, token, FontId::monospace(size::MONO), color);
        }
        for (r, row) in rows.iter().enumerate() {
            let top = rect.top() + ROW * (r + 1) as f32;
            painter.hline(rect.x_range(), top, Stroke::new(1.0, p.line));
            let most = self.most(row.feature);
            for (token, value) in &row.fires {
                let i = token - self.range.start;
                let cell = line(top, i).shrink(1.0);
                let share = value / most;
                painter.rect_filled(cell, 2.0, p.shade(share));
                let number = format!("{:.0}", share * 100.0);
                let font = FontId::proportional(size::SMALL);
                painter.text(cell.center(), Align2::CENTER_CENTER, number, font, p.on_shade(share));
            }
        }
        let base = rect.top() + ROW * (rows.len() + 1) as f32 + space::XS;
        for (l, (name, _, values)) in under.iter().enumerate() {
            self.numbers(ui, *name == "loss, change", values, |i| line(base + ROW * l as f32, i));
        }
        if let Some(i) = chosen.filter(|i| *i < shown.len()) {
            let frame = Rect::from_x_y_ranges(column(i), rect.y_range());
            painter.rect_stroke(frame, 2.0, Stroke::new(1.5, p.accent), StrokeKind::Inside);
        }
        if response.clicked() {
            let place = response.interact_pointer_pos().and_then(at);
            click.token = place.map(|(token, _)| self.range.start + token);
        }
        let pointed = response.hover_pos().and_then(at);
        if let Some((i, r)) = pointed {
            response.on_hover_ui_at_pointer(|ui| self.card(ui, rows, self.range.start + i, r.checked_sub(1)));
        }
    }

    /// Numbers under the tokens, darker where there is more of it; signs where there may be less.
    fn numbers(&self, ui: &Ui, signed: bool, values: &[Option<f32>], place: impl Fn(usize) -> Rect) {
        let p = palette(ui);
        let most = values.iter().flatten().fold(LEAST_LOSS, |most, value| most.max(value.abs()));
        for (i, value) in values.iter().enumerate() {
            let Some(value) = value else { continue };
            let cell = place(i).shrink(1.0);
            // Amber is for activation.
            let share = if most > 0.0 { value / most } else { 0.0 };
            let ground = match signed {
                // A higher loss is worse.
                true => p.signed_shade(-share),
                false => p.sequential(0.45 * share),
            };
            ui.painter().rect_filled(cell, 2.0, ground);
            let number = match signed {
                true if value.abs() < 0.005 => "0".to_owned(),
                true => format!("{value:+.2}").replace('-', "−"),
                false => format!("{value:.2}"),
            };
            let color = if share.abs() > 0.05 { p.strong } else { p.text };
            ui.painter().text(
                cell.center(),
                Align2::CENTER_CENTER,
                number,
                FontId::proportional(size::SMALL),
                color,
            );
        }
    }

    /// What is known of a cell.
    fn card(&self, ui: &mut Ui, rows: &[FeatureRow], token: usize, row: Option<usize>) {
        let shown = text::in_list(&self.vocabulary.show(self.reading.tokens[token]));
        ui.monospace(shown);
        ui.weak(format!("token {token} · {} features", self.reading.codes.row(token).0.len()));
        if let Some(row) = row.and_then(|row| rows.get(row)) {
            let value = row.fires.iter().find(|fire| fire.0 == token).map_or(0.0, |fire| fire.1);
            let share = format::percent(f64::from(value / self.most(row.feature)));
            ui.add(Label::new(match value {
                0.0 => format!("feature {} does not fire", row.feature),
                value => format!(
                    "feature {}: {}, {share} of its maximum",
                    row.feature,
                    format::value(f64::from(value))
                ),
            }));
        }
    }
}

/// Scrolls to the token when it is not the one that was chosen in the last frame, so that one may scroll away from it.
fn bring_into_view(ui: &Ui, chosen: Option<usize>, token: Rect) {
    let id = ui.scope_id().with("chosen token");
    if ui.data(|data| data.get_temp(id)) != Some(chosen) {
        ui.data_mut(|data| data.insert_temp(id, chosen));
        ui.scroll_to_rect(token.expand2(vec2(AROUND, 0.0)), None);
    }
}

/// Which of consecutive `texts` an occurrence of `needle` in all of them together lies on. Spaces around it do not count.
fn phrase(texts: &[String], needle: &str) -> Vec<bool> {
    let needle = needle.trim();
    let mut found = vec![false; texts.len()];
    if needle.is_empty() {
        return found;
    }
    let whole = texts.concat();
    let mut ends = Vec::with_capacity(texts.len());
    texts.iter().for_each(|text| ends.push(ends.last().copied().unwrap_or(0) + text.len()));
    for (start, part) in whole.match_indices(needle) {
        let first = ends.partition_point(|end| *end <= start);
        let last = ends.partition_point(|end| *end < start + part.len());
        found.iter_mut().take(last + 1).skip(first).for_each(|found| *found = true);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::phrase;

    #[test]
    fn a_phrase_lies_on_every_token_that_has_a_part_of_it() {
        let texts = ["the", " su", "preme", " court", " of", " the"].map(str::to_owned);
        let at = |needle: &str| -> Vec<usize> {
            phrase(&texts, needle).iter().enumerate().filter_map(|(i, found)| found.then_some(i)).collect()
        };
        assert_eq!(at("supreme court"), [1, 2, 3]);
        assert_eq!(at(" the "), [0, 5]);
        assert_eq!(at("em"), [2]);
        assert!(at("courts").is_empty() && at("  ").is_empty());
    }
}
