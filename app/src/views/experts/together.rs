//! Experts of one layer that are chosen by the same tokens.

use egui::{Ui, vec2};

use super::{Interaction, doublings, doublings_legend, either, explain, map_and_table};
use crate::data::LayerUsage;
use crate::data::experts::tables::CoActivations;
use crate::theme::{palette, space};
use crate::widgets::matrix::{self, Matrix};
use crate::widgets::sheet::{Cell, Sheet, column};
use crate::widgets::{format, notice};

/// Draws map and table.
pub fn show(
    ui: &mut Ui,
    found: &CoActivations,
    layer: Option<&LayerUsage>,
    lift: &mut bool,
    asked: &mut Interaction,
) {
    let experts = layer.map_or(0, LayerUsage::experts);
    if !found.were_counted(experts) {
        let what = format!("Pairs of {} experts were not counted", format::grouped(experts as u64));
        return notice::empty(
            ui,
            &what,
            "They would need too much memory: `sae experts` counts them in layers of fewer.",
        );
    }
    if found.pairs.iter().all(|pair| pair.count == 0) {
        let how = "Where a token goes to one expert, none are chosen together.";
        return notice::empty(ui, &format!("No two experts of layer {} met", found.layer), how);
    }
    explain(
        ui,
        "Lift: tokens that chose both, over those there would be if each were chosen on its own. 1 is chance. All pairs of a \
         token's experts are counted, whatever their rank.",
    );
    ui.horizontal(|ui| {
        either(ui, lift, ["lift", "tokens"], ["Compared with chance", "As counted"]);
    });
    ui.add_space(space::S);
    let (map, table) = (
        |ui: &mut Ui, asked: &mut Interaction| map(ui, found, *lift, asked),
        |ui: &mut Ui, asked: &mut Interaction| pairs(ui, found, asked),
    );
    map_and_table(ui, found.lift.rows, asked, map, table);
    if let Some(tokens) = layer.and_then(|layer| layer.balance.tokens) {
        ui.add_space(space::XS);
        crate::widgets::facts::caption(ui, format!("over {} tokens", format::grouped(tokens)));
    }
}

fn map(ui: &mut Ui, found: &CoActivations, lift: bool, asked: &mut Interaction) {
    let p = palette(ui);
    let experts = found.lift.rows;
    let most = found.pairs.first().map_or(1, |pair| pair.count).max(1) as f64;
    let colour = |a: usize, b: usize| {
        if a == b {
            return None;
        }
        let (of, count) = (found.lift.get(a, b), found.count.get(a, b));
        Some(if lift { p.diverging(doublings(of)) } else { p.sequential((count / most).sqrt() as f32) })
    };
    let name = format!("Co-activation of {experts} experts of layer {}", found.layer);
    let matrix = Matrix {
        name: &name,
        rows: experts,
        columns: experts,
        row_name: &|a| a.to_string(),
        column_name: &|b| b.to_string(),
        colour: &colour,
        hatched: &|a, b| a != b && found.count.get(a, b) == 0.0,
        row: None,
        names: 36.0,
        cell: (vec2(4.0, 4.0), vec2(26.0, 26.0)),
        height: 512.0,
    };
    let answer = matrix.show(ui);
    if let Some((a, _)) = answer.clicked {
        asked.expert = Some((found.layer, a as u32));
    }
    if let Some((a, b)) = answer.pointed.filter(|(a, b)| a != b) {
        answer.response.on_hover_text_at_pointer(format!(
            "experts {a} and {b}\n{} tokens chose both\nlift {}",
            format::grouped(found.count.get(a, b) as u64),
            format::value(found.lift.get(a, b)),
        ));
    }
    ui.add_space(space::S);
    if lift {
        doublings_legend(ui, "¼ of chance", "4 times chance");
    } else {
        matrix::legend(ui, "0", &format!("{} tokens", format::grouped(most as u64)), &|t| {
            p.sequential(t.sqrt())
        });
    }
}

fn pairs(ui: &mut Ui, found: &CoActivations, asked: &mut Interaction) {
    let columns = [
        column("a", 56.0, "The expert with the lower number"),
        column("b", 56.0, "The other"),
        column("tokens", 88.0, "Tokens that chose both"),
        column("P(b | a)", 96.0, "Of the tokens that chose a, how many chose b too"),
        column("P(a | b)", 96.0, "Of the tokens that chose b, how many chose a too"),
        column("lift", 80.0, "Compared with chance: 1 if the experts were chosen independently"),
    ];
    let cell = |row: usize, column: usize| {
        let pair = &found.pairs[row];
        let link =
            |expert: u32| Cell::Link(u64::from(expert), format!("Go to expert {}:{expert}", found.layer));
        match column {
            0 => link(pair.a),
            1 => link(pair.b),
            2 => Cell::Count(pair.count),
            3 => Cell::share(pair.b_given_a),
            4 => Cell::share(pair.a_given_b),
            _ => Cell::times(pair.lift),
        }
    };
    let sheet = Sheet {
        id: "pairs",
        columns: &columns,
        rows: found.pairs.len(),
        cell: &cell,
        most: 60,
        marked: None,
    };
    let answer = sheet.show_titled(ui, "Pairs", "most frequent first");
    asked.of_sheet(answer, |row, column| {
        let pair = found.pairs.get(row)?;
        Some((found.layer, if column == 0 { pair.a } else { pair.b }))
    });
}
