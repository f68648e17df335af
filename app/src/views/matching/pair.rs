//! The pages of a pair, side by side: numbers, tokens, strongest examples.

use std::path::PathBuf;

use egui::{Label, RichText, ScrollArea, Ui};

use super::agreements::State;
use crate::data::{Agreement, FeaturePage, Vocabulary};
use crate::load::Request;
use crate::theme::{palette, space, tokens::size};
use crate::views::Scene;
use crate::widgets::bars::{self, Bins};
use crate::widgets::example::{self, Window};
use crate::widgets::{facts, format, notice, text};

/// Examples of each feature that are shown.
const EXAMPLES: usize = 6;
/// Tokens before and after the marked one.
const CONTEXT: usize = 10;

/// Draws both columns.
pub fn show(
    ui: &mut Ui,
    pair: Option<[u32; 2]>,
    agreement: (Option<Agreement>, State<'_>),
    folders: &[Option<PathBuf>; 2],
    pages: &[Request<FeaturePage>; 2],
    scene: &mut Scene<'_>,
) {
    let Some(pair) = pair else {
        facts::section(ui, "Side by side");
        ui.label(RichText::new("Choose a row to see both features.").color(palette(ui).weak));
        return;
    };
    fires_on_the_same(ui, agreement);
    ScrollArea::vertical().id_salt("pair").auto_shrink(false).show(ui, |ui| {
        ui.spacing_mut().item_spacing.x = space::L;
        ui.columns_const(|columns: &mut [Ui; 2]| {
            for (side, ui) in columns.iter_mut().enumerate() {
                ui.spacing_mut().item_spacing.x = space::S;
                one(ui, pair[side], folders[side].as_ref(), &pages[side], EXAMPLES, scene);
            }
        });
    });
}

/// Whether both fire on the same tokens: the other half of what "matched" means.
fn fires_on_the_same(ui: &mut Ui, (agreement, state): (Option<Agreement>, State<'_>)) {
    let p = palette(ui);
    match (agreement, state) {
        (_, State::Failed(problem)) => notice::problem_line(ui, problem),
        (_, State::Incomparable) => {
            drop(facts::caption(ui, "Indexed on different datasets: their firing cannot be compared."));
        }
        (None, _) | (_, State::Opening) => {}
        (Some(agreement), State::Known(_, _, over)) => {
            let share = agreement.share().map_or_else(|| format::MISSING.to_owned(), format::percent);
            ui.horizontal_wrapped(|ui| {
                ui.label(RichText::new("Agreement of firing").color(p.weak));
                ui.label(RichText::new(share).color(p.strong)).on_hover_text(format!(
                    "Tokens on which both fire, divided by tokens on which either fires (Jaccard), over {over}"
                ));
                ui.label(RichText::new(in_common(&agreement)).size(size::SMALL).color(p.weak));
            });
            ui.add_space(space::S);
        }
    }
}

/// The counts of an agreement in words.
pub fn in_common(agreement: &Agreement) -> String {
    let Agreement { both, first, second } = *agreement;
    let [both, first, second] = [both, first, second].map(format::grouped);
    format!("{both} tokens in common of {first} and {second}")
}

/// Draws one feature, with its `examples` strongest examples.
pub fn one(
    ui: &mut Ui,
    feature: u32,
    folder: Option<&PathBuf>,
    page: &Request<FeaturePage>,
    examples: usize,
    scene: &mut Scene<'_>,
) {
    let p = palette(ui);
    ui.label(RichText::new(format!("Feature {feature}")).size(size::HEADING).color(p.strong));
    let Some(folder) = folder else {
        let why = "Its run is not in the open folder; open a folder that holds both.";
        ui.label(RichText::new(why).color(p.weak));
        return;
    };
    facts::caption(ui, scene.folder.name_of(folder));
    if let Some(problem) = page.problem() {
        return notice::problem_line(ui, problem);
    }
    let Some(page) = page.value().filter(|page| page.row.feature == feature).cloned() else {
        notice::busy(ui, 16.0);
        return;
    };
    let vocabulary = scene.stores.run(folder).vocabulary.value().cloned().unwrap_or_default();
    let row = &page.row;
    let numbers = [
        ("density", format::percent(f64::from(row.density))),
        ("mean", format::value(f64::from(row.mean))),
        ("max", format::value(f64::from(row.max))),
    ];
    facts::facts(ui, "pair numbers", numbers.iter().map(|(name, value)| (*name, value.as_str())));
    if row.count > 0 {
        let name = format!("Activations of feature {feature}");
        let (counts, high) = (&row.histogram, row.max);
        let bins = Bins { name: &name, unit: "tokens", counts, low: 0.0, high, activations: true };
        bars::histogram(ui, &bins, 64.0, true, None);
    }
    about(ui, &page, &vocabulary, examples);
}

/// Draws what a feature fires on and promotes, and its `examples` strongest examples.
pub fn about(ui: &mut Ui, page: &FeaturePage, vocabulary: &Vocabulary, examples: usize) {
    let row = &page.row;
    tokens(ui, "fires on", row.fires_on.iter().map(|t| t.0), vocabulary);
    tokens(ui, "promotes", row.top_logits.iter().map(|t| t.0), vocabulary);
    ui.add_space(space::S);
    for example in page.examples.iter().map(|e| &e.row).filter(|row| row.interval == 0).take(examples) {
        let Some(marked) = example.marked() else { continue };
        let (from, to) = (marked.saturating_sub(CONTEXT), (marked + CONTEXT + 1).min(example.tokens.len()));
        let window = Window {
            tokens: &example.tokens[from..to],
            values: example.values.get(from..to).unwrap_or_default(),
            max: row.max,
            marked: Some(marked - from),
            start: example.start + from as u32,
            breaks: false,
            sources: None,
        };
        example::show(ui, vocabulary, &window);
        ui.add_space(space::XS);
    }
}

fn tokens(ui: &mut Ui, name: &str, tokens: impl Iterator<Item = u32>, vocabulary: &Vocabulary) {
    let shown: Vec<String> = tokens.take(8).map(|t| text::in_list(&vocabulary.show(t))).collect();
    if !shown.is_empty() {
        facts::caption(ui, name);
        ui.add(Label::new(RichText::new(shown.join("  ")).monospace().size(size::SMALL)).wrap());
    }
}
