//! A graph as a picture: positions from left to right, layers from bottom to top, as the window draws it, with what its strongest features
//! are called.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use storage::graph::{self as files, GraphEdgeRow, GraphNodeRow};

use super::save::read;
use crate::export::text::visible;
use crate::picture::escaped;
use crate::rows::is_run;
use crate::{Error, Result};

/// Width of a column, which a label fits in.
const COLUMN: f32 = 108.0;
/// Height of a line of nodes with their labels.
const LINE: f32 = 34.0;
/// Room at the left for the names of layers.
const LEFT: f32 = 64.0;
/// Room around everything.
const EDGE: f32 = 16.0;
/// Letters of a label.
const LETTERS: usize = 17;
/// Edges of a node, at most: of many weak ones nothing would be seen.
const OF_NODE: usize = 4;

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureOptions {
    /// Features and errors with the most influence, at most.
    pub nodes: usize,
    /// Whether errors are among them.
    pub errors: bool,
}

/// A node in its place.
struct Placed {
    node: usize,
    x: f32,
    y: f32,
}

/// The graph in `dir` as SVG on white.
///
/// # Errors
/// A folder without a graph, tables that cannot be read.
pub fn svg(dir: &Path, options: PictureOptions) -> Result<String> {
    let (record, nodes, edges) = read(dir)?;
    if nodes.iter().zip(0..).any(|(row, i)| row.node != i) {
        return Err(Error::request(format!("{}: nodes are not in order", dir.join(files::NODES).display()))
            .with_remedy("trace the graph again"));
    }
    let names = Names::read(dir, &record)?;
    let chosen = chosen(&nodes, options);
    let (placed, size) = place(&record, &nodes, &chosen);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w:.0} {h:.0}\" width=\"{w:.0}\" height=\"{h:.0}\" \
         font-family=\"'Noto Sans', 'DejaVu Sans', sans-serif\" font-size=\"11\" text-anchor=\"middle\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        w = size.0,
        h = size.1
    );
    let at: HashMap<u32, &Placed> = placed.iter().map(|one| (nodes[one.node].node, one)).collect();
    draw_layers(&mut out, &nodes, &placed, size.0);
    draw_edges(&mut out, &strongest(&edges, &at), &at);
    for one in &placed {
        draw_node(&mut out, &nodes[one.node], one, &names, &record);
    }
    out.push_str("</svg>\n");
    Ok(out)
}

/// Targets, tokens, and the kept features (and errors) with the most influence.
fn chosen(nodes: &[GraphNodeRow], options: PictureOptions) -> Vec<usize> {
    let is_end = |row: &GraphNodeRow| !matches!(row.kind.as_str(), files::FEATURE | files::ERROR);
    let mut inner: Vec<usize> = (0..nodes.len())
        .filter(|&i| nodes[i].kept && !is_end(&nodes[i]) && (options.errors || nodes[i].kind != files::ERROR))
        .collect();
    inner.sort_by(|&a, &b| nodes[b].influence.total_cmp(&nodes[a].influence).then(a.cmp(&b)));
    inner.truncate(options.nodes);
    let ends =
        (0..nodes.len()).filter(|&i| is_end(&nodes[i]) && (nodes[i].kept || nodes[i].kind == files::TOKEN));
    ends.chain(inner).collect()
}

/// Where the chosen nodes stand, and the size of all of it. Layers without a node have no room; what is of no token stands above the last.
fn place(record: &files::Graph, nodes: &[GraphNodeRow], chosen: &[usize]) -> (Vec<Placed>, (f32, f32)) {
    let mut layers: Vec<u32> = chosen.iter().filter_map(|&i| nodes[i].layer).collect();
    layers.sort_unstable();
    layers.dedup();
    let positions = record.tokens.len().max(1);
    let mut cells: HashMap<(Option<u32>, u32), Vec<usize>> = HashMap::new();
    for &i in chosen.iter().filter(|&&i| nodes[i].layer.is_some()) {
        cells.entry((nodes[i].layer, nodes[i].position.unwrap_or_default())).or_default().push(i);
    }
    let lines = |layer: u32| {
        let of_layer = cells.iter().filter(|((l, _), _)| *l == Some(layer));
        of_layer.map(|(_, cell)| cell.len()).max().unwrap_or(1)
    };
    let targets: Vec<usize> = chosen.iter().copied().filter(|&i| nodes[i].position.is_none()).collect();
    let heights: Vec<f32> = layers.iter().map(|&layer| lines(layer) as f32 * LINE + 12.0).collect();
    let height = heights.iter().sum::<f32>() + 2.0 * (LINE + 20.0) + 2.0 * EDGE;
    // Targets stand side by side above the last column, and grow to the left.
    let width = LEFT + (positions.max(targets.len()) as f32) * COLUMN + EDGE;
    let column = |position: usize| LEFT + (position as f32 + 0.5) * COLUMN;
    let mut placed = Vec::new();
    for (back, &node) in targets.iter().enumerate() {
        let last = positions.max(targets.len()) - 1;
        placed.push(Placed { node, x: column(last - back), y: EDGE + LINE / 2.0 });
    }
    let mut bottom = height - EDGE - LINE - 20.0;
    for &node in chosen.iter().filter(|&&i| nodes[i].layer.is_none() && nodes[i].position.is_some()) {
        let position = nodes[node].position.unwrap_or_default() as usize;
        placed.push(Placed { node, x: column(position), y: height - EDGE - LINE / 2.0 });
    }
    for (layer, high) in layers.iter().zip(&heights) {
        for position in 0..positions as u32 {
            for (line, &node) in cells.get(&(Some(*layer), position)).into_iter().flatten().enumerate() {
                let y = bottom - 6.0 - (line as f32 + 0.5) * LINE;
                placed.push(Placed { node, x: column(position as usize), y });
            }
        }
        bottom -= high;
    }
    (placed, (width, height))
}

/// The edges between nodes that are drawn: of each node the strongest that come in.
fn strongest<'a>(edges: &'a [GraphEdgeRow], at: &HashMap<u32, &Placed>) -> Vec<&'a GraphEdgeRow> {
    let mut into: HashMap<u32, Vec<&GraphEdgeRow>> = HashMap::new();
    let drawn = |edge: &&GraphEdgeRow| at.contains_key(&edge.source) && at.contains_key(&edge.target);
    for edge in edges.iter().filter(drawn) {
        into.entry(edge.target).or_default().push(edge);
    }
    let mut kept: Vec<&GraphEdgeRow> = Vec::new();
    for mut edges in into.into_values() {
        edges.sort_by(|a, b| b.weight.abs().total_cmp(&a.weight.abs()).then(a.source.cmp(&b.source)));
        kept.extend(edges.into_iter().take(OF_NODE));
    }
    // Strong ones lie above weak ones.
    kept.sort_by(|a, b| {
        a.weight.abs().total_cmp(&b.weight.abs()).then((a.target, a.source).cmp(&(b.target, b.source)))
    });
    kept
}

fn draw_layers(out: &mut String, nodes: &[GraphNodeRow], placed: &[Placed], width: f32) {
    let mut middles: HashMap<u32, (f32, f32)> = HashMap::new();
    for one in placed {
        if let Some(layer) = nodes[one.node].layer {
            let (low, high) = middles.entry(layer).or_insert((one.y, one.y));
            (*low, *high) = (low.min(one.y), high.max(one.y));
        }
    }
    let mut layers: Vec<_> = middles.into_iter().collect();
    layers.sort_unstable_by_key(|(layer, _)| *layer);
    for (layer, (low, high)) in layers {
        let below = high + LINE / 2.0 + 6.0;
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "<path d=\"M{EDGE} {below:.1}H{:.1}\" stroke=\"#e4e7ec\"/>\n\
             <text x=\"{EDGE}\" y=\"{:.1}\" text-anchor=\"start\" fill=\"#667\">layer {layer}</text>",
            width - EDGE,
            (low + high) / 2.0 + 4.0
        );
    }
}

fn draw_edges(out: &mut String, edges: &[&GraphEdgeRow], at: &HashMap<u32, &Placed>) {
    // Shares of what goes into a target: weights of features and of logits have different units.
    let mut most: HashMap<u32, f32> = HashMap::new();
    for edge in edges {
        let most = most.entry(edge.target).or_default();
        *most = most.max(edge.weight.abs());
    }
    for edge in edges {
        let (Some(from), Some(to)) = (at.get(&edge.source), at.get(&edge.target)) else { continue };
        let strength =
            edge.weight.abs() / most.get(&edge.target).copied().unwrap_or(1.0).max(f32::MIN_POSITIVE);
        let (colour, dash) =
            if edge.weight < 0.0 { ("#b3261e", " stroke-dasharray=\"5 4\"") } else { ("#1b6e4b", "") };
        let (a, b) = (from.y - 7.0, to.y + 7.0);
        let rise = (a - b).abs() * 0.4;
        let _ = writeln!(
            out,
            "<path d=\"M{x:.1} {a:.1}C{x:.1} {:.1} {z:.1} {:.1} {z:.1} {b:.1}\" fill=\"none\" stroke=\"{colour}\" \
             stroke-width=\"{:.2}\" stroke-opacity=\"{:.2}\"{dash}><title>{:+.3}</title></path>",
            a - rise,
            b + rise,
            0.6 + 2.2 * strength,
            0.2 + 0.5 * strength,
            edge.weight,
            x = from.x,
            z = to.x
        );
    }
}

fn draw_node(out: &mut String, row: &GraphNodeRow, one: &Placed, names: &Names, record: &files::Graph) {
    let at_token = || record.shown.get(row.position? as usize).map(String::as_str);
    let token = row.name.as_deref().or_else(at_token).unwrap_or_default();
    let Placed { x, y, .. } = one;
    match row.kind.as_str() {
        files::FEATURE | files::ERROR => {
            let (fill, label) = match (row.layer, row.feature) {
                (Some(layer), Some(feature)) => ("#0b62c4", names.of(layer, feature)),
                _ => ("#99a", "error".to_owned()),
            };
            let _ = writeln!(
                out,
                "<circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"4.5\" fill=\"{fill}\" stroke=\"#fff\"/>\n\
                 <text x=\"{x:.1}\" y=\"{:.1}\" stroke=\"#fff\" stroke-width=\"3\" paint-order=\"stroke\">{}</text>",
                y - 4.0,
                y + 12.0,
                escaped(&short(&label))
            );
        }
        kind => {
            let share = row.weight.filter(|_| kind == files::LOGIT).map(|p| format!(" {:.0} %", 100.0 * p));
            let _ = writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"22\" rx=\"4\" fill=\"#e8edf4\" stroke=\"#99a\"/>\n\
                 <text x=\"{x:.1}\" y=\"{:.1}\">{}{}</text>",
                x - COLUMN / 2.0 + 4.0,
                y - 11.0,
                COLUMN - 8.0,
                y + 4.0,
                escaped(&short(&visible(token).replace(' ', "·"))),
                share.unwrap_or_default()
            );
        }
    }
}

/// As many letters as fit.
fn short(text: &str) -> String {
    match text.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// An explanation that names tokens as ‹these›, as rules do, in these alone.
fn in_short(text: &str) -> String {
    let tokens: Vec<&str> = text.split('‹').skip(1).filter_map(|part| part.split('›').next()).collect();
    match (tokens.is_empty(), text.starts_with("after")) {
        (true, _) => text.to_owned(),
        (false, true) => format!("after {}", tokens.join(" ")),
        (false, false) => tokens.join(" "),
    }
}

/// What features are called: by a person's notes, else by explanations; else they are numbers.
struct Names(HashMap<(u32, u32), String>);

impl Names {
    /// Of the runs that the graph names, where they are there.
    fn read(dir: &Path, record: &files::Graph) -> Result<Self> {
        let mut names = HashMap::new();
        for transcoder in &record.transcoders {
            let source = Path::new(&transcoder.source);
            let beside = dir.parent().zip(source.file_name()).map(|(folder, name)| folder.join(name));
            let Some(run) = [Some(source.to_owned()), beside].into_iter().flatten().find(|run| run.is_dir())
            else {
                continue;
            };
            let layer = transcoder.layer as u32;
            // Of a run's features, those of the layer: a cross-layer transcoder has those of all.
            let record = is_run(&run).then(|| storage::RunRecord::read(&run)).transpose()?;
            let layered = record.as_ref().and_then(storage::Layered::of);
            let of_layer = |number: u32| match layered.map(|layered| layered.place(number)) {
                None => Some(number),
                Some((of, feature)) => (of == layer).then_some(feature),
            };
            for source in storage::explanations::sources(&run)? {
                for row in storage::explanations::read(&run, &source)? {
                    if let Some(feature) = of_layer(row.feature) {
                        names.entry((layer, feature)).or_insert_with(|| in_short(&row.text));
                    }
                }
            }
            for note in storage::notes::read(&run)? {
                if let (false, Some(feature)) = (note.label.is_empty(), of_layer(note.feature)) {
                    names.insert((layer, feature), note.label);
                }
            }
        }
        Ok(Self(names))
    }

    fn of(&self, layer: u32, feature: u32) -> String {
        self.0.get(&(layer, feature)).cloned().unwrap_or_else(|| format!("{layer}/{feature}"))
    }
}
