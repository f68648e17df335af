//! What sparsity costs: every run of the folder as a point, L0 across, quality up. The line joins the runs
//! that no other one beats in both.

use std::path::PathBuf;

use egui::{RichText, Ui};
use egui_plot::{HoverPosition, Line, MarkerShape, Plot, PlotPoint, Points, uniform_grid_spacer};

use super::curves::steps;
use crate::data::{RunEntry, RunInfo};
use crate::theme::{palette, space};
use crate::views::Scene;
use crate::widgets::{facts, format, notice};

type Quality = fn(&RunInfo) -> Option<f64>;

/// What goes up: name, explanation, number.
const QUALITIES: [(&str, &str, Quality); 2] = [
    ("FVE", "Fraction of variance explained", |info| info.fve),
    ("Loss recovered", "Cross-entropy recovered, against zero ablation", |info| info.loss_recovered),
];

/// How near a click must be to a point, in points of the screen.
const NEAR: f32 = 14.0;

/// Draws both plots; the run that was clicked.
pub fn show(ui: &mut Ui, selected: &[PathBuf], scene: &Scene<'_>) -> Option<PathBuf> {
    let p = palette(ui);
    ui.label(
        RichText::new("Up and to the left is better. Filled: held-out text (`sae evaluate`); hollow: last step of training. Click a run to select it.")
            .color(p.weak),
    );
    ui.add_space(space::S);
    let mut clicked = None;
    let width = (ui.available_width() - space::L) / 2.0;
    let wide = width >= 260.0;
    let mut plots = |ui: &mut Ui, width: f32| {
        for (name, about, quality) in QUALITIES {
            ui.vertical(|ui| {
                ui.set_width(width);
                ui.label(RichText::new(name).color(p.strong)).on_hover_text(about);
                clicked = plot(ui, name, quality, selected, scene).or(clicked.take());
            });
        }
    };
    if wide {
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = space::L;
            plots(ui, width);
        });
    } else {
        let width = ui.available_width();
        plots(ui, width);
    }
    clicked
}

/// A run in the plot.
struct PlottedRun<'a> {
    run: &'a RunEntry,
    /// L0 and quality.
    place: [f64; 2],
    /// Whether both were measured on held-out text.
    held_out: bool,
}

/// The runs that have both numbers.
fn plotted(runs: &[RunEntry], quality: Quality) -> Vec<PlottedRun<'_>> {
    runs.iter()
        .filter_map(|run| {
            let info = run.info.as_ref().ok()?;
            let place = [info.l0?, quality(info)?];
            let finite = place.iter().all(|number| number.is_finite());
            finite.then_some(PlottedRun { run, place, held_out: info.evaluation.is_some() })
        })
        .collect()
}

fn plot(
    ui: &mut Ui,
    name: &str,
    quality: Quality,
    selected: &[PathBuf],
    scene: &Scene<'_>,
) -> Option<PathBuf> {
    let p = palette(ui);
    let runs = plotted(&scene.folder.runs, quality);
    if runs.is_empty() {
        ui.scope(|ui| {
            ui.set_height(200.0);
            notice::empty(ui, "No run has this metric", "Run `sae evaluate` to measure it.");
        });
        return None;
    }
    facts::caption(ui, format!("{} runs", runs.len()));
    let shown = axes(ui, name).show(ui, |plot| {
        let places: Vec<[f64; 2]> = runs.iter().map(|one| one.place).collect();
        plot.line(Line::new("", front(&places)).color(p.line_strong).width(1.0).allow_hover(false));
        for PlottedRun { run, place, held_out } in &runs {
            let at = selected.iter().position(|path| *path == run.path);
            let point = Points::new(run.name.clone(), vec![*place])
                .color(at.map_or(p.weak, |i| p.curve(i)))
                .filled(*held_out)
                .shape(MarkerShape::Circle)
                .radius(if at.is_some() { 6.0 } else { 4.5 });
            plot.points(point);
        }
    });
    let at = shown.response.interact_pointer_pos().filter(|_| shown.response.clicked())?;
    let distance = |one: &&PlottedRun<'_>| {
        let [x, y] = one.place;
        shown.transform.position_from_point(&PlotPoint::new(x, y)).distance(at)
    };
    let nearest = runs.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
    (distance(&nearest) <= NEAR).then(|| nearest.run.path.clone())
}

fn axes<'a>(ui: &Ui, name: &str) -> Plot<'a> {
    let named = name.to_owned();
    Plot::new(("trade-off", name))
        .height((ui.available_height() - 16.0).clamp(180.0, 420.0))
        .allow_scroll(false)
        .set_margin_fraction(egui::vec2(0.12, 0.12))
        .x_axis_label("L0")
        .x_grid_spacer(uniform_grid_spacer(|input| steps(input.bounds, 4.0)))
        .y_grid_spacer(uniform_grid_spacer(|input| steps(input.bounds, 4.0)))
        .x_axis_formatter(|mark, _| format::value(mark.value))
        .y_axis_formatter(|mark, _| format::value(mark.value))
        .y_axis_min_width(44.0)
        .grid_color(palette(ui).line)
        .grid_fade(0.0)
        .label_formatter(move |at| match at {
            HoverPosition::NearDataPoint { plot_name, position, .. } if !plot_name.is_empty() => {
                Some(format!("{plot_name}\nL0 {:.1}\n{named} {:.3}", position.x, position.y))
            }
            _ => None,
        })
}

/// The points that no other one beats in both: less L0 and more quality. From left to right.
fn front(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a[0].total_cmp(&b[0]).then(b[1].total_cmp(&a[1])));
    let mut best = f64::NEG_INFINITY;
    sorted.retain(|point| {
        let better = point[1] > best;
        best = best.max(point[1]);
        better
    });
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_has_what_nothing_beats() {
        let points = [[32.0, 0.9], [16.0, 0.8], [32.0, 0.85], [20.0, 0.7], [64.0, 0.9], [64.0, 0.95]];
        assert_eq!(front(&points), [[16.0, 0.8], [32.0, 0.9], [64.0, 0.95]]);
        assert!(front(&[]).is_empty());
    }
}
