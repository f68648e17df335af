//! Pictures of a comparison, written as SVG by hand: lines over L0, and dots with whiskers.

use std::fmt::Write as _;

use storage::sweep::MeanRow;

use super::means::Group;

/// Eight colours that are told apart without seeing all of them (Okabe and Ito 2008), the last one for text.
const COLOURS: [&str; 8] =
    ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#333333"];
const TEXT: &str = "#333333";
const GRID: &str = "#DDDDDD";

/// Name and text of every picture.
pub(super) fn pictures(means: &[MeanRow]) -> Vec<(&'static str, String)> {
    let over_l0 = [
        ("fve.svg", "fve", "fraction of variance explained"),
        ("ce.svg", "ce_increase", "increase of cross-entropy, nats"),
        ("kl.svg", "kl", "KL to the model as it is, nats"),
    ];
    let mut pictures: Vec<_> = over_l0
        .into_iter()
        .filter_map(|(name, figure, label)| Some((name, lines(&curves(means, figure), label)?)))
        .collect();
    let dotted = [
        ("dead.svg", "dead_share", "share of features that are dead"),
        ("under-used.svg", "under_used_share", "share of features that are under-used"),
        ("groups.svg", "ce_increase", "increase of cross-entropy, nats"),
    ];
    pictures.extend(
        dotted
            .into_iter()
            .filter_map(|(name, figure, label)| Some((name, dots(&whiskers(means, figure), label)?))),
    );
    pictures.extend(dots(&l0_ranges(means), "features of a token: 5 %, median, 95 %").map(|p| ("l0.svg", p)));
    pictures
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

/// A figure over the measured L0, for every method at its defaults (penalised methods: at all their coefficients).
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

/// A number's place between two others.
#[derive(Clone, Copy)]
struct Axis {
    from: f64,
    to: f64,
    at: f64,
    length: f64,
}

impl Axis {
    /// An axis that has room for `values`; `None` without any.
    fn around(values: impl Iterator<Item = f64>, at: f64, length: f64) -> Option<Self> {
        let finite: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let (least, most) =
            (finite.iter().copied().reduce(f64::min)?, finite.iter().copied().reduce(f64::max)?);
        let margin = if most > least { 0.06 * (most - least) } else { 0.5 * most.abs().max(1e-3) };
        Some(Self { from: least - margin, to: most + margin, at, length })
    }

    fn place(&self, value: f64) -> f64 {
        self.at + self.length * (value - self.from) / (self.to - self.from)
    }

    /// About five round numbers.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.to - self.from) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let first = (self.from / step).ceil() as i64;
        let last = (self.to / step).floor() as i64;
        (first..=last).map(|n| n as f64 * step).collect()
    }
}

/// A number with as many digits as tell it from its neighbours on an axis.
fn label(value: f64, axis: &Axis) -> String {
    let digits = (1.0 - (axis.to - axis.from).log10()).ceil().clamp(0.0, 6.0) as usize;
    format!("{value:.digits$}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A document of this size around `body`.
fn svg(width: f64, height: f64, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"12\" \
         fill=\"{TEXT}\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

fn line(out: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str, width: f64) {
    let _ = writeln!(
        out,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
    );
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, what: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(what));
}

fn dot(out: &mut String, (x, y): (f64, f64), colour: &str) {
    let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
}

/// A curve a method over L0, with a whisker of one standard deviation to both sides.
fn lines(curves: &[Curve], y_label: &str) -> Option<String> {
    let (width, height, left, top) = (760.0, 420.0, 70.0, 40.0);
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let x = Axis::around(points().map(|p| p.0), left, 480.0)?;
    let y =
        Axis::around(points().flat_map(|p| [p.1 - p.2, p.1 + p.2]), height - 50.0, -(height - 50.0 - top))?;
    let mut body = String::new();
    text(&mut body, (left, 22.0), "start", y_label);
    for tick in y.ticks() {
        line(&mut body, (x.at, y.place(tick)), (x.at + x.length, y.place(tick)), GRID, 1.0);
        text(&mut body, (x.at - 8.0, y.place(tick) + 4.0), "end", &label(tick, &y));
    }
    for tick in x.ticks() {
        line(&mut body, (x.place(tick), y.at), (x.place(tick), y.at + 5.0), TEXT, 1.0);
        text(&mut body, (x.place(tick), y.at + 20.0), "middle", &label(tick, &x));
    }
    text(&mut body, (x.at + x.length / 2.0, height - 10.0), "middle", "L0, features of a token");
    for (i, curve) in curves.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        // More methods than colours: the second round is dashed.
        let dash = if i < COLOURS.len() { "" } else { " stroke-dasharray=\"6 3\"" };
        let place = |p: &(f64, f64, f64)| (x.place(p.0), y.place(p.1));
        let path: Vec<String> =
            curve.points.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            body,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"{dash}/>",
            path.join(" ")
        );
        for p in &curve.points {
            let at = x.place(p.0);
            line(&mut body, (at, y.place(p.1 - p.2)), (at, y.place(p.1 + p.2)), colour, 1.6);
            dot(&mut body, place(p), colour);
        }
        let row = top + 10.0 + 20.0 * i as f64;
        let _ = writeln!(
            body,
            "<line x1=\"570\" y1=\"{row:.1}\" x2=\"592\" y2=\"{row:.1}\" stroke=\"{colour}\" stroke-width=\"1.6\"{dash}/>"
        );
        dot(&mut body, (581.0, row), colour);
        text(&mut body, (600.0, row + 4.0), "start", &curve.name);
    }
    Some(svg(width, height, &body))
}

/// A row a dot.
fn dots(rows: &[Dot], x_label: &str) -> Option<String> {
    let (row_height, top) = (18.0, 40.0);
    let letters = rows.iter().map(|row| row.name.chars().count()).max()?;
    let left = 7.0 * letters as f64 + 20.0;
    let x = Axis::around(rows.iter().flat_map(|row| [row.least, row.most]), left, 440.0)?;
    let bottom = top + row_height * rows.len() as f64;
    let mut body = String::new();
    text(&mut body, (left, 22.0), "start", x_label);
    for tick in x.ticks() {
        line(&mut body, (x.place(tick), top), (x.place(tick), bottom), GRID, 1.0);
        text(&mut body, (x.place(tick), bottom + 18.0), "middle", &label(tick, &x));
    }
    for (i, row) in rows.iter().enumerate() {
        let y = top + row_height * (i as f64 + 0.5);
        text(&mut body, (left - 8.0, y + 4.0), "end", &row.name);
        line(&mut body, (x.place(row.least), y), (x.place(row.most), y), COLOURS[0], 1.6);
        dot(&mut body, (x.place(row.mean), y), COLOURS[0]);
    }
    Some(svg(left + 470.0, bottom + 30.0, &body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let axis = |from, to| Axis { from, to, at: 0.0, length: 100.0 };
        assert_eq!(axis(0.0, 1.0).ticks().len(), 6);
        let ticks = axis(0.913, 0.957).ticks();
        assert!(
            ticks.iter().all(|t| (0.913..=0.957).contains(t)) && (3..=6).contains(&ticks.len()),
            "{ticks:?}"
        );
        assert_eq!(label(0.92, &axis(0.913, 0.957)), "0.920");
        assert_eq!(label(32.0, &axis(10.0, 70.0)), "32");
        assert_eq!(axis(0.0, 10.0).place(5.0), 50.0);
    }

    #[test]
    fn names_can_not_break_the_picture() {
        let row = Dot { name: "<a & b>".into(), least: 1.0, mean: 1.0, most: 1.0 };
        let picture = dots(&[row], "x").unwrap();
        assert!(picture.contains("&lt;a &amp; b&gt;") && !picture.contains("<a"));
        assert!(dots(&[], "x").is_none() && lines(&[], "y").is_none());
    }
}
