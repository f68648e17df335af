//! From a model, transcoders and a text to a graph's folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use storage::ModelRef;
use storage::graph_marks::GraphMarks;

use super::attribute::{TraceOptions, memory, trace};
use super::influence::Thresholds;
use super::neuronpedia::Prompt;
use super::save::{GraphSubject, may_be_written};
use super::transcoders::Transcoders;
use crate::{Error, Progress, Result};
use lm::model::{LanguageModel, shown};
use lm::text::{Contexts, pack};

/// What a graph is made of and where it goes.
#[derive(Debug, Clone)]
pub struct TraceJob {
    /// The text; the model's first token is put before it where it has one.
    pub text: String,
    /// How it is traced.
    pub options: TraceOptions,
    /// What pruning keeps.
    pub thresholds: Thresholds,
    /// What was asked about, in words.
    pub target: String,
    /// The folder.
    pub out: PathBuf,
}

/// Traces the graph and writes it; its record.
///
/// # Errors
/// A folder that holds something else, an empty text or one that is longer than the model's context or than memory allows,
/// and what [`trace`] refuses. Nothing is written then.
pub fn run(
    model: &LanguageModel,
    transcoders: &Transcoders,
    job: &TraceJob,
    progress: &mut dyn Progress,
) -> Result<storage::graph::Graph> {
    may_be_written(&job.out)?;
    let contexts = contexts(model, &job.text)?;
    room_for(model, contexts.len)?;
    let begun = Instant::now();
    let graph = trace(model.decoder(), &contexts, transcoders, &job.options, progress)?;
    let shown = model.tokenizer().token_bytes().into_iter().map(|bytes| shown(&bytes));
    let vocabulary: HashMap<u32, String> = (0..).zip(shown).collect();
    let of = |token: &u32| vocabulary.get(token).cloned().unwrap_or_else(|| token.to_string());
    let prompt = Prompt {
        text: job.text.clone(),
        tokens: contexts.tokens.iter().map(of).collect(),
        slug: slug(&job.out),
        scan: model.id().to_owned(),
        vocabulary,
    };
    let subject = GraphSubject {
        model: ModelRef {
            id: model.id().to_owned(),
            path: Some(model.source().lasting()?),
            sha256: model.sha256().to_owned(),
        },
        layers: model.config().num_hidden_layers,
        tokens: contexts.tokens,
        target: job.target.clone(),
        first_token_left_out: job.options.skip_first,
        seconds: begun.elapsed().as_secs_f64(),
        marks: GraphMarks::default(),
    };
    graph.save(&job.out, &subject, transcoders, &prompt, job.thresholds)
}

/// The text as the one row that the model reads.
fn contexts(model: &LanguageModel, text: &str) -> Result<Contexts> {
    one_row(model, model.tokenizer().encode_after_bos(text)?)
}

/// Tokens as the one row that the model reads, after its first token where it has one.
pub(crate) fn one_row(model: &LanguageModel, tokens: Vec<u32>) -> Result<Contexts> {
    if tokens.is_empty() {
        return Err(Error::request("the text is empty: there is no token to trace from"));
    }
    let (bos, most) = (model.bos(), model.config().max_position_embeddings);
    let len = tokens.len() + usize::from(bos.is_some());
    if len > most {
        return Err(Error::request(format!(
            "the text has {len} tokens, `{}` takes at most {most}",
            model.id()
        ))
        .with_remedy("give a shorter text"));
    }
    let row = pack([Ok::<_, Error>((0, tokens))], len, bos, 1)?.next();
    row.ok_or_else(|| Error::request("the text is empty: there is no token to trace from"))?
}

/// An error if the text needs more memory than there is.
pub(super) fn room_for(model: &LanguageModel, len: usize) -> Result<()> {
    let needed = memory(model.config(), len);
    match crate::memory::available() {
        Some(free) if needed > free => Err(Error::request(format!(
            "a graph of {len} tokens of `{}` needs {} MB besides the model; {} MB are free",
            model.id(),
            needed >> 20,
            free >> 20
        ))
        .with_remedy("give a shorter text: the attention patterns grow with the square of its length")),
        _ => Ok(()),
    }
}

/// The folder's name as a name for a graph.
fn slug(out: &Path) -> String {
    let name =
        std::path::absolute(out).ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.unwrap_or_default().chars().map(plain).collect();
    match name.trim_matches('-') {
        "" => "graph".to_owned(),
        name => name.to_owned(),
    }
}
