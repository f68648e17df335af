//! `sae graph`: attribution graphs after they were traced.

mod change;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Output, Session};
use change::Change;
use sae::Result;
use sae::trace::{self, MergedEdge};

/// Work with attribution graphs: test, compare and merge them, import and export those of other tools
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
