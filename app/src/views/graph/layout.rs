//! Where the nodes of a graph are drawn: positions from left to right, layers from bottom to top.

use egui::{Pos2, Rect, Vec2, pos2, vec2};
use storage::graph::{self as files, GraphNodeRow};
use storage::graph_marks::node_name;

use crate::data::GraphMarks;
use crate::data::graph::AttributionGraph;

/// Diameter of a node with the room around it.
pub const STEP: f32 = 15.0;
/// Narrowest column, which a token's text still fits in.
const COLUMN: f32 = 62.0;
/// Nodes of a cell next to each other at most, before they go into a second line.
const ACROSS: usize = 8;
/// Room at the left for the names of layers.
pub const MARGIN: f32 = 58.0;
/// Height of a line of text boxes: tokens and targets.
const BOX: f32 = 38.0;
/// Room that a layer is given at most besides what it needs.
const SPREAD: f32 = 160.0;
/// Least distance between two layers.
const BAND: f32 = 34.0;

/// The places of the nodes that are shown.
#[derive(Debug, Default)]
pub struct GraphLayout {
    /// Node and the middle of where it is drawn.
    pub nodes: Vec<(usize, Pos2)>,
    /// For each node its place in `nodes`; none if it is not shown.
    pub place: Vec<Option<u32>>,
    /// Middle of each layer, the first below.
    pub layers: Vec<f32>,
    /// Left edge and width of each column.
    pub columns: Vec<(f32, f32)>,
    /// All of it.
    pub size: Vec2,
}

impl GraphLayout {
    /// The layout of the nodes of `graph` that have `share` of the influence, with or without errors, and of those that are marked; at
    /// least as large as `room`.
    pub fn new(
        graph: &AttributionGraph,
        marks: &GraphMarks,
        (share, errors): (f64, bool),
        room: Vec2,
    ) -> Self {
        let marked = |row: &GraphNodeRow| {
            !marks.is_empty() && {
                let name = node_name(row);
                marks.is_pinned(&name) || marks.supernode_of(&name).is_some()
            }
        };
        let (positions, layers) = (graph.record.tokens.len(), graph.record.layers as usize);
        let mut cells: Vec<Vec<usize>> = vec![Vec::new(); positions * layers];
        let mut targets = Vec::new();
        for (node, row) in graph.nodes.iter().enumerate() {
            let marked = marked(row);
            if !marked && !graph.is_shown(node, share) {
                continue;
            }
            match (row.layer, row.position) {
                (Some(layer), Some(position)) if errors || marked || row.kind != files::ERROR => {
                    if let Some(cell) = cells.get_mut(layer as usize * positions + position as usize) {
                        cell.push(node);
                    }
                }
                (None, None) => targets.push(node),
                _ => {}
            }
        }
        let mut layout = Self { place: vec![None; graph.nodes.len()], ..Self::default() };
        layout.columns(&cells, positions, room.x);
        let heights = layout.bands(&cells, (positions, layers), room.y);
        layout.cells(&cells, positions, &heights);
        layout.ends(graph, &targets);
        layout
    }

    fn columns(&mut self, cells: &[Vec<usize>], positions: usize, width: f32) {
        let across = |position: usize| {
            let most = cells.iter().skip(position).step_by(positions.max(1)).map(Vec::len).max().unwrap_or(0);
            (most.min(ACROSS) as f32 * STEP + 12.0).max(COLUMN)
        };
        let widths: Vec<f32> = (0..positions).map(across).collect();
        let room = width - MARGIN;
        let wider = (room / widths.iter().sum::<f32>().max(1.0)).max(1.0);
        let mut left = MARGIN;
        for width in widths {
            self.columns.push((left, width * wider));
            left += width * wider;
        }
        self.size.x = left;
    }

    /// The middle of every layer and the height of all of it.
    fn bands(&mut self, cells: &[Vec<usize>], (positions, layers): (usize, usize), room: f32) -> Vec<f32> {
        let lines = |layer: usize| {
            let most =
                cells[layer * positions..(layer + 1) * positions].iter().map(Vec::len).max().unwrap_or(0);
            (most.div_ceil(ACROSS) as f32 * STEP + 10.0).max(BAND)
        };
        let mut heights: Vec<f32> = (0..layers).map(lines).collect();
        let ends = 2.0 * (BOX + 14.0);
        let needed = heights.iter().sum::<f32>() + ends;
        // Few layers are spread over the pane.
        let wider = ((room - needed) / layers.max(1) as f32).clamp(0.0, SPREAD);
        heights.iter_mut().for_each(|height| *height += wider);
        self.size.y = heights.iter().sum::<f32>() + ends;
        let mut bottom = self.size.y - BOX - 14.0;
        for height in &heights {
            self.layers.push(bottom - height / 2.0);
            bottom -= height;
        }
        heights
    }

    fn cells(&mut self, cells: &[Vec<usize>], positions: usize, heights: &[f32]) {
        for (at, cell) in cells.iter().enumerate().filter(|(_, cell)| !cell.is_empty()) {
            let (layer, (left, width)) = (at / positions, self.columns[at % positions]);
            let lines = cell.len().div_ceil(ACROSS);
            let top =
                self.layers[layer] - (lines as f32 - 1.0) / 2.0 * STEP.min(heights[layer] / lines as f32);
            for (i, &node) in cell.iter().enumerate() {
                let (line, column) = (i / ACROSS, i % ACROSS);
                let in_line = (cell.len() - line * ACROSS).min(ACROSS);
                let x = left + width / 2.0 + (column as f32 - (in_line as f32 - 1.0) / 2.0) * STEP;
                self.put(node, pos2(x, top + line as f32 * STEP));
            }
        }
    }

    /// Tokens below and targets above, both in their columns: all targets belong to the last.
    fn ends(&mut self, graph: &AttributionGraph, targets: &[usize]) {
        let bottom = self.size.y - BOX / 2.0;
        for (node, row) in graph.nodes.iter().enumerate().filter(|(_, row)| row.kind == files::TOKEN) {
            if let Some(&(left, width)) = self.columns.get(row.position.unwrap_or_default() as usize) {
                self.put(node, pos2(left + width / 2.0, bottom));
            }
        }
        let room = self.size.x - MARGIN;
        let width = (room / targets.len().max(1) as f32).min(96.0);
        for (i, &node) in targets.iter().enumerate() {
            let right = self.size.x - width * (targets.len() - i) as f32;
            self.put(node, pos2(right + width / 2.0, BOX / 2.0));
        }
    }

    fn put(&mut self, node: usize, at: Pos2) {
        self.place[node] = Some(self.nodes.len() as u32);
        self.nodes.push((node, at));
    }

    /// Where a node is, if it is shown.
    pub fn at(&self, node: usize) -> Option<Pos2> {
        self.place[node].map(|place| self.nodes[place as usize].1)
    }

    /// The box of a token or a target at `middle`.
    pub fn text_box(&self, graph: &AttributionGraph, node: usize, middle: Pos2) -> Rect {
        let row = &graph.nodes[node];
        let width = match row.position.and_then(|position| self.columns.get(position as usize)) {
            Some((_, width)) => width - 4.0,
            None => {
                let targets =
                    graph.nodes.iter().rev().take_while(|row| row.layer.is_none() && row.position.is_none());
                ((self.size.x - MARGIN) / targets.count().max(1) as f32).min(96.0) - 4.0
            }
        };
        Rect::from_center_size(middle, vec2(width, BOX - 4.0))
    }
}
