//! The chosen node or edge: where it is in each graph, and with which numbers.

use egui::{Label, Link, RichText, Role, ScrollArea, Ui, WidgetInfo};

use super::{Chosen, Compare, Look, name};
use crate::address::Place;
use crate::prompt::graphs::{ComparedGraphs, letter};
use crate::theme::{palette, space, tokens::size};
use crate::views::Scene;
use crate::views::graph::words;
use crate::widgets::{facts, format, rule, text};

/// Parts of an edge or nodes of a feature that are listed of a graph.
const LISTED: usize = 12;

/// A node of a graph.
type At = (usize, usize);

impl Compare {
    /// The page of what is chosen; the node that a graph is to be shown at.
    pub(super) fn side(
        &mut self,
        ui: &mut Ui,
        compared: &ComparedGraphs,
        look: &Look<'_>,
        scene: &mut Scene<'_>,
    ) -> Option<At> {
        ScrollArea::vertical()
            .id_salt("compared side")
            .auto_shrink(false)
            .show(ui, |ui| {
                // Links in a line are no higher than their text.
                ui.spacing_mut().interact_size.y = size::SMALL;
                ui.spacing_mut().item_spacing.y = space::XS;
                self.chosen_page(ui, compared, look, scene)
            })
            .inner
    }

    fn chosen_page(
        &mut self,
        ui: &mut Ui,
        compared: &ComparedGraphs,
        look: &Look<'_>,
        scene: &mut Scene<'_>,
    ) -> Option<At> {
        match self.chosen {
            Some(Chosen::Node(node)) => self.node(ui, compared, node, look, scene),
            Some(Chosen::Edge(edge)) => self.edge(ui, compared, edge, look, scene),
            None => {
                self.all(ui, compared, scene);
                None
            }
        }
    }

    /// The graphs, while nothing is chosen.
    fn all(&mut self, ui: &mut Ui, compared: &ComparedGraphs, scene: &mut Scene<'_>) {
        facts::section(ui, "Graphs");
        for (graph, folder) in compared.folders.iter().enumerate() {
            let record = &compared.graphs[graph].record;
            ui.horizontal(|ui| {
                ui.label(RichText::new(letter(graph)).color(palette(ui).strong));
                let name = scene.folder.name_of(folder).into_owned();
                let link = Link::new(rule::middle(&name, 30));
                if graph > 0 && ui.add(link).on_hover_text("Open this graph").clicked() {
                    scene.go(Place::Graph { graph: folder.clone() });
                } else if graph == 0 {
                    ui.label(RichText::new(rule::middle(&name, 30)).color(palette(ui).text));
                }
                let nodes = format!("{} nodes kept", format::grouped(record.kept_nodes));
                facts::caption(ui, nodes);
            });
            let text = RichText::new(text::in_line(&record.text)).size(size::SMALL).color(palette(ui).weak);
            ui.add(Label::new(text).truncate());
            ui.add_space(space::S);
        }
        let about = "Features, tokens and the errors of a layer are compared wherever in the texts they are: weights are summed over \
                     positions, as `sae graph merge` does. Choose a node or an edge to see where it is.";
        ui.add(Label::new(RichText::new(about).size(size::SMALL).color(palette(ui).weak)).wrap());
    }

    /// Where a feature is, or a token.
    fn node(
        &mut self,
        ui: &mut Ui,
        compared: &ComparedGraphs,
        node: u32,
        look: &Look<'_>,
        scene: &mut Scene<'_>,
    ) -> Option<At> {
        heading(ui, &name(compared, node, look.labels));
        let of = &compared.nodes[node as usize];
        if let Some((layer, feature)) = of.feature
            && let Some(of_layer) = look.runs.get(&layer)
            && ui.button("Open the feature's page").clicked()
        {
            scene.go(Place::Feature { run: of_layer.run.clone(), feature: of_layer.number(feature) });
        }
        let mut open = None;
        for (graph, nodes) in of.nodes.iter().enumerate() {
            title(ui, compared, graph, scene);
            if nodes.is_empty() {
                facts::caption(ui, "not in this graph");
            }
            for one in nodes.iter().take(LISTED) {
                let at = (graph, *one as usize);
                let row = &compared.graphs[graph].nodes[at.1];
                open = self.link(ui, compared, at, &place(compared, at)).or(open);
                let activation = row
                    .activation
                    .map(|activation| format!("activation {activation:.3} · "))
                    .unwrap_or_default();
                facts::caption(ui, format!("{activation}influence {:.4}", row.influence));
            }
            more(ui, nodes.len());
        }
        open
    }

    /// What an edge is made of in each graph.
    fn edge(
        &mut self,
        ui: &mut Ui,
        compared: &ComparedGraphs,
        edge: u32,
        look: &Look<'_>,
        scene: &mut Scene<'_>,
    ) -> Option<At> {
        let of = &compared.edges[edge as usize];
        for (end, before) in [(of.source, ""), (of.target, "→ ")] {
            let shown = format!("{before}{}", name(compared, end, look.labels));
            let text = RichText::new(shown).size(size::HEADING).color(palette(ui).strong);
            let link = ui.add(Label::new(text).sense(egui::Sense::click()).truncate());
            link.widget_info(|| {
                let name = format!("Choose {}", name(compared, end, look.labels));
                WidgetInfo::labeled(Role::Button, true, name)
            });
            if link.hovered() {
                self.hovered = Some(end);
            }
            if link.on_hover_text("Choose this node: its edges are listed").clicked() {
                self.chosen = Some(Chosen::Node(end));
            }
        }
        let mut open = None;
        for graph in 0..compared.graphs.len() {
            title(ui, compared, graph, scene);
            let (kept, pruned) = (of.merged.weights[graph], of.merged.pruned[graph]);
            let pruned =
                pruned.map(|pruned| format!("{} at positions that pruning does not keep", signed(pruned)));
            let weight = match (kept, pruned) {
                (Some(kept), None) => format!("weight {}", signed(kept)),
                (Some(kept), Some(pruned)) => format!("weight {}, and {pruned}", signed(kept)),
                (None, Some(pruned)) => format!("weight {pruned}"),
                (None, None) if compared.graphs[graph].kept_only => "not kept".to_owned(),
                (None, None) => "no such edge".to_owned(),
            };
            ui.add(Label::new(RichText::new(weight).size(size::SMALL).color(palette(ui).weak)).wrap());
            let parts = compared.parts(edge, graph);
            for part in parts.iter().take(LISTED) {
                ui.horizontal_wrapped(|ui| {
                    ui.spacing_mut().item_spacing.x = space::XS;
                    let source = (graph, part.source as usize);
                    open = self.link(ui, compared, source, &place(compared, source)).or(open);
                    ui.weak("→");
                    let target = (graph, part.target as usize);
                    open = self.link(ui, compared, target, &place(compared, target)).or(open);
                    let p = palette(ui);
                    let colour = if part.kept { p.strong } else { p.weak };
                    let weight = match part.kept {
                        true => signed(part.weight),
                        false => format!("({})", signed(part.weight)),
                    };
                    ui.label(RichText::new(weight).size(size::SMALL).color(colour));
                });
            }
            more(ui, parts.len());
        }
        open
    }

    /// A link to a node of a graph.
    fn link(&mut self, ui: &mut Ui, compared: &ComparedGraphs, at: At, shown: &str) -> Option<At> {
        let whole = words::name(&compared.graphs[at.0], at.1);
        let link = ui.add(Link::new(RichText::new(shown).size(size::SMALL)));
        link.widget_info(|| WidgetInfo::labeled(Role::Link, true, format!("Open {}: {whole}", letter(at.0))));
        if link.hovered() {
            self.hovered = Some(compared.of_node[at.0][at.1]);
        }
        link.on_hover_text(format!("{whole}\nOpen the graph at this node")).clicked().then_some(at)
    }
}

fn heading(ui: &mut Ui, name: &str) {
    let text = RichText::new(name).size(size::HEADING).color(palette(ui).strong);
    ui.add(Label::new(text).wrap());
}

/// Letter and name of a graph.
fn title(ui: &mut Ui, compared: &ComparedGraphs, graph: usize, scene: &Scene<'_>) {
    ui.add_space(space::S);
    let name = scene.folder.name_of(&compared.folders[graph]);
    let shown = format!("{} · {}", letter(graph), rule::middle(&name, 30));
    let text = compared.graphs[graph].record.text.clone();
    ui.label(RichText::new(shown).color(palette(ui).strong)).on_hover_text(text);
}

/// Where a node is: the token that it is at, or of.
fn place(compared: &ComparedGraphs, (graph, node): At) -> String {
    let (of, row) = (&compared.graphs[graph], &compared.graphs[graph].nodes[node]);
    match row.position {
        Some(position) => {
            let token = of.record.shown.get(position as usize).map_or("", String::as_str);
            format!("token {position} ‹{}›", text::in_list(token))
        }
        None => words::name(of, node),
    }
}

fn more(ui: &mut Ui, all: usize) {
    if all > LISTED {
        facts::caption(ui, format!("and {} more", format::grouped((all - LISTED) as u64)));
    }
}

/// A weight with its sign.
pub(super) fn signed(weight: f32) -> String {
    format!("{weight:+.3}").replace('-', "−")
}
