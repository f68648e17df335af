//! Features of attention heads: through which heads a feature writes, and where its examples come from.

use egui::{Align2, FontId, Label, Rect, RichText, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use crate::data::{AttributionRow, Example, ExampleRow, FeaturePage, HeadsRow, Vocabulary};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::example::Source;
use crate::widgets::{facts, format, notice, text};

/// Height of the bars with their numbers.
const BARS: f32 = 72.0;
/// Heads that are named in a line.
const NAMED: usize = 2;

/// Draws the section of the decoder weights where the run has them.
pub fn section(ui: &mut Ui, page: &FeaturePage) {
    page.heads_gaps.iter().for_each(|gap| notice::problem_line(ui, gap));
    let Some(weights) = &page.heads else { return };
    facts::section(ui, "Decoder weight by head");
    bars(ui, weights);
    facts::caption(ui, "norm of each head's slice, as a share of their sum");
    ui.add_space(space::L);
}

fn bars(ui: &mut Ui, weights: &HeadsRow) {
    let p = palette(ui);
    let (all, row) = ui.allocate_exact_size(vec2(ui.available_width(), BARS), Sense::hover());
    let count = weights.shares.len();
    row.widget_info(|| WidgetInfo::labeled(Role::Image, true, summary(weights)));
    let base = all.bottom() - 16.0;
    let width = all.width() / count.max(1) as f32;
    let most = weights.shares.iter().copied().fold(0.0, f32::max);
    for (head, share) in weights.shares.iter().enumerate() {
        let left = all.left() + head as f32 * width;
        let place = Rect::from_min_max(pos2(left, all.top()), pos2(left + width, all.bottom()));
        let response = ui.interact(place, row.id.with(head), Sense::hover());
        let share = f64::from(*share);
        let words = format!("Head {head}: {} of the decoder weight", format::percent(share));
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &words));
        let tall = if most > 0.0 { share as f32 / most * (base - all.top() - 2.0) } else { 0.0 };
        let gap = (width * 0.12).min(3.0);
        let bar = Rect::from_min_max(pos2(left + gap, base - tall), pos2(left + width - gap, base));
        let colour = if response.hovered() { p.accent } else { p.positive };
        ui.painter().rect_filled(bar, 1.0, colour);
        // Every head has its number where there is room, else the first and the last.
        if width >= 16.0 || head == 0 || head + 1 == count {
            let font = FontId::proportional(size::SMALL);
            let below = pos2(place.center().x, all.bottom());
            ui.painter().text(below, Align2::CENTER_BOTTOM, head, font, p.weak);
        }
        let norm = weights.norms.get(head).map(|n| format!("\nnorm {}", format::value(f64::from(*n))));
        response.on_hover_text(words + &norm.unwrap_or_default());
    }
    ui.painter().hline(all.x_range(), base, Stroke::new(1.0, p.line_strong));
}

/// The picture in words: the heads with the largest shares.
fn summary(weights: &HeadsRow) -> String {
    let largest = largest(&weights.shares, |share| *share);
    let named = largest.map(|(head, share)| format!("head {head} {}", format::percent(f64::from(share))));
    let named: Vec<String> = named.collect();
    format!("Decoder weight of {} heads: most in {}", weights.shares.len(), named.join(", "))
}

/// Numbers and values of the largest by `size`.
fn largest(values: &[f32], size: impl Fn(&f32) -> f32) -> impl Iterator<Item = (usize, f32)> {
    let mut order: Vec<(usize, f32)> = values.iter().copied().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| size(b).total_cmp(&size(a)));
    order.into_iter().take(NAMED)
}

/// What each token of the window that begins at `start` gives.
pub fn of_window(example: &ExampleRow, sources: &AttributionRow, start: u32, len: usize) -> Vec<Source> {
    let seen = sources.start..=example.position;
    (start..)
        .take(len)
        .map(|position| match sources.value_at(position) {
            Some(value) => Source::Gives(value),
            None if seen.contains(&position) => Source::Little,
            None => Source::Unseen,
        })
        .collect()
}

/// The contribution that gets the full colour.
pub fn full(sources: &AttributionRow) -> f32 {
    sources.values.iter().map(|value| value.abs()).fold(0.0, f32::max)
}

/// The line below an example: where it comes from in words, and what is not in the window that begins at
/// `start`.
pub fn line(ui: &mut Ui, example: &Example, vocabulary: &Vocabulary, start: u32) {
    let Some(sources) = &example.sources else { return };
    let words = words(&example.row, sources, vocabulary, start);
    let whole = format::value(f64::from(sources.pre_activation));
    let label = Label::new(RichText::new(words).size(size::SMALL).color(palette(ui).weak)).wrap();
    ui.add(label).on_hover_text(format!(
        "All tokens, BOS and the constant add up to the pre-activation {whole}; so do all heads and the constant"
    ));
}

fn words(example: &ExampleRow, sources: &AttributionRow, vocabulary: &Vocabulary, start: u32) -> String {
    let signed = |value: f32| format::signed(f64::from(value));
    let mut parts = Vec::new();
    let most = sources.listed().max_by(|a, b| a.2.abs().total_cmp(&b.2.abs()));
    if let Some((position, token, value)) = most {
        let back = example.position.saturating_sub(position);
        let place =
            if back == 0 { "itself".to_owned() } else { format!("{} back", format::grouped(back.into())) };
        let token = text::in_list(&vocabulary.show(token));
        parts.push(format!("most from “{token}”, {place} {}", signed(value)));
    }
    let before: Vec<f32> = sources.listed().filter(|t| t.0 < start).map(|t| t.2).collect();
    if !before.is_empty() {
        let tokens = if before.len() == 1 { "token" } else { "tokens" };
        parts.push(format!("{} {tokens} further back {}", before.len(), signed(before.iter().sum())));
    }
    parts.extend(sources.bos.map(|bos| format!("BOS {}", signed(bos))));
    if sources.rest != 0.0 {
        parts.push(format!("others {}", signed(sources.rest)));
    }
    parts.push(format!("constant {}", signed(sources.constant)));
    let heads = largest(&sources.heads, |part| part.abs());
    let heads: Vec<String> = heads.map(|(head, part)| format!("head {head} {}", signed(part))).collect();
    if !heads.is_empty() {
        parts.push(format!("most through {}", heads.join(", ")));
    }
    parts.join("  ·  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Example {
        let sources = AttributionRow {
            start: 90,
            pre_activation: 2.0,
            constant: -0.5,
            bos: Some(0.25),
            rest: 0.75,
            sources: vec![92, 104, 105],
            tokens: vec![1, 0, 1],
            values: vec![0.5, -1.5, 0.25],
            heads: vec![0.1, -2.0, 1.0],
            ..AttributionRow::default()
        };
        let row = ExampleRow { position: 105, start: 88, tokens: vec![0; 20], ..ExampleRow::default() };
        Example { row, sources: Some(sources) }
    }

    #[test]
    fn a_token_gives_something_or_little_or_is_not_seen() {
        let example = example();
        let sources = example.sources.as_ref().unwrap();
        let found = of_window(&example.row, sources, 88, 20);
        assert_eq!(
            found[..5],
            [Source::Unseen, Source::Unseen, Source::Little, Source::Little, Source::Gives(0.5),]
        );
        assert_eq!(found[16..], [Source::Gives(-1.5), Source::Gives(0.25), Source::Unseen, Source::Unseen]);
        assert_eq!(full(sources), 1.5);
    }

    #[test]
    fn words_name_what_is_not_in_the_window() {
        let vocabulary = Vocabulary::from_texts([" forest", " b"]);
        let example = example();
        let found = words(&example.row, example.sources.as_ref().unwrap(), &vocabulary, 100);
        assert_eq!(
            found,
            "most from “·forest”, 1 back −1.50  ·  1 token further back +0.50  ·  BOS +0.25  ·  others +0.75  ·  constant −0.50  \
             ·  most through head 1 −2.00, head 2 +1.00"
        );
    }

    #[test]
    fn the_picture_is_told_in_words() {
        let weights = HeadsRow { feature: 0, norms: vec![0.1, 0.6, 0.3], shares: vec![0.1, 0.6, 0.3] };
        assert_eq!(summary(&weights), "Decoder weight of 3 heads: most in head 1 60.0 %, head 2 30.0 %");
    }
}
