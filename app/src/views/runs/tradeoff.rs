//! What sparsity costs: every run of the folder as a point, L0 across, quality up. The line joins the runs that no other one
//! beats in both.

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
        RichText::new("Up and to the left is better. Filled: held-out text (sae evaluate); hollow: the last step of training. Click a run to select it.")
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

fn plot(
    ui: &mut Ui,
    name: &str,
    quality: Quality,
    selected: &[PathBuf],
    scene: &Scene<'_>,
) -> Option<PathBuf> {
    let p = palette(ui);
    let points: Vec<(&RunEntry, [f64; 2], bool)> = scene
        .folder
        .runs
        .iter()
        .filter_map(|run| {
            let info = run.info.as_ref().ok()?;
            Some((run, [info.l0?, quality(info)?], info.evaluation.is_some()))
        })
        .filter(|(_, place, _)| place.iter().all(|x| x.is_finite()))
        .collect();
    if points.is_empty() {
        let how = "`sae evaluate` measures it.";
        ui.scope(|ui| {
            ui.set_height(200.0);
            notice::empty(ui, "No run has this number", how);
        });
        return None;
    }
    facts::caption(ui, format!("{} runs", points.len()));
    let named = name.to_owned();
    let shown = Plot::new(("trade-off", name))
        .height((ui.available_height() - 16.0).clamp(180.0, 420.0))
        .allow_scroll(false)
        .set_margin_fraction(egui::vec2(0.12, 0.12))
        .x_axis_label("L0")
        .x_grid_spacer(uniform_grid_spacer(|input| steps(input.bounds, 4.0)))
        .y_grid_spacer(uniform_grid_spacer(|input| steps(input.bounds, 4.0)))
        .x_axis_formatter(|mark, _| format::value(mark.value))
        .y_axis_formatter(|mark, _| format::value(mark.value))
        .y_axis_min_width(44.0)
        .grid_color(p.line)
        .grid_fade(0.0)
        .label_formatter(move |at| match at {
            HoverPosition::NearDataPoint { plot_name, position, .. } if !plot_name.is_empty() => {
                Some(format!("{plot_name}\nL0 {:.1}\n{named} {:.3}", position.x, position.y))
            }
            _ => None,
        })
        .show(ui, |plot| {
            let front: Vec<[f64; 2]> = front(&points.iter().map(|(_, place, _)| *place).collect::<Vec<_>>());
            plot.line(Line::new("", front).color(p.line_strong).width(1.0).allow_hover(false));
            for (run, place, evaluated) in &points {
                let at = selected.iter().position(|s| *s == run.path);
                let colour = at.map_or(p.weak, |i| p.curve(i));
                let radius = if at.is_some() { 6.0 } else { 4.5 };
                plot.points(
                    Points::new(run.name.clone(), vec![*place])
                        .color(colour)
                        .filled(*evaluated)
                        .shape(MarkerShape::Circle)
                        .radius(radius),
                );
            }
        });
    let at = shown.response.interact_pointer_pos().filter(|_| shown.response.clicked())?;
    let distance = |place: &[f64; 2]| {
        shown.transform.position_from_point(&PlotPoint::new(place[0], place[1])).distance(at)
    };
    let nearest = points.iter().min_by(|a, b| distance(&a.1).total_cmp(&distance(&b.1)))?;
    (distance(&nearest.1) <= NEAR).then(|| nearest.0.path.clone())
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
