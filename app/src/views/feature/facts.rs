//! The left column of a feature's page: numbers, histogram, tokens, relatives.

use egui::{Label, Link, RichText, Role, Ui, WidgetInfo};

use crate::data::{FeaturePage, FeatureRow, Vocabulary};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::bars::{self, Bins};
use crate::widgets::{facts, format, notice, rule, text};

/// What the column is drawn from.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub page: &'a FeaturePage,
    pub vocabulary: &'a Vocabulary,
    /// Tokens that were indexed.
    pub indexed: u64,
    /// Of those, the ones on which it was counted which features fire together.
    pub coactive_rows: u64,
    /// An activation to be pointed at in the histogram.
    pub marked: Option<f32>,
    /// What a feature is called.
    pub name: &'a dyn Fn(u32) -> Option<String>,
}

/// Entries of a list that are shown.
const ENTRIES: usize = 10;

/// Draws the column; gives the feature that the person wants to follow.
pub fn show(
    ui: &mut Ui,
    shown: &Facts<'_>,
    logarithmic: &mut bool,
    after_figures: impl FnOnce(&mut Ui),
) -> Option<u32> {
    let Facts { page, vocabulary, indexed, coactive_rows, marked, name } = *shown;
    let row = &page.row;
    figures(ui, row, indexed);
    ui.add_space(space::M);
    after_figures(ui);
    ui.add_space(space::L);
    if row.count > 0 {
        distribution(ui, row, logarithmic, marked);
        ui.add_space(space::L);
    }
    super::heads::section(ui, page);
    logits(ui, row, vocabulary);
    logit_weights(ui, row);
    if !row.fires_on.is_empty() {
        ui.add_space(space::L);
        fires_on(ui, row, vocabulary);
    }
    let mut follow = None;
    if !row.neighbours.is_empty() {
        ui.add_space(space::L);
        follow = nearest(ui, row, ENTRIES, name);
    }
    if !row.coactive.is_empty() {
        ui.add_space(space::L);
        facts::section(ui, "Fire on the same tokens");
        facts::caption(ui, counted_in(coactive_rows, indexed)).on_hover_text(
            "P(other | this): of the tokens that this feature fires on, how many the other fires on too. \
             Lift: compared with chance",
        );
        let entries = together(row, coactive_rows, indexed).into_iter().take(ENTRIES);
        let entries = entries
            .map(|(f, share, lift)| (f, [format::percent(share), format!("{}×", format::value(lift))]));
        follow = ui.scope(|ui| relatives(ui, ["P(other | this)", "lift"], name, entries)).inner.or(follow);
    }
    if let Some(problem) = &page.history_gap {
        ui.add_space(space::L);
        notice::problem_line(ui, problem);
    }
    if let Some(history) = &page.history {
        ui.add_space(space::L);
        super::history::show(ui, history);
    }
    ui.add_space(space::L);
    facts::section(ui, "Weights");
    let value = |x: f32| format::value(f64::from(x));
    let rows = [
        ("encoder bias", value(row.bias)),
        ("encoder norm", value(row.encoder_norm)),
        ("decoder norm", value(row.decoder_norm)),
        ("encoder · decoder cosine", value(row.encoder_decoder_cosine)),
    ];
    facts::facts(ui, "weights", rows.iter().map(|(name, value)| (*name, value.as_str())));
    follow
}

/// The nearest features of the same run, at most so many; gives the one that the person wants to follow.
pub fn nearest(
    ui: &mut Ui,
    row: &FeatureRow,
    most: usize,
    name: &dyn Fn(u32) -> Option<String>,
) -> Option<u32> {
    facts::section(ui, "Nearest decoder rows");
    let entries = row.neighbours.iter().take(most);
    let entries = entries.map(|(f, cosine)| (*f, [format!("{cosine:.3}")]));
    ui.scope(|ui| relatives(ui, ["cosine"], name, entries)).inner
}

/// Over what co-activation was counted.
fn counted_in(sample: u64, indexed: u64) -> String {
    match sample {
        0 => "counted in a sample of the tokens".to_owned(),
        n if n >= indexed => format!("counted in all {} tokens", format::grouped(n)),
        n => format!("in a sample of {} of {} tokens", format::grouped(n), format::grouped(indexed)),
    }
}

/// The features that fire on the same tokens, with P(other | this) and lift, the largest share first. The sample is evenly spread, so
/// this feature fires there as often as its density says.
fn together(row: &FeatureRow, sample: u64, indexed: u64) -> Vec<(u32, f64, f64)> {
    let fired = if sample >= indexed { row.count as f64 } else { f64::from(row.density) * sample as f64 };
    let share = |count: u32| if fired > 0.0 { (f64::from(count) / fired).min(1.0) } else { f64::NAN };
    let mut rows: Vec<_> =
        row.coactive.iter().map(|(f, count, lift)| (*f, share(*count), f64::from(*lift))).collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    rows
}

fn figures(ui: &mut Ui, row: &FeatureRow, indexed: u64) {
    let of = if indexed > 0 { format!(" of {}", format::grouped(indexed)) } else { String::new() };
    let tokens = format!("It fired on {}{of} indexed tokens", format::grouped(row.count));
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = space::XL;
        facts::figure(ui, &format::percent(f64::from(row.density)), "density", &tokens);
        facts::figure(ui, &format::count(row.count), "tokens", &tokens);
        if row.count > 0 {
            facts::figure(ui, &format::value(f64::from(row.mean)), "mean", "Mean activation where it fires");
            facts::figure(ui, &format::value(f64::from(row.max)), "max", "Largest activation");
        }
    });
}

fn distribution(ui: &mut Ui, row: &FeatureRow, logarithmic: &mut bool, marked: Option<f32>) {
    ui.horizontal(|ui| {
        facts::section(ui, "Activations");
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            ui.checkbox(logarithmic, "log counts")
                .on_hover_text("Show the logarithm of the counts, so that rare strong activations are seen");
        });
    });
    let bins = Bins {
        name: "Activation histogram",
        unit: "tokens",
        counts: &row.histogram,
        low: 0.0,
        high: row.max,
        activations: true,
    };
    bars::histogram(ui, &bins, 104.0, *logarithmic, marked);
}

fn logits(ui: &mut Ui, row: &FeatureRow, vocabulary: &Vocabulary) {
    if row.top_logits.is_empty() && row.bottom_logits.is_empty() {
        return;
    }
    let p = palette(ui);
    facts::section(ui, "Effect on the next token");
    // Both sides on one scale, so that their colours can be compared.
    let strongest = row.top_logits.iter().chain(&row.bottom_logits).map(|(_, l)| l.abs()).fold(0.0, f32::max);
    let logit =
        |logit: &f32| (format::signed(f64::from(*logit)), logit.abs() / strongest.max(f32::MIN_POSITIVE));
    columns(ui, |left, right| {
        // As on the axis of the histogram below: less likely at the left.
        let hover = "Tokens that it makes less likely";
        token_list(left, "suppressed", hover, vocabulary, p.negative, &row.bottom_logits, logit);
        let hover = "Tokens that it makes likelier";
        token_list(right, "promoted", hover, vocabulary, p.positive, &row.top_logits, logit);
    });
}

/// How strongly the feature writes to each token of the vocabulary: most of it near zero, what it is for at
/// the ends.
fn logit_weights(ui: &mut Ui, row: &FeatureRow) {
    let (Some((_, low)), Some((_, high))) = (row.bottom_logits.first(), row.top_logits.first()) else {
        return;
    };
    if row.logit_histogram.is_empty() {
        return;
    }
    let tokens = row.logit_histogram.iter().map(|n| u64::from(*n)).sum::<u64>();
    ui.add_space(space::S);
    facts::caption(ui, format!("effects on all {} tokens, log counts", format::grouped(tokens)))
        .on_hover_text("Decoder row · unembedding, for every token of the vocabulary");
    let bins = Bins {
        name: "Logit weight histogram",
        unit: "tokens of the vocabulary",
        counts: &row.logit_histogram,
        low: *low,
        high: *high,
        activations: false,
    };
    bars::histogram(ui, &bins, 72.0, true, None);
}

fn fires_on(ui: &mut Ui, row: &FeatureRow, vocabulary: &Vocabulary) {
    let p = palette(ui);
    facts::section(ui, "Fires on");
    let count = row.count.max(1) as f64;
    columns(ui, |left, right| {
        let shown = &row.fires_on[..row.fires_on.len().min(2 * ENTRIES)];
        let (a, b) = shown.split_at(shown.len().div_ceil(2));
        for (ui, part) in [(left, a), (right, b)] {
            token_list(ui, "", "", vocabulary, p.weak, part, |n| {
                let share = f64::from(*n) / count;
                (format::percent(share), share as f32)
            });
        }
    });
}

/// Two columns with room between them.
fn columns(ui: &mut Ui, add: impl FnOnce(&mut Ui, &mut Ui)) {
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.x = space::XL;
        ui.columns_const(|[left, right]| {
            for ui in [&mut *left, &mut *right] {
                ui.spacing_mut().item_spacing.x = space::S;
            }
            add(left, right);
        });
    });
}

/// Tokens at the left, their numbers at the right, on a ground as strong as the share that comes with the
/// number.
fn token_list<T>(
    ui: &mut Ui,
    title: &str,
    hover: &str,
    vocabulary: &Vocabulary,
    colour: egui::Color32,
    entries: &[(u32, T)],
    number: impl Fn(&T) -> (String, f32),
) {
    ui.spacing_mut().item_spacing.y = 1.0;
    if !title.is_empty() {
        facts::caption(ui, title).on_hover_text(hover);
    }
    for (token, value) in entries.iter().take(ENTRIES) {
        ui.horizontal(|ui| {
            ui.set_height(18.0);
            let (number, share) = number(value);
            let ground = ui
                .max_rect()
                .with_max_x(ui.max_rect().left() + ui.max_rect().width() * share.clamp(0.0, 1.0));
            ui.painter().rect_filled(ground.expand2(egui::vec2(2.0, 0.0)), 2.0, colour.gamma_multiply(0.16));
            let shown = text::in_list(&vocabulary.show(*token));
            let width = ui.available_width();
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                ui.label(RichText::new(number).size(size::SMALL).color(colour));
                ui.with_layout(egui::Layout::left_to_right(egui::Align::Center), |ui| {
                    ui.set_max_width(width);
                    let name = RichText::new(shown).monospace().color(palette(ui).strong);
                    ui.add(Label::new(name).truncate()).on_hover_text(format!("token {token}"));
                });
            });
        });
    }
}

/// Features that can be followed, with numbers at the right.
fn relatives<const N: usize>(
    ui: &mut Ui,
    head: [&str; N],
    name: &dyn Fn(u32) -> Option<String>,
    entries: impl Iterator<Item = (u32, [String; N])>,
) -> Option<u32> {
    let mut follow = None;
    let p = palette(ui);
    // Right to left, so the last number comes first.
    let numbers = |ui: &mut Ui, texts: &[RichText]| {
        for text in texts.iter().rev() {
            let right = egui::Layout::right_to_left(egui::Align::Center);
            ui.allocate_ui_with_layout(egui::vec2(72.0, 18.0), right, |ui| {
                ui.set_width(72.0);
                ui.label(text.clone());
            });
        }
    };
    let line = |ui: &mut Ui, add: &mut dyn FnMut(&mut Ui), texts: &[RichText]| {
        let size = egui::vec2(ui.available_width(), 18.0);
        ui.allocate_ui_with_layout(size, egui::Layout::left_to_right(egui::Align::Center), |ui| {
            add(ui);
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| numbers(ui, texts));
        });
    };
    ui.spacing_mut().item_spacing.y = 1.0;
    let caption = |text: &str| RichText::new(text).size(size::SMALL).color(p.weak);
    line(ui, &mut |ui| drop(ui.label(caption("feature"))), &head.map(caption));
    for (feature, texts) in entries {
        let mut add = |ui: &mut Ui| {
            let link = ui.add(Link::new(feature.to_string()));
            link.widget_info(|| WidgetInfo::labeled(Role::Link, true, format!("Go to feature {feature}")));
            if link.on_hover_text("Open this feature").clicked() {
                follow = Some(feature);
            }
            if let Some(name) = name(feature) {
                let room = (ui.available_width() - 76.0 * N as f32).max(20.0);
                ui.scope(|ui| {
                    ui.set_max_width(room);
                    rule::show(ui, &name, size::SMALL);
                });
            }
        };
        line(ui, &mut add, &texts.map(|text| RichText::new(text).color(p.text)));
    }
    follow
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_of_a_sample_is_shown_as_a_share_of_it() {
        let coactive = vec![(7, 30, 2.0), (9, 45, 101.1), (3, 30, 5.0)];
        let row = FeatureRow { count: 3056, density: 0.005, coactive, ..FeatureRow::default() };
        let rows = together(&row, 20_000, 600_000);
        assert_eq!(rows.iter().map(|r| r.0).collect::<Vec<_>>(), [9, 3, 7], "the largest share first");
        assert!((rows[0].1 - 0.45).abs() < 1e-6, "45 of the 100 of the sample, not of the 3 056 of all");
        assert_eq!(counted_in(20_000, 600_000), "in a sample of 20 000 of 600 000 tokens");
        assert_eq!(counted_in(50, 50), "counted in all 50 tokens");
        assert!((together(&FeatureRow { count: 60, ..row }, 600_000, 600_000)[0].1 - 0.75).abs() < 1e-9);
    }
}
