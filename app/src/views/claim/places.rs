//! The places that speak for or against a claim: which are listed, and what can be done with the chosen one.

use egui::{ComboBox, RichText, Role, Ui, WidgetInfo};

use super::list::{Listed, Order};
use super::{ClaimView, consequence, strip};
use crate::action::Action;
use crate::address::Place;
use crate::claims::{ClaimTest, MOST_FALSE_ALARMS, Outcome, TestedPlace, quoted};
use crate::data::Vocabulary;
use crate::data::firings::Firings;
use crate::theme::{palette, space, tokens::size};
use crate::views::Scene;
use crate::views::feature::no_text;
use crate::views::features::name_of;
use crate::widgets::lines::{Drawn, LINE, LinePlace, Source, outcome_color};
use crate::widgets::{facts, format, notice, text};

/// Least height of what a change does at the chosen line.
const CONSEQUENCE: f32 = 220.0;

impl ClaimView {
    /// What is shown of the places.
    fn filters(&mut self, ui: &mut Ui, listed: &Listed, max: f32) {
        let p = palette(ui);
        ui.horizontal_wrapped(|ui| {
            if self.whole.is_none() {
                facts::caption(ui, format!("{} firings", format::grouped(listed.lines.len() as u64)));
                return;
            }
            let all: u64 = listed.counts.iter().sum();
            if ui.selectable_label(self.choice.outcome.is_none(), format!("all {}", format::grouped(all))).clicked() {
                self.choice.outcome = None;
            }
            for outcome in [Outcome::Hit, Outcome::Miss, Outcome::FalseAlarm] {
                let count = format::grouped(listed.counts[outcome as usize]);
                let words = format!("{} {} {count}", outcome.sign(), several(outcome));
                let color = outcome_color(p, outcome);
                let on = self.choice.outcome == Some(outcome);
                if ui.selectable_label(on, RichText::new(words).color(color)).clicked() {
                    self.choice.outcome = (!on).then_some(outcome);
                }
            }
            let combo = ComboBox::from_id_salt("claim order").selected_text(self.choice.order.name());
            let combo = combo.show_ui(ui, |ui| {
                for order in Order::ALL {
                    ui.selectable_value(&mut self.choice.order, order, order.name());
                }
            });
            combo.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Order of the places"));
            self.range(ui, max);
            let held = ui.checkbox(&mut self.choice.measured, "held-back documents");
            let held = held.on_hover_text(
                "Scores are of documents that you do not see, so that they say how the claim does where it was not made. \
                 A claim that is kept after a look at these is marked.",
            );
            self.looked |= held.clicked() && self.choice.measured;
            if self.looked {
                ui.label(RichText::new("looked at").size(size::SMALL).color(p.warning));
            }
        });
        let false_alarms =
            self.whole.as_ref().map_or(0, |test| test.made.false_alarms + test.measured.false_alarms);
        if false_alarms > MOST_FALSE_ALARMS as u64 {
            facts::caption(
                ui,
                format!(
                    "{} false alarms of {} are listed, drawn at random",
                    format::grouped(MOST_FALSE_ALARMS as u64),
                    format::grouped(false_alarms)
                ),
            );
        }
    }

    /// The range of activations as two numbers, for those who do not brush.
    fn range(&mut self, ui: &mut Ui, max: f32) {
        let (mut low, mut high) = self.choice.range.unwrap_or((0.0, max));
        let speed = f64::from(max) / 200.0;
        let mut changed = false;
        for (name, value) in [("Least activation", &mut low), ("Largest activation", &mut high)] {
            let field = ui.add(egui::DragValue::new(value).range(0.0..=max).speed(speed).max_decimals(3));
            let of = f64::from(*value);
            field.widget_info(|| {
                let mut info = WidgetInfo::labeled(Role::SpinButton, true, name);
                info.value = Some(of);
                info
            });
            changed |= field.on_hover_text(name).changed();
        }
        if changed {
            self.choice.range = Some((low.min(high), high.max(low)));
        }
        if self.choice.range.is_some() && ui.small_button("any").on_hover_text("Any activation").clicked() {
            self.choice.range = None;
        }
    }

    pub(super) fn places(
        &mut self,
        ui: &mut Ui,
        vocabulary: &Vocabulary,
        source: Source<'_>,
        scene: &mut Scene<'_>,
    ) {
        let (Some(firings), Some(page)) = (self.firings.get(&self.feature), self.page.get(&self.feature))
        else {
            return notice::loading(ui, "Reading all firings…");
        };
        let Some(listed) = self.listed.get(&self.key()).or_else(|| self.listed.last()) else {
            return notice::loading(ui, "Reading all firings…");
        };
        // While a new list is made the old one stays, if it is of this test.
        let current = self.listed.get(&self.key()).is_some();
        self.filters(ui, &listed, page.row.max);
        no_text(ui, source);
        if let Some(problem) = self.lines.problem() {
            notice::problem_line(ui, problem);
        }
        if !current {
            ui.ctx().request_repaint();
            return;
        }
        let whole = self.whole.clone();
        let place = |line: usize| place_of(whole.as_deref(), &firings, listed.lines[line]);
        let strip = whole.is_some();
        let mut rect = ui.available_rect_before_wrap();
        if self.chosen.is_some() {
            let most = if self.consequence.open { (rect.height() * 0.56).max(CONSEQUENCE) } else { 0.0 };
            rect.max.y = (rect.max.y - LINE * 2.0 - space::S - most).max(rect.min.y + LINE * 3.0);
        }
        let (mut left, mut right) = (rect, rect);
        if strip {
            left.max.x -= strip::WIDTH;
            right.min.x = left.max.x;
        }
        let by_strength = self.choice.order == Order::Strength;
        let shown = self.lines.on_screen();
        let seen = (by_strength && shown.end > shown.start && shown.end <= listed.lines.len())
            .then(|| (place(shown.end - 1).value, place(shown.start).value));
        let drawn = Drawn { firings: &firings, max: page.row.max, vocabulary, chosen: self.chosen };
        let salt = ("claim", self.feature, self.choice.order.name());
        let clicked = ui
            .scope_builder(egui::UiBuilder::new().max_rect(left), |ui| {
                self.lines.show(ui, salt, listed.lines.len(), place, source, &drawn)
            })
            .inner;
        if let Some(line) = clicked {
            let at = place(line);
            self.chosen = Some((at.document, at.position)).filter(|at| self.chosen != Some(*at));
        }
        if strip {
            let brushed = ui.scope_builder(egui::UiBuilder::new().max_rect(right), |ui| {
                strip::show(ui, &listed, page.row.max, self.choice.range, seen)
            });
            match brushed.inner {
                Some(strip::Brushed::Range(range)) => self.choice.range = range,
                Some(strip::Brushed::To(value)) if by_strength => {
                    let at = listed
                        .lines
                        .partition_point(|line| place_of(whole.as_deref(), &firings, *line).value > value);
                    self.lines.scroll_to(at);
                }
                _ => {}
            }
        }
        ui.advance_cursor_after_rect(rect);
        if let Some(at) = self.chosen {
            let line = (0..listed.lines.len()).find(|line| {
                self.lines.on_screen().contains(line) && (place(*line).document, place(*line).position) == at
            });
            self.chosen_line(ui, line.map(|line| (line, place(line))), vocabulary, source, scene);
            if self.consequence.open {
                ui.add_space(space::XS);
                self.at_the_line(ui, firings.value(at.0, at.1), vocabulary, scene);
            }
        }
    }

    /// What changes do at the chosen line.
    fn at_the_line(&mut self, ui: &mut Ui, value: f32, vocabulary: &Vocabulary, scene: &mut Scene<'_>) {
        let store = scene.stores.run(&self.run);
        let (columns, lists) = (store.columns.value().cloned(), store.tokens.value().cloned());
        let name = |feature: u32| {
            name_of(store, feature).unwrap_or_else(|| {
                crate::views::dataset::about_feature(feature, lists.as_deref(), vocabulary)
            })
        };
        let feature = self.feature;
        let known = consequence::Known { feature, value, columns: columns.as_deref(), name: &name };
        let wanted = self.consequence.show(ui, &self.run, &known, scene);
        if let Some(feature) = wanted.follow {
            scene.go(Place::Feature { run: self.run.clone(), feature });
        }
        if let Some(one) = wanted.keep {
            self.kept.add(one);
        }
    }

    /// What can be done with the chosen line.
    fn chosen_line(
        &mut self,
        ui: &mut Ui,
        line: Option<(usize, LinePlace)>,
        vocabulary: &Vocabulary,
        source: Source<'_>,
        scene: &mut Scene<'_>,
    ) {
        ui.add_space(space::S);
        ui.horizontal_wrapped(|ui| {
            let Some((line, place)) = line else {
                facts::caption(ui, "The chosen line is not on the screen.");
                if ui.small_button("Forget it").clicked() {
                    self.chosen = None;
                }
                return;
            };
            let context = self.lines.context(line).cloned();
            let token = |back: u32| {
                let context = context.as_ref()?;
                let at = place.position.checked_sub(context.start)?.checked_sub(back)? as usize;
                context.tokens.get(at).and_then(|token| vocabulary.get(*token)).map(str::to_owned)
            };
            let (here, before) = (token(0), token(1));
            if let Some(here) = &here {
                let shown = text::in_list(here);
                if place.outcome != Some(Outcome::Hit) || self.whole.is_none() {
                    let (or, word, condition) = match place.outcome {
                        Some(Outcome::FalseAlarm) => {
                            (false, "Except on", format!("not token {}", quoted(here)))
                        }
                        _ => (true, "Add", format!("token {}", quoted(here))),
                    };
                    if ui.button(format!("{word} ‹{shown}›")).clicked() {
                        self.editor.add(or, &condition);
                    }
                }
            }
            if let (Some(before), true) = (&before, place.outcome.is_some()) {
                let shown = text::in_list(before);
                let (or, word, condition) = match place.outcome {
                    Some(Outcome::FalseAlarm) => {
                        (false, "Except after", format!("not after {}", quoted(before)))
                    }
                    Some(Outcome::Miss) => (true, "Or after", format!("after {}", quoted(before))),
                    _ => (false, "Only after", format!("after {}", quoted(before))),
                };
                if ui.button(format!("{word} ‹{shown}›")).clicked() {
                    self.editor.add(or, &condition);
                }
            }
            if let Some(dataset) = source.dataset
                && ui.button("Read document").clicked()
            {
                let (dataset, document, token) = (dataset.to_owned(), place.document, place.position);
                scene.go(Place::Token { dataset, document, token });
            }
            let open = self.consequence.open;
            let button = ui.add_enabled(source.dataset.is_some(), egui::Button::new("Change it here").selected(open));
            button.widget_info(|| WidgetInfo::selected(Role::Button, true, open, "Change it here"));
            let about = "Run the model on this line's context: features by tokens, and what ablating or adding does there";
            if button.on_hover_text(about).clicked() {
                self.consequence.open = !open;
            }
            if let Some(context) = &context
                && ui
                    .button("Try in prompt")
                    .on_hover_text("Run the model on this text, ablate the feature or add it")
                    .clicked()
            {
                let text = vocabulary.in_context(&context.tokens).concat();
                scene.act(Action::Prompt { run: self.run.clone(), feature: Some(self.feature), text });
            }
        });
    }
}

/// The place of a line: of the test, or a firing where there is no test yet.
pub(super) fn place_of(whole: Option<&ClaimTest>, firings: &Firings, line: u32) -> LinePlace {
    match whole {
        Some(test) => {
            let TestedPlace { document, position, value, outcome, .. } = test.places[line as usize];
            LinePlace { document, position, value, outcome: Some(outcome) }
        }
        None => {
            let row = firings.rows[line as usize];
            LinePlace { document: row.document, position: row.position, value: row.value, outcome: None }
        }
    }
}

/// Outcomes of this kind.
fn several(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Hit => "hits",
        Outcome::Miss => "misses",
        Outcome::FalseAlarm => "false alarms",
    }
}
