//! The curves of the selected runs, one small plot a metric.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use egui::{Align, ComboBox, Layout, RichText, Role, ScrollArea, Ui, WidgetInfo};
use egui_plot::{GridInput, GridMark, Line, Plot, uniform_grid_spacer};

use super::decimate::decimate;
use super::readout::{self, Reading};
use super::smooth::{self, Smoothed};
use crate::data::{Curve, Metrics};
use crate::theme::{palette, space, tokens::size};
use crate::views::Scene;
use crate::widgets::{facts, format, notice};

/// A metric.
struct Metric {
    curve: Curve,
    name: &'static str,
    about: &'static str,
    /// Whether it is logarithmic at first.
    logarithmic: bool,
    text: fn(f64) -> String,
    /// A mark of the axis, with the distance between marks.
    tick: fn(f64, f64) -> String,
    /// The least distance of two marks: 1 for what is counted.
    least_step: f64,
}

const fn metric(curve: Curve, name: &'static str, about: &'static str) -> Metric {
    Metric {
        curve,
        name,
        about,
        logarithmic: false,
        text: format::value,
        tick: format::tick,
        least_step: 0.0,
    }
}

fn share_tick(share: f64, step: f64) -> String {
    format!("{} %", format::tick(share * 100.0, step * 100.0))
}

fn count(value: f64) -> String {
    if value >= 0.0 { format::count(value.round() as u64) } else { format::value(value) }
}

const METRICS: [Metric; 9] = [
    Metric {
        logarithmic: true,
        ..metric(|m| &m.overall_loss, "Loss", "The objective that training minimises")
    },
    metric(|m| &m.explained_variance, "FVE", "Fraction of variance explained, centred"),
    metric(|m| &m.l0, "L0", "Mean number of active features per token"),
    Metric {
        text: format::percent,
        tick: share_tick,
        ..metric(
            |m| &m.dead_share,
            "Dead",
            "Share of features that have not fired recently; the table of runs has their number",
        )
    },
    Metric {
        logarithmic: true,
        ..metric(
            |m| &m.mse_loss,
            "Squared error, normalised",
            "Mean over tokens of the squared error, summed over the dimensions, of activations times the input scale; \
             the evaluation's MSE is a mean over the raw dimensions",
        )
    },
    Metric {
        logarithmic: true,
        ..metric(|m| &m.auxiliary_loss, "Auxiliary loss", "Auxiliary loss, which trains dead features")
    },
    metric(|m| &m.learning_rate, "Learning rate", "Learning rate of the step"),
    Metric {
        text: count,
        tick: format::count_tick,
        least_step: 1.0,
        ..metric(|m| &m.tokens_per_second, "Tokens per second", "Throughput since the previous logged step")
    },
    metric(|m| &m.decoder_norms, "Decoder norms", "Mean norm of the decoder rows"),
];

/// Narrowest plot.
const PLOT: f32 = 300.0;
/// Most charts next to each other.
const MOST_COLUMNS: usize = 6;
/// How strong the logged values are behind their mean.
const FAINT: f32 = 0.35;

/// Over what the curves are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Axis {
    #[default]
    Steps,
    Tokens,
}

/// How the curves are drawn.
#[derive(Clone, Debug)]
pub struct Options {
    axis: Axis,
    /// For each of the metrics.
    logarithmic: [bool; METRICS.len()],
    /// Over how many logged steps they are averaged.
    window: usize,
    smoothed: Smoothed,
    /// Where the pointer is, on whichever chart.
    cursor: Option<f64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            axis: Axis::default(),
            logarithmic: std::array::from_fn(|i| METRICS[i].logarithmic),
            window: 1,
            smoothed: Smoothed::default(),
            cursor: None,
        }
    }
}

/// The curves of a run.
pub struct Series {
    pub name: String,
    pub colour: egui::Color32,
    metrics: Arc<Metrics>,
    xs: Arc<Vec<f64>>,
}

/// Draws the plots.
pub fn show(ui: &mut Ui, runs: &[PathBuf], options: &mut Options, scene: &mut Scene<'_>) {
    let p = palette(ui);
    let mut series = Vec::new();
    let mut loading = false;
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            choices(ui, options);
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                facts::caption(ui, place(options.cursor, options.axis))
                    .on_hover_text("Of which step the values at the charts are: the one under the pointer");
            });
        });
    });
    ui.horizontal_wrapped(|ui| {
        for (i, path) in runs.iter().enumerate() {
            let name = scene.folder.name_of(path).into_owned();
            ui.label(RichText::new("■").color(p.curve(i)));
            ui.add(egui::Label::new(RichText::new(&name).color(p.text)).truncate());
        }
    });
    ui.add_space(space::S);
    for (i, path) in runs.iter().enumerate() {
        let name = scene.folder.name_of(path).into_owned();
        let store = scene.stores.run(path);
        loading |= store.metrics.loading() && store.metrics.value().is_none();
        if let Some(problem) = store.metrics.problem() {
            notice::problem_line(ui, problem);
        }
        if let Some(metrics) = store.metrics.value() {
            let counts = if options.axis == Axis::Steps { &metrics.0.step } else { &metrics.0.tokens };
            let xs = Arc::new(counts.iter().map(|x| *x as f64).collect());
            series.push(Series { name, colour: p.curve(i), metrics: Arc::clone(metrics), xs });
        }
    }
    if series.iter().all(|s| s.metrics.0.step.is_empty()) {
        return match (loading, runs.is_empty()) {
            (true, _) => notice::loading(ui, "Reading the curves…"),
            (_, true) => notice::empty(
                ui,
                "No run selected",
                "Click a run above; Ctrl-click or tick more to compare them.",
            ),
            _ if runs.iter().all(|run| imported(scene, run)) => {
                notice::empty(ui, "No curves", "An imported dictionary was not trained here.");
            }
            _ => notice::empty(ui, "No curves yet", "The run has not logged a step."),
        };
    }
    let used: Vec<&Arc<Metrics>> = series.iter().map(|one| &one.metrics).collect();
    options.smoothed.keep(&used, options.window);
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| grid(ui, &series, options));
}

fn imported(scene: &Scene<'_>, run: &Path) -> bool {
    scene.folder.run(run).and_then(|run| run.info.as_ref().ok()).is_some_and(|info| info.imported)
}

/// Over what the curves are drawn, and how smooth; from the right.
fn choices(ui: &mut Ui, options: &mut Options) {
    let text = if options.axis == Axis::Steps { "over steps" } else { "over tokens" };
    let before = options.axis;
    let shown = ComboBox::from_id_salt("axis").selected_text(text).width(110.0).show_ui(ui, |ui| {
        ui.selectable_value(&mut options.axis, Axis::Steps, "over steps");
        ui.selectable_value(&mut options.axis, Axis::Tokens, "over tokens");
    });
    shown.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Horizontal axis"));
    if options.axis != before {
        options.cursor = None;
    }
    let combo = ComboBox::from_id_salt("smoothing").selected_text(smooth::name(options.window)).width(170.0);
    let shown = combo.show_ui(ui, |ui| {
        for window in smooth::WINDOWS {
            ui.selectable_value(&mut options.window, window, smooth::name(window));
        }
    });
    shown.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Smoothing"));
    shown.response.on_hover_text("The logged values stay visible in a weaker colour");
}

/// The step or token that values are of, in words.
fn place(cursor: Option<f64>, axis: Axis) -> String {
    match (cursor, axis) {
        (None, _) => "last logged values".to_owned(),
        (Some(x), Axis::Steps) => format!("step {}", format::grouped(x.max(0.0).round() as u64)),
        (Some(x), Axis::Tokens) => format!("token {}", format::grouped(x.max(0.0).round() as u64)),
    }
}

fn grid(ui: &mut Ui, series: &[Series], options: &mut Options) {
    let there: Vec<usize> = (0..METRICS.len())
        .filter(|m| series.iter().any(|s| s.metrics.curve(METRICS[*m].curve).is_some()))
        .collect();
    let columns = ((ui.available_width() / PLOT) as usize).clamp(1, MOST_COLUMNS);
    let width = (ui.available_width() - space::L * (columns as f32 - 1.0)) / columns as f32;
    let mut cursor = None;
    for row in there.chunks(columns) {
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = space::L;
            for metric in row {
                ui.vertical(|ui| {
                    ui.set_width(width);
                    let at = plot(ui, *metric, series, options);
                    cursor = cursor.or(at);
                });
            }
        });
        ui.add_space(space::M);
    }
    if cursor != options.cursor {
        options.cursor = cursor;
        // The other charts show the values of the same step.
        ui.ctx().request_repaint();
    }
}

/// Draws a chart; where the pointer is on it.
fn plot(ui: &mut Ui, metric: usize, series: &[Series], options: &mut Options) -> Option<f64> {
    let Metric { curve, name, text, .. } = METRICS[metric];
    let smooth_of = |one: &Series, smoothed: &mut Smoothed| {
        if options.window > 1 { smoothed.of(&one.metrics, (metric, curve), options.window) } else { None }
    };
    let smoothed: Vec<_> = series.iter().map(|one| smooth_of(one, &mut options.smoothed)).collect();
    let read = |(one, smooth): (&'_ Series, &Option<Arc<Vec<Option<f32>>>>)| -> (Option<f64>, Option<f64>) {
        let of = |ys: &[Option<f32>]| readout::value(&one.xs, ys, options.cursor);
        (one.metrics.curve(curve).and_then(of), smooth.as_ref().and_then(|ys| of(ys)))
    };
    let readings: Vec<Reading<'_>> = series
        .iter()
        .zip(&smoothed)
        .map(|pair| {
            let (raw, smoothed) = read(pair);
            Reading { series: pair.0, raw, smoothed }
        })
        .collect();
    head(ui, metric, options.window, &mut options.logarithmic[metric]);
    readout::line(ui, name, &readings, text);
    let values = || {
        let curves = series.iter().filter_map(|one| one.metrics.curve(curve));
        curves.flatten().flatten().map(|value| f64::from(*value)).filter(|value| value.is_finite())
    };
    // Where nothing is above 0 there are no logarithms to show.
    let log = options.logarithmic[metric] && values().any(|value| value > 0.0);
    let ends = around(values()).into_iter().flatten();
    let shown = ends.fold(axes(ui, &METRICS[metric], log, options.axis), |shown, end| {
        shown.include_y(if log { end.log10() } else { end })
    });
    let width = ui.available_width().max(1.0);
    let drawn = shown.show(ui, |plot| {
        let bounds = plot.plot_bounds();
        let auto = plot.auto_bounds().x || !bounds.is_valid_x();
        for (one, smooth) in series.iter().zip(&smoothed) {
            let (Some(ys), Some(first), Some(last)) =
                (one.metrics.curve(curve), one.xs.first(), one.xs.last())
            else {
                continue;
            };
            let (from, to) = if auto { (*first, *last) } else { (bounds.min()[0], bounds.max()[0]) };
            let mut draw = |name: String, ys: &[Option<f32>], colour: egui::Color32, thick: f32| {
                let mut points = decimate(&one.xs, ys, from, to, width as usize);
                if log {
                    points.retain(|point| point[1] > 0.0);
                    points.iter_mut().for_each(|point| point[1] = point[1].log10());
                }
                plot.line(Line::new(name, points).color(colour).width(thick));
            };
            match smooth {
                None => draw(one.name.clone(), ys, one.colour, 1.5),
                Some(smooth) => {
                    draw(format!("{} as logged", one.name), ys, one.colour.gamma_multiply(FAINT), 1.0);
                    draw(one.name.clone(), smooth, one.colour, 2.0);
                }
            }
        }
        plot.pointer_coordinate().map(|at| at.x)
    });
    let at = drawn.inner.filter(|_| drawn.response.hovered());
    if let Some(x) = at {
        let step = place(Some(x), options.axis);
        drawn.response.on_hover_ui_at_pointer(|ui| readout::tip(ui, &step, &readings, text));
    }
    at
}

/// The metric's name, whether it is smoothed, and the choice of a logarithmic axis.
fn head(ui: &mut Ui, metric: usize, window: usize, logarithmic: &mut bool) {
    let p = palette(ui);
    let Metric { name, about, .. } = METRICS[metric];
    ui.horizontal(|ui| {
        ui.label(RichText::new(name).color(p.strong)).on_hover_text(about);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            let toggle = ui.checkbox(logarithmic, RichText::new("log").size(size::SMALL));
            let label = format!("Logarithmic {name}");
            toggle.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, *logarithmic, &label));
            if window > 1 {
                ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                    let said = RichText::new(smooth::name(window)).size(size::SMALL).color(p.weak);
                    ui.add(egui::Label::new(said).truncate());
                });
            }
        });
    });
}

/// The axes of a plot, with zoom and cursor shared by all plots. Where `log`, the plot holds logarithms.
fn axes<'a>(ui: &Ui, metric: &'static Metric, log: bool, axis: Axis) -> Plot<'a> {
    let p = palette(ui);
    let Metric { tick, least_step, .. } = *metric;
    let back = move |y: f64| if log { 10f64.powf(y) } else { y };
    let linked = egui::Id::unique(("curves", axis == Axis::Steps));
    Plot::new(("curve", metric.name, log, axis == Axis::Steps))
        .height(150.0)
        .show_axes([true, true])
        .allow_scroll(false)
        .allow_zoom([true, false])
        .set_margin_fraction(egui::vec2(0.0, 0.08))
        .link_axis(linked, [true, false])
        .link_cursor(linked, [true, false])
        .x_axis_formatter(|mark, _| format::count_tick(mark.value.max(0.0), mark.step_size))
        .y_axis_formatter(move |mark, _| {
            if log { format::round(back(mark.value)) } else { tick(mark.value, mark.step_size) }
        })
        .y_axis_min_width(44.0)
        .x_grid_spacer(uniform_grid_spacer(|input| several(input.bounds, 4.0)))
        .y_grid_spacer(move |input: GridInput| {
            if log {
                decades(input.bounds)
            } else {
                uniform_grid_spacer(move |input| several(input.bounds, 3.0).map(|step| step.max(least_step)))(
                    input,
                )
            }
        })
        .grid_color(p.line)
        .grid_fade(0.0)
        // The readout of all runs says it.
        .label_formatter(|_| None)
}

/// Ends of an axis around a value that never changes, which gives an axis no length by itself.
fn around(mut values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    let first = values.next()?;
    let flat = values.all(|value| value == first);
    flat.then_some(if first == 0.0 { [0.0, 1.0] } else { [0.5 * first, 1.5 * first] })
}

/// Distance of grid lines so that about `lines` of them, at round numbers, are within `bounds`.
pub(super) fn steps(bounds: (f64, f64), lines: f64) -> [f64; 3] {
    let wanted = ((bounds.1 - bounds.0) / lines).max(f64::MIN_POSITIVE);
    let power = 10f64.powf(wanted.log10().floor());
    // 25 and 0.25 are as good, but 2.5 is not where things are counted.
    let quarter = (!(0.5..5.0).contains(&power)).then_some(2.5);
    let parts = [Some(1.0), Some(2.0), quarter, Some(5.0)].into_iter().flatten();
    let round = parts.map(|m| m * power).find(|step| *step >= wanted);
    [round.unwrap_or(10.0 * power); 3]
}

/// Distance of grid lines: about `lines` of them, and never one alone, which says nothing of the scale.
fn several(bounds: (f64, f64), lines: f64) -> [f64; 3] {
    let within = |step: f64| (bounds.1 / step).floor() - (bounds.0 / step).ceil() + 1.0;
    let all = [0.0, 1.0, 2.0, 3.0].map(|more| steps(bounds, lines + more));
    all.into_iter().find(|steps| within(steps[0]) >= 2.0).unwrap_or(all[3])
}

/// Grid lines of a logarithmic axis within `bounds`, which are logarithms: at powers of ten, and where those
/// are few at 3, or 2 and 5 times them too, so that every number on the axis is a round one. At most six, which have room
/// for their numbers.
fn decades(bounds: (f64, f64)) -> Vec<GridMark> {
    let span = bounds.1 - bounds.0;
    // The distance of marks decides whether the plot writes their numbers; that there is room for all is seen to here.
    let mark = |value: f64| GridMark { value, step_size: span.max(1e-9) };
    let parts: &[f64] = match span {
        s if s > 2.5 => &[1.0],
        s if s > 1.2 => &[1.0, 3.0],
        s if s > 0.5 => &[1.0, 2.0, 5.0],
        // Hardly more than a factor of three: lines as on a straight axis.
        _ => {
            let ends = (10f64.powf(bounds.0), 10f64.powf(bounds.1));
            let step = several(ends, 3.0)[0];
            let first = (ends.0 / step).ceil() as i64;
            let last = (ends.1 / step).floor() as i64;
            return (first..=last.min(first + 20))
                .map(|i| i as f64 * step)
                .filter(|value| *value > 0.0)
                .map(|value| mark(value.log10()))
                .collect();
        }
    };
    let every = (span / 5.0).ceil().max(1.0);
    (bounds.0.floor() as i64..=bounds.1.ceil() as i64)
        .filter(|power| (*power as f64).rem_euclid(every) == 0.0)
        .flat_map(|power| parts.iter().map(move |part| power as f64 + part.log10()))
        .filter(|value| (bounds.0..=bounds.1).contains(value))
        .map(mark)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithmic_axes_have_round_numbers_too() {
        let marks = |from: f64, to: f64| -> Vec<String> {
            decades((from.log10(), to.log10())).iter().map(|m| format::round(10f64.powf(m.value))).collect()
        };
        assert_eq!(marks(3.0, 30.0), ["5", "10", "20"]);
        assert_eq!(marks(3.0, 60.0), ["3", "10", "30"]);
        assert_eq!(marks(0.9, 20_000.0), ["1", "10", "100", "1000", "10000"]);
        assert_eq!(marks(0.379, 0.421), ["0.38", "0.4", "0.42"]);
    }

    /// A plot leaves out the numbers of lines that are nearer than about 20 points, and here all had vanished.
    #[test]
    fn every_logarithmic_axis_has_numbers_with_room_between_them() {
        for tenths in 1..120 {
            for from in [-3.3, -0.4, 0.0, 0.71] {
                let span = f64::from(tenths) / 10.0;
                let marks = decades((from, from + span));
                let points = |mark: &GridMark| mark.value / span * 150.0;
                assert!(!marks.is_empty(), "{from} {span}");
                let near = marks.windows(2).find(|pair| points(&pair[1]) - points(&pair[0]) < 15.0);
                assert!(near.is_none(), "{from} {span}: {near:?}");
                assert!(marks.iter().all(|mark| mark.step_size / span * 150.0 > 60.0));
            }
        }
    }

    #[test]
    fn an_axis_has_a_length_where_the_value_never_changes() {
        assert_eq!(around([32.0; 3].into_iter()), Some([16.0, 48.0]));
        assert_eq!(around([0.0; 3].into_iter()), Some([0.0, 1.0]));
        assert_eq!(around([32.0, 31.0].into_iter()), None);
        assert_eq!(around([].into_iter()), None);
    }

    #[test]
    fn grid_lines_stand_at_round_numbers() {
        assert_eq!(steps((0.0, 770.0), 4.0)[0], 200.0);
        assert_eq!((steps((0.0, 98.0), 4.0)[0], steps((0.0, 9.8), 4.0)[0]), (25.0, 5.0));
        assert_eq!(steps((0.0, 10.0), 1.0)[0], 10.0);
        assert!((steps((0.0, 0.9), 3.0)[0] - 0.5).abs() < 1e-12);
        // A curve of FVE from 0.04 to 0.95 had the one number 0.5.
        assert!((several((0.04, 0.95), 3.0)[0] - 0.5).abs() > 0.1);
        for (low, span) in [(0.04, 0.91), (0.996, 0.012), (8.15, 0.17), (0.0, 41.0), (3.9, 190.0)] {
            let step = several((low, low + span), 3.0)[0];
            let lines = ((low + span) / step).floor() - (low / step).ceil() + 1.0;
            assert!((2.0..=7.0).contains(&lines), "{low} {span}: {lines}");
        }
    }
}
