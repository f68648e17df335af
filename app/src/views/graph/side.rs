//! The chosen node: its numbers, its marks, its changes, and what it is given and gives.

use egui::{ComboBox, DragValue, RichText, Role, TextEdit, Ui, WidgetInfo};
use storage::graph::{self as files, GraphEdgeRow};
use storage::graph_marks::node_name;

use super::words::{self, Labels};
use super::{GraphView, Scene};
use crate::address::Place;
use crate::data::graph::AttributionGraph;
use crate::data::{GraphMarks, MarkEdit};
use crate::theme::{palette, space, tokens::size};
use crate::widgets::{bars, facts, format, notice};

/// Edges listed of a node.
const LISTED: usize = 30;

/// What a person is typing about the chosen node.
#[derive(Debug, Default)]
pub struct NodePage {
    /// The node, and the name of its supernode as it is typed.
    typed: Option<(usize, String)>,
}

impl GraphView {
    /// The page of the chosen node.
    pub(super) fn node(
        &mut self,
        ui: &mut Ui,
        graph: &AttributionGraph,
        marks: &GraphMarks,
        labels: Labels<'_>,
        scene: &mut Scene<'_>,
    ) {
        let Some(node) = self.chosen else {
            notice::empty(ui, "No node chosen", "Click a node to see what it is given and what it gives.");
            return;
        };
        let row = &graph.nodes[node];
        let strong = palette(ui).strong;
        let name = words::name(graph, node);
        ui.add(egui::Label::new(RichText::new(name).size(size::HEADING).color(strong)).wrap());
        let called = row.layer.zip(row.feature).and_then(|(layer, feature)| labels(layer, feature));
        if let Some(called) = called {
            ui.add(egui::Label::new(called).wrap());
        }
        let activation = row.activation.map(|a| format!("{a:.3}"));
        let weight = row.weight.map(|w| format!("{w:.3}"));
        let (value, influence) = (format!("{:.3}", row.value), format!("{:.4}", row.influence));
        let mut rows = vec![("value", value.as_str()), ("influence", influence.as_str())];
        if let Some(activation) = &activation {
            rows.insert(0, ("activation", activation));
        }
        if let Some(weight) = &weight {
            rows.insert(0, (if row.kind == files::LOGIT { "probability" } else { "weight" }, weight));
        }
        facts::facts(ui, "node", rows);
        let feature = self.feature_of(graph, node);
        if let Some((run, feature)) = &feature
            && ui.button("Open the feature's page").clicked()
        {
            scene.go(Place::Feature { run: run.clone(), feature: *feature });
        }
        self.marks(ui, node, &node_name(row), marks, scene);
        if let (files::FEATURE, Some(activation)) = (row.kind.as_str(), row.activation) {
            self.change(ui, node, activation);
        }
        self.path(ui, graph, node, labels);
        if let Some((run, feature)) = &feature {
            self.feature.show(ui, run, *feature, scene);
        }
        self.chosen = self.through.show(ui, graph, node).or(self.chosen);
        self.list(ui, graph, "Is given", &graph.into(node), |edge| edge.source);
        self.list(ui, graph, "Gives", &graph.out_of(node), |edge| edge.target);
    }

    /// Pin and supernode.
    fn marks(&mut self, ui: &mut Ui, node: usize, name: &str, marks: &GraphMarks, scene: &mut Scene<'_>) {
        ui.add_space(space::S);
        let own = marks.supernode_of(name).map(|supernode| supernode.name.clone());
        let pinned = marks.is_pinned(name);
        let pin = ui.button(if pinned { "Unpin" } else { "Pin" });
        pin.widget_info(|| WidgetInfo::selected(Role::Button, true, pinned, "Pin this node"));
        if pin.on_hover_text("A pinned node is always shown, and is part of the marked graph").clicked() {
            self.mark(scene, MarkEdit::Pin { node: name.to_owned(), pinned: !pinned });
        }
        if self.page.typed.as_ref().is_none_or(|typed| typed.0 != node) {
            self.page.typed = Some((node, own.clone().unwrap_or_default()));
        }
        let Some((_, typed)) = &mut self.page.typed else { return };
        let mut to = None;
        ui.horizontal(|ui| {
            ui.label("Supernode");
            let field = TextEdit::singleline(typed).hint_text("name").desired_width(120.0);
            let field = ui.add(field);
            field.widget_info(|| WidgetInfo::labeled(Role::TextInput, true, "Supernode of this node"));
            if field.lost_focus() && typed.trim() != own.as_deref().unwrap_or_default() {
                to = Some(Some(typed.trim().to_owned()).filter(|name| !name.is_empty()));
            }
            let others = marks.supernodes.iter().filter(|other| Some(&other.name) != own.as_ref());
            let others: Vec<&String> = others.map(|other| &other.name).collect();
            if !others.is_empty() || own.is_some() {
                let list = ComboBox::from_id_salt("supernodes").selected_text("").width(20.0);
                let list = list.show_ui(ui, |ui| {
                    for other in others {
                        if ui.selectable_label(false, other).clicked() {
                            to = Some(Some(other.clone()));
                        }
                    }
                    if own.is_some() && ui.selectable_label(false, "in no supernode").clicked() {
                        to = Some(None);
                    }
                });
                list.response
                    .widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, "Supernodes of this graph"));
            }
        });
        if let Some(supernode) = to {
            *typed = supernode.clone().unwrap_or_default();
            self.mark(scene, MarkEdit::Group { node: name.to_owned(), supernode });
        }
        if let Some(own) = own {
            self.supernode(ui, &own, marks, scene);
        }
    }

    /// What can be done with a whole supernode.
    fn supernode(&mut self, ui: &mut Ui, name: &str, marks: &GraphMarks, scene: &mut Scene<'_>) {
        let Some(supernode) = marks.supernodes.iter().find(|supernode| supernode.name == name) else {
            return;
        };
        ui.horizontal_wrapped(|ui| {
            facts::caption(
                ui,
                format!("{} in it", format::counted(supernode.nodes.len() as u64, "node", "nodes")),
            );
            if ui.small_button("Take all out").on_hover_text("All its features stop firing").clicked() {
                let graph = self.graph.value().map(std::sync::Arc::clone);
                let of = graph.iter().flat_map(|graph| graph.nodes.iter().enumerate());
                for (node, row) in of.filter(|(_, row)| row.kind == files::FEATURE) {
                    if supernode.nodes.contains(&node_name(row)) {
                        self.changes.set(node, Some(0.0));
                    }
                }
            }
            if ui.small_button("Dissolve").on_hover_text("Its nodes stay").clicked() {
                self.page.typed = None;
                self.mark(scene, MarkEdit::Dissolve { supernode: name.to_owned() });
            }
        });
    }

    /// Makes the feature fire differently.
    fn change(&mut self, ui: &mut Ui, node: usize, activation: f32) {
        ui.add_space(space::S);
        facts::section(ui, "Change it");
        ui.horizontal_wrapped(|ui| {
            for (name, to, hover) in [
                ("Take out", 0.0, "It does not fire here"),
                ("Double", 2.0 * activation, "Twice its activation"),
                ("Reverse", -activation, "Its activation with the opposite sign"),
            ] {
                if ui.button(name).on_hover_text(hover).clicked() {
                    self.changes.set(node, Some(to));
                }
            }
            if let Some(mut to) = self.changes.of(node) {
                let number =
                    ui.add(DragValue::new(&mut to).speed(activation.abs().max(0.1) / 100.0).max_decimals(3));
                number.widget_info(|| {
                    WidgetInfo::labeled(Role::SpinButton, true, "New activation of this feature")
                });
                if number.changed() {
                    self.changes.set(node, Some(to));
                }
                if ui.button("Leave as it is").clicked() {
                    self.changes.set(node, None);
                }
            }
        });
    }

    /// The strongest path through the node.
    fn path(&mut self, ui: &mut Ui, graph: &AttributionGraph, node: usize, labels: Labels<'_>) {
        let path = words::path(graph, node);
        if path.len() < 2 {
            return;
        }
        ui.add_space(space::S);
        facts::section(ui, "Strongest path");
        let sentence = words::sentence(graph, &path, labels);
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing.x = space::XS;
            for (at, &on) in path.iter().enumerate() {
                if at > 0 {
                    ui.weak("→");
                }
                let name = words::short(graph, on, labels);
                let link = ui.add(egui::Link::new(RichText::new(name).size(size::SMALL)));
                if link.hovered() {
                    self.hovered = Some(on);
                }
                if link.on_hover_text(words::name(graph, on)).clicked() {
                    self.chosen = Some(on);
                }
            }
        });
        if ui.small_button("Copy the path").clicked() {
            ui.ctx().copy_text(sentence);
        }
    }

    fn list(
        &mut self,
        ui: &mut Ui,
        graph: &AttributionGraph,
        title: &str,
        edges: &[GraphEdgeRow],
        other: impl Fn(&GraphEdgeRow) -> u32,
    ) {
        ui.add_space(space::S);
        facts::section(ui, title);
        let shown = edges.len().min(LISTED);
        match edges.len() {
            0 => facts::caption(ui, "nothing"),
            n if n > shown => {
                facts::caption(ui, format!("the {shown} strongest of {}", format::grouped(n as u64)))
            }
            n => facts::caption(ui, format!("{n}")),
        };
        let most = edges.first().map_or(1.0, |edge| edge.weight.abs());
        let mut go = None;
        for edge in &edges[..shown] {
            let node = other(edge) as usize;
            let response = bars::signed_line(ui, &words::name(graph, node), edge.weight, most);
            if response.hovered() {
                self.hovered = Some(node);
            }
            if response.clicked() {
                go = Some(node);
            }
        }
        self.chosen = go.or(self.chosen);
    }
}
