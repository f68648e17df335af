//! What became of the feature in training: three small charts over the snapshots, and the events in words.

use egui::{Align2, FontId, Label, Rect, RichText, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use crate::data::history::{FeatureHistory, HistoryRow};
use crate::theme::{Palette, palette, space, tokens::size};
use crate::widgets::{facts, format};

/// Height of a chart, its caption included.
const LANE: f32 = 58.0;
/// Room of the caption above the curve.
const CAPTION: f32 = 16.0;
/// Room for the tokens below the charts.
const AXIS: f32 = 18.0;

/// Draws the section.
pub fn show(ui: &mut Ui, history: &FeatureHistory) {
    facts::section(ui, "In training");
    for sentence in sentences(history) {
        ui.add(Label::new(RichText::new(sentence).color(palette(ui).text)).wrap());
    }
    if history.snapshots.len() > 1 {
        ui.add_space(space::S);
        charts(ui, history);
    }
}

/// The events alone, on one line where there is room.
pub fn brief(ui: &mut Ui, history: &FeatureHistory) {
    facts::section(ui, "In training");
    let said = sentences(history).join(" ");
    ui.add(Label::new(RichText::new(said).color(palette(ui).text)).wrap());
}

/// The events in words. A snapshot's tokens are when something was seen: it happened after the snapshot
/// before.
pub fn sentences(history: &FeatureHistory) -> Vec<String> {
    let at = |tokens: u64| format!("{} tokens", format::count(tokens));
    let end = history.snapshots.last().map(|moment| moment.tokens);
    let mut said = vec![match history.events.born {
        Some(born) => format!("First fired at {}.", at(born)),
        None => "It never fired.".to_owned(),
    }];
    match history.events.revivals {
        0 => {}
        1 => said.push("It was dead and fired again.".to_owned()),
        times => said.push(format!("It was dead and fired again, {times} times.")),
    }
    if let Some(died) = history.events.died {
        said.push(format!("Dead since {}: silent for at least {}.", at(died), at(history.dead_after)));
    }
    let same = format::value(history.same_cosine);
    let same = same.trim_end_matches('0');
    said.extend(history.events.settled.map(|settled| match settled {
        0 => "Its direction never changed.".to_owned(),
        settled if Some(settled) == end => {
            format!("Its direction settled (cosine ≥ {same}) only after the last snapshot but one.")
        }
        settled => format!("Direction settled at {} (cosine ≥ {same}).", at(settled)),
    }));
    said
}

/// What a chart shows.
struct Lane {
    name: &'static str,
    about: &'static str,
    /// Height in the chart, 0 to 1, of the value at a snapshot.
    heights: Vec<Option<f32>>,
    /// What stands at its upper and its lower edge.
    ends: [String; 2],
    /// A height that is pointed at.
    line: Option<f32>,
    bars: bool,
}

fn lanes(history: &FeatureHistory) -> [Lane; 3] {
    let moments = &history.snapshots;
    let rates = || moments.iter().filter_map(|m| m.rate().filter(|rate| *rate > 0.0));
    let (low, high) = (rates().fold(1.0, f64::min), rates().fold(f64::MIN_POSITIVE, f64::max));
    // Decades, so that what is small once is not all the chart shows.
    let (low, high) = (low.log10().floor(), high.log10().ceil());
    let span = (high - low).max(1.0);
    let rate = |m: &HistoryRow| {
        let rate = m.rate()?;
        Some(if rate > 0.0 { ((rate.log10() - low) / span) as f32 } else { 0.0 })
    };
    let most = moments.iter().filter_map(|m| m.moved).fold(0.0, f32::max);
    let fired = rates().next().is_some();
    let ends = |fired: bool| {
        if fired {
            [format::percent(10f64.powf(low + span)), format::percent(10f64.powf(low))]
        } else {
            [String::new(), String::new()]
        }
    };
    [
        Lane {
            name: "fires on",
            about: "Share of the tokens since the previous snapshot, on a logarithmic scale; at the lower edge it fired on none",
            heights: moments.iter().map(rate).collect(),
            ends: ends(fired),
            line: None,
            bars: false,
        },
        Lane {
            name: "cosine with its final direction",
            about: "Cosine of its decoder row at the snapshot with the last one",
            heights: moments.iter().map(|m| m.cosine_final.map(|c| c.max(0.0))).collect(),
            ends: ["1".to_owned(), "0".to_owned()],
            line: Some(history.same_cosine as f32),
            bars: false,
        },
        Lane {
            name: "moved",
            about: "1 − cosine of its decoder rows at this snapshot and at the previous one",
            heights: moments.iter().map(|m| m.moved.map(|v| v / most.max(f32::MIN_POSITIVE))).collect(),
            ends: [format::value(f64::from(most)), "0".to_owned()],
            line: None,
            bars: true,
        },
    ]
}

/// The charts, one below the other, over the same snapshots. Snapshots stand at equal distances: early ones
/// lie close together in tokens, and most happens there.
fn charts(ui: &mut Ui, history: &FeatureHistory) {
    let p = palette(ui);
    let lanes = lanes(history);
    let size = vec2(ui.available_width(), LANE * lanes.len() as f32 + AXIS);
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    let n = history.snapshots.len();
    response.widget_info(|| {
        WidgetInfo::labeled(Role::Image, true, format!("History of the feature at {n} snapshots"))
    });
    if !ui.is_rect_visible(rect) {
        return;
    }
    let across = rect.shrink2(vec2(4.0, 0.0));
    let x = |i: usize| across.left() + i as f32 / (n - 1) as f32 * across.width();
    let hovered = response.hover_pos().map(|pos| {
        let share = (pos.x - across.left()) / across.width();
        ((share * (n - 1) as f32).round().max(0.0) as usize).min(n - 1)
    });
    for (i, lane) in lanes.iter().enumerate() {
        let top = rect.top() + i as f32 * LANE;
        let plot = Rect::from_min_max(pos2(rect.left(), top + CAPTION), pos2(rect.right(), top + LANE - 6.0));
        draw(ui, lane, plot, &x, &history.snapshots, p);
    }
    axis(ui, history, rect, &x, p);
    let Some(i) = hovered else { return };
    let marked = Rect::from_min_max(rect.min, pos2(rect.right(), rect.bottom() - AXIS));
    ui.painter().vline(x(i), marked.y_range(), Stroke::new(1.0, p.weak));
    response.on_hover_text_at_pointer(hover(&history.snapshots[i], &lanes));
}

fn draw(ui: &Ui, lane: &Lane, plot: Rect, x: &dyn Fn(usize) -> f32, moments: &[HistoryRow], p: &Palette) {
    let painter = ui.painter();
    let small = FontId::proportional(size::SMALL);
    painter.rect_filled(plot, 2.0, p.well);
    painter.text(plot.left_top() - vec2(0.0, 2.0), Align2::LEFT_BOTTOM, lane.name, small.clone(), p.weak);
    let scale = if lane.ends[0].is_empty() {
        "never".to_owned()
    } else {
        format!("{} to {}", lane.ends[1], lane.ends[0])
    };
    painter.text(plot.right_top() - vec2(0.0, 2.0), Align2::RIGHT_BOTTOM, scale, small, p.weak);
    let inner = plot.shrink2(vec2(0.0, 3.0));
    let y = |height: f32| inner.bottom() - height.clamp(0.0, 1.0) * inner.height();
    if let Some(line) = lane.line {
        let dashes = egui::Shape::dashed_line(
            &[pos2(plot.left(), y(line)), pos2(plot.right(), y(line))],
            Stroke::new(1.0, p.line_strong),
            3.0,
            3.0,
        );
        painter.extend(dashes);
    }
    if lane.bars {
        let width = ((x(1) - x(0)) * 0.5).clamp(2.0, 12.0);
        for (i, height) in lane.heights.iter().enumerate().filter_map(|(i, h)| Some((i, (*h)?))) {
            let middle = x(i).clamp(plot.left() + width / 2.0, plot.right() - width / 2.0);
            let top = y(height).min(inner.bottom() - 1.0);
            let bar =
                Rect::from_x_y_ranges(middle - width / 2.0..=middle + width / 2.0, top..=inner.bottom());
            painter.rect_filled(bar, 0.0, p.accent);
        }
        return;
    }
    let at = |i: usize| Some(pos2(x(i), y(lane.heights.get(i).copied().flatten()?)));
    for (i, moment) in moments.iter().enumerate() {
        let Some(here) = at(i) else { continue };
        if let Some(next) = at(i + 1) {
            painter.line_segment([here, next], Stroke::new(1.5, p.accent));
        }
        // A dead feature is hollow.
        if moment.dead {
            painter.circle(here, 2.5, p.well, Stroke::new(1.0, p.warning));
        } else {
            painter.circle_filled(here, 2.0, p.accent);
        }
    }
}

/// Tokens of some snapshots below the charts, as many as have room.
fn axis(ui: &Ui, history: &FeatureHistory, rect: Rect, x: &dyn Fn(usize) -> f32, p: &Palette) {
    let n = history.snapshots.len();
    let every = n.div_ceil(5).max(1);
    let font = FontId::proportional(size::SMALL);
    let last = n - 1;
    // From the end, which is the number that people know.
    for i in (0..n).filter(|i| (last - i).is_multiple_of(every)) {
        let text = format::count(history.snapshots[i].tokens);
        let align = match i {
            0 => Align2::LEFT_BOTTOM,
            i if i == last => Align2::RIGHT_BOTTOM,
            _ => Align2::CENTER_BOTTOM,
        };
        let place = if i == last { rect.right() } else { x(i) };
        ui.painter().text(pos2(place, rect.bottom()), align, text, font.clone(), p.weak);
    }
}

fn hover(moment: &HistoryRow, lanes: &[Lane; 3]) -> String {
    let or_missing = |text: Option<String>| text.unwrap_or_else(|| format::MISSING.to_owned());
    let mut text = format!("{} tokens", format::grouped(moment.tokens));
    if moment.dead {
        text += ", dead";
    }
    let values = [
        or_missing(moment.rate().map(format::percent)),
        or_missing(moment.cosine_final.map(|c| format!("{c:.3}"))),
        or_missing(moment.moved.map(|moved| format::value(f64::from(moved)))),
    ];
    for (lane, value) in lanes.iter().zip(values) {
        text += &format!("\n{} {value}", lane.name);
    }
    for lane in lanes {
        text += &format!("\n\n{}: {}.", lane.name, lane.about);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::history::EventsRow;

    fn history() -> FeatureHistory {
        // Of 10 000 tokens between snapshots; none before the first.
        let snapshot = |(i, fired): (usize, Option<u64>)| HistoryRow {
            tokens: i as u64 * 500_000,
            over: if fired.is_some() { 10_000 } else { 0 },
            fired: fired.unwrap_or_default(),
            moved: (i > 0).then_some(0.4 / i as f32),
            cosine_final: Some(i as f32 / 4.0),
            ..HistoryRow::default()
        };
        let fired = [None, Some(0), Some(20), Some(500), Some(333)];
        FeatureHistory {
            snapshots: fired.into_iter().enumerate().map(snapshot).collect(),
            events: EventsRow { born: Some(1_000_000), settled: Some(1_500_000), ..EventsRow::default() },
            dead_after: 250_000,
            same_cosine: 0.9,
        }
    }

    #[test]
    fn events_are_said_in_words() {
        let of = |change: fn(&mut EventsRow)| {
            let mut history = history();
            change(&mut history.events);
            sentences(&history).join(" ")
        };
        assert_eq!(
            of(|_| {}),
            "First fired at 1.00 M tokens. Direction settled at 1.50 M tokens (cosine ≥ 0.9)."
        );
        let dead = of(|h| (h.died, h.revivals, h.settled) = (Some(2_000_000), 2, Some(0)));
        assert_eq!(
            dead,
            "First fired at 1.00 M tokens. It was dead and fired again, 2 times. Dead since 2.00 M tokens: silent for at \
             least 250 k tokens. Its direction never changed."
        );
        assert!(of(|h| h.settled = Some(2_000_000)).contains("only after the last snapshot but one"));
        assert_eq!(of(|h| (h.born, h.settled) = (None, None)), "It never fired.");
    }

    #[test]
    fn charts_hold_every_number_once() {
        let [rate, cosine, moved] = lanes(&history());
        let near = |found: &[Option<f32>], expected: &[Option<f32>]| {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert_eq!(found.is_some(), expected.is_some());
                assert!(
                    (found.unwrap_or(0.0) - expected.unwrap_or(0.0)).abs() < 1e-3,
                    "{found:?} {expected:?}"
                );
            }
        };
        // From 0.1 % to 10 %: 0.2 %, 5 % and 3.33 % of two decades.
        near(&rate.heights, &[None, Some(0.0), Some(0.1505), Some(0.8495), Some(0.7612)]);
        assert_eq!(rate.ends, ["10.0 %", "0.100 %"]);
        near(&cosine.heights, &[Some(0.0), Some(0.25), Some(0.5), Some(0.75), Some(1.0)]);
        near(&moved.heights, &[None, Some(1.0), Some(0.5), Some(1.0 / 3.0), Some(0.25)]);
        let silent = FeatureHistory {
            snapshots: vec![HistoryRow { over: 5, ..HistoryRow::default() }; 3],
            ..history()
        };
        assert_eq!(lanes(&silent)[0].heights, [Some(0.0); 3]);
    }
}
