//! One layer: a bar for each expert with the numbers below, and the figures of all layers.

use egui::{Align2, FontId, Rect, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

use super::Interaction;
use crate::data::experts::dead_share;
use crate::data::experts::stretches::Stretches;
use crate::data::{ExpertUsage, LayerUsage};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::sheet::{Cell, Sheet, column};
use crate::widgets::{facts, format};

/// What a dead expert is.
pub const DEAD: &str =
    "Dead: less than 0.1 % of the slots, or than a tenth of the uniform share where that is less";
/// Width of the widest bar.
const BAR: f32 = 72.0;
/// Width from which on the numbers stand next to the bars.
const BESIDE: f32 = 1400.0;

/// Bars of the experts of `layer`, with the uniform share as a line, then their numbers.
pub fn show(ui: &mut Ui, layer: &LayerUsage, domain: usize, domain_name: &str, asked: &mut Interaction) {
    facts::section(ui, &format!("Layer {}", layer.balance.layer));
    figures(ui, layer);
    ui.add_space(space::S);
    let uniform = 1.0 / layer.experts().max(1) as f64;
    facts::caption(ui, format!("{domain_name}; the line is the uniform share, {}", format::percent(uniform)));
    if ui.available_width() >= BESIDE {
        ui.spacing_mut().item_spacing.x = space::XL;
        ui.columns_const(|[left, right]: &mut [Ui; 2]| {
            bars(left, layer, domain, asked);
            numbers(right, layer, domain, domain_name, asked);
        });
        return;
    }
    bars(ui, layer, domain, asked);
    ui.add_space(space::M);
    numbers(ui, layer, domain, domain_name, asked);
}

/// The balance of the layer over all text, in four numbers.
fn figures(ui: &mut Ui, layer: &LayerUsage) {
    let (balance, experts) = (&layer.balance, layer.experts());
    let value = |number: Option<f64>| number.map_or_else(|| format::MISSING.to_owned(), format::value);
    let count = |number: Option<u32>| {
        number.map_or_else(|| format::MISSING.to_owned(), |n| format::grouped(n.into()))
    };
    let (k, all) = (count(balance.k), format::grouped(experts as u64));
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = space::XL;
        let each = [
            (format!("{k} of {all}"), "experts per token", "Experts that each token is routed to"),
            (
                format!("{} of {all}", value(balance.effective_experts)),
                "effective experts",
                "Exponential of the load's entropy: the number of equally used experts with the same entropy",
            ),
            (
                format::quality(balance.load_entropy),
                "load entropy",
                "Entropy of the load over ln(experts): 1 for a uniform load",
            ),
            (
                value(balance.router_entropy),
                "router entropy, nats",
                "Mean entropy of the router's whole distribution over tokens",
            ),
            (count(balance.dead), "dead experts", DEAD),
        ];
        for (value, name, hover) in each {
            facts::figure(ui, &value, name, hover);
        }
        // Only where tokens may skip the layer.
        if let Some(density) = balance.activation_density.filter(|density| *density < 1.0) {
            facts::figure(
                ui,
                &format::percent(density),
                "activation density",
                "Share of the tokens that chose any expert: the others skip the layer",
            );
        }
    });
}

fn bars(ui: &mut Ui, layer: &LayerUsage, domain: usize, asked: &mut Interaction) {
    let p = palette(ui);
    let loads = layer.loads.get(domain).map(Vec::as_slice).unwrap_or_default();
    let room = ui.available_width().max(240.0);
    let width = (loads.len() as f32 * BAR).clamp(240.0, room);
    let (rect, response) = ui.allocate_exact_size(vec2(width, 132.0), Sense::click());
    response.widget_info(|| {
        WidgetInfo::labeled(
            Role::Image,
            true,
            format!("Load of the experts of layer {}", layer.balance.layer),
        )
    });
    let base = rect.bottom() - 16.0;
    let uniform = 1.0 / loads.len().max(1) as f64;
    let top = loads.iter().map(|l| l.share).fold(uniform * 1.25, f64::max);
    // Where a bar would be narrower than a point, neighbours share one: that of the most used.
    let stretches = Stretches::new(loads.len(), width as usize);
    let step = rect.width() / stretches.count().max(1) as f32;
    let at = |pos: egui::Pos2| {
        let stretch = ((pos.x - rect.left()) / step) as usize;
        stretches.top(stretch, loads).map(|(expert, _)| expert)
    };
    let hovered = response.hover_pos().and_then(at);
    let height = |share: f64| (share / top) as f32 * (base - rect.top());
    let painter = ui.painter();
    let font = FontId::proportional(size::SMALL);
    let every = (22.0 / step).ceil().max(1.0) as usize;
    let gap = if step > 6.0 { 1.0 } else { 0.25 };
    for i in 0..stretches.count() {
        let Some((expert, load)) = stretches.top(i, loads) else { continue };
        let left = rect.left() + step * i as f32;
        let bar =
            Rect::from_min_max(pos2(left + gap, base - height(load.share)), pos2(left + step - gap, base));
        let colour = if hovered == Some(expert) { p.accent } else { p.curve(0).gamma_multiply(0.75) };
        painter.rect_filled(bar, 2.0, colour);
        if load.share < dead_share(loads.len()) {
            let mark = Rect::from_min_max(pos2(left + gap, base - 3.0), pos2(left + step - gap, base));
            painter.rect_filled(mark, 0.0, p.error);
        }
        if i % every == 0 && (stretches.are_single() || i % (4 * every) == 0) {
            let expert = stretches.range(i).start;
            let at = pos2(left + step / 2.0, rect.bottom());
            let name = painter.layout_no_wrap(expert.to_string(), font.clone(), p.weak);
            let name_at = Align2::CENTER_BOTTOM.anchor_size(at, name.size());
            // Whole or not at all.
            if rect.x_range().contains(name_at.right()) {
                painter.galley(name_at.min, name, p.weak);
            }
        }
    }
    painter.hline(rect.x_range(), base, Stroke::new(1.0, p.line_strong));
    painter.hline(rect.x_range(), base - height(uniform), Stroke::new(1.0, p.warning));
    if response.clicked()
        && let Some(expert) = response.interact_pointer_pos().and_then(at)
    {
        asked.expert = Some((layer.balance.layer, expert as u32));
    }
    if let Some(expert) = hovered {
        let load = &loads[expert];
        response.on_hover_cursor(egui::CursorIcon::PointingHand).on_hover_text_at_pointer(format!(
            "{}\n{} of the slots, {}\nmean weight {}",
            match stretches.are_single() {
                true => format!("expert {expert}"),
                false =>
                    format!("expert {expert}, the most used of {}", stretches.name(stretches.of(expert))),
            },
            format::percent(load.share),
            format::counted(load.tokens, "token", "tokens"),
            format::value(load.weight)
        ));
    }
}

fn numbers(ui: &mut Ui, layer: &LayerUsage, domain: usize, domain_name: &str, asked: &mut Interaction) {
    let columns = [
        column("expert", 72.0, "Number of the expert"),
        column("share", 96.0, "Share of the layer's slots"),
        column("against uniform", 112.0, "Share over the uniform share, 1 / experts"),
        column("tokens", 88.0, "Tokens that chose it"),
        column("mean weight", 96.0, "Mean weight that was applied where it was chosen"),
        column("state", 88.0, DEAD),
    ];
    let loads = layer.loads.get(domain).map(Vec::as_slice).unwrap_or_default();
    // The most used first: that is what is looked for.
    let order = layer.by_load.get(domain).map(Vec::as_slice).unwrap_or_default();
    let cell = |row: usize, column: usize| {
        let expert = order[row] as usize;
        let load = &loads[expert];
        match column {
            0 => Cell::Link(expert as u64, format!("Go to expert {}:{expert}", layer.balance.layer)),
            1 => Cell::Share(load.share),
            2 => Cell::Times(load.share * loads.len() as f64),
            3 => Cell::Count(load.tokens),
            4 if load.tokens > 0 => Cell::Value(load.weight),
            4 => Cell::Missing,
            _ if load.share < dead_share(loads.len()) => Cell::Text("dead".into()),
            _ => Cell::Text(String::new()),
        }
    };
    let sheet = Sheet {
        id: "experts of layer",
        columns: &columns,
        rows: loads.len(),
        cell: &cell,
        most: 256,
        marked: None,
    };
    let found = sheet.show_titled(ui, &format!("Experts of layer {}", layer.balance.layer), domain_name);
    asked.of_sheet(found, |row, _| Some((layer.balance.layer, *order.get(row)?)));
}

/// The figures of all layers, over all text.
pub fn table(ui: &mut Ui, usage: &ExpertUsage, selected: &mut usize, asked: &mut Interaction) {
    let columns = [
        column("layer", 64.0, "Number of the block"),
        column("experts", 72.0, "Experts in it"),
        column("k", 40.0, "Experts per token"),
        column("tokens", 80.0, "Tokens counted"),
        column(
            "effective",
            84.0,
            "Exponential of the load's entropy: the number of equally used experts with the same entropy",
        ),
        column("load entropy", 100.0, "Entropy of the load over ln(experts): 1 for a uniform load"),
        column("router entropy", 112.0, "Mean entropy of the router's distribution over tokens, in nats"),
        column("CV", 72.0, "Standard deviation of the load over its mean; 0 for a uniform load"),
        column("violation", 84.0, "Largest load over mean load − 1; 0 for a uniform load"),
        column("Gini", 72.0, "Gini coefficient of the load; 0 for a uniform load"),
        column("dead", 56.0, DEAD),
    ];
    let cell = |row: usize, column: usize| {
        let layer = &usage.layers[row];
        let balance = &layer.balance;
        match column {
            0 => Cell::Link(u64::from(balance.layer), format!("Layer {}", balance.layer)),
            1 => Cell::Count(layer.experts() as u64),
            2 => Cell::count(balance.k),
            3 => Cell::count(balance.tokens),
            4 => Cell::value(balance.effective_experts),
            5 => Cell::value(balance.load_entropy),
            6 => Cell::value(balance.router_entropy),
            7 => Cell::value(balance.cv),
            8 => Cell::value(balance.max_violation),
            9 => Cell::value(balance.gini),
            _ => Cell::count(balance.dead),
        }
    };
    let sheet = Sheet {
        id: "layers",
        columns: &columns,
        rows: usage.layers.len(),
        cell: &cell,
        most: 1024,
        marked: Some(*selected),
    };
    let found = sheet.show_titled(ui, "All layers", "over all text");
    if let Some((row, _)) = found.clicked {
        *selected = row;
    }
    asked.of_sheet(found, |_, _| None);
}
