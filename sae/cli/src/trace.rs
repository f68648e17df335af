//! `sae trace`: the attribution graph of a prediction.

use std::path::PathBuf;

use clap::Args;
use storage::graph::{self, GraphNodeRow};

use super::{Output, Session};
use lm::model::LanguageModel;
use sae::Result;
use sae::trace::{self, Target, Thresholds, TraceJob, TraceOptions, Transcoders};

/// Trace which features of which tokens lead to a prediction, through transcoders in place of the model's MLPs
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae trace --model google/gemma-3-270m --transcoders mwhanna/gemma-scope-2-270m \\\n    \
                  --text 'The capital of the state containing Dallas is' --out dallas\n  \
                  sae trace --transcoders tc0 tc1 tc2 --text 'It is so ordered' --target 'router:2:5' --out ordered\n\n\
                  The folder has nodes.parquet and edges.parquet (docs/on-disk.md) and, in graph_files, the JSON that \
                  circuit-tracer and Neuronpedia show. docs/circuits.md says what the numbers mean."
)]
pub struct Command {
    /// A Hugging Face folder, a name of the hub, a GGUF file, or `default` for the embedded model
    #[arg(long, default_value = "default", value_name = "MODEL")]
    model: String,
    /// Transcoders: runs, sets or cross-layer transcoders, folders or names of the hub
    #[arg(long, required = true, num_args = 1.., value_name = "SOURCE")]
    transcoders: Vec<String>,
    /// The text whose next token is explained
    #[arg(long)]
    text: String,
    /// logits (the likeliest next tokens), token:TEXT, feature:LAYER:FEATURE[@POSITION] of a transcoder, feature:RUN:FEATURE[@POSITION] of any
    /// dictionary of the model, router:LAYER:EXPERT or direction:LAYER:FILE
    #[arg(long, default_value = "logits")]
    target: String,
    /// Folder of the graph
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Most features in the graph; of more, those with the most influence
    #[arg(long, default_value_t = TraceOptions::default().max_features, value_name = "N")]
    max_features: usize,
    /// Share of influence that the kept nodes have together
    #[arg(long, default_value_t = Thresholds::default().nodes, value_name = "SHARE", value_parser = share)]
    node_threshold: f64,
    /// Share of scores that the kept edges have together
    #[arg(long, default_value_t = Thresholds::default().edges, value_name = "SHARE", value_parser = share)]
    edge_threshold: f64,
    /// Keep features and errors of the first token, whose norm is far from the others' in most models
    #[arg(long)]
    keep_first: bool,
}

fn share(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("expected a number above 0, at most 1".to_owned()),
    }
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// What [`sae::trace::run`] refuses; a model or transcoders that cannot be read.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        trace::may_be_written(&self.out)?;
        let opened =
            self.transcoders.iter().map(|name| Ok((session.source(name)?, session.open_dictionary(name)?)));
        let transcoders = Transcoders::new(opened.collect::<Result<Vec<_>>>()?)?;
        let model = LanguageModel::load(&session.model(&self.model)?)?;
        let job = TraceJob {
            options: TraceOptions {
                target: Target::parse(&self.target, &model)?,
                max_features: self.max_features,
                skip_first: !self.keep_first,
            },
            thresholds: Thresholds { nodes: self.node_threshold, edges: self.edge_threshold },
            text: self.text,
            target: self.target,
            out: self.out,
        };
        let record = trace::run(&model, &transcoders, &job, &mut session.progress)?;
        let mut output = Output::new(serde_json::json!({ "graph": job.out, "record": record }));
        rows(&record, &mut output);
        strongest(&job, &mut output)?;
        output.row("graph", job.out.display());
        Ok(output)
    }
}

fn rows(record: &graph::Graph, output: &mut Output) {
    let covered = record.transcoders.len() as u64;
    if covered < record.layers {
        output.row(
            "layers",
            format!("{covered} of {} have a transcoder; the MLPs of the others are errors", record.layers),
        );
    }
    let left_out = match record.features_left_out {
        0 => String::new(),
        n => format!(", {n} more fire and were left out"),
    };
    output.row("features", format!("{} on {} tokens{left_out}", record.features, record.tokens.len()));
    output.row(
        "kept",
        format!(
            "{} of {} nodes, {} of {} edges",
            record.kept_nodes, record.nodes, record.kept_edges, record.edges
        ),
    );
    output.row(
        "replacement",
        format!("{:.3} of the influence is traced to tokens and not to errors", record.replacement_score),
    );
    output.row(
        "completeness",
        format!("{:.3} of what goes into nodes does not come from errors", record.completeness_score),
    );
    output.row("time", format!("{:.1} s", record.seconds));
}

/// Targets that are listed, and features.
const LISTED: usize = 10;

fn strongest(job: &TraceJob, output: &mut Output) -> Result<()> {
    let table = storage::row::open::<GraphNodeRow>(&job.out.join(graph::NODES))?;
    let mut nodes: Vec<GraphNodeRow> = storage::row::read(&table, storage::Scan::default())?;
    for node in
        nodes.iter().filter(|node| node.kind == graph::LOGIT || node.kind == graph::TARGET).take(LISTED)
    {
        let name = node.name.as_deref().unwrap_or("?");
        let probability = match node.kind == graph::LOGIT {
            true => format!("  p {:.3}", node.weight.unwrap_or_default()),
            false => String::new(),
        };
        output.row("target", format!("{name:?}{probability}"));
    }
    nodes.retain(|node| node.kind == graph::FEATURE);
    nodes.sort_by(|a, b| b.influence.total_cmp(&a.influence).then(a.node.cmp(&b.node)));
    for node in nodes.iter().take(LISTED) {
        let (layer, feature) = (node.layer.unwrap_or_default(), node.feature.unwrap_or_default());
        let place = node.position.unwrap_or_default();
        let name = node.name.as_deref().unwrap_or_default();
        let activation = node.activation.unwrap_or_default();
        let influence = node.influence;
        output.row(
            "feature",
            format!("{feature} of layer {layer} at token {place} {name:?}  activation {activation:.3}  influence {influence:.4}"),
        );
    }
    Ok(())
}
