//! Pictures of a comparison, as SVG: curves over L0, and dots with whiskers.

use std::ops::Range;

use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use storage::comparison::MeanRow;

use super::means::Group;
use crate::{Error, Result};

/// Eight colours that are told apart without seeing all of them (Okabe and Ito 2008), the last one for text.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
    RGBColor(0x8C, 0x6D, 0x1F),
    TEXT,
];
const TEXT: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xDD, 0xDD, 0xDD);
/// Family and size; the backend writes 12 pixels for 15.
const FONT: (&str, i32) = ("sans-serif", 15);
/// Dash and gap of the lines of each round of colours, pixels; the first has no gaps.
const ROUNDS: [(u32, u32); 3] = [(1000, 0), (6, 3), (2, 3)];
/// Radius of a dot, pixels.
const DOT: i32 = 4;

/// Name and text of every picture that has something to show.
///
/// # Errors
/// A picture that cannot be drawn.
pub(super) fn pictures(means: &[MeanRow]) -> Result<Vec<(&'static str, String)>> {
    let mut pictures = Vec::new();
    let mut add = |name: &'static str, drawn: Option<Drawn<String>>| -> Result<()> {
        if let Some(drawn) = drawn {
            let picture = drawn.map_err(|error| Error::data(format!("drawing {name}: {error}")))?;
            pictures.push((name, picture));
        }
        Ok(())
    };
    for (name, figure, label) in [
        ("fve.svg", "fve", "fraction of variance explained"),
        ("ce.svg", "ce_increase", "increase of cross-entropy, nats"),
        ("kl.svg", "kl", "KL to the unchanged model, nats"),
    ] {
        add(name, lines(&curves(means, figure), label))?;
    }
    for (name, figure, label) in [
        ("dead.svg", "dead_share", "share of features that are dead"),
        ("under-used.svg", "under_used_share", "share of features that are under-used"),
        ("groups.svg", "ce_increase", "increase of cross-entropy, nats"),
    ] {
        add(name, dots(&whiskers(means, figure), label))?;
    }
    add("l0.svg", dots(&l0_ranges(means), "features per token: 5 %, median, 95 %"))?;
    Ok(pictures)
}

/// Points (x, mean, standard deviation) of one method.
struct Curve {
    name: String,
    points: Vec<(f64, f64, f64)>,
}

/// A mean between two ends.
struct Dot {
    name: String,
    least: f64,
    mean: f64,
    most: f64,
}

/// A figure over the measured L0, for every method at its defaults (penalised methods: at all their
/// coefficients).
fn curves(means: &[MeanRow], figure: &str) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for group in Group::all(means) {
        let head = group.head();
        let coefficient_alone = head.k == 0 && !head.variant.contains(' ');
        if !(head.variant.is_empty() || coefficient_alone) {
            continue;
        }
        let (Some(l0), Some(row)) = (group.get("l0"), group.get(figure)) else { continue };
        let point = (l0.mean, row.mean, row.sd.unwrap_or(0.0));
        match curves.iter_mut().find(|curve| curve.name == head.method) {
            Some(curve) => curve.points.push(point),
            None => curves.push(Curve { name: head.method.clone(), points: vec![point] }),
        }
    }
    curves.iter_mut().for_each(|curve| curve.points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    curves
}

/// A figure of every group, from the least seed to the most.
fn whiskers(means: &[MeanRow], figure: &str) -> Vec<Dot> {
    Group::all(means)
        .filter_map(|group| {
            let row = group.get(figure)?;
            Some(Dot { name: row.group.clone(), least: row.least, mean: row.mean, most: row.most })
        })
        .collect()
}

fn l0_ranges(means: &[MeanRow]) -> Vec<Dot> {
    let of = |group: &Group<'_>, figure: &str| group.get(figure).map(|row| row.mean);
    Group::all(means)
        .filter_map(|group| {
            Some(Dot {
                name: group.head().group.clone(),
                least: of(&group, "l0_p5")?,
                mean: of(&group, "l0_median")?,
                most: of(&group, "l0_p95")?,
            })
        })
        .collect()
}

/// What drawing gives: the backend's errors have no type that is worth a name.
type Drawn<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The range that has room for `values`; `None` without any.
fn range(values: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    let finite: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    let (least, most) = (finite.iter().copied().reduce(f64::min)?, finite.iter().copied().reduce(f64::max)?);
    let margin = if most > least { 0.06 * (most - least) } else { 0.5 * most.abs().max(1e-3) };
    Some(least - margin..most + margin)
}

/// A number with as many digits as tell it from its neighbours on an axis.
fn label(value: f64, axis: &Range<f64>) -> String {
    let digits = (1.0 - (axis.end - axis.start).log10()).ceil().clamp(0.0, 6.0) as usize;
    format!("{value:.digits$}")
}

/// Text anchored at a side of its middle.
fn anchored(side: HPos) -> TextStyle<'static> {
    TextStyle::from(FONT).color(&TEXT).pos(Pos::new(side, VPos::Center))
}

/// One curve per method over L0, with whiskers of one standard deviation.
fn lines(curves: &[Curve], y_label: &str) -> Option<Drawn<String>> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let x = range(points().map(|p| p.0))?;
    let y = range(points().flat_map(|p| [p.1 - p.2, p.1 + p.2]))?;
    let mut svg = String::new();
    Some(draw_lines(&mut svg, curves, (x, y), y_label).map(|()| svg))
}

fn draw_lines(
    svg: &mut String,
    curves: &[Curve],
    (x, y): (Range<f64>, Range<f64>),
    y_label: &str,
) -> Drawn<()> {
    let (plot_width, plot_height, legend_left) = (550, 420, 570);
    let height = (60 + 20 * curves.len() as u32).max(plot_height);
    let root = SVGBackend::with_string(svg, (760, height)).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&Text::new(y_label.to_owned(), (70, 20), anchored(HPos::Left)))?;
    let (plot, _) = root.split_vertically(plot_height).0.split_horizontally(plot_width);
    let mut chart = ChartBuilder::on(&plot)
        .margin_top(40)
        .x_label_area_size(50)
        .y_label_area_size(70)
        .build_cartesian_2d(x.clone(), y.clone())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .x_labels(8)
        .y_labels(8)
        .label_style(TextStyle::from(FONT).color(&TEXT))
        .x_label_formatter(&|value| label(*value, &x))
        .y_label_formatter(&|value| label(*value, &y))
        .x_desc("L0, features per token")
        .draw()?;
    for (i, curve) in curves.iter().enumerate() {
        let style = COLOURS[i % COLOURS.len()].stroke_width(2);
        // More methods than colours: every further round has lines and marks of its own.
        let round = (i / COLOURS.len()).min(ROUNDS.len() - 1);
        let (dash, gap) = ROUNDS[round];
        let means = curve.points.iter().map(|p| (p.0, p.1));
        let key = 50 + 20 * i as i32;
        let sample = [(legend_left, key), (legend_left + 22, key)];
        chart.draw_series(DashedLineSeries::new(means.clone(), dash, gap, style))?;
        root.draw(&DashedPathElement::new(sample, dash, gap, style))?;
        let whisker = |p: &(f64, f64, f64)| PathElement::new([(p.0, p.1 - p.2), (p.0, p.1 + p.2)], style);
        chart.draw_series(curve.points.iter().map(whisker))?;
        let (at, filled) = ((legend_left + 11, key), style.filled());
        match round {
            0 => {
                chart.draw_series(means.map(|place| Circle::new(place, DOT, filled)))?;
                root.draw(&Circle::new(at, DOT, filled))?;
            }
            1 => {
                chart.draw_series(means.map(|place| TriangleMarker::new(place, DOT + 2, filled)))?;
                root.draw(&TriangleMarker::new(at, DOT + 2, filled))?;
            }
            _ => {
                chart.draw_series(means.map(|place| Cross::new(place, DOT, style)))?;
                root.draw(&Cross::new(at, DOT, style))?;
            }
        }
        root.draw(&Text::new(curve.name.clone(), (legend_left + 30, key), anchored(HPos::Left)))?;
    }
    root.present()?;
    Ok(())
}

/// One row per dot.
fn dots(rows: &[Dot], x_label: &str) -> Option<Drawn<String>> {
    let x = range(rows.iter().flat_map(|row| [row.least, row.most]))?;
    let mut svg = String::new();
    Some(draw_dots(&mut svg, rows, x, x_label).map(|()| svg))
}

fn draw_dots(svg: &mut String, rows: &[Dot], x: Range<f64>, x_label: &str) -> Drawn<()> {
    let (row_height, top, bottom) = (18, 40, 30);
    let letters = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0) as i32;
    // The width of a letter is a guess: SVG does not know the font that it will be shown in.
    let left = 7 * letters + 20;
    let height = top + row_height * rows.len() as i32 + bottom;
    let root = SVGBackend::with_string(svg, ((left + 470) as u32, height as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&Text::new(x_label.to_owned(), (left, 20), anchored(HPos::Left)))?;
    let mut chart = ChartBuilder::on(&root)
        .margin_top(top)
        .margin_right(30)
        .x_label_area_size(bottom)
        .y_label_area_size(left)
        .build_cartesian_2d(x.clone(), rows.len() as f64..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .x_labels(8)
        .y_labels(0)
        .label_style(TextStyle::from(FONT).color(&TEXT))
        .x_label_formatter(&|value| label(*value, &x))
        .draw()?;
    let style = COLOURS[0].stroke_width(2);
    let middles = || (0..).map(|i| f64::from(i) + 0.5).zip(rows);
    chart.draw_series(middles().map(|(y, row)| PathElement::new([(row.least, y), (row.most, y)], style)))?;
    chart.draw_series(middles().map(|(y, row)| Circle::new((row.mean, y), DOT, style.filled())))?;
    for (i, row) in (0..).zip(rows) {
        let middle = top + row_height * i + row_height / 2;
        root.draw(&Text::new(row.name.clone(), (left - 8, middle), anchored(HPos::Right)))?;
    }
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_tell_neighbours_apart() {
        assert_eq!(label(0.92, &(0.913..0.957)), "0.920");
        assert_eq!(label(32.0, &(10.0..70.0)), "32");
        assert_eq!(range([2.0, f64::NAN, 12.0].into_iter()), Some(1.4..12.6));
        assert_eq!(range([f64::NAN].into_iter()), None);
    }

    /// Whiskers and dots lie where their numbers are: from the SVG's own coordinates.
    #[test]
    fn dots_lie_between_their_whiskers() {
        let row = |name: &str, least, mean, most| Dot { name: name.into(), least, mean, most };
        let picture =
            dots(&[row("first", 0.0, 2.0, 10.0), row("second", 5.0, 5.0, 5.0)], "x").unwrap().unwrap();
        let numbers = |line: &str, attribute: &str| -> Vec<f64> {
            let (_, rest) = line.split_once(&format!(" {attribute}=\"")).unwrap();
            rest.split('"').next().unwrap().split([' ', ',']).filter_map(|n| n.parse().ok()).collect()
        };
        let style = "#0072B2";
        let find = |tag: &str| -> Vec<&str> {
            picture.lines().filter(|l| l.starts_with(tag) && l.contains(style)).collect()
        };
        let (whiskers, circles) = (find("<polyline"), find("<circle"));
        assert_eq!((whiskers.len(), circles.len()), (2, 2));
        let whisker = numbers(whiskers[0], "points");
        let (from, to) = (whisker[0], whisker[2]);
        let at = numbers(circles[0], "cx")[0];
        assert!(to > from + 100.0 && ((at - from) / (to - from) - 0.2).abs() < 0.01, "{whisker:?}, {at}");
        assert_eq!(whisker[1], numbers(circles[0], "cy")[0]);
        let second = numbers(circles[1], "cx")[0];
        assert!(((second - from) / (to - from) - 0.5).abs() < 0.01);
        assert_eq!(numbers(circles[1], "cy")[0] - numbers(circles[0], "cy")[0], 18.0);
        assert!(picture.contains("first") && picture.contains("second"));
    }

    /// With as many methods as there are, and every round of colours told apart by its marks.
    #[test]
    fn a_legend_lies_inside_its_picture() {
        let curve = |i: usize| Curve { name: format!("method {i}"), points: vec![(i as f64, 1.0, 0.0)] };
        let curves: Vec<Curve> = (0..30).map(curve).collect();
        let picture = lines(&curves, "y").unwrap().unwrap();
        let number = |line: &str, attribute: &str| -> f64 {
            let (_, rest) = line.split_once(&format!(" {attribute}=\"")).unwrap();
            rest.split('"').next().unwrap().parse().unwrap()
        };
        let height = number(&picture, "height");
        // The name is the line after its element.
        let all: Vec<&str> = picture.lines().collect();
        let names = all.windows(2).filter(|pair| pair[1].starts_with("method "));
        let places: Vec<f64> = names.map(|pair| number(pair[0], "y")).collect();
        assert_eq!(places.len(), 30);
        assert!(places.iter().all(|y| *y + 10.0 < height), "{places:?} of {height}");
        let marks = |tag: &str| all.iter().filter(|line| line.starts_with(tag)).count();
        assert_eq!((marks("<circle"), marks("<polygon")), (16, 16), "eight of each, and their keys");
    }

    #[test]
    fn names_cannot_break_the_picture() {
        let row = Dot { name: "<a & b>".into(), least: 1.0, mean: 1.0, most: 1.0 };
        let picture = dots(&[row], "x").unwrap().unwrap();
        assert!(picture.contains("&lt;a &amp; b&gt;") && !picture.contains("<a"));
        assert!(dots(&[], "x").is_none() && lines(&[], "y").is_none());
    }
}
