//! The load of two models or checkpoints side by side.

use std::path::PathBuf;

use egui::{Align2, ComboBox, FontId, Rect, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use super::{Interaction, either, explain};
use crate::data::{AgainstRow, ExpertUsage, LayerUsage};
use crate::theme::{palette, space, tokens::size};
use crate::views::Scene;
use crate::widgets::sheet::{Cell, Sheet, column};
use crate::widgets::{facts, format, notice};

/// What there is to choose.
pub struct Choice<'a> {
    /// Other datasets with experts: folder and name.
    pub others: &'a [(PathBuf, String)],
    /// The chosen one.
    pub other: &'a mut Option<PathBuf>,
    /// Experts in the order of their load instead of their numbers.
    pub by_rank: &'a mut bool,
}

/// Draws choice, bars and table.
pub fn show(
    ui: &mut Ui,
    usage: &ExpertUsage,
    layer: usize,
    choice: &mut Choice<'_>,
    against: Option<&[AgainstRow]>,
    scene: &mut Scene<'_>,
    asked: &mut Interaction,
) {
    if choice.others.is_empty() {
        notice::empty(
            ui,
            "Nothing to compare with",
            "Harvest the same text with a different model or checkpoint (`sae harvest --routing`) into this folder, then run `sae experts`.",
        );
    } else {
        pick(ui, choice.others, choice.other);
    }
    if let Some(other) = choice.other.clone() {
        let store = scene.stores.dataset(&other);
        if let Some(problem) = store.experts.problem() {
            notice::problem_line(ui, problem);
        } else if let Some(found) = store.experts.value().cloned() {
            ui.add_space(space::S);
            side_by_side(ui, usage, &found, layer, choice.by_rank);
            ui.add_space(space::L);
            table(ui, usage, &found, asked);
        } else {
            notice::loading(ui, "Reading the other experts' load…");
        }
    }
    if let Some(rows) = against.filter(|rows| !rows.is_empty()) {
        ui.add_space(space::L);
        agreement(ui, rows, asked);
    }
}

fn pick(ui: &mut Ui, others: &[(PathBuf, String)], other: &mut Option<PathBuf>) {
    ui.horizontal(|ui| {
        facts::caption(ui, "compare with");
        let name = others.iter().find(|o| Some(&o.0) == other.as_ref()).map_or("choose a dataset", |o| &o.1);
        let combo = ComboBox::from_id_salt("other").selected_text(name).width(220.0);
        let shown = combo.show_ui(ui, |ui| {
            for (path, name) in others {
                ui.selectable_value(other, Some(path.clone()), name);
            }
        });
        shown.response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Compare with"));
    });
}

fn side_by_side(ui: &mut Ui, usage: &ExpertUsage, other: &ExpertUsage, layer: usize, by_rank: &mut bool) {
    let Some(own) = usage.layers.get(layer) else { return };
    let Some(with) = other.layer(own.balance.layer) else {
        return notice::empty(
            ui,
            &format!("The other has no experts in layer {}", own.balance.layer),
            "Choose a different layer.",
        );
    };
    facts::section(ui, &format!("Load of layer {}", own.balance.layer));
    let explained = if *by_rank {
        "Experts in the order of their load: which number an expert has does not matter."
    } else {
        "Experts by their number: for checkpoints of one model. Another model numbers its experts as it likes."
    };
    explain(ui, explained);
    ui.horizontal(|ui| {
        let mut by_number = !*by_rank;
        let hovers = ["The same number, the same expert", "The most used with the most used"];
        either(ui, &mut by_number, ["by number", "by load"], hovers);
        *by_rank = !by_number;
        ui.add_space(space::M);
        let p = palette(ui);
        for (i, name) in ["this dataset", "the other"].into_iter().enumerate() {
            let (rect, _) = ui.allocate_exact_size(vec2(10.0, 10.0), Sense::hover());
            ui.painter().rect_filled(rect, 2.0, p.curve(i));
            facts::caption(ui, name);
        }
    });
    ui.add_space(space::XS);
    let shares = |layer: &LayerUsage| -> Vec<f64> {
        if *by_rank {
            layer.by_rank()
        } else {
            layer.loads.iter().take(1).flatten().map(|l| l.share).collect()
        }
    };
    bars(ui, &shares(own), &shares(with), own.balance.layer);
}

fn bars(ui: &mut Ui, a: &[f64], b: &[f64], layer: u16) {
    let p = palette(ui);
    let experts = a.len().max(b.len()).max(1);
    let width = (experts as f32 * 44.0).clamp(240.0, ui.available_width().clamp(240.0, 1400.0));
    let (rect, response) = ui.allocate_exact_size(vec2(width, 148.0), Sense::hover());
    response.widget_info(|| {
        WidgetInfo::labeled(Role::Image, true, format!("Load of layer {layer} in two datasets"))
    });
    let base = rect.bottom() - 16.0;
    let step = rect.width() / experts as f32;
    let top = a.iter().chain(b).copied().fold(1.0 / experts as f64, f64::max) * 1.05;
    let height = |share: f64| (share / top) as f32 * (base - rect.top());
    let painter = ui.painter();
    let half = (step - 2.0).max(1.0) / 2.0;
    for (i, shares) in [a, b].into_iter().enumerate() {
        for (expert, share) in shares.iter().enumerate() {
            let left = rect.left() + step * expert as f32 + 1.0 + half * i as f32;
            let bar = Rect::from_min_max(pos2(left, base - height(*share)), pos2(left + half - 0.5, base));
            painter.rect_filled(bar, 1.0, p.curve(i));
        }
    }
    let every = (22.0 / step).ceil().max(1.0) as usize;
    for expert in (0..experts).step_by(every) {
        let place = pos2(rect.left() + step * (expert as f32 + 0.5), rect.bottom());
        let font = FontId::proportional(size::SMALL);
        painter.text(place, Align2::CENTER_BOTTOM, expert.to_string(), font, p.weak);
    }
    painter.hline(rect.x_range(), base, Stroke::new(1.0, p.line_strong));
    let uniform = 1.0 / a.len().max(1) as f64;
    painter.hline(rect.x_range(), base - height(uniform), Stroke::new(1.0, p.warning));
    let hovered = response.hover_pos().map(|pos| ((pos.x - rect.left()) / step) as usize);
    if let Some(expert) = hovered.filter(|expert| *expert < experts) {
        let share =
            |of: &[f64]| of.get(expert).map_or_else(|| format::MISSING.to_owned(), |s| format::percent(*s));
        response.on_hover_text_at_pointer(format!(
            "{expert}\nthis dataset {}\nthe other {}",
            share(a),
            share(b)
        ));
    }
}

fn table(ui: &mut Ui, usage: &ExpertUsage, other: &ExpertUsage, asked: &mut Interaction) {
    let columns = [
        column("layer", 64.0, "Number of the block"),
        column("effective", 84.0, "Effective experts, this dataset"),
        column("other effective", 112.0, "Effective experts, the other"),
        column("CV", 72.0, "Standard deviation of the load over its mean, this dataset"),
        column("other CV", 80.0, "The same, the other"),
        column("router entropy", 112.0, "Mean entropy of the router, nats, this dataset"),
        column("other router entropy", 144.0, "The same, the other"),
        column("dead", 56.0, super::layer::DEAD),
        column("other dead", 88.0, "The same, the other"),
        column(
            "moved",
            88.0,
            "Half the sum of the differences of the shares, expert by expert: 0 = the same load, 1 = none shared",
        ),
    ];
    let rows: Vec<(&LayerUsage, &LayerUsage)> =
        usage.layers.iter().filter_map(|own| Some((own, other.layer(own.balance.layer)?))).collect();
    let cell = |row: usize, column: usize| {
        let (own, with) = (&rows[row].0.balance, &rows[row].1.balance);
        match column {
            0 => Cell::Count(u64::from(own.layer)),
            1 => Cell::value(own.effective_experts),
            2 => Cell::value(with.effective_experts),
            3 => Cell::value(own.cv),
            4 => Cell::value(with.cv),
            5 => Cell::value(own.router_entropy),
            6 => Cell::value(with.router_entropy),
            7 => Cell::count(own.dead),
            8 => Cell::count(with.dead),
            _ => Cell::share(moved(rows[row].0, rows[row].1)),
        }
    };
    let sheet =
        Sheet { id: "compare", columns: &columns, rows: rows.len(), cell: &cell, most: 1024, marked: None };
    let answer = sheet.show_titled(ui, "Layers of both", "over all text");
    asked.of_sheet(answer, |_, _| None);
}

/// Share of the slots that lie with another expert: total variation distance. Only between layers of equally
/// many experts.
fn moved(a: &LayerUsage, b: &LayerUsage) -> Option<f64> {
    if a.experts() != b.experts() {
        return None;
    }
    let pairs = a.loads.first()?.iter().zip(b.loads.first()?);
    Some(pairs.map(|(a, b)| (a.share - b.share).abs()).sum::<f64>() / 2.0)
}

fn agreement(ui: &mut Ui, rows: &[AgainstRow], asked: &mut Interaction) {
    let columns = [
        column("layer", 64.0, "Number of the block"),
        column("tokens", 88.0, "Tokens compared"),
        column(
            "same experts",
            104.0,
            "Router saturation: mean over tokens of the share of its k experts that are the same",
        ),
        column("by chance", 88.0, "k / E: what routers that know nothing of each other agree on"),
        column("same strongest", 112.0, "Share of tokens whose strongest expert is the same"),
        column("CV", 72.0, "Of the load, this dataset"),
        column("other CV", 80.0, "Of the load, the other"),
    ];
    let cell = |row: usize, column: usize| {
        let row = &rows[row];
        match column {
            0 => Cell::Count(u64::from(row.layer)),
            1 => Cell::Count(row.tokens),
            2 => Cell::share(row.top_k),
            3 => Cell::Share(row.by_chance),
            4 => Cell::share(row.top_1),
            5 => Cell::value(row.cv),
            _ => Cell::value(row.cv_against),
        }
    };
    let sheet =
        Sheet { id: "against", columns: &columns, rows: rows.len(), cell: &cell, most: 1024, marked: None };
    let caption = "with the dataset last given to `sae experts --against`; the table does not name it";
    let answer = sheet.show_titled(ui, "Agreement of the routers, token by token", caption);
    asked.of_sheet(answer, |_, _| None);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ExpertLoadRow;

    #[test]
    fn slots_that_moved() {
        let layer = |shares: &[f64]| LayerUsage {
            loads: vec![
                shares
                    .iter()
                    .map(|share| ExpertLoadRow { share: *share, ..ExpertLoadRow::default() })
                    .collect(),
            ],
            ..LayerUsage::default()
        };
        assert_eq!(moved(&layer(&[0.5, 0.5]), &layer(&[0.75, 0.25])), Some(0.25));
        assert_eq!(moved(&layer(&[1.0, 0.0]), &layer(&[0.0, 1.0])), Some(1.0));
        assert_eq!(moved(&layer(&[1.0]), &layer(&[0.5, 0.5])), None);
    }
}
