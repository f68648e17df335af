//! What sparsity costs: runs of one model, hook and dataset as points, L0 across, quality up. The line joins the runs
//! on held-out text that no other one beats in both.

use std::path::PathBuf;

use egui::{ComboBox, RichText, Role, Ui, WidgetInfo};
use egui_plot::{HoverPosition, Line, MarkerShape, Plot, PlotPoint, Points, uniform_grid_spacer};

use crate::data::{Folder, RunEntry, RunInfo};
use crate::theme::{palette, space};
use crate::views::Scene;
use crate::widgets::charts::steps;
use crate::widgets::{facts, format, notice};

type Quality = fn(&RunInfo) -> Option<f64>;

/// What goes up: name, explanation, number.
const QUALITIES: [(&str, &str, Quality); 2] = [
    ("FVE", "Fraction of variance explained", |info| info.fve),
    ("Loss recovered", "Cross-entropy recovered, against zero ablation", |info| info.loss_recovered),
];

/// How near a click must be to a point, in points of the screen.
const NEAR: f32 = 14.0;

/// What runs must have in common to be compared: model, hook and dataset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting {
    model: String,
    hook: String,
    dataset: String,
}

impl Setting {
    fn of(folder: &Folder, run: &RunEntry) -> Option<Self> {
        let info = run.info.as_ref().ok()?;
        let recorded = PathBuf::from(&info.dataset);
        let dataset = folder.data_of(&run.path).map_or(recorded, |data| data.path.clone());
        let dataset = folder.name_of(&dataset).into_owned();
        Some(Self { model: info.model.clone(), hook: info.hook.clone(), dataset })
    }

    fn name(&self) -> String {
        format!("{} · {} · {}", self.model, self.hook, self.dataset)
    }
}

/// All settings of the folder with how many runs each has, by name.
fn settings(folder: &Folder) -> Vec<(Setting, usize)> {
    let mut all: Vec<Setting> = folder.runs.iter().filter_map(|run| Setting::of(folder, run)).collect();
    all.sort();
    all.chunk_by(|a, b| a == b).map(|same| (same[0].clone(), same.len())).collect()
}

/// The setting that is shown: the chosen one, or that of the first selected run, or that with the most runs.
fn shown_setting(folder: &Folder, selected: &[PathBuf], chosen: Option<&Setting>) -> Option<Setting> {
    let all = settings(folder);
    let chosen = chosen.filter(|chosen| all.iter().any(|(setting, _)| setting == *chosen)).cloned();
    let of_selected = || selected.iter().find_map(|path| Setting::of(folder, folder.run(path)?));
    let largest = || all.iter().max_by_key(|(_, runs)| *runs).map(|(setting, _)| setting.clone());
    chosen.or_else(of_selected).or_else(largest)
}

/// Draws both plots; the run that was clicked.
pub fn show(
    ui: &mut Ui,
    selected: &[PathBuf],
    chosen: &mut Option<Setting>,
    scene: &Scene<'_>,
) -> Option<PathBuf> {
    let p = palette(ui);
    ui.label(
        RichText::new("Up and to the left is better. Filled: held-out text; hollow: last step of training. Click a run to select it.")
            .color(p.weak),
    );
    let setting = shown_setting(scene.folder, selected, chosen.as_ref());
    choose(ui, setting.as_ref(), chosen, scene.folder);
    ui.add_space(space::S);
    let mut clicked = None;
    let width = (ui.available_width() - space::L) / 2.0;
    let wide = width >= 260.0;
    let mut plots = |ui: &mut Ui, width: f32| {
        for (name, about, quality) in QUALITIES {
            ui.vertical(|ui| {
                ui.set_width(width);
                ui.label(RichText::new(name).color(p.strong)).on_hover_text(about);
                clicked = plot(ui, (name, quality), selected, setting.as_ref(), scene).or(clicked.take());
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

/// Which setting, where there are several.
fn choose(ui: &mut Ui, setting: Option<&Setting>, chosen: &mut Option<Setting>, folder: &Folder) {
    let all = settings(folder);
    let Some(setting) = setting else { return };
    if all.len() < 2 {
        facts::caption(ui, setting.name());
        return;
    }
    let combo = ComboBox::from_id_salt("setting").selected_text(setting.name()).width(420.0).truncate();
    let shown = combo.show_ui(ui, |ui| {
        for (other, runs) in &all {
            let text = format!("{} ({runs})", other.name());
            if ui.selectable_label(other == setting, text).clicked() {
                *chosen = Some(other.clone());
            }
        }
    });
    shown.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Model, hook and dataset"));
}

/// A run in the plot.
struct PlottedRun<'a> {
    run: &'a RunEntry,
    /// L0 and quality; a quality beyond 0 to 1 lies on the edge.
    place: [f64; 2],
    /// The quality as it is.
    quality: f64,
    /// Whether both were measured on held-out text.
    held_out: bool,
}

/// The runs of `setting` that have both numbers.
fn plotted<'a>(folder: &'a Folder, setting: Option<&Setting>, quality: Quality) -> Vec<PlottedRun<'a>> {
    let of_setting = |run: &&RunEntry| Setting::of(folder, run).as_ref() == setting;
    let plotted = |run: &'a RunEntry| {
        let info = run.info.as_ref().ok()?;
        let (l0, quality) = (info.l0?, quality(info)?);
        // One run that went wrong must not flatten all others.
        let place = [l0, quality.clamp(0.0, 1.0)];
        let finite = l0.is_finite() && quality.is_finite();
        finite.then_some(PlottedRun { run, place, quality, held_out: info.evaluation.is_some() })
    };
    folder.runs.iter().filter(of_setting).filter_map(plotted).collect()
}

fn plot(
    ui: &mut Ui,
    (name, quality): (&str, Quality),
    selected: &[PathBuf],
    setting: Option<&Setting>,
    scene: &Scene<'_>,
) -> Option<PathBuf> {
    let p = palette(ui);
    let runs = plotted(scene.folder, setting, quality);
    if runs.is_empty() {
        ui.scope(|ui| {
            ui.set_height(200.0);
            notice::empty(ui, "No run has this metric", "Evaluate a run to measure it.");
        });
        return None;
    }
    let beyond = runs.iter().filter(|one| one.place[1] != one.quality).count();
    let note = if beyond > 0 { format!(", {beyond} beyond the axis (▾)") } else { String::new() };
    let words = if runs.len() == 1 { "run" } else { "runs" };
    facts::caption(ui, format!("{} {words}{note}", runs.len()));
    let shown = axes(ui, name).show(ui, |plot| {
        plot.line(Line::new("", front(&held_out(&runs))).color(p.line_strong).width(1.0).allow_hover(false));
        for one in &runs {
            let at = selected.iter().position(|path| *path == one.run.path);
            let inside = one.place[1] == one.quality;
            let shape = match (inside, one.quality < 0.0) {
                (true, _) => MarkerShape::Circle,
                (false, true) => MarkerShape::Down,
                (false, false) => MarkerShape::Up,
            };
            let name = match inside {
                true => one.run.name.clone(),
                false => format!("{} ({name} {})", one.run.name, format::value(one.quality)),
            };
            let point = Points::new(name, vec![one.place])
                .color(at.map_or(p.weak, |i| p.curve(i)))
                .filled(one.held_out)
                .shape(shape)
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

/// The places of runs that were measured on held-out text: only those are joined.
fn held_out(runs: &[PlottedRun<'_>]) -> Vec<[f64; 2]> {
    runs.iter().filter(|one| one.held_out && one.place[1] == one.quality).map(|one| one.place).collect()
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
        .x_axis_formatter(|mark, _| format::tick(mark.value, mark.step_size))
        .y_axis_formatter(|mark, _| format::tick(mark.value, mark.step_size))
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

    fn run(name: &str, model: &str, l0: f64, fve: f64, held_out: bool) -> RunEntry {
        let info = RunInfo {
            model: model.into(),
            l0: Some(l0),
            fve: Some(fve),
            evaluation: held_out.then(Default::default),
            ..RunInfo::default()
        };
        RunEntry { path: name.into(), name: name.into(), info: Ok(info) }
    }

    #[test]
    fn runs_of_other_models_broken_ones_and_figures_of_training_do_not_bend_the_front() {
        let runs = vec![
            run("a", "small", 16.0, 0.8, true),
            run("b", "small", 32.0, 0.9, true),
            run("hollow", "small", 8.0, 0.99, false),
            run("broken", "small", 4.0, -2.4e9, true),
            run("other", "large", 2.0, 0.999, true),
        ];
        let mut folder = Folder::default();
        folder.runs = runs;
        assert_eq!(settings(&folder).len(), 2);
        let small = shown_setting(&folder, &[], None).unwrap();
        assert_eq!(small.model, "small", "that with the most runs");
        assert_eq!(shown_setting(&folder, &["other".into()], None).unwrap().model, "large");
        let shown = plotted(&folder, Some(&small), QUALITIES[0].2);
        assert_eq!(shown.len(), 4);
        assert!(shown.iter().all(|one| (0.0..=1.0).contains(&one.place[1])));
        assert_eq!(front(&held_out(&shown)), [[16.0, 0.8], [32.0, 0.9]]);
    }

    #[test]
    fn the_front_has_what_nothing_beats() {
        let points = [[32.0, 0.9], [16.0, 0.8], [32.0, 0.85], [20.0, 0.7], [64.0, 0.9], [64.0, 0.95]];
        assert_eq!(front(&points), [[16.0, 0.8], [32.0, 0.9], [64.0, 0.95]]);
        assert!(front(&[]).is_empty());
    }
}
