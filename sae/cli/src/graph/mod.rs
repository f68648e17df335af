//! `sae graph`: attribution graphs after they were traced.

mod change;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Output, Session};
use change::Change;
use sae::trace::{self, MergedEdge, PictureOptions};
use sae::{Error, Result};

/// Work with attribution graphs: test, compare, merge and draw them, import and export those of other tools
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae graph change dallas --node 2_417_8 --to 0\n  sae graph merge dallas oakland atlanta --least 3\n  \
                  sae graph import gemma-fact-dallas.json --out dallas"
)]
pub struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Change(Change),
    Merge(Merge),
    Import(Import),
    Export(Export),
    Picture(Picture),
}

/// Draw a graph: positions from left to right, layers from bottom to top, the nodes with the most influence
///
/// Of each node the four strongest edges that come in are drawn, as wide as their share of the strongest; dashed ones take away. Features are
/// called what notes and explanations of their runs call them.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae graph picture dallas --out dallas.svg\n  sae graph picture dallas --nodes 80 --errors --out dallas.png"
)]
struct Picture {
    /// Folder of the graph
    #[arg(value_name = "GRAPH")]
    graph: PathBuf,
    /// Features with the most influence, at most
    #[arg(long, default_value_t = 40, value_name = "N")]
    nodes: usize,
    /// Draw errors, too
    #[arg(long)]
    errors: bool,
    /// The file: .svg or .png
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Write a graph with its pinned nodes and supernodes as a JSON file for the viewers of circuit-tracer and Neuronpedia
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sae graph export dallas --out dallas.json")]
struct Export {
    /// Folder of the graph
    #[arg(value_name = "GRAPH")]
    graph: PathBuf,
    /// The file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Compare the graphs of two prompts, or merge those of many: which edges keep
///
/// Edges are between what nodes are (a feature, a token's text, the errors of a layer), wherever in the texts they are; weights are summed
/// over positions. Only edges that pruning kept are counted; in brackets stands the weight at positions at which pruning does not keep
/// the edge. Graphs must be of one model and of the same transcoders.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sae graph merge dallas oakland atlanta --least 3")]
struct Merge {
    /// Folders of `sae trace` or `sae graph import`
    #[arg(required = true, num_args = 2.., value_name = "GRAPH")]
    graphs: Vec<PathBuf>,
    /// Leave out edges that fewer graphs keep
    #[arg(long, default_value_t = 1, value_name = "N")]
    least: usize,
    /// Edges that are listed (--json has all of them)
    #[arg(long, default_value_t = 20, value_name = "N")]
    top: usize,
}

/// Make a graph's folder of a JSON file of circuit-tracer or Neuronpedia
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sae graph import gemma-fact-dallas.json --out dallas\n  sae-app dallas")]
struct Import {
    /// The file: metadata, nodes and links of one graph
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Folder of the graph
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// Graphs that cannot be read or do not belong together, a file that is not a graph, a folder that holds something else.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        match self.what {
            What::Change(change) => change.run(session),
            What::Export(export) => export.run(),
            What::Picture(picture) => picture.run(),
            What::Merge(merge) => merge.run(),
            What::Import(import) => import.run(),
        }
    }
}

impl Export {
    fn run(self) -> Result<Output> {
        let exported = trace::export(&self.graph, &self.out)?;
        let mut output = Output::new(serde_json::json!({
            "file": self.out, "pinned": exported.pinned, "supernodes": exported.supernodes, "missing": exported.missing,
        }));
        output.row("file", self.out.display());
        output.row("pinned", exported.pinned);
        output.row("supernodes", exported.supernodes);
        if exported.missing > 0 {
            output.row("left out", format!("{} marked nodes, which pruning does not keep", exported.missing));
        }
        Ok(output)
    }
}

impl Picture {
    fn run(self) -> Result<Output> {
        let svg = trace::svg(&self.graph, PictureOptions { nodes: self.nodes, errors: self.errors })?;
        let ending = self.out.extension().map(|ending| ending.to_ascii_lowercase());
        let bytes = match ending.as_ref().and_then(|ending| ending.to_str()) {
            Some("svg") => svg.into_bytes(),
            Some("png") => sae::picture::png(&svg, 2.0, "sae graph picture")?.png,
            _ => {
                let wrong = format!("{}: a picture is an SVG or a PNG file", self.out.display());
                return Err(Error::request(wrong).with_remedy("let --out end in .svg or .png"));
            }
        };
        storage::atomic::write(&self.out, &bytes)?;
        let mut output = Output::new(serde_json::json!({ "file": self.out, "bytes": bytes.len() }));
        output.row("file", self.out.display());
        Ok(output)
    }
}

impl Merge {
    fn run(self) -> Result<Output> {
        let mut merged = trace::merge(&self.graphs)?;
        let all = merged.edges.len();
        let kept_by_all = merged.edges.iter().filter(|edge| edge.graphs == self.graphs.len()).count();
        merged.edges.retain(|edge| edge.graphs >= self.least);
        let mut output = Output::new(serde_json::json!(merged));
        for (graph, text) in merged.graphs.iter().zip(&merged.texts) {
            output.row(&graph.display().to_string(), format!("{text:?}"));
        }
        output.row("edges", format!("{all} in some graph, {kept_by_all} in all {}", self.graphs.len()));
        for edge in merged.edges.iter().take(self.top) {
            output.row(&format!("{} of {}", edge.graphs, self.graphs.len()), line(edge));
        }
        Ok(output)
    }
}

fn line(edge: &MergedEdge) -> String {
    let weight = |(kept, pruned): (&Option<f32>, &Option<f32>)| match (kept, pruned) {
        (Some(weight), None) => format!("{weight:+.3}"),
        (Some(weight), Some(pruned)) => format!("{weight:+.3} ({pruned:+.3})"),
        (None, Some(pruned)) => format!("({pruned:+.3})"),
        (None, None) => "–".to_owned(),
    };
    let weights: Vec<String> = edge.weights.iter().zip(&edge.pruned).map(weight).collect();
    let sign = if edge.is_consistent() { "" } else { "; signs differ" };
    format!("{} → {}  {}{sign}", edge.source, edge.target, weights.join(", "))
}

impl Import {
    fn run(self) -> Result<Output> {
        let record = trace::import(&self.file, &self.out)?;
        let mut output = Output::new(serde_json::json!({ "graph": self.out, "record": record }));
        output.row("graph", self.out.display());
        output.row("model", &record.model.id);
        output.row("text", format!("{:?}", record.text));
        output.row("nodes", format!("{}, {} of them features", record.nodes, record.features));
        output.row("edges", record.edges);
        Ok(output)
    }
}
