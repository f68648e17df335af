//! What was logged while something was trained, as small charts: one a metric, of one log or of several on the same axes.

mod axes;
mod decimate;
mod readout;
mod smooth;

use std::collections::HashMap;
use std::sync::Arc;

use egui::{Align, Color32, ComboBox, Layout, RichText, Role, Ui, WidgetInfo};
use egui_plot::Line;

use super::{facts, format};
use crate::theme::{palette, space, tokens::size};
pub use axes::steps;
use axes::{around, axes};
use decimate::decimate;
use readout::Reading;
use smooth::Smoothed;

/// Values of a log, one per logged step; none where there is no finite one.
pub type Curve<L> = fn(&L) -> Option<&[Option<f32>]>;

/// A metric of logs of type `L`.
#[derive(Debug)]
pub struct Metric<L> {
    /// Its values.
    pub curve: Curve<L>,
    /// Its name, above the chart.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Whether it is logarithmic at first.
    pub logarithmic: bool,
    /// A value in words.
    pub text: fn(f64) -> String,
    /// A mark of the axis, with the distance between marks.
    pub tick: fn(f64, f64) -> String,
    /// The least distance of two marks: 1 for what is counted.
    pub least_step: f64,
}

impl<L> Metric<L> {
    /// A metric on a straight axis.
    pub const fn new(curve: Curve<L>, name: &'static str, about: &'static str) -> Self {
        Self {
            curve,
            name,
            about,
            logarithmic: false,
            text: format::value,
            tick: format::tick,
            least_step: 0.0,
        }
    }

    /// Something counted, on an axis without halves.
    pub const fn counted(curve: Curve<L>, name: &'static str, about: &'static str) -> Self {
        Self { text: count, tick: format::count_tick, least_step: 1.0, ..Self::new(curve, name, about) }
    }

    /// A share, shown as per cent.
    pub const fn share(curve: Curve<L>, name: &'static str, about: &'static str) -> Self {
        Self { text: format::percent, tick: share_tick, ..Self::new(curve, name, about) }
    }

    /// The same, with a logarithmic axis at first.
    #[must_use]
    pub const fn logarithmic(self) -> Self {
        Self { logarithmic: true, ..self }
    }
}

fn share_tick(share: f64, step: f64) -> String {
    format!("{} %", format::tick(share * 100.0, step * 100.0))
}

fn count(value: f64) -> String {
    if value >= 0.0 { format::count(value.round() as u64) } else { format::value(value) }
}

/// A log whose curves are drawn.
#[derive(Debug)]
pub struct Series<L> {
    /// Its name.
    pub name: String,
    /// The colour of its curves.
    pub colour: Color32,
    /// The log.
    pub log: Arc<L>,
    /// Where its values stand on the horizontal axis: the logged steps, or tokens; ascending.
    pub xs: Arc<Vec<f64>>,
}

/// Narrowest plot.
const PLOT: f32 = 300.0;
/// Most charts next to each other.
const MOST_COLUMNS: usize = 6;
/// How strong the logged values are behind their mean.
const FAINT: f32 = 0.35;

/// Over what the curves are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Axis {
    /// Updates.
    #[default]
    Steps,
    /// Tokens trained on.
    Tokens,
}

/// How the curves are drawn.
#[derive(Debug)]
pub struct Options<L> {
    /// Over what.
    pub axis: Axis,
    /// Metrics whose axis somebody made logarithmic, or straight.
    logarithmic: HashMap<&'static str, bool>,
    /// Over how many logged steps they are averaged.
    window: usize,
    smoothed: Smoothed<L>,
    /// Where the pointer is, on whichever chart.
    cursor: Option<f64>,
}

impl<L> Default for Options<L> {
    fn default() -> Self {
        Self {
            axis: Axis::default(),
            logarithmic: HashMap::new(),
            window: 1,
            smoothed: Smoothed::default(),
            cursor: None,
        }
    }
}

/// Draws how the curves are to be drawn, and of which step the values at the charts are.
pub fn bar<L>(ui: &mut Ui, options: &mut Options<L>) {
    ui.horizontal(|ui| {
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            choices(ui, options);
            ui.with_layout(Layout::left_to_right(Align::Center), |ui| {
                facts::caption(ui, place(options.cursor, options.axis))
                    .on_hover_text("Of which step the values at the charts are: the one under the pointer");
            });
        });
    });
}

/// Over what the curves are drawn, and how smooth; from the right.
fn choices<L>(ui: &mut Ui, options: &mut Options<L>) {
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

/// Draws a chart of each of the metrics that any of the logs has.
pub fn show<L>(ui: &mut Ui, metrics: &'static [Metric<L>], series: &[Series<L>], options: &mut Options<L>) {
    let used: Vec<&Arc<L>> = series.iter().map(|one| &one.log).collect();
    options.smoothed.keep(&used, options.window);
    let there: Vec<&'static Metric<L>> =
        metrics.iter().filter(|metric| series.iter().any(|s| (metric.curve)(&s.log).is_some())).collect();
    let columns = ((ui.available_width() / PLOT) as usize).clamp(1, MOST_COLUMNS);
    let width = (ui.available_width() - space::L * (columns as f32 - 1.0)) / columns as f32;
    let mut cursor = None;
    for row in there.chunks(columns) {
        ui.horizontal_top(|ui| {
            ui.spacing_mut().item_spacing.x = space::L;
            for metric in row {
                ui.vertical(|ui| {
                    ui.set_width(width);
                    let at = plot(ui, metric, series, options);
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
fn plot<L>(
    ui: &mut Ui,
    metric: &'static Metric<L>,
    series: &[Series<L>],
    options: &mut Options<L>,
) -> Option<f64> {
    let Metric { curve, name, text, .. } = *metric;
    let window = options.window;
    let smooth_of = |one: &Series<L>, smoothed: &mut Smoothed<L>| {
        if window > 1 { smoothed.of(&one.log, (name, curve), window) } else { None }
    };
    let smoothed: Vec<_> = series.iter().map(|one| smooth_of(one, &mut options.smoothed)).collect();
    let read = |(one, smooth): (&Series<L>, &Option<Arc<Vec<Option<f32>>>>)| -> (Option<f64>, Option<f64>) {
        let of = |ys: &[Option<f32>]| readout::value(&one.xs, ys, options.cursor);
        (curve(&one.log).and_then(of), smooth.as_ref().and_then(|ys| of(ys)))
    };
    let readings: Vec<Reading<'_>> = series
        .iter()
        .zip(&smoothed)
        .map(|pair| {
            let (raw, smoothed) = read(pair);
            Reading { name: &pair.0.name, colour: pair.0.colour, raw, smoothed }
        })
        .collect();
    let logarithmic = options.logarithmic.entry(name).or_insert(metric.logarithmic);
    head(ui, metric, window, logarithmic);
    let logarithmic = *logarithmic;
    readout::line(ui, name, &readings, text);
    let values = || {
        let curves = series.iter().filter_map(|one| curve(&one.log));
        curves.flatten().flatten().map(|value| f64::from(*value)).filter(|value| value.is_finite())
    };
    // Where nothing is above 0 there are no logarithms to show.
    let log = logarithmic && values().any(|value| value > 0.0);
    let ends = around(values()).into_iter().flatten();
    let shown = ends.fold(axes(ui, metric, log, options.axis), |shown, end| {
        shown.include_y(if log { end.log10() } else { end })
    });
    let width = ui.available_width().max(1.0);
    let drawn = shown.show(ui, |plot| {
        let bounds = plot.plot_bounds();
        let auto = plot.auto_bounds().x || !bounds.is_valid_x();
        for (one, smooth) in series.iter().zip(&smoothed) {
            let (Some(ys), Some(first), Some(last)) = (curve(&one.log), one.xs.first(), one.xs.last()) else {
                continue;
            };
            let (from, to) = if auto { (*first, *last) } else { (bounds.min()[0], bounds.max()[0]) };
            let mut draw = |name: String, ys: &[Option<f32>], colour: Color32, thick: f32| {
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
fn head<L>(ui: &mut Ui, metric: &Metric<L>, window: usize, logarithmic: &mut bool) {
    let p = palette(ui);
    let Metric { name, about, .. } = *metric;
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
