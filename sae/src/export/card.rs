//! One feature as a picture: SVG, which papers and chats take and every browser shows.
//!
//! The letters of an example stand in cells of equal width (`textLength`), so that the shading fits whatever font the reader has.

use std::fmt::Write as _;

use super::indexed::{Feature, Indexed};
use super::number::grouped;
use super::options::ExportOptions;
use super::text::{escaped, visible};
use super::weights::Subject;
use crate::{Error, Progress, Result};

const WIDTH: f32 = 760.0;
const MARGIN: f32 = 24.0;
/// Width and height of a cell of an example.
const CELL: f32 = 7.2;
const LINE: f32 = 21.0;
/// Cells of a line of an example.
const CELLS: usize = 98;
/// Cells before the token that an example is about, if there is text enough.
const BEFORE: usize = 62;
/// Examples if no number is given.
const EXAMPLES: usize = 6;
/// Characters of a line of the explanation.
const WRAPPED: usize = 100;
const TOKENS: usize = 6;

/// The card of the one feature that is chosen.
pub(super) fn write(
    subject: &Subject,
    options: &ExportOptions,
    progress: &mut dyn Progress,
) -> Result<(String, u64)> {
    let indexed = Indexed::open(subject)?;
    let chosen = indexed.chosen(&options.choice)?;
    if chosen.len() != 1 {
        return Err(Error::request(format!("a card shows one feature; {} were chosen", chosen.len()))
            .with_remedy("choose one, such as --features 17, or export to html"));
    }
    let mut svg = String::new();
    indexed.for_each(&chosen, progress, |feature| {
        svg = draw(subject, &indexed, &feature, options.examples.unwrap_or(EXAMPLES));
        Ok(())
    })?;
    Ok((svg, 1))
}

fn draw(subject: &Subject, indexed: &Indexed, feature: &Feature, examples: usize) -> String {
    let mut card = Card { body: String::new(), y: MARGIN };
    card.head(feature);
    card.figures(feature);
    card.examples(indexed, feature, examples);
    card.lists(indexed, feature);
    card.foot(subject, indexed);
    let height = card.y + 6.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"'Noto Sans', 'DejaVu Sans', Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"#16191d\">\n\
         <!-- sae-workbench export: card -->\n<title>Feature {}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" rx=\"10\" fill=\"#ffffff\" stroke=\"#d5dae0\"/>\n{}</svg>\n",
        feature.row.feature, card.body
    )
}

struct Card {
    body: String,
    /// Where the next thing begins, from above.
    y: f32,
}

impl Card {
    fn text(&mut self, x: f32, y: f32, attributes: &str, text: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.body, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{}</text>", escaped(text));
    }

    fn rect(&mut self, x: f32, y: f32, size: (f32, f32), attributes: &str) {
        let (width, height) = size;
        let _ = writeln!(
            self.body,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" {attributes}/>"
        );
    }

    fn small(&mut self, x: f32, text: &str) {
        self.text(x, self.y, "font-size=\"11.5\" fill=\"#5c6570\"", text);
    }

    fn head(&mut self, feature: &Feature) {
        self.y += 16.0;
        let label = visible(&feature.label);
        let name = format!("Feature {}", feature.row.feature);
        let title = if label.is_empty() { name } else { format!("{name}: {label}") };
        self.text(MARGIN, self.y, "font-size=\"20\" font-weight=\"600\"", &shortened(&title, 64));
        if let Some(told) = feature.told.first() {
            for line in wrapped(&visible(&told.explanation.text), WRAPPED).into_iter().take(3) {
                self.y += 20.0;
                self.text(MARGIN, self.y, "", &line);
            }
            let scores: Vec<String> = told
                .explanation
                .scores
                .iter()
                .take(3)
                .map(|s| format!("{} {:.2}", s.kind, s.value))
                .collect();
            if !scores.is_empty() {
                self.y += 17.0;
                self.small(MARGIN, &format!("{}: {}", told.explanation.method, scores.join(", ")));
            }
        }
        self.y += 24.0;
    }

    /// The histogram, with what it fires on to the left.
    fn figures(&mut self, feature: &Feature) {
        let row = &feature.row;
        let (left, width, height) = (WIDTH - MARGIN - 300.0, 300.0, 52.0);
        let most = row.histogram.iter().copied().max().unwrap_or(0).max(1);
        let step = width / row.histogram.len().max(1) as f32;
        for (i, &count) in row.histogram.iter().enumerate().filter(|(_, count)| **count > 0) {
            let bar = (height * (count as f32 / most as f32).sqrt()).max(1.0);
            self.rect(left + i as f32 * step, self.y + height - bar, (step * 0.82, bar), "fill=\"#8a94a0\"");
        }
        self.rect(left, self.y + height, (width, 1.0), "fill=\"#d5dae0\"");
        let facts = [
            ("density", share(row.density)),
            ("strongest", format!("{:.3}", row.max)),
            ("mean where it fires", format!("{:.3}", row.mean)),
        ];
        for (i, (name, value)) in facts.iter().enumerate() {
            let x = MARGIN + i as f32 * 136.0;
            self.text(x, self.y + 14.0, "font-size=\"11.5\" fill=\"#5c6570\"", name);
            self.text(x, self.y + 36.0, "font-size=\"17\"", value);
        }
        self.y += height + 14.0;
        self.text(left, self.y, "font-size=\"11.5\" fill=\"#5c6570\"", "activation 0");
        let end = format!("{:.3}", row.max);
        self.text(WIDTH - MARGIN, self.y, "font-size=\"11.5\" fill=\"#5c6570\" text-anchor=\"end\"", &end);
        self.y += 18.0;
    }

    fn examples(&mut self, indexed: &Indexed, feature: &Feature, count: usize) {
        let strongest =
            feature.examples.iter().filter(|e| e.interval == 0 && !e.tokens.is_empty()).take(count);
        for example in strongest {
            let words = indexed.words.in_context(&example.tokens);
            let words: Vec<String> = words.iter().map(|word| visible(word)).collect();
            let widths: Vec<usize> = words.iter().map(|word| cells(word)).collect();
            let marked = example.marked().unwrap_or(0);
            // The window of tokens that fits, with the marked one in it.
            let (mut first, mut taken) = (marked, widths[marked]);
            while first > 0 && taken + widths[first - 1] <= BEFORE {
                first -= 1;
                taken += widths[first];
            }
            let mut at = 0;
            for i in first..words.len() {
                if at + widths[i] > CELLS {
                    break;
                }
                let (x, width) = (MARGIN + at as f32 * CELL, widths[i] as f32 * CELL);
                let value = example.values.get(i).copied().unwrap_or(0.0);
                if value > 0.0 && feature.row.max > 0.0 {
                    let alpha = 0.08 + 0.72 * (value / feature.row.max).min(1.0);
                    let fill = format!("rx=\"3\" fill=\"#f58c14\" fill-opacity=\"{alpha:.2}\"");
                    self.rect(x, self.y, (width, 18.0), &fill);
                }
                if i == marked {
                    self.rect(x, self.y + 17.0, (width, 1.6), "fill=\"#b25e00\"");
                }
                let text = words[i].trim();
                if !text.is_empty() {
                    let lead = cells(&words[i][..words[i].len() - words[i].trim_start().len()]) as f32 * CELL;
                    let attributes = format!(
                        "font-family=\"'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"12\" \
                         textLength=\"{:.1}\" lengthAdjust=\"spacingAndGlyphs\"{}",
                        cells(text) as f32 * CELL,
                        if i == marked { " font-weight=\"700\"" } else { "" }
                    );
                    self.text(x + lead, self.y + 13.5, &attributes, text);
                }
                at += widths[i];
            }
            self.y += LINE + 3.0;
        }
        self.y += 24.0;
    }

    fn lists(&mut self, indexed: &Indexed, feature: &Feature) {
        let row = &feature.row;
        if row.top_logits.is_empty() {
            return;
        }
        for (name, list) in [("promotes", &row.top_logits), ("suppresses", &row.bottom_logits)] {
            let tokens: Vec<String> = list
                .iter()
                .take(TOKENS)
                .map(|(token, logit)| format!("“{}” {logit:+.2}", visible(&indexed.words.one(*token))))
                .collect();
            self.small(MARGIN, name);
            let y = self.y;
            self.text(MARGIN + 78.0, y, "font-size=\"12.5\"", &shortened(&tokens.join("   "), 96));
            self.y += 20.0;
        }
        self.y += 4.0;
    }

    fn foot(&mut self, subject: &Subject, indexed: &Indexed) {
        self.rect(MARGIN, self.y - 6.0, (WIDTH - 2.0 * MARGIN, 1.0), "fill=\"#d5dae0\"");
        self.y += 12.0;
        let parts = [
            subject.model().unwrap_or_default().to_owned(),
            subject.hook().unwrap_or_default().to_owned(),
            format!("{} features", grouped(indexed.record.features)),
            format!("{} tokens indexed", grouped(indexed.record.tokens)),
            "SAE Workbench".to_owned(),
        ];
        let text: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        self.small(MARGIN, &shortened(&text.join("  ·  "), 120));
        self.y += 10.0;
    }
}

fn share(density: f32) -> String {
    if density >= 0.001 { format!("{:.2} %", 100.0 * density) } else { format!("{:.4} %", 100.0 * density) }
}

/// Cells that `text` takes: wide scripts and emoji take two per character, marks that combine none.
fn cells(text: &str) -> usize {
    let width = |c: char| match u32::from(c) {
        0x300..0x370 | 0x591..0x5c8 | 0x64b..0x660 | 0x200b..0x2010 | 0xfe00..0xfe10 => 0,
        0x1100..0x1160
        | 0x2e80..0xa4d0
        | 0xac00..0xd7b0
        | 0xf900..0xfb00
        | 0xff00..0xff61
        | 0x1f300..0x1fb00 => 2,
        _ => 1,
    };
    text.chars().map(width).sum()
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// Lines of at most `most` characters, broken at spaces.
fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(shortened(word, most)),
        }
    }
    lines
}
