//! Follow a feature back: through heads to tokens, to the features there, and on from them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{RichText, Role, Ui, WidgetInfo};

use super::side::Side;
use crate::load::{KeyedRequest, Lane, Workers};
use crate::prompt::LoadedModel;
use crate::prompt::heads::{Followed, HeadsEngine, Step, Written};
use crate::stores::RunStore;
use crate::theme::{palette, space, tokens::size};
use crate::views::effect::Inputs;
use crate::views::{Scene, dataset, features};
use crate::widgets::{bars, facts, format, heads, notice, text};

/// Features listed of a run.
const LISTED: usize = 8;
/// Width from which on features stand next to heads.
const TWO_COLUMNS: f32 = 560.0;

/// What is asked: the text, the steps, and the runs whose features are looked for.
type Asked = (String, Vec<Step>, Vec<PathBuf>);

/// The section, with the steps that a person took.
#[derive(Debug, Default)]
pub struct Back {
    /// The text that the steps are of.
    text: String,
    steps: Vec<Step>,
    runs: Vec<PathBuf>,
    engine: HeadsEngine,
    followed: KeyedRequest<Asked, Followed>,
    /// Whether the section is new, and is to be scrolled to.
    begun: bool,
}

/// Whether something linear leads to a hook, so that its features can be followed back.
pub fn leads_to(hook: &str) -> bool {
    ["hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "attn.hook_z"]
        .iter()
        .any(|site| hook.ends_with(site))
}

/// The runs of the open folder whose activations are of the same model as those of `run`, which is one of them.
fn of_the_same_model(scene: &Scene<'_>, run: &Path) -> Vec<PathBuf> {
    let model = |path: &Path| {
        let info = scene.folder.run(path)?.info.as_ref().ok()?;
        (info.layered.is_none() && !info.model_sha256.is_empty()).then(|| info.model_sha256.clone())
    };
    let Some(own) = model(run) else { return vec![run.to_owned()] };
    let all = scene.folder.runs.iter().map(|entry| entry.path.clone());
    all.filter(|path| model(path).as_ref() == Some(&own)).collect()
}

impl Back {
    /// Begins with a feature on a token of the text, counted from 0.
    pub fn begin(&mut self, side: &Side, run: &Path, feature: u32, token: usize, scene: &mut Scene<'_>) {
        let Some(reading) = side.reading() else { return };
        self.text.clone_from(&reading.text);
        self.steps = vec![Step::Feature { run: run.to_owned(), feature, token: token + reading.begins() }];
        self.runs = of_the_same_model(scene, run);
        for run in &self.runs {
            scene.load_features(run);
        }
        self.begun = true;
    }

    fn asked(&self) -> Asked {
        (self.text.clone(), self.steps.clone(), self.runs.clone())
    }

    /// Asks for the parts of the last step.
    pub fn logic(&mut self, workers: &Workers, side: &Side, inputs: &Inputs) {
        let Some(reading) = side.reading().filter(|reading| reading.text == self.text) else { return };
        if self.steps.is_empty() {
            return;
        }
        let asked = self.asked();
        let (kept, engine, run) = (self.engine.clone(), inputs.engine.clone(), inputs.run.clone());
        let (steps, runs) = (self.steps.clone(), self.runs.clone());
        self.followed
            .want(workers, Lane::Model, &asked, move || kept.follow(&engine, &run, &reading, &steps, &runs));
    }

    /// Draws the section.
    pub fn show(&mut self, ui: &mut Ui, side: &Side, opened: &LoadedModel, scene: &Scene<'_>) {
        let Some(reading) = side.reading().filter(|reading| reading.text == self.text) else { return };
        if self.steps.is_empty() {
            return;
        }
        let name = |place: usize| match place.checked_sub(reading.begins()) {
            None => "BOS".to_owned(),
            Some(token) => {
                let shown = reading.tokens.get(token).map(|token| opened.vocabulary.show(*token));
                format!("{token} {}", text::in_list(&shown.unwrap_or_default()))
            }
        };
        ui.add_space(space::L);
        facts::section(ui, "Where it comes from");
        if self.begun && self.followed.get(&self.asked()).is_some() {
            self.begun = false;
            ui.scroll_to_cursor(Some(egui::Align::TOP));
        }
        if self.trail(ui, &name, scene) {
            self.steps.clear();
            return;
        }
        let asked = self.asked();
        if let Some(problem) = self.followed.problem(&asked) {
            return notice::problem_line(ui, problem);
        }
        // Until the next step is there the one before stays, so that the page does not jump.
        let here = self.followed.get(&asked);
        let Some(followed) = here.clone().or_else(|| self.followed.last()) else {
            return notice::busy(ui, 16.0);
        };
        let asked = ui.add_enabled_ui(here.is_some(), |ui| {
            if ui.available_width() < TWO_COLUMNS {
                let asked = heads::show(ui, &followed.parts, &name);
                self.features(ui, &followed, &name, scene);
                return asked;
            }
            ui.columns(2, |columns| {
                let asked = heads::show(&mut columns[0], &followed.parts, &name);
                self.features(&mut columns[1], &followed, &name, scene);
                asked
            })
        });
        if let Some((layer, head, source)) = asked.inner {
            self.steps.push(Step::Through { layer, head, source });
        }
    }

    /// The steps so far, each of which can be gone back to; true if the person closes the section.
    fn trail(&mut self, ui: &mut Ui, name: &dyn Fn(usize) -> String, scene: &Scene<'_>) -> bool {
        let (mut back, mut close) = (None, false);
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing.x = space::XS;
            let last = self.steps.len() - 1;
            for (at, step) in self.steps.iter().enumerate() {
                if at > 0 {
                    ui.weak("←");
                }
                let words = match step {
                    Step::Feature { run, feature, token } => {
                        format!("feature {feature} of {} at {}", scene.folder.name_of(run), name(*token))
                    }
                    Step::Through { layer, head, source } => {
                        format!("head {layer}.{head} from {}", name(*source))
                    }
                };
                let words = RichText::new(words).size(size::SMALL);
                if at == last {
                    ui.label(words.color(palette(ui).strong));
                } else if ui.link(words).on_hover_text("Return to this step").clicked() {
                    back = Some(at);
                }
            }
            let button = ui.small_button("×");
            button.widget_info(|| WidgetInfo::labeled(Role::Button, true, "Stop following it"));
            close = button.clicked();
        });
        if let Some(at) = back {
            self.steps.truncate(at + 1);
        }
        close
    }

    /// The features of runs that stand below, and what each of them gives.
    fn features(
        &mut self,
        ui: &mut Ui,
        followed: &Arc<Followed>,
        name: &dyn Fn(usize) -> String,
        scene: &Scene<'_>,
    ) {
        let token = followed.parts.token;
        if followed.written.is_empty() {
            let why = match self.steps.last() {
                Some(Step::Feature { .. }) => {
                    "Click an amount: features of other runs that stand there are listed here."
                }
                _ => "No run of the open folder describes what is read here.",
            };
            ui.add(egui::Label::new(RichText::new(why).size(size::SMALL).color(palette(ui).weak)).wrap());
        }
        for (run, written) in &followed.written {
            ui.add_space(space::S);
            let title = format!("{} at {}", scene.folder.name_of(run), name(token));
            ui.label(RichText::new(title).color(palette(ui).strong));
            facts::caption(ui, &written.hook);
            facts::caption(ui, caption(written));
            let most = written.features.first().map_or(1.0, |part| part.value.abs());
            for part in written.features.iter().take(LISTED) {
                let line = format!("feature {} {}", part.feature, about(scene.stores.run(run), part.feature));
                if bars::signed_line(ui, &line, part.value, most).clicked() {
                    self.steps.push(Step::Feature { run: run.clone(), feature: part.feature, token });
                }
            }
        }
    }
}

fn caption(written: &Written) -> String {
    let number = |x: f32| format::signed(f64::from(x));
    if written.left_out {
        return "its norm is above the limit of training, so nothing fires".to_owned();
    }
    format!(
        "gives {}, of which error {} and bias {}",
        number(written.whole),
        number(written.error),
        number(written.bias)
    )
}

/// What a feature is called, or what it fires on.
fn about(store: &RunStore, feature: u32) -> String {
    let lists = || {
        let words = store.vocabulary.value()?;
        Some(dataset::about_feature(feature, Some(store.tokens.value()?), words))
    };
    features::name_of(store, feature).or_else(lists).unwrap_or_default()
}
