//! A text of one's own: what its tokens fire, what that does, and what happens when features are changed.
//!
//! Left one prompt or two side by side, right the changes, which hold for both, and what is known of the
//! chosen token.

mod back;
mod experts;
mod explained;
mod side;
mod token;
mod trace;

use std::path::{Path, PathBuf};

use egui::{
    Button, ComboBox, DragValue, Frame, Key, Margin, RichText, Role, ScrollArea, TextEdit, Ui, WidgetInfo,
};

use self::back::Back;
use self::explained::Explained;
use self::side::Side;
use super::effect::changes::{self, Changes};
use super::effect::grid::{Grid, RowOrder};
use super::effect::{self, Inputs};
use super::steps::TraceForm;
use super::{Scene, View, ViewCommand};
use crate::action::Action;
use crate::address::Place;
use crate::load::Workers;
use crate::prompt::{EffectTarget, Engine, LoadedModel, SamplingOptions};
use crate::stores::Need;
use crate::theme::{palette, space, tokens::size};
use crate::widgets::side::SidePanel;
use crate::widgets::{facts, format, notice};

/// The changes, and what is known of the chosen token.
const PANEL: SidePanel = SidePanel { id: "prompt panel", width: 360.0, range: (280.0, 560.0) };

/// The chosen token, where there is room for it next to the changes.
const TOKEN: SidePanel = SidePanel { id: "prompt token", width: 400.0, range: (280.0, 640.0) };
/// Width of the view from which on there is.
const THREE_COLUMNS: f32 = 1500.0;
/// Width of the head under which the model is not named in it.
const ONE_LINE: f32 = 560.0;

/// What a token's features are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum SortKey {
    #[default]
    Activation,
    Share,
    Loss,
    Logit,
}

impl SortKey {
    const ALL: [Self; 4] = [Self::Activation, Self::Share, Self::Loss, Self::Logit];

    /// What stands on its button.
    fn short(self) -> &'static str {
        match self {
            Self::Activation => "activation",
            Self::Share => "share",
            Self::Loss => "loss",
            Self::Logit => "logit",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Activation => "Activation of each feature on the token",
            Self::Share => "Activation divided by the feature's own maximum",
            Self::Loss => {
                "Effect on the summed loss of the text: activation × gradient; below 0 the feature lowers the loss"
            }
            Self::Logit => "Effect on the logit of a token: activation × gradient",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Activation => "activation",
            Self::Share => "share of maximum",
            Self::Loss => "effect on the loss",
            Self::Logit => "effect on a logit",
        }
    }
}

/// What stands in a column at the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parts {
    Changes,
    Token,
    Both,
}

/// What colours the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shade {
    /// Nothing.
    #[default]
    Nothing,
    /// A feature's activation.
    Feature(u32),
    /// How unexpected each token is.
    Loss,
    /// How far the changes move the prediction after each token.
    Divergence,
}

/// The prompt of one run.
#[derive(Debug)]
pub struct PromptView {
    run: PathBuf,
    feature: Option<u32>,
    sides: Vec<Side>,
    /// The side whose token is looked at.
    front: usize,
    by: SortKey,
    logit: String,
    shade: Shade,
    changes: Changes,
    explained: Explained,
    /// A feature that is followed back.
    back: Back,
    /// The prediction after the text, to be traced.
    trace: TraceForm,
    sampling: SamplingOptions,
    options: token::Options,
    /// What is looked for among the features of the texts.
    find: String,
    /// Put the cursor into the field for it.
    focus_find: bool,
    /// Whether all features of a text are listed, not the strongest alone.
    all_features: bool,
    /// A text to be read once the model is loaded.
    proposed: Option<String>,
    /// The model is to continue the texts.
    continues: bool,
    /// Whether the view was ever drawn: the model is not loaded for a tab that nobody looks at.
    seen: bool,
    /// The model, held so that it stays loaded.
    engine: Option<Engine>,
}

impl PromptView {
    /// The prompt of `run`, perhaps to look for one of its features.
    pub fn new(run: &Path, feature: Option<u32>) -> Self {
        let mut view = Self {
            run: run.to_owned(),
            feature: None,
            sides: vec![Side::new("Prompt")],
            front: 0,
            by: SortKey::default(),
            logit: String::new(),
            shade: Shade::default(),
            changes: Changes::default(),
            explained: Explained::default(),
            back: Back::default(),
            trace: TraceForm::default(),
            sampling: SamplingOptions { tokens: 24, temperature: 0.0, seed: 0 },
            options: token::Options::default(),
            find: String::new(),
            focus_find: false,
            all_features: false,
            proposed: None,
            continues: false,
            seen: false,
            engine: None,
        };
        view.look_for(feature);
        view
    }

    /// Shades the text by the feature and offers to change it.
    fn look_for(&mut self, feature: Option<u32>) {
        self.feature = feature;
        if let Some(feature) = feature {
            self.shade = Shade::Feature(feature);
            self.changes.add(feature);
        }
    }

    fn aim(&self) -> Option<EffectTarget> {
        let position = self.sides.get(self.front).and_then(|side| side.chosen);
        match self.by {
            SortKey::Loss => Some(EffectTarget::Loss),
            SortKey::Logit if !self.logit.is_empty() => {
                Some(EffectTarget::Logit { token: self.logit.clone(), position })
            }
            SortKey::Activation | SortKey::Share | SortKey::Logit => None,
        }
    }

    /// Whether features are ordered by an effect, or by the share of their maximum.
    fn order(&self) -> token::Order {
        match (self.by, self.aim()) {
            (_, Some(_)) => token::Order::Effect,
            (SortKey::Logit, None) => token::Order::NoTarget,
            (SortKey::Share, None) => token::Order::Share,
            _ => token::Order::Activation,
        }
    }

    fn head(&mut self, ui: &mut Ui, opened: &LoadedModel, scene: &mut Scene<'_>) {
        let p = palette(ui);
        let narrow = ui.available_width() < ONE_LINE;
        ui.horizontal(|ui| {
            ui.label(RichText::new("Prompt").size(size::TITLE).color(p.strong));
            let about = &opened.about;
            let caption = format!(
                "{} · {} · {} features",
                about.model,
                about.hook,
                format::grouped(about.d_sae as u64)
            );
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                let copy = ui.button("Copy as JSON").on_hover_text("Copy the results for this prompt");
                if copy.clicked() {
                    scene.act(Action::Copy(self.json()));
                }
                self.trace(ui, scene);
                let two = self.sides.len() == 2;
                let button = ui.add(Button::new("Second prompt").selected(two));
                button.widget_info(|| WidgetInfo::selected(Role::Button, true, two, "Add a second prompt"));
                if button.on_hover_text("Two prompts side by side, with the same changes").clicked() {
                    self.front = 0;
                    if two {
                        self.sides.truncate(1);
                    } else {
                        self.sides.push(Side::new("Second prompt"));
                    }
                }
                // What is left of the line.
                if !narrow {
                    ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                        facts::caption(ui, caption)
                    });
                }
            });
        });
        ui.add_space(space::XS);
        ui.horizontal_wrapped(|ui| {
            facts::caption(ui, "features by");
            self.sort_keys(ui);
            ui.add_space(space::M);
            facts::caption(ui, "shade by");
            self.shades(ui);
            if self.sides.iter().any(|side| side.reading().is_some()) {
                ui.add_space(space::M);
                self.find(ui);
            }
        });
    }

    /// Looks for features among those of the texts.
    fn find(&mut self, ui: &mut Ui) {
        let field = TextEdit::singleline(&mut self.find)
            .hint_text("Find phrase, name or number  ( / )")
            .desired_width(190.0)
            .char_limit(200);
        let field = ui.add(field);
        field.widget_info(|| {
            WidgetInfo::labeled(Role::SearchInput, true, "Find among the features of the text")
        });
        if std::mem::take(&mut self.focus_find) {
            field.request_focus();
        }
        if field.has_focus() && ui.input(|i| i.key_pressed(Key::Escape)) {
            self.find.clear();
            field.surrender_focus();
        }
        field.on_hover_text(
            "Features that fire on a phrase of the text, that are called so, or with this number",
        );
    }

    /// What a token's features are ordered by, and of which token the logit is meant.
    fn sort_keys(&mut self, ui: &mut Ui) {
        for by in SortKey::ALL {
            let button = ui.add(Button::selectable(self.by == by, by.short()));
            button.widget_info(|| {
                WidgetInfo::selected(
                    Role::RadioButton,
                    true,
                    self.by == by,
                    format!("Features by {}", by.name()),
                )
            });
            if button.on_hover_text(by.about()).clicked() {
                self.by = by;
            }
        }
        if self.by == SortKey::Logit {
            let field =
                TextEdit::singleline(&mut self.logit).hint_text("\u{2423}Paris or #17").desired_width(110.0);
            let field = ui.add(field);
            field
                .widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Token whose logit is looked at"));
            field.on_hover_text(
                "A single token, with its leading space if it has one, predicted after the selected token or the last",
            );
        }
    }

    fn shades(&mut self, ui: &mut Ui) {
        let name = |shade: Shade| match shade {
            Shade::Nothing => "nothing".to_owned(),
            Shade::Feature(feature) => format!("feature {feature}"),
            Shade::Loss => "loss of each token".to_owned(),
            Shade::Divergence => "KL of the changes".to_owned(),
        };
        let combo = ComboBox::from_id_salt("shade").selected_text(name(self.shade)).width(150.0);
        let shown = combo.show_ui(ui, |ui| {
            let mut all = vec![Shade::Nothing, Shade::Loss, Shade::Divergence];
            if let Shade::Feature(_) = self.shade {
                all.push(self.shade);
            }
            all.extend(self.changes.features().map(Shade::Feature).filter(|shade| *shade != self.shade));
            for shade in all {
                ui.selectable_value(&mut self.shade, shade, name(shade));
            }
        });
        shown.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Shade the text by"));
    }

    /// Starts and stops continuations.
    fn controls(&mut self, ui: &mut Ui) {
        ui.horizontal_wrapped(|ui| {
            let some = self.sides.iter().any(|side| side.reading().is_some());
            let busy = self.sides.iter().any(Side::is_continuing);
            let button = ui.add_enabled(some && !busy, Button::new("Continue"));
            let button = button
                .on_hover_text("Let the model continue the text, with and without the changes (Ctrl+Enter)");
            let key = some && !busy && ui.input_mut(|i| i.consume_key(egui::Modifiers::COMMAND, Key::Enter));
            if button.clicked() || key {
                self.continues = true;
                ui.ctx().request_repaint();
            }
            if busy && ui.button("Stop").clicked() {
                self.sides.iter_mut().for_each(Side::stop);
            }
            if let Some((done, total)) = self.sides.iter().find_map(Side::progress).filter(|_| busy) {
                facts::caption(ui, format!("{done} of {total} tokens"));
            }
            let tokens = ui.add(DragValue::new(&mut self.sampling.tokens).range(1..=512).suffix(" tokens"));
            tokens.widget_info(|| WidgetInfo::labeled(Role::SpinButton, true, "Tokens of the continuation"));
            let mut temperature = self.sampling.temperature;
            let drag = DragValue::new(&mut temperature).range(0.0..=4.0).speed(0.01).prefix("temperature ");
            let drag = ui.add(drag).on_hover_text("0 takes the most likely token each time");
            drag.widget_info(|| {
                WidgetInfo::labeled(Role::SpinButton, true, "Temperature of the continuation")
            });
            self.sampling.temperature = temperature;
            let again = ui.button("Resample").on_hover_text("Draw new random directions and new samples");
            if again.clicked() {
                self.sampling.seed += 1;
            }
        });
    }

    fn keyboard(&mut self, ui: &Ui) {
        if ui.ctx().egui_wants_keyboard_input() {
            return;
        }
        let by = ui.input(|i| {
            let presses = |key| if i.modifiers.any() { 0 } else { i.num_presses(key) as i64 };
            presses(Key::ArrowRight) - presses(Key::ArrowLeft)
        });
        let Some(side) = self.sides.get_mut(self.front) else { return };
        if by != 0 {
            side.step(by);
        }
    }

    fn body(&mut self, ui: &mut Ui, opened: &LoadedModel, scene: &mut Scene<'_>) {
        let strongest = match self.shade {
            Shade::Feature(feature) => self.strongest(feature, scene),
            _ => 0.0,
        };
        let shade = (self.shade, strongest);
        let both = self.sides.len() == 2;
        let (mut clicked, mut follow, mut change, mut more) = (None, None, None, false);
        let store = scene.stores.run(&self.run);
        let (lists, columns) = (store.tokens.value().cloned(), store.columns.value().cloned());
        let words = store.vocabulary.value().cloned();
        let words = words.as_deref().unwrap_or(&opened.vocabulary);
        let name = |feature: u32| {
            super::features::name_of(store, feature)
                .unwrap_or_else(|| super::dataset::about_feature(feature, lists.as_deref(), words))
        };
        let max = |feature: u32| {
            columns.as_deref().and_then(|c| c.numbers.max.get(feature as usize)).copied().unwrap_or(0.0)
        };
        let order = match self.order() {
            token::Order::Effect => RowOrder::Effect,
            token::Order::Share => RowOrder::Share,
            token::Order::Activation | token::Order::NoTarget => RowOrder::Activation,
        };
        let first = if let Shade::Feature(feature) = self.shade { Some(feature) } else { None };
        let (front, all) = (self.front, self.all_features);
        let mut one = |ui: &mut Ui, i: usize, side: &mut Side| {
            if side.show(ui, opened, shade, front == i).is_some() {
                clicked = Some(i);
            }
            let Some(reading) = side.reading() else { return };
            ui.add_space(space::M);
            let attribution = side.attribution().and_then(Result::ok);
            let changed = side.changed();
            let grid = Grid {
                reading: &reading,
                range: 0..reading.len(),
                vocabulary: &opened.vocabulary,
                max: &max,
                name: &name,
                attribution: attribution.as_deref(),
                changed: changed.as_deref(),
                chosen: side.chosen.filter(|_| front == i),
                first,
                order,
                find: &self.find,
            };
            let asked = ui.push_id(("grid", i), |ui| grid.show(ui, all)).inner;
            (follow, change, more) = (asked.follow.or(follow), asked.change.or(change), more || asked.more);
            if let Some(token) = asked.token {
                side.chosen = Some(token);
                clicked = Some(i);
            }
        };
        if both {
            ui.columns(2, |columns| {
                for (i, (ui, side)) in columns.iter_mut().zip(&mut self.sides).enumerate() {
                    one(ui, i, side);
                }
            });
        } else if let Some(side) = self.sides.first_mut() {
            one(ui, 0, side);
        }
        self.all_features ^= more;
        if let Some(feature) = change {
            self.changes.add(feature);
        }
        if let Some(feature) = follow {
            scene.go(Place::Feature { run: self.run.clone(), feature });
        }
        if let Some(i) = clicked {
            self.front = i;
            for (_, side) in self.sides.iter_mut().enumerate().filter(|(other, _)| *other != i) {
                side.chosen = None;
            }
        }
    }

    /// What shades a token fully: the feature's maximum in the index, or without one on the texts.
    fn strongest(&self, feature: u32, scene: &mut Scene<'_>) -> f32 {
        let columns = scene.stores.run(&self.run).columns.value().cloned();
        let indexed = columns.and_then(|columns| columns.numbers.max.get(feature as usize).copied());
        let texts = self.sides.iter().filter_map(|side| side.reading()?.maximum(feature));
        indexed.filter(|max| *max > 0.0).unwrap_or_else(|| texts.fold(0.0, f32::max))
    }

    /// The parts at the right: the changes, what is known of the chosen token, or both.
    fn panel(&mut self, ui: &mut Ui, parts: Parts, opened: &LoadedModel, scene: &mut Scene<'_>) {
        let chosen = self.sides.get(self.front).and_then(|side| side.chosen);
        let maxima: Vec<_> = self.sides.iter().flat_map(Side::maxima).collect();
        let routed = scene
            .folder
            .data_of(&self.run)
            .filter(|data| data.info.as_ref().is_ok_and(|info| info.has_experts));
        let routed = routed.map(|data| data.path.clone());
        let store = scene.stores.run(&self.run);
        let lists = store.tokens.value().cloned();
        let columns = store.columns.value().cloned();
        // Tokens of the index are those of its own vocabulary.
        let words = store.vocabulary.value().cloned();
        let words = words.as_deref().unwrap_or(&opened.vocabulary);
        let labels = |feature: u32| {
            super::features::name_of(store, feature)
                .unwrap_or_else(|| super::dataset::about_feature(feature, lists.as_deref(), words))
        };
        let mut follow = None;
        if parts != Parts::Token {
            let shown = changes::Panel {
                maxima: &maxima,
                columns: columns.as_deref(),
                chosen,
                d_sae: opened.about.d_sae,
                name: &labels,
            };
            follow = self.changes.show(ui, &shown);
            ui.add_space(space::L);
        }
        let Some(side) = self.sides.get(self.front) else { return };
        let mut answer = token::Interaction::default();
        if parts != Parts::Changes {
            let context = token::FeatureContext {
                columns: columns.as_deref(),
                shaded: if let Shade::Feature(feature) = self.shade { Some(feature) } else { None },
                has_sources: back::leads_to(&opened.about.hook),
                has_experts: routed.is_some(),
                name: &labels,
            };
            let order = self.order();
            answer = token::show(ui, side, opened, order, &mut self.options, &context);
            follow = answer.follow.or(follow);
            if let (Some(feature), Some(token)) = (answer.back, side.chosen) {
                self.back.begin(side, &self.run, feature, token, scene);
            }
            ui.add_space(space::L);
        }
        if parts != Parts::Token {
            follow = self.explained.show(ui, side, opened, &labels).or(follow);
        }
        if let Some(feature) = answer.shade {
            let same = self.shade == Shade::Feature(feature);
            self.shade = if same { Shade::Nothing } else { Shade::Feature(feature) };
        }
        if let Some(feature) = answer.change {
            self.changes.add(feature);
        }
        if let Some(feature) = follow {
            scene.go(Place::Feature { run: self.run.clone(), feature });
        }
        if let (Some((layer, expert)), Some(dataset)) = (answer.expert, routed) {
            scene.go(Place::Expert { dataset, layer, expert });
        }
    }

    fn json(&self) -> String {
        let sides: Vec<_> = self.sides.iter().filter_map(Side::json).collect();
        let value = serde_json::json!({
            "run": self.run.display().to_string(),
            "changes": self.changes.active(),
            "prompts": sides,
        });
        serde_json::to_string_pretty(&value).unwrap_or_default()
    }

    /// Asks for the model and for what the index knows of the features; returns the model once it is loaded.
    fn ask(&mut self, scene: &mut Scene<'_>) -> Option<Engine> {
        let indexed = scene.folder.run(&self.run).is_some_and(|r| r.info.as_ref().is_ok_and(|i| i.indexed));
        if indexed {
            scene.load_features(&self.run);
        }
        let store = scene.stores.run(&self.run);
        if store.notes.untouched() {
            scene.load(Need::Notes(self.run.clone()));
        }
        if !self.seen {
            return None;
        }
        effect::model_of(scene, &self.run, &mut self.engine).map(|(engine, _)| engine)
    }
}

impl View for PromptView {
    fn place(&self) -> Place {
        Place::Prompt { run: self.run.clone(), feature: self.feature }
    }

    fn title(&self, scene: &Scene<'_>) -> String {
        let what = if self.transcoder(scene).is_some() { "Trace" } else { "Prompt" };
        format!("{what} · {}", scene.folder.name_of(&self.run))
    }

    fn turn_to(&mut self, place: &Place) {
        if let Place::Prompt { feature: Some(feature), .. } = place {
            self.look_for(Some(*feature));
        }
    }

    fn logic(&mut self, scene: &mut Scene<'_>, workers: &Workers) {
        if self.transcoder(scene).is_some() {
            return;
        }
        let Some(engine) = self.ask(scene) else { return };
        if let Some(side) = self.sides.get_mut(self.front)
            && let Some(text) = self.proposed.take()
        {
            side.propose(text);
        }
        let (aim, changes, seed) = (self.aim(), self.changes.active(), self.sampling.seed);
        let asked = Inputs { engine, run: self.run.clone(), aim, changes, seed };
        let continues = std::mem::take(&mut self.continues);
        if let Some(side) = self.sides.get(self.front) {
            self.explained.logic(workers, side, &asked);
            self.back.logic(workers, side, &asked);
        }
        for side in &mut self.sides {
            side.logic(workers, &asked);
            if continues {
                side.continue_text(workers, &asked, self.sampling);
            }
        }
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let store = scene.stores.run(&self.run);
        if !std::mem::replace(&mut self.seen, true) {
            ui.ctx().request_repaint();
        }
        if let Some(model) = self.transcoder(scene) {
            return self.trace_through(ui, &model, scene);
        }
        if let Some(problem) = store.opened.problem() {
            let again = notice::problem(ui, "The model of this run cannot be loaded", problem);
            if let (true, Some(engine)) = (again, self.engine.clone()) {
                scene.act(Action::Retry(Need::Model(self.run.clone(), engine)));
            }
            return;
        }
        let Some(opened) = store.opened.value().cloned() else {
            return notice::loading(ui, "Loading the model and the dictionary…");
        };
        let margin = Frame::new().fill(palette(ui).side).inner_margin(Margin::same(space::M as i8));
        let both = ui.available_width() < THREE_COLUMNS;
        let columns = if both {
            vec![(PANEL, Parts::Both)]
        } else {
            vec![(PANEL, Parts::Changes), (TOKEN, Parts::Token)]
        };
        for (panel, parts) in columns {
            panel.show(ui, margin, |ui| {
                ScrollArea::vertical().id_salt("panel").auto_shrink(false).show(ui, |ui| {
                    ui.set_max_width(ui.available_width() - space::M);
                    self.panel(ui, parts, &opened, scene);
                });
            });
        }
        Frame::new().inner_margin(Margin::symmetric(space::L as i8, space::M as i8)).show(ui, |ui| {
            self.head(ui, &opened, scene);
            ui.add_space(space::S);
            ScrollArea::vertical().id_salt("prompts").auto_shrink(false).show(ui, |ui| {
                ui.set_max_width(ui.available_width() - space::M);
                self.body(ui, &opened, scene);
                if let Some(side) = self.sides.get(self.front) {
                    self.back.show(ui, side, &opened, scene);
                }
                ui.add_space(space::M);
                self.controls(ui);
                ui.add_space(space::S);
                match &self.sides[..] {
                    [left, right] => ui.columns(2, |columns| {
                        for (ui, side) in columns.iter_mut().zip([left, right]) {
                            side.show_continuations(ui);
                        }
                    }),
                    sides => sides.iter().for_each(|side| side.show_continuations(ui)),
                }
            });
        });
        self.keyboard(ui);
    }

    fn perform(&mut self, command: ViewCommand) -> bool {
        match command {
            // Without a text there is nothing to look for, but one to be typed.
            ViewCommand::Search if self.sides.iter().any(|side| side.reading().is_some()) => {
                self.focus_find = true;
                true
            }
            ViewCommand::Search => self.sides.get_mut(self.front).map(Side::focus).is_some(),
            ViewCommand::ReadText(text) => {
                self.proposed = Some(text);
                true
            }
            ViewCommand::ShowTrainingForm => false,
        }
    }
}
