//! The axes of a chart: round numbers, with room between them.

use egui::Ui;
use egui_plot::{GridInput, GridMark, Plot, uniform_grid_spacer};

use super::{Axis, Metric};
use crate::theme::palette;
use crate::widgets::format;

/// The axes of a plot, with zoom and cursor shared by all plots. Where `log`, the plot holds logarithms.
pub fn axes<'a, L>(ui: &Ui, metric: &'static Metric<L>, log: bool, axis: Axis) -> Plot<'a> {
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
pub fn around(mut values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    let first = values.next()?;
    let flat = values.all(|value| value == first);
    flat.then_some(if first == 0.0 { [0.0, 1.0] } else { [0.5 * first, 1.5 * first] })
}

/// Distance of grid lines so that about `lines` of them, at round numbers, are within `bounds`.
pub fn steps(bounds: (f64, f64), lines: f64) -> [f64; 3] {
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
