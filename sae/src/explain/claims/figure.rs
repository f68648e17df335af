//! A tested claim on paper: as Markdown, and as one figure in SVG.

use std::fmt::Write as _;

use storage::claims::ClaimIntervention;

use super::evidence::{ClaimTest, Outcome};
use super::score::{Estimate, Tally};
use crate::picture::escaped;

/// A place with its text.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Name of the document.
    pub document: String,
    /// Position of the token in it.
    pub position: u32,
    /// The activation; 0 where the feature does not fire.
    pub value: f32,
    /// What the claim says of it.
    pub outcome: Outcome,
    /// The text before the token, the token, and the text after it.
    pub text: [String; 3],
}

/// What is shown of a claim.
#[derive(Debug, Clone, Copy)]
pub struct Figure<'a> {
    /// Whose feature: run, model and hook.
    pub of: &'a str,
    /// The rule in words.
    pub words: &'a str,
    /// The test.
    pub test: &'a ClaimTest,
    /// Places that are shown.
    pub lines: &'a [Line],
    /// What changing features did.
    pub interventions: &'a [ClaimIntervention],
}

/// Width of the figure, in points.
const WIDTH: f64 = 960.0;
/// Bins of its histogram.
const BINS: usize = 40;
/// Characters before and after a token.
const AROUND: usize = 44;
/// Colours of hits, misses and false alarms, which differ in lightness too; a sign stands next to each.
const COLORS: [&str; 3] = ["#1b72c0", "#a86b00", "#c22f2f"];

impl Outcome {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::FalseAlarm => "false alarm",
        }
    }

    /// A sign for it.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Hit => "✓",
            Self::Miss => "○",
            Self::FalseAlarm => "×",
        }
    }
}

impl Figure<'_> {
    fn named(&self) -> Vec<(&'static str, Estimate)> {
        let scores = self.test.measured.scores;
        scores.map_or_else(Vec::new, |s| {
            vec![
                ("precision", s.precision),
                ("recall", s.recall),
                ("F1", s.f1),
                ("correlation", s.correlation),
            ]
        })
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let test = self.test;
        let mut out = format!("## Feature {} fires {}\n\n{}\n\n", test.feature, self.words, self.of);
        let _ = writeln!(out, "    {}\n", test.rule);
        let _ = writeln!(out, "| score | value | 95 % interval |\n|---|---|---|");
        for (name, score) in self.named() {
            let _ = writeln!(out, "| {name} | {:.3} | {:.3} to {:.3} |", score.value, score.low, score.high);
        }
        let _ = writeln!(out, "\n{}\n", measured_on(&test.measured));
        if !self.lines.is_empty() {
            let _ = writeln!(out, "| | activation | document | text |\n|---|---|---|---|");
        }
        for line in self.lines {
            let [before, token, after] = line.text.each_ref().map(|text| cell(text));
            let (sign, name) = (line.outcome.sign(), line.outcome.name());
            let place = format!("{} {}", cell(&line.document), line.position);
            let _ =
                writeln!(out, "| {sign} {name} | {:.3} | {place} | {before}**{token}**{after} |", line.value);
        }
        if !self.interventions.is_empty() {
            let _ = writeln!(
                out,
                "\n| change | document | KL, nats/token | random directions | loss, nats/token | random directions |\n|---|---|---|---|---|---|"
            );
        }
        for one in self.interventions {
            let place = format!("{} {}", one.document, one.position);
            let loss = one.loss.map_or_else(|| "–".to_owned(), |[a, b]| format!("{a:.4} → {b:.4}"));
            let _ = writeln!(
                out,
                "| {} | {place} | {:.5} | {} | {loss} | {} |",
                cell(&one.change),
                one.kl,
                spread(one.random_kl, 5),
                spread(one.random_loss, 4)
            );
        }
        out
    }

    /// As a picture: the claim, its scores with their intervals, the histogram of activations, and the lines.
    pub fn svg(&self) -> String {
        let (top, rows) = (250.0, self.lines.len() as f64 * 20.0);
        let changes = match self.interventions.len() {
            0 => 0.0,
            n => 40.0 + 20.0 * n as f64,
        };
        let height = top + rows + changes + 32.0;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"sans-serif\" font-size=\"13\" fill=\"#2c333d\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        );
        let title = format!("Feature {} fires {}", self.test.feature, self.words);
        text(&mut out, 24.0, 36.0, "font-size=\"18\" fill=\"#0b1018\"", &cut(&title, 96));
        text(&mut out, 24.0, 56.0, "fill=\"#646f7d\"", &cut(self.of, 130));
        self.scores(&mut out);
        self.histogram(&mut out);
        for (i, line) in self.lines.iter().enumerate() {
            line.draw(&mut out, top + 20.0 * i as f64);
        }
        self.changes(&mut out, top + rows);
        let foot = measured_on(&self.test.measured);
        text(&mut out, 24.0, height - 12.0, "font-size=\"11\" fill=\"#646f7d\"", &foot);
        out.push_str("</svg>\n");
        out
    }

    fn scores(&self, out: &mut String) {
        for (i, (name, score)) in self.named().into_iter().enumerate() {
            let y = 92.0 + 28.0 * i as f64;
            let at = |value: f64| 120.0 + 200.0 * value.clamp(0.0, 1.0);
            text(out, 24.0, y, "", name);
            rectangle(out, [120.0, y - 9.0, 200.0, 8.0], "#eef1f4");
            rectangle(out, [120.0, y - 9.0, at(score.value) - 120.0, 8.0], COLORS[0]);
            let (low, high) = (at(score.low), at(score.high));
            let _ = writeln!(
                out,
                "<path d=\"M{low:.1} {a:.1}V{b:.1}M{low:.1} {m:.1}H{high:.1}M{high:.1} {a:.1}V{b:.1}\" stroke=\"#0b1018\" fill=\"none\"/>",
                a = y - 10.0,
                m = y - 5.0,
                b = y
            );
            text(out, 332.0, y, "", &format!("{:.3}  ({:.3} to {:.3})", score.value, score.low, score.high));
        }
    }

    /// What changing features did: the KL as a bar, that of random directions of the same length as a range.
    fn changes(&self, out: &mut String, top: f64) {
        let most = |one: &ClaimIntervention| one.kl.max(one.random_kl.map_or(0.0, |[_, _, high]| high));
        let most = self.interventions.iter().map(most).fold(f64::MIN_POSITIVE, f64::max);
        for (i, one) in self.interventions.iter().enumerate() {
            if i == 0 {
                let head = "Changes in the model: KL of the predictions, nats per token; │ random directions of the same length";
                text(out, 24.0, top + 16.0, "fill=\"#646f7d\"", head);
            }
            let y = top + 40.0 + 20.0 * i as f64;
            text(out, 24.0, y, "", &cut(&one.change, 36));
            text(
                out,
                270.0,
                y,
                "font-size=\"11\" fill=\"#646f7d\"",
                &format!("document {} {}", one.document, one.position),
            );
            let at = |value: f64| 420.0 + 180.0 * (value / most).clamp(0.0, 1.0);
            rectangle(out, [420.0, y - 9.0, 180.0, 8.0], "#eef1f4");
            rectangle(out, [420.0, y - 9.0, at(one.kl) - 420.0, 8.0], COLORS[0]);
            if let Some([_, low, high]) = one.random_kl {
                let (low, high) = (at(low), at(high));
                let _ = writeln!(
                    out,
                    "<path d=\"M{low:.1} {a:.1}V{b:.1}M{low:.1} {m:.1}H{high:.1}M{high:.1} {a:.1}V{b:.1}\" stroke=\"#0b1018\" fill=\"none\"/>",
                    a = y - 11.0,
                    m = y - 5.0,
                    b = y + 1.0
                );
            }
            let loss = one.loss.map_or_else(String::new, |[a, b]| format!("   loss {a:.3} → {b:.3}"));
            text(out, 612.0, y, "", &format!("{:.5}   random {}{loss}", one.kl, spread(one.random_kl, 5)));
        }
    }

    /// Firings by activation, hits below and misses on top of them.
    fn histogram(&self, out: &mut String) {
        let fired = || self.test.places.iter().filter(|place| place.outcome != Outcome::FalseAlarm);
        let max = fired().map(|place| place.value).fold(0.0, f32::max);
        if max <= 0.0 {
            return;
        }
        let mut bins = [[0u64; 2]; BINS];
        for place in fired() {
            let bin = ((place.value / max * BINS as f32) as usize).min(BINS - 1);
            bins[bin][usize::from(place.outcome == Outcome::Miss)] += 1;
        }
        let most = bins.iter().map(|bin| bin[0] + bin[1]).max().unwrap_or(1) as f64;
        let (left, base, width, height) = (560.0, 190.0, 376.0, 110.0);
        let step = width / BINS as f64;
        for (i, [hits, misses]) in bins.into_iter().enumerate() {
            // Square roots: a feature fires weakly far more often than strongly.
            let share = |n: u64| (n as f64 / most).sqrt() * height;
            let (all, hit) =
                (share(hits + misses), share(hits + misses) * hits as f64 / (hits + misses).max(1) as f64);
            let x = left + step * i as f64;
            rectangle(out, [x, base - hit, step - 1.0, hit], COLORS[0]);
            rectangle(out, [x, base - all, step - 1.0, all - hit], COLORS[1]);
        }
        text(out, left, base + 16.0, "font-size=\"11\" fill=\"#646f7d\"", "0");
        text(
            out,
            left + width,
            base + 16.0,
            "font-size=\"11\" fill=\"#646f7d\" text-anchor=\"end\"",
            &format!("{max:.2}"),
        );
        let key = "activation; ✓ hits below, ○ misses above; heights as square roots";
        text(
            out,
            left + width / 2.0,
            base + 16.0,
            "font-size=\"11\" fill=\"#646f7d\" text-anchor=\"middle\"",
            key,
        );
    }
}

impl Line {
    fn draw(&self, out: &mut String, y: f64) {
        let color = COLORS[self.outcome as usize];
        text(out, 24.0, y, &format!("fill=\"{color}\""), self.outcome.sign());
        let value = if self.value > 0.0 { format!("{:.2}", self.value) } else { "–".to_owned() };
        text(out, 88.0, y, "fill=\"#646f7d\" text-anchor=\"end\"", &value);
        text(out, 100.0, y, "font-size=\"11\" fill=\"#646f7d\"", &cut(&self.document, 18));
        let mono = "font-family=\"monospace\" font-size=\"12\" xml:space=\"preserve\"";
        let before: String = one_line(&self.text[0]);
        let skipped = before.chars().count().saturating_sub(AROUND);
        let before: String = before.chars().skip(skipped).collect();
        text(out, 540.0, y, &format!("{mono} text-anchor=\"end\""), &before);
        let _ = writeln!(
            out,
            "<text x=\"540\" y=\"{y}\" {mono}><tspan font-weight=\"bold\" fill=\"{color}\">{}</tspan>{}</text>",
            escaped(&one_line(&self.text[1])),
            escaped(&cut(&one_line(&self.text[2]), AROUND))
        );
    }
}

/// A mean with its least and largest draw.
fn spread(of: Option<[f64; 3]>, decimals: usize) -> String {
    of.map_or_else(
        || "–".to_owned(),
        |[mean, low, high]| format!("{mean:.decimals$} ({low:.decimals$} to {high:.decimals$})"),
    )
}

fn measured_on(tally: &Tally) -> String {
    format!(
        "Measured on {} tokens of {} documents that it was not made from: {} hits, {} misses, {} false alarms.",
        tally.tokens, tally.documents, tally.hits, tally.misses, tally.false_alarms
    )
}

fn text(out: &mut String, x: f64, y: f64, attributes: &str, content: &str) {
    let _ = writeln!(out, "<text x=\"{x}\" y=\"{y}\" {attributes}>{}</text>", escaped(content));
}

fn rectangle(out: &mut String, [x, y, width, height]: [f64; 4], color: &str) {
    if height > 0.0 && width > 0.0 {
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{color}\"/>"
        );
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r', '\t'], " ")
}

/// A text in a cell of a table, with the signs that Markdown would act on written so that it does not.
fn cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        if matches!(c, '|' | '*' | '_' | '`' | '<' | '\\' | '[') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn cut(text: &str, most: usize) -> String {
    let mut short: String = text.chars().take(most).collect();
    if text.chars().count() > most {
        short.pop();
        short.push('…');
    }
    short
}
