//! From the experts of one layer to those of the next.

use egui::{Ui, vec2};

use super::{Interaction, doublings, doublings_legend, either, explain, map_and_table};
use crate::data::experts::tables::Transitions;
use crate::theme::{palette, space};
use crate::widgets::format;
use crate::widgets::matrix::{self, Matrix};
use crate::widgets::sheet::{Cell, Sheet, column};

/// Draws map and table.
pub fn show(ui: &mut Ui, found: &Transitions, lift: &mut bool, asked: &mut Interaction) {
    explain(
        ui,
        &format!(
            "Rows: experts of layer {}; columns: experts of layer {}, the next with experts. All pairs of a token's experts count.",
            found.layer, found.next
        ),
    );
    ui.horizontal(|ui| {
        let hovers = [
            "Compared with chance",
            "Of the slots that come from an expert, how many go where; rows sum to 1",
        ];
        either(ui, lift, ["lift", "probability"], hovers);
    });
    ui.add_space(space::S);
    let (map, table) = (
        |ui: &mut Ui, asked: &mut Interaction| map(ui, found, *lift, asked),
        |ui: &mut Ui, asked: &mut Interaction| pairs(ui, found, asked),
    );
    map_and_table(ui, found.lift.rows, asked, map, table);
}

fn map(ui: &mut Ui, found: &Transitions, lift: bool, asked: &mut Interaction) {
    let p = palette(ui);
    let (rows, columns) = (found.lift.rows, found.lift.columns);
    let most = found.probability.values.iter().copied().filter(|v| v.is_finite()).fold(0.01, f64::max);
    let colour = |from: usize, to: usize| {
        let (of, share) = (found.lift.get(from, to), found.probability.get(from, to));
        Some(if lift { p.diverging(doublings(of)) } else { p.sequential((share / most) as f32) })
    };
    let name = format!("Transitions from layer {} to layer {}", found.layer, found.next);
    let matrix = Matrix {
        name: &name,
        rows,
        columns,
        row_name: &|from| format!("{}:{from}", found.layer),
        column_name: &|to| to.to_string(),
        colour: &colour,
        hatched: &|from, to| found.count.get(from, to) == 0.0,
        row: None,
        names: 52.0,
        cell: (vec2(4.0, 4.0), vec2(26.0, 26.0)),
        height: 512.0,
    };
    let answer = matrix.show(ui);
    if let Some((from, _)) = answer.clicked {
        asked.expert = Some((found.layer, from as u32));
    }
    if let Some((from, to)) = answer.pointed {
        answer.response.on_hover_text_at_pointer(format!(
            "{}:{from} → {}:{to}\n{} tokens\nprobability {}, lift {}",
            found.layer,
            found.next,
            format::grouped(found.count.get(from, to).max(0.0) as u64),
            format::percent(found.probability.get(from, to)),
            format::value(found.lift.get(from, to)),
        ));
    }
    ui.add_space(space::S);
    if lift {
        doublings_legend(ui, "¼ of chance", "4 times chance");
    } else {
        matrix::legend(ui, "0", &format::percent(most), &|t| p.sequential(t));
    }
}

fn pairs(ui: &mut Ui, found: &Transitions, asked: &mut Interaction) {
    let columns = [
        column("from", 64.0, "Expert of the layer"),
        column("to", 64.0, "Expert of the next layer"),
        column("tokens", 88.0, "Tokens that chose both"),
        column("probability", 104.0, "Of the slots that come from the expert; sums to 1 over where they go"),
        column("lift", 80.0, "Compared with chance: 1 if the experts were chosen independently"),
    ];
    let number = |x: f64| Some(x).filter(|x| x.is_finite());
    let cell = |row: usize, column: usize| {
        let (from, to) = found.pairs[row];
        let link =
            |layer: u16, expert: usize| Cell::Link(expert as u64, format!("Go to expert {layer}:{expert}"));
        match column {
            0 => link(found.layer, from),
            1 => link(found.next, to),
            2 => Cell::Count(found.count.get(from, to).max(0.0) as u64),
            3 => Cell::share(number(found.probability.get(from, to))),
            _ => Cell::times(number(found.lift.get(from, to))),
        }
    };
    let sheet = Sheet {
        id: "transitions",
        columns: &columns,
        rows: found.pairs.len(),
        cell: &cell,
        most: 60,
        marked: None,
    };
    let title = format!("Layer {} to layer {}", found.layer, found.next);
    let answer = sheet.show_titled(ui, &title, "most frequent first");
    asked.of_sheet(answer, |row, column| {
        let (from, to) = *found.pairs.get(row)?;
        Some(if column == 0 { (found.layer, from as u32) } else { (found.next, to as u32) })
    });
}
