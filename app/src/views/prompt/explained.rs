//! A prediction by few features: the set that keeps it, and what is left with fewer.

use std::sync::Arc;

use egui::{
    Align, Align2, Button, Color32, DragValue, FontId, Label, Layout, Link, RichText, Role, Sense, Stroke,
    TextEdit, Ui, WidgetInfo, pos2, vec2,
};

use super::side::{Inputs, Side};
use crate::load::{Lane, StreamedRequest, Workers};
use crate::prompt::LoadedModel;
use crate::prompt::explained::{Member, Question, SubsetValue, SufficientSet};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::{facts, format, notice, text};

/// Height of the curve.
const HEIGHT: f32 = 96.0;

/// The section of the panel, with what was asked and found.
#[derive(Debug)]
pub struct Explained {
    token: String,
    percent: f64,
    /// The text and the question that the answer belongs to.
    asked: Option<(String, Question)>,
    found: StreamedRequest<SufficientSet>,
    /// The button was pressed.
    wanted: bool,
}

impl Default for Explained {
    fn default() -> Self {
        Self {
            token: String::new(),
            percent: 10.0,
            asked: None,
            found: StreamedRequest::default(),
            wanted: false,
        }
    }
}

impl Explained {
    /// Asks if the person did, takes what has arrived.
    pub fn logic(&mut self, workers: &Workers, side: &Side, inputs: &Inputs) {
        if std::mem::take(&mut self.wanted)
            && let Some(reading) = side.reading()
        {
            let question = self.question(side, inputs.seed);
            self.asked = Some((reading.text.clone(), question.clone()));
            let (engine, run) = (inputs.engine.clone(), inputs.run.clone());
            let reading = Arc::clone(&reading);
            self.found.ask(workers, Lane::Model, move |feed| engine.explain(&run, &reading, &question, feed));
        }
        self.found.poll(workers);
    }

    fn question(&self, side: &Side, seed: u64) -> Question {
        Question { token: self.token.clone(), position: side.chosen, percent: self.percent, seed }
    }

    /// Draws the section; gives a feature whose page is wanted.
    pub fn show(
        &mut self,
        ui: &mut Ui,
        side: &Side,
        opened: &LoadedModel,
        name: &dyn Fn(u32) -> String,
    ) -> Option<u32> {
        let reading = side.reading()?;
        facts::section(ui, "Explain a prediction");
        self.controls(ui, side);
        if let Some(problem) = self.found.problem() {
            notice::problem_line(ui, problem);
        }
        // An answer about a different text must not pass for one about this.
        let (text, question) = self.asked.as_ref()?;
        if *text != reading.text {
            return None;
        }
        let set = self.found.pieces().last()?;
        if question.position != side.chosen {
            facts::caption(ui, "of the token that was selected before");
        }
        summary(ui, set, opened);
        let mut follow = None;
        for member in &set.members {
            let token = opened.vocabulary.show(reading.tokens[member.position]);
            if line(ui, member, &text::in_list(&token), name) {
                follow = Some(member.feature);
            }
        }
        ui.add_space(space::S);
        curve(ui, set);
        follow
    }

    fn controls(&mut self, ui: &mut Ui, side: &Side) {
        ui.horizontal_wrapped(|ui| {
            let field = TextEdit::singleline(&mut self.token).hint_text("the likeliest token").desired_width(120.0);
            let field = ui.add(field);
            field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Predicted token to explain"));
            field.on_hover_text(
                "A single token, with its leading space if it has one, or #17, predicted after the selected token or the last",
            );
            let percent = DragValue::new(&mut self.percent).range(0.1..=99.0).speed(0.2).prefix("within ").suffix(" %");
            let percent = ui.add(percent);
            percent.widget_info(|| WidgetInfo::labeled(Role::SpinButton, true, "How far the probability may move"));
            let busy = self.found.loading();
            let button = ui.add_enabled(!busy, Button::new("Explain"));
            button.widget_info(|| WidgetInfo::labeled(Role::Button, !busy, "Explain the prediction"));
            let hover = "Find few features that keep the prediction when all other features are gone";
            if button.on_hover_text(hover).clicked() {
                self.wanted = true;
                ui.ctx().request_repaint();
            }
            if busy {
                if ui.button("Stop").clicked() {
                    self.found.stop();
                }
                let done = self.found.progress().map_or(0, |(done, _)| done);
                facts::caption(ui, format!("{} passes", format::grouped(done)));
            }
        });
        let after = side.chosen.map_or_else(|| "the last token".to_owned(), |token| format!("token {token}"));
        facts::caption(ui, format!("predicted after {after}; all other features are set to 0"));
    }
}

/// What is kept, and what else there is to compare it with.
fn summary(ui: &mut Ui, set: &SufficientSet, opened: &LoadedModel) {
    let percent = |p: f32| format::percent(f64::from(p));
    let token = text::in_list(&opened.vocabulary.show(set.token));
    let few = match set.members.len() {
        0 => "no feature is needed".to_owned(),
        n => format!("{n} of {} codes", set.candidates),
    };
    ui.label(RichText::new(format!("{token}: {few}")).color(palette(ui).strong));
    let random = set.random_spread().map_or_else(String::new, |s| format::percent(s.mean));
    let rows = [
        ("as it is", percent(set.clean)),
        ("with these", percent(set.value)),
        ("with as many random codes", random),
        ("with none, error alone", percent(set.none)),
        ("with all, without the error", percent(set.reconstruction)),
    ];
    let rows = rows.iter().filter(|(_, value)| !value.is_empty());
    facts::facts(ui, "explained", rows.map(|(name, value)| (*name, value.as_str())));
}

/// One code; true when its feature's page is wanted.
fn line(ui: &mut Ui, member: &Member, token: &str, name: &dyn Fn(u32) -> String) -> bool {
    let p = palette(ui);
    let Member { position, feature, activation, attribution } = *member;
    let mut follow = false;
    let area = vec2(ui.available_width(), 20.0);
    ui.allocate_ui_with_layout(area, Layout::right_to_left(Align::Center), |ui| {
        let colour = if attribution < 0.0 { p.negative } else { p.positive };
        let number = RichText::new(format::signed(f64::from(attribution))).color(colour);
        let about = format!("attribution to ln p; activation {}", format::value(f64::from(activation)));
        ui.label(number).on_hover_text(about);
        ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
            let link = ui.add(Link::new(feature.to_string()));
            let label = format!("Go to feature {feature}, needed at token {position}");
            link.widget_info(|| WidgetInfo::labeled(Role::Link, true, &label));
            follow = link.on_hover_text(label).clicked();
            ui.label(RichText::new(format!("{position} {token}")).monospace().size(size::SMALL));
            ui.add(Label::new(RichText::new(name(feature)).size(size::SMALL).color(p.weak)).truncate());
        });
    });
    follow
}

/// What is left by the number of codes that stay, on a logarithmic axis: by attribution, by strength, at random.
fn curve(ui: &mut Ui, set: &SufficientSet) {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), HEIGHT), Sense::hover());
    let name = format!("Probability by number of codes, {} points", set.curve.len());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &name));
    let painter = ui.painter();
    painter.rect_filled(rect, 3.0, p.well);
    let plot = rect.shrink2(vec2(6.0, 8.0));
    let all: Vec<f32> = set
        .curve
        .iter()
        .flat_map(|point| [point.attributed, point.strongest].into_iter().chain(point.random.iter().copied()))
        .chain([set.clean])
        .collect();
    let most = all.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let widest = ((set.candidates + 1) as f32).ln().max(f32::MIN_POSITIVE);
    let place = |size: usize, value: f32| {
        let x = plot.left() + ((size + 1) as f32).ln() / widest * plot.width();
        pos2(x, plot.bottom() - value.max(0.0) / most * plot.height())
    };
    let line = |of: &dyn Fn(&SubsetValue) -> f32, colour: Color32, width: f32| {
        let points = set.curve.iter().map(|point| place(point.size, of(point))).collect();
        painter.add(egui::Shape::line(points, Stroke::new(width, colour)));
    };
    painter.hline(plot.x_range(), place(0, set.clean).y, Stroke::new(1.0, p.line_strong));
    let draws = set.curve.first().map_or(0, |point| point.random.len());
    for draw in 0..draws {
        line(&|point| point.random.get(draw).copied().unwrap_or_default(), p.weak, 0.7);
    }
    line(&|point| point.strongest, p.negative, 1.2);
    line(&|point| point.attributed, p.activation, 1.8);
    painter.circle_filled(place(set.members.len(), set.value), 3.5, p.strong);
    let scale = format::percent(f64::from(most));
    let font = FontId::proportional(size::SMALL);
    painter.text(rect.left_top() + vec2(4.0, 2.0), Align2::LEFT_TOP, scale, font, p.weak);
    let near = response.hover_pos().and_then(|at| {
        let far = |point: &&SubsetValue| (place(point.size, 0.0).x - at.x).abs();
        set.curve.iter().min_by(|a, b| far(a).total_cmp(&far(b)))
    });
    if let Some(point) = near {
        let percent = |value: f32| format::percent(f64::from(value));
        let random = point.random.iter().sum::<f32>() / point.random.len().max(1) as f32;
        response.on_hover_text_at_pointer(format!(
            "{} codes\nhighest attribution {}\nstrongest {}\nrandom {}",
            point.size,
            percent(point.attributed),
            percent(point.strongest),
            percent(random),
        ));
    }
    ui.horizontal_wrapped(|ui| {
        for (word, colour) in [
            ("by attribution", p.activation),
            ("strongest first", p.negative),
            ("at random", p.weak),
            ("● the set", p.strong),
        ] {
            ui.label(RichText::new(word).size(size::SMALL).color(colour));
        }
    });
}
