//! AUC by number of columns: dictionaries as lines with their intervals, controls thinner and dashed.

use egui::{Color32, RichText, Sense, Ui};
use egui_plot::{HLine, HoverPosition, Line, LineStyle, Plot, Points, uniform_grid_spacer};

use crate::data::probes::{ALL_COLUMNS, ProbeCurve, ProbePoint};
use crate::theme::tokens::Palette;
use crate::theme::{palette, space};
use crate::widgets::{facts, format};

/// The colour and the style of a curve: dictionaries in the colours of curves, controls in one that holds back.
fn drawn(p: &Palette, curves: &[ProbeCurve], at: usize) -> (Color32, LineStyle) {
    let controls = curves[..at].iter().filter(|curve| !curve.control.is_empty()).count();
    match curves[at].control.is_empty() {
        true => (p.curve(at - controls), LineStyle::Solid),
        false => match controls % 3 {
            0 => (p.strong, LineStyle::dashed_dense()),
            1 => (p.weak, LineStyle::dashed_loose()),
            _ => (p.weak, LineStyle::dotted_dense()),
        },
    }
}

/// Draws `curves` over the numbers of columns `ks`, with the list of what is what below. What has no number of columns of its own is
/// a level line.
pub fn show(ui: &mut Ui, curves: &[ProbeCurve], ks: &[u32]) {
    let p = palette(ui);
    let names: Vec<String> = ks.iter().map(u32::to_string).collect();
    let place = |k: u32| ks.iter().position(|other| *other == k).map(|at| at as f64);
    let hover = names.clone();
    Plot::new("probes")
        .height(240.0)
        .allow_scroll(false)
        .allow_zoom(false)
        .allow_drag(false)
        .set_margin_fraction(egui::vec2(0.06, 0.08))
        .x_grid_spacer(uniform_grid_spacer(|_| [1.0, 1.0, 1.0]))
        .x_axis_formatter(move |mark, _| name_at(&names, mark.value))
        .y_axis_formatter(|mark, _| format::tick(mark.value, mark.step_size))
        .x_axis_label("columns of the probe")
        .y_axis_min_width(44.0)
        .grid_color(p.line)
        .grid_fade(0.0)
        .label_formatter(move |at| match at {
            HoverPosition::NearDataPoint { plot_name, position, .. } if !plot_name.is_empty() => {
                Some(format!("{plot_name}\nk {}: AUC {:.3}", name_at(&hover, position.x), position.y))
            }
            _ => None,
        })
        .show(ui, |plot| {
            for (at, curve) in curves.iter().enumerate() {
                let (colour, style) = drawn(p, curves, at);
                let width = if curve.control.is_empty() { 2.0 } else { 1.2 };
                if let Some(level) = curve.auc(ALL_COLUMNS) {
                    plot.hline(HLine::new(&curve.dictionary, level).color(colour).style(style).width(width));
                }
                let points: Vec<[f64; 2]> =
                    curve.points.iter().filter_map(|point| Some([place(point.k)?, point.auc])).collect();
                for point in curve.points.iter().filter(|_| curve.control.is_empty()) {
                    if let (Some(x), Some([low, high])) = (place(point.k), point.interval) {
                        let interval = Line::new("", vec![[x, low], [x, high]]);
                        plot.line(interval.color(colour.gamma_multiply(0.5)).width(1.0).allow_hover(false));
                    }
                }
                plot.points(Points::new(&curve.dictionary, points.clone()).color(colour).radius(width + 1.0));
                plot.line(Line::new(&curve.dictionary, points).color(colour).style(style).width(width));
            }
        });
    ui.add_space(space::S);
    ui.spacing_mut().item_spacing.y = 0.0;
    for (at, curve) in curves.iter().enumerate() {
        let (colour, style) = drawn(p, curves, at);
        entry(ui, curve, ks, colour, style);
    }
}

fn name_at(names: &[String], x: f64) -> String {
    let whole = (x - x.round()).abs() < 1e-6 && x > -0.5;
    names.get(x.round() as usize).filter(|_| whole).cloned().unwrap_or_default()
}

/// One curve in words: its sign, its name, AUC with the fewest and the most columns.
fn entry(ui: &mut Ui, curve: &ProbeCurve, ks: &[u32], colour: Color32, style: LineStyle) {
    ui.horizontal(|ui| {
        let (rect, _) = ui.allocate_exact_size(egui::vec2(28.0, 12.0), Sense::hover());
        let level = curve.auc(ALL_COLUMNS).is_some();
        sign(ui, rect, egui::Stroke::new(2.0, colour), style, level);
        let p = palette(ui);
        let control = style != LineStyle::Solid;
        let name = RichText::new(&curve.dictionary).color(if control { p.text } else { p.strong });
        let label = ui.label(name);
        if !curve.control.is_empty() {
            label.on_hover_text(&curve.control);
        }
        facts::caption(ui, told(curve, ks));
    });
}

/// What stands for a curve in the list: its line as in the plot, with a point where the curve has points.
fn sign(ui: &Ui, rect: egui::Rect, stroke: egui::Stroke, style: LineStyle, level: bool) {
    let (painter, ends) = (ui.painter(), [rect.left_center(), rect.right_center()]);
    let shapes = match style {
        LineStyle::Solid => vec![egui::Shape::line_segment(ends, stroke)],
        LineStyle::Dashed { length } => egui::Shape::dashed_line(&ends, stroke, length, length * 0.6),
        LineStyle::Dotted { spacing } => {
            egui::Shape::dotted_line(&ends, stroke.color, spacing, stroke.width / 2.0)
        }
    };
    painter.extend(shapes);
    if !level {
        painter.circle_filled(rect.center(), 3.0, stroke.color);
    }
}

/// The figures of a curve: with its interval where only one number of columns was probed, else from the fewest to the most.
fn told(curve: &ProbeCurve, ks: &[u32]) -> String {
    let figure = |point: &ProbePoint| match point.interval {
        Some([low, high]) => format!("{:.3} [{low:.3}, {high:.3}]", point.auc),
        None => format!("{:.3}", point.auc),
    };
    let probed: Vec<&ProbePoint> = curve.points.iter().filter(|point| ks.contains(&point.k)).collect();
    match (&probed[..], curve.points.first()) {
        ([], Some(level)) => figure(level),
        ([], None) => format::MISSING.to_owned(),
        ([only], _) => format!("k {}: {}", only.k, figure(only)),
        ([first, .., last], _) => {
            format!("k {}: {}   k {}: {}", first.k, figure(first), last.k, figure(last))
        }
    }
}
