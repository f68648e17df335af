//! A claim about a feature, made, tested and kept: the rule at the top, its scores, and every place that speaks for or against it.

mod chips;
mod consequence;
mod kept;
mod list;
mod places;
mod scores;
mod strip;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Frame, Margin, ProgressBar, RichText, Role, ScrollArea, Ui, WidgetInfo, vec2};

use chips::Editor;
use consequence::Consequence;
use kept::Kept;
use list::{Choice, Listed};
use places::place_of;

use super::elsewhere::Elsewhere;
use super::experts::of_feature;
use super::feature::{brief_history, nearest};
use super::{Scene, View};
use crate::action::{Action, Save};
use crate::address::Place;
use crate::claims::{Bench, ClaimTest, Figure, Outcome, Piece, Rule, Tally, TestedPlace, quoted};
use crate::data::experts::features;
use crate::data::firings::{self, FiringOrder, Firings};
use crate::data::{Documents, FeatureExpertRow, FeaturePage, Vocabulary};
use crate::load::{KeyedRequest, Lane, Problem, Request, StreamedRequest, Workers};
use crate::theme::{palette, space, tokens::size};
use crate::views::features::name_of;
use crate::widgets::lines::{Lines, Source};
use crate::widgets::{facts, notice, rule};

/// Width from which on scores and kept claims are a column of their own.
const TWO_COLUMNS: f32 = 1060.0;
/// Width of that column.
const COLUMN: f32 = 372.0;
/// How far scores of the rule before fade.
const FADED: f32 = 0.55;
/// Nearest features that are listed.
const NEIGHBOURS: usize = 5;
/// Places of each kind in a figure.
const IN_FIGURE: usize = 5;
/// Tokens that the first suggestion names at most, and the share of firings that each must have.
const SUGGESTED: usize = 4;
const SUGGESTED_SHARE: f64 = 0.03;

/// What a list is of: the test by its number (0: no test yet), and what is shown of it.
type ListKey = (u32, u64, Choice);

/// The page of a claim about one feature; it turns to others of the same run.
#[derive(Debug)]
pub struct ClaimView {
    run: PathBuf,
    feature: u32,
    page: KeyedRequest<u32, FeaturePage>,
    firings: KeyedRequest<u32, Firings>,
    /// How often the tokens that it fires on most occur, in their order; `None` inside where the index does not say.
    occurrences: KeyedRequest<u32, Option<Vec<u64>>>,
    editor: Editor,
    /// The feature that the rule in the editor is about.
    begun: Option<u32>,
    test: StreamedRequest<Piece>,
    /// What was asked last.
    asked: Option<(u32, String)>,
    part: Option<(Tally, Tally)>,
    /// The last whole test of this feature and its number.
    whole: Option<Arc<ClaimTest>>,
    number: u64,
    choice: Choice,
    listed: KeyedRequest<ListKey, Listed>,
    lines: Lines<ListKey>,
    chosen: Option<(u32, u32)>,
    /// Whether the documents that claims are measured on were looked at since this feature was turned to.
    looked: bool,
    kept: Kept,
    figure: Request<Vec<crate::claims::Line>>,
    /// What is to be made of the figure that is on its way.
    form: FigureForm,
    consequence: Consequence,
    elsewhere: Elsewhere,
    /// The experts that the feature's tokens go to; `None` inside where features and experts are not joined.
    experts: KeyedRequest<u32, Option<Vec<FeatureExpertRow>>>,
}

/// What becomes of a figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FigureForm {
    #[default]
    CopiedMarkdown,
    Markdown,
    Svg,
    Png,
}

impl FigureForm {
    const ALL: [Self; 4] = [Self::CopiedMarkdown, Self::Markdown, Self::Svg, Self::Png];

    fn name(self) -> &'static str {
        match self {
            Self::CopiedMarkdown => "Copy as Markdown",
            Self::Markdown => "Markdown…",
            Self::Svg => "Figure as SVG…",
            Self::Png => "Figure as PNG…",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::CopiedMarkdown | Self::Markdown => "md",
            Self::Svg => "svg",
            Self::Png => "png",
        }
    }

    fn bytes(self, figure: &Figure<'_>) -> Result<Vec<u8>, Problem> {
        match self {
            Self::CopiedMarkdown | Self::Markdown => Ok(figure.markdown().into_bytes()),
            Self::Svg => Ok(figure.svg().into_bytes()),
            Self::Png => Bench::png(&figure.svg()),
        }
    }
}

impl ClaimView {
    /// The page of claims about `feature` of `run`.
    pub fn new(run: &Path, feature: u32) -> Self {
        Self {
            run: run.to_owned(),
            feature,
            page: KeyedRequest::default(),
            firings: KeyedRequest::default(),
            occurrences: KeyedRequest::default(),
            editor: Editor::default(),
            begun: None,
            test: StreamedRequest::default(),
            asked: None,
            part: None,
            whole: None,
            number: 0,
            choice: Choice::default(),
            listed: KeyedRequest::default(),
            lines: Lines::default(),
            chosen: None,
            looked: false,
            kept: Kept::default(),
            figure: Request::new(),
            form: FigureForm::default(),
            consequence: Consequence::default(),
            elsewhere: Elsewhere::default(),
            experts: KeyedRequest::default(),
        }
    }

    /// The rule to begin with: that of a kept claim, else the tokens that the feature fires on most.
    fn begin(&mut self, scene: &Scene<'_>) {
        if self.begun == Some(self.feature) || !self.kept.is_loaded() {
            return;
        }
        let Some(page) = self.page.get(&self.feature) else { return };
        let Some(vocabulary) = scene.stores.run(&self.run).vocabulary.value() else { return };
        let occurrences = self.occurrences.get(&self.feature);
        if occurrences.is_none() && self.occurrences.problem(&self.feature).is_none() {
            return;
        }
        let occurrences = occurrences.and_then(|known| (*known).clone());
        self.begun = Some(self.feature);
        (self.part, self.whole, self.chosen, self.looked) = (None, None, None, false);
        self.choice = Choice { outcome: None, range: None, ..self.choice };
        self.editor = Editor::default();
        let kept = self.kept.of(self.feature).next().cloned();
        self.kept.interventions = kept.as_ref().map(|claim| claim.interventions.clone()).unwrap_or_default();
        self.editor.text =
            kept.map_or_else(|| suggestion(&page, vocabulary, occurrences.as_deref()), |claim| claim.rule);
    }

    /// Tests the rule as often as it changes.
    fn ask(&mut self, scene: &Scene<'_>, workers: &Workers) {
        if self.begun != Some(self.feature) {
            return;
        }
        let rule = self.editor.rule().map(ToString::to_string);
        if let Ok(rule) = rule
            && self.asked.as_ref().is_none_or(|asked| *asked != (self.feature, rule.clone()))
        {
            self.asked = Some((self.feature, rule.clone()));
            let (bench, run, feature) = (scene.stores.claims.clone(), self.run.clone(), self.feature);
            let dataset = scene.folder.data_of(&self.run).map(|data| data.path.clone());
            self.test.ask(workers, Lane::Scans, move |feed| bench.test(&run, dataset, feature, &rule, feed));
        }
        self.test.poll(workers);
        match self.test.pieces().last() {
            Some(Piece::Part(tallies)) => self.part = Some((tallies[0], tallies[1])),
            Some(Piece::Whole(test)) if self.whole.as_ref().is_none_or(|whole| !Arc::ptr_eq(whole, test)) => {
                self.whole = Some(Arc::clone(test));
                self.part = None;
                self.number += 1;
            }
            _ => {}
        }
    }

    fn key(&self) -> ListKey {
        (self.feature, if self.whole.is_some() { self.number } else { 0 }, self.choice)
    }

    /// Asks for the list, and the text of the lines on the screen.
    fn ask_list(&mut self, source: Source<'_>, workers: &Workers) {
        let (Some(firings), Some(page)) = (self.firings.get(&self.feature), self.page.get(&self.feature))
        else {
            return;
        };
        let (key, choice, max) = (self.key(), self.choice, page.row.max);
        let (whole, all) = (self.whole.clone(), Arc::clone(&firings));
        self.listed.want(workers, Lane::Sort, &key, move || {
            Ok(match whole {
                Some(test) => choice.of(&test, max),
                None => Listed { lines: all.order(FiringOrder::Strength), ..Listed::default() },
            })
        });
        let Some(listed) = self.listed.get(&key) else { return };
        let whole = self.whole.clone();
        let place = |line: usize| {
            let place = place_of(whole.as_deref(), &firings, listed.lines[line]);
            (place.document, place.position)
        };
        self.lines.logic(&key, listed.lines.len(), place, source, workers);
    }

    fn head(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let p = palette(ui);
        let store = scene.stores.run(&self.run);
        let name = name_of(store, self.feature);
        let run = scene.folder.name_of(&self.run).into_owned();
        let info = scene.folder.run(&self.run).and_then(|run| run.info.as_ref().ok());
        let of = info.map(|info| format!(" · {} · {}", info.model, info.hook)).unwrap_or_default();
        ui.horizontal_wrapped(|ui| {
            let title = format!("Where does feature {} fire?", self.feature);
            ui.label(RichText::new(title).size(size::TITLE).color(p.strong));
            let page = ui.button("Feature page").on_hover_text("Everything else about this feature");
            if page.clicked() {
                scene.go(Place::Feature { run: self.run.clone(), feature: self.feature });
            }
            self.export(ui);
            let keepable = self.whole.as_ref().filter(|_| !self.test.loading()).cloned();
            self.kept.keep_button(ui, &self.run, keepable.as_ref(), self.looked);
        });
        ui.horizontal(|ui| {
            ui.label(RichText::new(format!("{run}{of}")).size(size::SMALL).color(p.weak));
            if let Some(name) = name {
                rule::show(ui, &name, size::SMALL);
            }
        });
        ui.add_space(space::S);
    }

    fn export(&mut self, ui: &mut Ui) {
        let ready = self.whole.is_some() && !self.test.loading() && !self.figure.loading();
        let button = ui.add_enabled(ready, egui::Button::new("Export"));
        let button =
            button.on_hover_text("The claim, its scores and its strongest places, as text or as a figure");
        egui::Popup::menu(&button).show(|ui| {
            for form in FigureForm::ALL {
                if ui.button(form.name()).clicked() {
                    (self.form, self.figure) = (form, Request::new());
                    self.kept.figure_wanted = true;
                    ui.close();
                }
            }
        });
    }

    /// Has the lines of a figure made, and hands it over once they are there.
    fn make_figure(&mut self, scene: &mut Scene<'_>, documents: Option<&Arc<Documents>>, workers: &Workers) {
        let Some(test) = self.whole.clone() else { return };
        if std::mem::take(&mut self.kept.figure_wanted) {
            let (bench, run) = (scene.stores.claims.clone(), self.run.clone());
            let dataset = scene.folder.data_of(&self.run).map(|data| data.path.clone());
            let (places, documents) = (strongest(&test), documents.cloned());
            self.figure.ask(workers, Lane::Pages, move || {
                bench.lines(&run, dataset, &places, |document| {
                    let row = documents.as_ref().and_then(|documents| documents.get(document));
                    row.map_or_else(|| format!("document {document}"), |row| row.name.clone())
                })
            });
        }
        if !self.figure.poll(workers) {
            return;
        }
        let Some(lines) = self.figure.value().cloned() else { return };
        let info = scene.folder.run(&self.run).and_then(|run| run.info.as_ref().ok());
        let run = scene.folder.name_of(&self.run).into_owned();
        let of = info.map_or_else(|| run.clone(), |info| format!("{run} · {} · {}", info.model, info.hook));
        let words = Rule::parse(&test.rule).map(|rule| rule.words()).unwrap_or_default();
        let (form, interventions) = (self.form, self.kept.interventions.clone());
        let make = move || {
            let figure =
                Figure { of: &of, words: &words, test: &test, lines: &lines, interventions: &interventions };
            form.bytes(&figure)
        };
        if form == FigureForm::CopiedMarkdown {
            if let Ok(text) = make() {
                scene.act(Action::Copy(String::from_utf8_lossy(&text).into_owned()));
            }
            return;
        }
        let name = format!("{run}-feature-{}-claim.{}", self.feature, form.extension()).replace('/', "-");
        scene.act(Action::Save(Save::new(name, make)));
    }

    fn scores(&self, ui: &mut Ui) {
        if let Some((done, total)) = self.test.progress().filter(|_| self.test.loading()) {
            let bar = ProgressBar::new(done as f32 / total.max(1) as f32).desired_height(4.0);
            let bar = ui.add(bar);
            bar.widget_info(|| {
                WidgetInfo::labeled(Role::ProgressIndicator, true, "The claim is being tested")
            });
        }
        let whole = self.whole.as_ref().map(|test| (test.measured, test.made));
        match self.part.or(whole) {
            Some((measured, made)) => {
                ui.scope(|ui| {
                    // Scores of the rule before, until the first of the new one are there.
                    let old = self.test.loading() && self.part.is_none();
                    let faded = ui.ctx().animate_bool(ui.scope_id().with("old scores"), old);
                    ui.multiply_opacity(1.0 - FADED * faded);
                    scores::show(ui, &measured, &made);
                });
            }
            None if self.test.loading() => {
                facts::caption(ui, "Reading the tokens of all documents…");
            }
            None => {}
        }
    }

    fn body(&mut self, ui: &mut Ui, vocabulary: &Vocabulary, source: Source<'_>, scene: &mut Scene<'_>) {
        self.editor.show(ui);
        if let Some(problem) = self.test.problem() {
            notice::problem_line(ui, &problem.clone());
        }
        ui.add_space(space::S);
        if ui.available_width() < TWO_COLUMNS {
            self.scores(ui);
            self.kept.show(ui, self.feature, &mut self.editor.text);
            egui::CollapsingHeader::new("The feature elsewhere").show(ui, |ui| {
                ScrollArea::vertical()
                    .id_salt("elsewhere")
                    .max_height(260.0)
                    .show(ui, |ui| self.relatives(ui, scene));
            });
            ui.add_space(space::S);
            return self.places(ui, vocabulary, source, scene);
        }
        let rect = ui.available_rect_before_wrap();
        let (mut left, mut right) = (rect, rect);
        left.set_width(COLUMN);
        right.min.x = left.right() + space::L;
        let column =
            |rect| egui::UiBuilder::new().max_rect(rect).layout(egui::Layout::top_down(egui::Align::Min));
        ui.scope_builder(column(left), |ui| {
            ScrollArea::vertical().id_salt("claim facts").auto_shrink(false).show(ui, |ui| {
                ui.set_max_width(ui.available_width() - space::M);
                self.scores(ui);
                ui.add_space(space::L);
                self.kept.show(ui, self.feature, &mut self.editor.text);
                self.relatives(ui, scene);
            });
        });
        ui.scope_builder(column(right), |ui| self.places(ui, vocabulary, source, scene));
        ui.advance_cursor_after_rect(rect);
    }
}

impl ClaimView {
    /// The feature elsewhere: other runs, experts, neighbours, its life in training.
    fn relatives(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        ui.add_space(space::L);
        self.elsewhere.show(ui, &self.run, scene);
        of_feature::show(ui, &self.run, self.feature, &self.experts, scene);
        let Some(page) = self.page.get(&self.feature) else { return };
        let store = scene.stores.run(&self.run);
        let name = |feature: u32| name_of(store, feature);
        if !page.row.neighbours.is_empty() {
            ui.add_space(space::L);
            if let Some(feature) = nearest(ui, &page.row, NEIGHBOURS, &name) {
                scene.go(Place::Feature { run: self.run.clone(), feature });
            }
        }
        if let Some(history) = &page.history {
            ui.add_space(space::L);
            brief_history(ui, history);
        }
    }
}

/// Of the tokens that the feature fires on most, those that as a rule have the best F1. Where it is not known how often they occur,
/// all of them.
fn suggestion(page: &FeaturePage, vocabulary: &Vocabulary, occurrences: Option<&[u64]>) -> String {
    let enough = |count: u32| f64::from(count) >= SUGGESTED_SHARE * page.row.count as f64;
    let known = |i: usize| occurrences.map(|known| known.get(i).copied().unwrap_or_default());
    let tokens = page.row.fires_on.iter().enumerate().filter(|(_, (_, count))| enough(*count));
    let tokens: Vec<(u32, u64, Option<u64>)> =
        tokens.map(|(i, (token, count))| (*token, u64::from(*count), known(i))).take(SUGGESTED).collect();
    let named = best_of(page.row.count, tokens);
    let named: Vec<String> =
        named.into_iter().filter_map(|token| vocabulary.get(token)).map(quoted).collect();
    if named.is_empty() { String::new() } else { format!("token {}", named.join(" ")) }
}

/// The first so many, in the order of the share of its occurrences that each has, whose F1 as one rule is the best. A token, how often
/// the feature fires on it, and how often it occurs; `count` is how often the feature fires.
fn best_of(count: u64, mut tokens: Vec<(u32, u64, Option<u64>)>) -> Vec<u32> {
    let share = |of: &(u32, u64, Option<u64>)| of.1 as f64 / of.2.unwrap_or(of.1).max(1) as f64;
    tokens.sort_by(|a, b| share(b).total_cmp(&share(a)));
    let (mut hits, mut named, mut best, mut take) = (0, 0, 0.0, 0);
    for (i, (_, fired, occurrences)) in tokens.iter().enumerate() {
        hits += fired;
        named += occurrences.unwrap_or(*fired);
        let f1 = 2.0 * hits as f64 / (named + count).max(1) as f64;
        if f1 > best {
            (best, take) = (f1, i + 1);
        }
    }
    tokens.into_iter().take(take).map(|(token, ..)| token).collect()
}

/// The places of a figure: the strongest hits and misses and some false alarms, of the documents that claims are made from.
fn strongest(test: &ClaimTest) -> Vec<TestedPlace> {
    let mut found = Vec::new();
    for outcome in [Outcome::Hit, Outcome::Miss, Outcome::FalseAlarm] {
        let choice = Choice { outcome: Some(outcome), ..Choice::default() };
        let lines = choice.of(test, 0.0).lines;
        found.extend(lines.into_iter().take(IN_FIGURE).map(|line| test.places[line as usize]));
    }
    found
}

impl View for ClaimView {
    fn place(&self) -> Place {
        Place::Claim { run: self.run.clone(), feature: self.feature }
    }

    fn title(&self, scene: &Scene<'_>) -> String {
        format!("Claim {} · {}", self.feature, rule::middle(&scene.folder.name_of(&self.run), 18))
    }

    fn turn_to(&mut self, place: &Place) {
        if let Place::Claim { feature, .. } = place {
            self.feature = *feature;
        }
    }

    fn logic(&mut self, scene: &mut Scene<'_>, workers: &Workers) {
        scene.load_features(&self.run);
        let dataset = scene.folder.data_of(&self.run).map(|data| data.path.clone());
        if let Some(dataset) = &dataset {
            scene.load_documents(dataset);
        }
        let store = scene.stores.run(&self.run);
        let (pages, run, feature) = (store.pages.clone(), self.run.clone(), self.feature);
        self.page.want(workers, Lane::Pages, &feature, move || pages.read(&run, feature));
        if let Some(page) = self.page.get(&feature) {
            let tokens: Vec<u32> = page.row.fires_on.iter().map(|(token, _)| *token).collect();
            let run = self.run.clone();
            self.occurrences.want(workers, Lane::Tables, &feature, move || {
                crate::data::firing::occurrences(&run, &tokens)
            });
        }
        let run = self.run.clone();
        self.firings.want(workers, Lane::Pages, &feature, move || firings::read(&run, feature));
        self.kept.logic(&self.run, workers);
        self.begin(scene);
        self.ask(scene, workers);
        let documents =
            dataset.as_ref().and_then(|path| scene.stores.dataset(path).documents.value().cloned());
        let source = Source { dataset: dataset.as_deref(), documents: documents.as_ref() };
        self.ask_list(source, workers);
        let data = dataset.as_deref().zip(documents.as_ref());
        self.consequence.logic(scene, &self.run, self.feature, self.chosen, data, workers);
        self.make_figure(scene, documents.as_ref(), workers);
        self.elsewhere.logic(scene, &self.run, self.feature, workers);
        if scene.folder.data_of(&self.run).is_some() {
            let (run, feature) = (self.run.clone(), self.feature);
            self.experts.want(workers, Lane::Pages, &feature, move || features::of_feature(&run, feature));
        }
    }

    fn ui(&mut self, ui: &mut Ui, scene: &mut Scene<'_>) {
        let problem: Option<Problem> =
            self.page.problem(&self.feature).or_else(|| self.firings.problem(&self.feature)).cloned();
        if let Some(problem) = problem {
            if scene.no_such_feature(ui, &self.run, self.feature) {
                return;
            }
            let remedy = scene.index_of(&self.run);
            if scene.problem(ui, &format!("Feature {} cannot be shown", self.feature), &problem, [remedy]) {
                (self.page, self.firings) = (KeyedRequest::default(), KeyedRequest::default());
            }
            return;
        }
        let store = scene.stores.run(&self.run);
        let vocabulary = store.vocabulary.value().cloned().unwrap_or_default();
        if let Some(problem) = store.vocabulary.problem() {
            return notice::problem_line(ui, &problem.clone());
        }
        let dataset = scene.folder.data_of(&self.run).map(|data| data.path.clone());
        let documents =
            dataset.as_ref().and_then(|path| scene.stores.dataset(path).documents.value().cloned());
        let source = Source { dataset: dataset.as_deref(), documents: documents.as_ref() };
        Frame::new().inner_margin(Margin::symmetric(space::L as i8, space::M as i8)).show(ui, |ui| {
            ui.spacing_mut().item_spacing = vec2(space::S, space::XS);
            self.head(ui, scene);
            self.body(ui, &vocabulary, source, scene);
        });
    }

    fn feature(&self) -> Option<(&Path, u32)> {
        Some((&self.run, self.feature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suggestion_leaves_out_tokens_on_which_the_feature_rarely_fires() {
        // Of 3 056 firings 1 199 are on a token that always makes it fire, and 105 on one that rarely does.
        let tokens = vec![(5, 105, Some(3_000)), (7, 1_199, Some(1_199)), (9, 174, Some(180))];
        assert_eq!(best_of(3_056, tokens), [7, 9]);
        // Where nothing is known of occurrences, all are named.
        assert_eq!(best_of(100, vec![(1, 60, None), (2, 20, None)]), [1, 2]);
        assert_eq!(best_of(100, Vec::new()), [0_u32; 0]);
    }
}
