//! The values of all runs at one step: the one under the pointer, whichever chart it is on, else the last.

use egui::{Color32, Grid, Label, RichText, Role, Ui, WidgetInfo};

use crate::theme::{palette, space, tokens::size};
use crate::widgets::format;

/// A value of a run.
pub struct Reading<'a> {
    /// The run.
    pub name: &'a str,
    pub colour: Color32,
    /// As it was logged.
    pub raw: Option<f64>,
    /// The mean around it, where the curves are smoothed.
    pub smoothed: Option<f64>,
}

impl Reading<'_> {
    /// What is shown: of smoothed curves the mean.
    fn text(&self, text: fn(f64) -> String) -> String {
        self.smoothed.or(self.raw).map_or_else(|| format::MISSING.to_owned(), text)
    }
}

/// The place of the logged step that is nearest to `x`; none where the run has no step near it.
pub fn nearest(xs: &[f64], x: f64) -> Option<usize> {
    let (first, last) = (*xs.first()?, *xs.last()?);
    let gap = (last - first) / (xs.len().max(2) - 1) as f64;
    if x < first - gap || x > last + gap {
        return None;
    }
    let after = xs.partition_point(|other| *other < x).min(xs.len() - 1);
    let before = after.saturating_sub(1);
    Some(if x - xs[before] < xs[after] - x { before } else { after })
}

/// The value at `at`, else the last one that is finite.
pub fn value(xs: &[f64], ys: &[Option<f32>], at: Option<f64>) -> Option<f64> {
    let finite = |y: &Option<f32>| y.filter(|y| y.is_finite()).map(f64::from);
    match at {
        Some(x) => finite(ys.get(nearest(xs, x)?)?),
        None => ys.iter().rev().find_map(finite),
    }
}

/// The values under the name of a chart, in the order of the runs.
pub fn line(ui: &mut Ui, metric: &str, readings: &[Reading<'_>], text: fn(f64) -> String) {
    let p = palette(ui);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = egui::vec2(space::XS, 0.0);
        for reading in readings {
            ui.label(RichText::new("■").size(size::SMALL).color(reading.colour));
            let shown = reading.text(text);
            let label = ui.add(Label::new(RichText::new(&shown).size(size::SMALL).color(p.text)).extend());
            let name = format!("{metric} of {}: {shown}", reading.name);
            label.widget_info(|| WidgetInfo::labeled(Role::Label, true, &name));
            label.on_hover_text(reading.name);
            ui.add_space(space::XS);
        }
    });
}

/// The same with the names of the runs, next to the pointer.
pub fn tip(ui: &mut Ui, step: &str, readings: &[Reading<'_>], text: fn(f64) -> String) {
    let p = palette(ui);
    ui.label(RichText::new(step).size(size::SMALL).color(p.weak));
    Grid::new("readout").num_columns(3).min_col_width(0.0).spacing([space::S, 2.0]).show(ui, |ui| {
        for reading in readings {
            ui.label(RichText::new("■").color(reading.colour));
            ui.label(RichText::new(reading.text(text)).color(p.strong));
            let raw = reading.raw.filter(|_| reading.smoothed.is_some());
            let raw = raw.map(|raw| format!(" (logged: {})", text(raw))).unwrap_or_default();
            ui.label(RichText::new(format!("{}{raw}", reading.name)).color(p.text));
            ui.end_row();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_that_of_the_nearest_logged_step() {
        let xs = [10.0, 20.0, 30.0];
        let at = |x: f64| nearest(&xs, x);
        assert_eq!((at(10.0), at(14.0), at(16.0), at(30.0)), (Some(0), Some(0), Some(1), Some(2)));
        assert_eq!(
            (at(0.0), at(39.0), at(41.0)),
            (Some(0), Some(2), None),
            "a run that ended before has none"
        );
        assert_eq!(nearest(&[], 3.0), None);
        assert_eq!(nearest(&[5.0], 5.0), Some(0));
        let ys = [Some(1.0), None, Some(f32::NAN)];
        assert_eq!(value(&xs, &ys, None), Some(1.0), "the last that there is");
        assert_eq!((value(&xs, &ys, Some(11.0)), value(&xs, &ys, Some(21.0))), (Some(1.0), None));
    }
}
