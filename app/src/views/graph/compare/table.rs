//! The list of edges: a line each, with the weight in every graph.

use egui::{Label, RichText, Role, Sense, Ui, WidgetInfo};
use egui_table::{CellInfo, Column, HeaderCellInfo, HeaderRow, PrefetchInfo, Table, TableDelegate};

use super::side::signed;
use super::{Chosen, Compare, Look, name};
use crate::prompt::graphs::{ComparedEdge, ComparedGraphs, EdgeKey, letter};
use crate::theme::tokens::height;
use crate::theme::{palette, space, tokens::size};
use crate::views::graph::words::Labels;
use crate::widgets::table::{self, Side, SortState};
use crate::widgets::{bars, format, notice};

/// A column.
struct EdgeColumn {
    name: String,
    width: f32,
    side: Side,
    about: String,
    key: EdgeKey,
}

fn columns(graphs: usize) -> Vec<EdgeColumn> {
    let column = |name: &str, width, side, about: &str, key| EdgeColumn {
        name: name.to_owned(),
        width,
        side,
        about: about.to_owned(),
        key,
    };
    let mut all = vec![
        column("source", 112.0, Side::Left, "What gives", EdgeKey::Source),
        column("target", 112.0, Side::Left, "What is given something", EdgeKey::Target),
    ];
    let kept = "Graphs in which pruning keeps the edge. Sorted by this, the strongest come first among those of as many graphs";
    all.push(column("kept in", 74.0, Side::Left, kept, EdgeKey::Graphs));
    for graph in 0..graphs {
        let about = format!(
            "Weight in {}, summed over positions; in brackets at those at which pruning does not keep the edge",
            letter(graph)
        );
        all.push(column(&letter(graph), 124.0, Side::Right, &about, EdgeKey::Weight(graph)));
    }
    if graphs == 2 {
        let about =
            "Weight in B less that in A, at all positions, whether pruning keeps the edge there or not";
        all.push(column("B − A", 86.0, Side::Right, about, EdgeKey::Difference));
        for (name, what, key) in [
            ("source fires", "what gives", EdgeKey::SourceActivation),
            ("target fires", "what is given something", EdgeKey::TargetActivation),
        ] {
            let about = format!(
                "Largest activation of {what} at a token of A, and of B. Sorted by the larger of both"
            );
            all.push(column(name, 116.0, Side::Right, &about, key));
        }
    }
    all
}

impl Compare {
    /// Draws the list; the edge that is to be opened.
    pub(super) fn table(
        &mut self,
        ui: &mut Ui,
        compared: &ComparedGraphs,
        listed: &[u32],
        look: &Look<'_>,
    ) -> Option<u32> {
        if listed.is_empty() {
            notice::empty(ui, "No such edge", "No edge is kept as often as is asked for. List others above.");
            return None;
        }
        let columns = columns(compared.graphs.len());
        let fixed: f32 = columns.iter().map(|column| column.width).sum();
        // What is left over belongs to the names.
        let wider = ((ui.available_width() - space::M - fixed) / 2.0).max(0.0).floor();
        let width = |column: &EdgeColumn| match column.key {
            EdgeKey::Source | EdgeKey::Target => column.width + wider,
            _ => column.width,
        };
        let id = |column: &EdgeColumn| egui::Id::unique(("compared", &column.name));
        let widths: Vec<Column> = columns
            .iter()
            .map(|column| Column::new(width(column)).range(40.0..=900.0).id(id(column)))
            .collect();
        let list = self.list(compared);
        let mut delegate = Rows {
            compared,
            listed,
            columns: &columns,
            labels: look.labels,
            chosen: self.chosen,
            sort: list.sort,
            most: compared.largest_difference,
            seen: 0,
            asked: Interaction::default(),
        };
        let mut drawn = Table::new()
            .id_salt(("compared", compared.graphs.len()))
            .num_rows(listed.len() as u64)
            .headers([HeaderRow::new(height::HEAD)]);
        if let Some(row) = self.scroll_to.take() {
            drawn = drawn.scroll_to_row(row, None);
        }
        table::show(ui, drawn, &widths, &mut delegate);
        let (seen, asked) = (delegate.seen, delegate.asked);
        self.page_rows = seen;
        self.sort = asked.sort.or(self.sort);
        if let Some(node) = asked.hovered {
            self.hovered = Some(node);
        }
        if let Some(chosen) = asked.chosen {
            self.chosen = if self.chosen == Some(chosen) { None } else { Some(chosen) };
        }
        asked.open
    }
}

/// What a person did in the list.
#[derive(Default)]
struct Interaction {
    sort: Option<(EdgeKey, bool)>,
    chosen: Option<Chosen>,
    hovered: Option<u32>,
    open: Option<u32>,
}

struct Rows<'a> {
    compared: &'a ComparedGraphs,
    listed: &'a [u32],
    columns: &'a [EdgeColumn],
    labels: Labels<'a>,
    chosen: Option<Chosen>,
    sort: (EdgeKey, bool),
    /// The largest difference of all edges.
    most: f32,
    seen: usize,
    asked: Interaction,
}

impl Rows<'_> {
    fn edge(&self, row: u64) -> Option<(u32, &ComparedEdge)> {
        let place = *self.listed.get(row as usize)?;
        Some((place, self.compared.edges.get(place as usize)?))
    }

    /// A name that chooses its node.
    fn node(&mut self, ui: &mut Ui, node: u32) {
        let whole = name(self.compared, node, self.labels);
        table::cell(ui, Side::Left, |ui| {
            let shown = RichText::new(&whole).color(palette(ui).text);
            let label = ui.add(Label::new(shown).truncate().sense(Sense::click()));
            label.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Choose {whole}")));
            if label.hovered() {
                self.asked.hovered = Some(node);
            }
            if label.on_hover_text(&whole).clicked() {
                self.asked.chosen = Some(Chosen::Node(node));
            }
        });
    }

    fn kept(&self, edge: &ComparedEdge) -> String {
        let all = self.compared.graphs.len();
        match edge.merged.graphs {
            2 if all == 2 => "both".to_owned(),
            1 if all == 2 => format!("only {}", letter(usize::from(!edge.is_kept(0)))),
            n => format!("{n} of {all}"),
        }
    }

    /// What pruning keeps, and in brackets what it does not.
    fn weight(&self, ui: &mut Ui, edge: &ComparedEdge, graph: usize) {
        let p = palette(ui);
        let (kept, pruned) = (edge.merged.weights[graph], edge.merged.pruned[graph]);
        table::cell(ui, Side::Right, |ui| {
            if let Some(pruned) = pruned {
                let text = RichText::new(format!("({})", signed(pruned))).size(size::SMALL).color(p.weak);
                ui.add(Label::new(text));
            }
            let (text, colour) = match kept {
                Some(weight) => (signed(weight), p.text),
                None => (format::MISSING.to_owned(), p.weak),
            };
            ui.add(Label::new(RichText::new(text).color(colour)).truncate());
        });
    }

    fn activations(&self, ui: &mut Ui, node: u32) {
        if self.compared.nodes[node as usize].feature.is_none() {
            return;
        }
        let of = |graph| {
            let activation = self.compared.activation(node, graph);
            activation.map_or_else(|| format::MISSING.to_owned(), |activation| format!("{activation:.2}"))
        };
        table::number(ui, format!("{} | {}", of(0), of(1)));
    }
}

impl TableDelegate for Rows<'_> {
    fn prepare(&mut self, info: &PrefetchInfo) {
        self.seen = (info.visible_rows.end - info.visible_rows.start) as usize;
    }

    fn header_cell_ui(&mut self, ui: &mut Ui, cell: &HeaderCellInfo) {
        let column = &self.columns[cell.group_index];
        let sorted = match (self.sort.0 == column.key, self.sort.1) {
            (false, _) => SortState::No,
            (true, false) => SortState::Up,
            (true, true) => SortState::Down,
        };
        if table::sort_head(ui, &column.name, column.side, sorted, &column.about) {
            let words = matches!(column.key, EdgeKey::Source | EdgeKey::Target);
            let down = if self.sort.0 == column.key { !self.sort.1 } else { !words };
            self.asked.sort = Some((column.key, down));
        }
    }

    fn row_ui(&mut self, ui: &mut Ui, row: u64) {
        let Some((place, edge)) = self.edge(row) else { return };
        if !table::is_seen(ui) {
            return;
        }
        let rect = ui.max_rect();
        let response = ui.interact(rect, ui.scope_id().with(("edge", place)), Sense::click());
        let chosen = self.chosen == Some(Chosen::Edge(place));
        response.widget_info(|| {
            let name = format!("Edge {} → {}", edge.merged.source, edge.merged.target);
            WidgetInfo::selected(Role::Row, true, chosen, name)
        });
        table::row_ground(ui, rect, chosen, response.hovered());
        if response.double_clicked() {
            self.asked.open = Some(place);
        } else if response.clicked() {
            self.asked.chosen = Some(Chosen::Edge(place));
        }
    }

    fn cell_ui(&mut self, ui: &mut Ui, cell: &CellInfo) {
        let Some((_, edge)) = self.edge(cell.row_nr) else { return };
        let (edge, key) = (edge.clone(), self.columns[cell.col_nr].key);
        match key {
            EdgeKey::Source => self.node(ui, edge.source),
            EdgeKey::Target => self.node(ui, edge.target),
            EdgeKey::Graphs => table::words(ui, self.kept(&edge)),
            EdgeKey::Weight(graph) => self.weight(ui, &edge, graph),
            EdgeKey::Difference => {
                bars::behind_number(ui, edge.difference().abs() / self.most.max(f32::MIN_POSITIVE));
                table::number(ui, signed(edge.difference()));
            }
            EdgeKey::SourceActivation => self.activations(ui, edge.source),
            EdgeKey::TargetActivation => self.activations(ui, edge.target),
        }
    }

    fn default_row_height(&self) -> f32 {
        height::ROW
    }
}
