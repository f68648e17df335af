//! The scores of a claim as bars with their intervals.

use egui::{FontId, Rect, RichText, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use crate::claims::{Estimate, Tally};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::format;

/// Width of one score.
const WIDTH: f32 = 168.0;

/// Name, explanation and value of each score.
fn named(tally: &Tally) -> [(&'static str, &'static str, Option<Estimate>); 4] {
    let of = |get: fn(&crate::claims::Scores) -> Estimate| tally.scores.as_ref().map(get);
    [
        (
            "precision",
            "Of the tokens that the claim applies to, the share that the feature fires on",
            of(|s| s.precision),
        ),
        (
            "recall",
            "Of the tokens that the feature fires on, the share that the claim applies to",
            of(|s| s.recall),
        ),
        ("F1", "2 · precision · recall / (precision + recall)", of(|s| s.f1)),
        (
            "correlation",
            "Of the activation with what the claim predicts: the mean activation where it applies, 0 elsewhere",
            of(|s| s.correlation),
        ),
    ]
}

/// Draws the scores on the documents that the claim was not made from, and the F1 on those that it was made from for comparison.
pub fn show(ui: &mut Ui, measured: &Tally, made: &Tally) {
    let p = palette(ui);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(space::L, space::XS);
        for (name, about, estimate) in named(measured) {
            score(ui, name, about, estimate);
        }
    });
    let over = format!(
        "on {} held-back documents, {} tokens · intervals of 95 % over documents",
        format::grouped(measured.documents),
        format::count(measured.tokens)
    );
    let f1 = made.scores.map_or_else(|| "–".to_owned(), |s| format!("{:.3}", s.f1.value));
    ui.label(RichText::new(over).size(size::SMALL).color(p.weak)).on_hover_text(
        "Wilson's interval, for as many independent tokens as the jackknife over documents says that these are worth",
    );
    ui.label(RichText::new(format!("F1 {f1} on the documents shown below")).size(size::SMALL).color(p.weak))
        .on_hover_text("A claim that fits these much better than the others says too much about them");
}

fn score(ui: &mut Ui, name: &str, about: &str, estimate: Option<Estimate>) {
    let p = palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(WIDTH, 34.0), Sense::hover());
    let words = match estimate {
        Some(e) => format!("{name} {:.3}, 95 % interval {:.3} to {:.3}", e.value, e.low, e.high),
        None => format!("{name}: none, the claim applies to no token or to all"),
    };
    response.widget_info(|| WidgetInfo::labeled(Role::Meter, true, &words));
    let painter = ui.painter();
    let text = |pos, align, text: String, points, color| {
        painter.text(pos, align, text, FontId::proportional(points), color);
    };
    text(rect.left_top(), egui::Align2::LEFT_TOP, name.to_owned(), size::BODY, p.text);
    let value = estimate.map_or_else(|| "–".to_owned(), |e| format!("{:.3}", e.value));
    text(rect.right_top(), egui::Align2::RIGHT_TOP, value, size::BODY, p.strong);
    let bar =
        Rect::from_min_max(pos2(rect.left(), rect.bottom() - 9.0), pos2(rect.right(), rect.bottom() - 3.0));
    painter.rect_filled(bar, 1.0, p.control_hover);
    if let Some(e) = estimate {
        let x = |share: f64| bar.left() + bar.width() * share.clamp(0.0, 1.0) as f32;
        painter.rect_filled(bar.with_max_x(x(e.value)), 1.0, p.accent);
        let (low, high, y) = (x(e.low), x(e.high), bar.center().y);
        let stroke = Stroke::new(1.5, p.strong);
        painter.hline(low..=high, y, stroke);
        painter.vline(low, y - 4.0..=y + 4.0, stroke);
        painter.vline(high, y - 4.0..=y + 4.0, stroke);
    }
    response.on_hover_text(format!("{about}\n{words}"));
}
