//! The backward passes.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::graph::{Graph, Node, NodeKind};
use super::influence::estimate;
use super::sources::{Sources, sources};
use super::target::{Question, Start, Target, logit_directions};
use super::transcoders::Transcoders;
use crate::{Error, Progress, Result};
use kernels::vector::dot;
use lm::model::{Config, Decoder, Frozen, Site};
use lm::text::Contexts;

/// Targets of one backward pass at most.
const BATCH: usize = 256;
/// Numbers of its gradient at most, which longer texts reach with fewer targets.
const GRADIENT: usize = 1 << 24;
/// Passes after which features are ranked again, where not all of them are nodes.
const BATCHES_PER_RANKING: usize = 4;

/// How a graph is traced.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceOptions {
    /// What is asked about.
    pub target: Target,
    /// Most features that become nodes; of more, those with the most influence on the target.
    pub max_features: usize,
    /// Whether features and errors of the first token are left out, as circuit-tracer does: its norm is far from the others'.
    pub skip_first: bool,
}

impl Default for TraceOptions {
    /// The defaults of circuit-tracer's command.
    fn default() -> Self {
        Self { target: Target::default(), max_features: 7500, skip_first: true }
    }
}

/// Targets of one backward pass for a text of `len` tokens.
fn batch(len: usize, d: usize) -> usize {
    (GRADIENT / (len * d).max(1)).clamp(1, BATCH)
}

/// Bytes that the passes over a text of `len` tokens need besides the model: what the forward pass keeps, and gradients.
pub(super) fn memory(config: &Config, len: usize) -> u64 {
    let heads: usize = config.blocks.iter().map(|block| block.attention.heads).sum();
    // The pattern as computed and as kept, and eight values of about the stream's width for each block.
    let kept = 2 * heads * len * len + 8 * config.num_hidden_layers * len * config.hidden_size;
    let gradients = 8 * batch(len, config.hidden_size) * len * config.hidden_size;
    4 * (kept + gradients) as u64
}

/// The attribution graph of a text, `contexts` of one row.
///
/// # Errors
/// Transcoders that do not fit the model, attention that cannot be frozen ([`Decoder::freeze`]), a target that does not
/// exist; [`Error::Stopped`] if `progress` asks to.
pub fn trace(
    decoder: &Decoder,
    contexts: &Contexts,
    transcoders: &Transcoders,
    options: &TraceOptions,
    progress: &mut dyn Progress,
) -> Result<Graph> {
    transcoders.check(decoder.config())?;
    let frozen = decoder.freeze(contexts)?;
    let sources = sources(&frozen, transcoders, &contexts.tokens, options.skip_first)?;
    let questions = options.target.questions(decoder, &frozen, transcoders)?;
    let tracer = Tracer { frozen: &frozen, transcoders, sources: &sources };
    let answers = tracer.questions(&questions)?;
    let weights: Vec<f32> = questions.iter().map(|question| question.weight).collect();
    let rows = tracer.features(&answers, &weights, options.max_features.max(1), progress)?;
    graph(&frozen, &sources, questions, &answers, &rows)
}

pub(super) struct Tracer<'a> {
    pub frozen: &'a Frozen,
    pub transcoders: &'a Transcoders,
    pub sources: &'a Sources,
}

impl Tracer<'_> {
    /// What every node gives each question.
    fn questions(&self, questions: &[Question]) -> Result<Vec<Vec<f32>>> {
        let vocabulary = self.frozen.logits().len();
        let tokens: Vec<u32> = questions
            .iter()
            .filter_map(|q| if let Start::Logit(token) = q.start { Some(token) } else { None })
            .collect();
        let mut rows = Vec::new();
        if !tokens.is_empty() {
            let post = self.frozen.from_logits(&logit_directions(&tokens, vocabulary)?)?;
            rows = self.back_through(self.frozen.layers(), post)?;
        }
        for question in questions {
            if let Start::Read { layer, site, position, vector } = &question.start {
                rows.extend(self.readers(*layer, *site, &[(*position, vector)])?);
            }
        }
        Ok(rows)
    }

    /// What every node gives each of some readers of one layer, given by position and vector.
    fn readers(&self, layer: usize, site: Site, readers: &[(usize, &[f32])]) -> Result<Vec<Vec<f32>>> {
        let (n, len, d) = (readers.len(), self.frozen.len(), self.frozen.d_model());
        // Heads' outputs may be wider than the stream.
        let width = readers.first().map_or(d, |(_, vector)| vector.len());
        let mut gradient = vec![0.0; n * len * width];
        for (one, (position, vector)) in gradient.chunks_exact_mut(len * width).zip(readers) {
            one[position * width..(position + 1) * width].copy_from_slice(vector);
        }
        let gradient = Tensor::from_vec(gradient, (n, len, width), &Device::Cpu)?;
        let nothing = Tensor::zeros((n, len, d), DType::F32, &Device::Cpu)?;
        let before = self.frozen.back(layer, &nothing, Some((site, &gradient)))?;
        self.back_through(layer, before)
    }

    /// Takes gradients at the stream after the first `layers` blocks, `[n, len, d]`, back to the embedding.
    pub fn back_through(&self, layers: usize, mut post: Tensor) -> Result<Vec<Vec<f32>>> {
        let (n, len, d) = post.dims3()?;
        let mut rows = vec![vec![0.0; self.sources.nodes.len()]; n];
        for layer in (0..layers).rev() {
            self.sources.by_layer[layer].add(&mut rows, &post.flatten_all()?.to_vec1::<f32>()?, d);
            let transcoder = self.transcoders.layers.get(&layer);
            let skip = match transcoder.and_then(|transcoder| Some((transcoder.site, transcoder.skip()?))) {
                None => None,
                Some((site, skip)) => {
                    let skip = Tensor::from_slice(skip, (d, d), &Device::Cpu)?;
                    Some((site, post.reshape((n * len, d))?.matmul(&skip)?.reshape((n, len, d))?))
                }
            };
            let read = skip.as_ref().map(|(site, gradient)| (*site, gradient));
            post = self.frozen.back(layer, &post, read)?;
        }
        self.sources.tokens.add(&mut rows, &post.flatten_all()?.to_vec1::<f32>()?, d);
        Ok(rows)
    }

    /// The rows of the features that become nodes, by feature node.
    fn features(
        &self,
        answers: &[Vec<f32>],
        weights: &[f32],
        most: usize,
        progress: &mut dyn Progress,
    ) -> Result<BTreeMap<usize, Vec<f32>>> {
        let all = self.sources.features;
        let wanted = all.min(most);
        let mut rows = BTreeMap::new();
        progress.begin("attribution", Some(wanted as u64), "features");
        while rows.len() < wanted {
            let ready =
                (wanted - rows.len()).min(if all <= most { all } else { BATCH * BATCHES_PER_RANKING });
            let mut next: Vec<usize> = (0..all).filter(|node| !rows.contains_key(node)).collect();
            if all > most {
                let influence = estimate(self.sources.nodes.len(), answers, weights, &rows);
                next.sort_by(|&a, &b| influence[b].total_cmp(&influence[a]).then(a.cmp(&b)));
                next.truncate(ready);
                next.sort_unstable();
            }
            self.rows_of(&next, &mut rows, progress)?;
        }
        progress.end(&format!("{wanted} features of {all} that fire"));
        Ok(rows)
    }

    /// Adds the rows of feature nodes `nodes`, which ascend.
    fn rows_of(
        &self,
        nodes: &[usize],
        rows: &mut BTreeMap<usize, Vec<f32>>,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let layer = |node: usize| match self.sources.nodes[node].kind {
            NodeKind::Feature { layer, .. } => layer,
            _ => usize::MAX,
        };
        for of_layer in nodes.chunk_by(|&a, &b| layer(a) == layer(b)) {
            let Some(transcoder) = self.transcoders.layers.get(&layer(of_layer[0])) else { continue };
            for batch in of_layer.chunks(batch(self.frozen.len(), self.frozen.d_model())) {
                if progress.stop_requested() {
                    return Err(Error::stopped("no graph was written"));
                }
                let readers = batch.iter().filter_map(|&node| match self.sources.nodes[node].kind {
                    NodeKind::Feature { position, feature, .. } => {
                        Some((position, transcoder.dictionary.encoder_row(feature as usize)))
                    }
                    _ => None,
                });
                let readers: Vec<(usize, &[f32])> = readers.collect();
                let new = self.readers(layer(batch[0]), transcoder.site, &readers)?;
                rows.extend(batch.iter().copied().zip(new));
                progress.advance(rows.len() as u64, "");
            }
        }
        Ok(())
    }
}

/// Puts the rows together; features without a row are left out.
fn graph(
    frozen: &Frozen,
    sources: &Sources,
    questions: Vec<Question>,
    answers: &[Vec<f32>],
    rows: &BTreeMap<usize, Vec<f32>>,
) -> Result<Graph> {
    let kept: Vec<usize> = rows.keys().copied().chain(sources.features..sources.nodes.len()).collect();
    let mut nodes: Vec<Node> = kept.iter().map(|&node| sources.nodes[node].clone()).collect();
    for question in questions {
        nodes.push(asked(frozen, question)?);
    }
    let mut weights = Vec::with_capacity((rows.len() + answers.len()) * nodes.len());
    for row in rows.values().chain(answers) {
        weights.extend(kept.iter().map(|&node| row[node]));
        weights.extend(std::iter::repeat_n(0.0, answers.len()));
    }
    Ok(Graph {
        features: rows.len(),
        errors: sources.errors,
        tokens: sources.nodes.len() - sources.features - sources.errors,
        left_out: sources.features - rows.len(),
        nodes,
        weights,
    })
}

fn asked(frozen: &Frozen, question: Question) -> Result<Node> {
    let weight = question.weight;
    Ok(match question.start {
        Start::Logit(token) => {
            let logits = frozen.logits_before_cap();
            let mean = logits.iter().map(|&logit| f64::from(logit)).sum::<f64>() / logits.len() as f64;
            let value = (f64::from(logits[token as usize]) - mean) as f32;
            Node { kind: NodeKind::Logit { token, probability: weight }, value }
        }
        Start::Read { layer, site, position, vector } => {
            let values = frozen.values(layer, site)?;
            let d = vector.len();
            let name = question.name.unwrap_or_default();
            Node {
                kind: NodeKind::Target { name, weight },
                value: dot(&values[position * d..(position + 1) * d], &vector),
            }
        }
    })
}
