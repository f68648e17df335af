//! What the model does when features of a graph fire differently: the test of what the graph says.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use candle_core::{DType, Tensor};
use serde::Serialize;
use storage::ModelRef;
use storage::graph::{self, GraphNodeRow};

use super::predict::NodeChange;
use super::run::{one_row, room_for};
use super::transcoders::Transcoders;
use crate::dictionary::Codes;
use crate::heads::HeldText;
use crate::interop::dictionaries::open_path;
use crate::prompt::{Direction, Logits, Shift};
use crate::{Error, Progress, Result};
use kernels::feature::norm_squared;
use lm::model::{Hook, LanguageModel, ModelSource, Site, Tap, shown};
use lm::text::Contexts;

/// Likeliest tokens of which the change is reported, before and after.
const TOP: usize = 10;
/// Largest difference of an activation from the graph's, as a share of the largest, at which both are of the same transcoders.
const SAME: f32 = 1e-2;

/// How a change is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeOptions {
    /// Whether attention looks where it looked before the change, as in the graph.
    pub hold_attention: bool,
    /// Draws of random directions of the same length.
    pub controls: u16,
    /// Seed of the directions.
    pub seed: u64,
}

impl Default for ChangeOptions {
    fn default() -> Self {
        Self { hold_attention: false, controls: 3, seed: 0 }
    }
}

/// What a change did, for each node of the graph and for the prediction after the last token.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GraphChange {
    /// By how much the value of a node changed, `[nodes]`: of a feature its activation, of a logit its value less the mean of all.
    /// `None` of other nodes, which are not measured.
    pub changes: Vec<Option<f32>>,
    /// Likeliest next tokens before and after, the likeliest before first.
    pub shifts: Vec<Shift>,
    /// KL(before ‖ after) of the next token, nats.
    pub kl: f32,
    /// The same with steps of the same lengths in random directions.
    pub controls: Vec<f32>,
}

/// A graph's model and transcoders, loaded once for many changes.
#[derive(Debug)]
pub struct GraphModel {
    model: LanguageModel,
    transcoders: Transcoders,
    contexts: Contexts,
    /// The texts of tokens.
    texts: Vec<Vec<u8>>,
    /// The model held linear at the text, once somebody asked.
    held: OnceLock<HeldText>,
}

impl GraphModel {
    /// Loads what `record` was made of; its transcoders from `sources`, or where its record has them if these are empty.
    ///
    /// # Errors
    /// A graph whose model is not known (of another program), a model or transcoders that are missing, different, or do not fit; a text
    /// that does not fit into memory.
    pub fn open(record: &graph::Graph, sources: &[PathBuf]) -> Result<Self> {
        let model = model_of(&record.model)?;
        let recorded: Vec<PathBuf> = record.transcoders.iter().map(|one| one.source.clone().into()).collect();
        let mut sources = if sources.is_empty() { recorded } else { sources.to_vec() };
        // A set is named once for each of its layers.
        sources.dedup();
        let opened = sources.into_iter().map(|path| Ok((path.clone(), open_path(&path)?)));
        let transcoders = Transcoders::new(opened.collect::<Result<Vec<_>>>()?)?;
        transcoders.check(model.config())?;
        let own = |bos: u32| record.tokens.first() == Some(&bos);
        let begins = usize::from(model.bos().is_some_and(own));
        let contexts = one_row(&model, record.tokens[begins.min(record.tokens.len())..].to_vec())?;
        if contexts.tokens != record.tokens {
            return Err(Error::request("the graph's tokens are not a text of its model")
                .with_remedy("trace the text with `sae trace`"));
        }
        room_for(&model, contexts.len)?;
        let texts = model.tokenizer().token_bytes();
        Ok(Self { model, transcoders, contexts, texts, held: OnceLock::new() })
    }

    /// The model held linear at the graph's text.
    pub(super) fn held(&self) -> Result<&HeldText> {
        match self.held.get() {
            Some(held) => Ok(held),
            None => {
                let held = HeldText::new(self.model.decoder(), &self.contexts)?;
                Ok(self.held.get_or_init(|| held))
            }
        }
    }

    pub(super) fn model(&self) -> &LanguageModel {
        &self.model
    }

    pub(super) fn transcoders(&self) -> &Transcoders {
        &self.transcoders
    }

    /// The text of a token.
    pub fn token_text(&self, token: u32) -> String {
        self.texts.get(token as usize).map_or_else(|| token.to_string(), |bytes| shown(bytes))
    }

    /// Makes the changes at the features of `nodes` and runs the model. Everything after them is free: norms, which features fire, and
    /// attention unless it is held. A feature is held at its new activation even where an earlier change would have moved it.
    ///
    /// # Errors
    /// A change of a node that is not a feature, transcoders that do not give the graph's activations; [`Error::Stopped`].
    pub fn measure(
        &self,
        nodes: &[GraphNodeRow],
        changes: &[NodeChange],
        options: ChangeOptions,
        progress: &mut dyn Progress,
    ) -> Result<GraphChange> {
        let set = Set::of(nodes, changes)?;
        progress.begin("change", Some(u64::from(options.controls) + 2), "passes");
        let mut clean = Pass::new(self, Action::Look { patterns: options.hold_attention });
        let before = self.logits(&mut clean)?;
        self.same_as_graph(nodes, &clean.codes)?;
        let held = options.hold_attention.then_some(&clean.patterns);
        let mut changed = Pass::new(self, Action::Change { set: &set, held, direction: None });
        let after = self.logits(&mut changed)?;
        let (old, new) = (Logits::new(&before), Logits::new(&after));
        let mut result = GraphChange {
            changes: nodes
                .iter()
                .map(|node| moved(node, (&before, &clean.codes), (&after, &changed.codes)))
                .collect(),
            shifts: shifts(&old, &new),
            kl: old.divergence(&new),
            controls: Vec::new(),
        };
        for draw in 0..options.controls {
            progress.advance(u64::from(draw) + 2, "");
            if progress.stop_requested() {
                return Err(Error::stopped("the controls were not finished"));
            }
            let Direction(direction) =
                Direction::drawn(self.model.config().hidden_size, options.seed, u64::from(draw));
            let action = Action::Change { set: &set, held, direction: Some(&direction) };
            let other = self.logits(&mut Pass::new(self, action))?;
            result.controls.push(old.divergence(&Logits::new(&other)));
        }
        progress.end(&format!("KL {:.4} nats", result.kl));
        Ok(result)
    }

    /// The logits after the last token, `[V]`.
    fn logits(&self, pass: &mut Pass<'_>) -> Result<Vec<f32>> {
        let decoder = self.model.decoder();
        let residual = decoder.residual(&self.contexts, decoder.config().num_hidden_layers, pass)?;
        let last = residual.narrow(1, self.contexts.len - 1, 1)?;
        Ok(decoder.logits(&last)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
    }

    fn same_as_graph(&self, nodes: &[GraphNodeRow], codes: &BTreeMap<usize, Codes>) -> Result<()> {
        let features = nodes.iter().filter(|node| node.kind == graph::FEATURE);
        let most = features.clone().filter_map(|node| node.activation).fold(0.0, f32::max);
        for node in features {
            let (Some(own), Some(now)) = (node.activation, activation(node, codes)) else { continue };
            if (own - now).abs() > SAME * most {
                let (layer, feature) = (node.layer.unwrap_or_default(), node.feature.unwrap_or_default());
                return Err(Error::request(format!(
                    "feature {feature} of layer {layer} has the activation {now:.4} at token {}, in the graph {own:.4}: \
                     the transcoders are not those that the graph was made with",
                    node.position.unwrap_or_default()
                ))
                .with_remedy("trace the text again, or name the graph's transcoders with --transcoders"));
            }
        }
        Ok(())
    }
}

fn model_of(model: &ModelRef) -> Result<LanguageModel> {
    let unknown = || {
        Error::request(format!(
            "the graph does not say where its model `{}` is: a different program made it",
            model.id
        ))
        .with_remedy("trace the text with `sae trace`")
    };
    let path = storage::bucket::local(model.path.as_ref().ok_or_else(unknown)?)?;
    let loaded = LanguageModel::load(&ModelSource::parse(&path.to_string_lossy()))?;
    if !model.sha256.is_empty() && !loaded.is(&model.sha256) {
        return Err(Error::request(format!(
            "the graph was made with `{}` (SHA-256 {}), which has changed since (SHA-256 {})",
            model.id,
            model.sha256,
            loaded.sha256()
        ))
        .with_remedy("trace the text again"));
    }
    Ok(loaded)
}

/// The changes by layer and position: features and their new activations.
struct Set(BTreeMap<(usize, usize), Vec<(u32, f32)>>);

impl Set {
    fn of(nodes: &[GraphNodeRow], changes: &[NodeChange]) -> Result<Self> {
        let mut set: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for change in changes {
            let node = nodes.get(change.node as usize).filter(|node| node.kind == graph::FEATURE);
            let Some((Some(layer), Some(position), Some(feature))) =
                node.map(|node| (node.layer, node.position, node.feature))
            else {
                return Err(Error::request(format!(
                    "node {} is not a feature: only features can be changed",
                    change.node
                )));
            };
            set.entry((layer as usize, position as usize)).or_default().push((feature, change.to));
        }
        Ok(Self(set))
    }
}

/// What a pass does besides reading activations.
#[derive(Clone, Copy)]
enum Action<'a> {
    /// Nothing, but for keeping attention patterns.
    Look { patterns: bool },
    /// Sets features; with a direction, takes steps of the same lengths in it instead.
    Change { set: &'a Set, held: Option<&'a BTreeMap<usize, Tensor>>, direction: Option<&'a [f32]> },
}

/// One pass through the model.
struct Pass<'a> {
    of: &'a GraphModel,
    action: Action<'a>,
    /// What fires, by layer.
    codes: BTreeMap<usize, Codes>,
    patterns: BTreeMap<usize, Tensor>,
    /// What is to be added to the MLPs' outputs, by layer and position.
    steps: BTreeMap<(usize, usize), Vec<f32>>,
}

impl<'a> Pass<'a> {
    fn new(of: &'a GraphModel, action: Action<'a>) -> Self {
        Self { of, action, codes: BTreeMap::new(), patterns: BTreeMap::new(), steps: BTreeMap::new() }
    }

    /// Encodes what a layer's transcoder reads, and notes what its changed features then add to the MLPs' outputs.
    fn read(&mut self, layer: usize, value: &Tensor) -> Result<()> {
        let Some(transcoder) = self.of.transcoders.layers.get(&layer) else { return Ok(()) };
        let x: Vec<f32> = value.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let dictionary = &transcoder.dictionary;
        let codes = dictionary.encode(&x);
        let d = dictionary.d_out();
        if let Action::Change { set, .. } = self.action {
            for (&(_, position), features) in set.0.range((layer, 0)..(layer + 1, 0)) {
                for &(feature, to) in features {
                    let by = to - of_feature(&codes, position, feature);
                    let at = feature as usize * d..(feature as usize + 1) * d;
                    let own = std::iter::once(dictionary.decoder_row(feature as usize));
                    let later = transcoder.later.iter().map(|decoder| &decoder[at.clone()]);
                    for (written, row) in (layer..).zip(own.chain(later)) {
                        let step = self.steps.entry((written, position)).or_insert_with(|| vec![0.0; d]);
                        step.iter_mut().zip(row).for_each(|(step, w)| *step += by * w);
                    }
                }
            }
        }
        self.codes.insert(layer, codes);
        Ok(())
    }

    /// An MLP's output with the steps of its layer.
    fn written(&self, layer: usize, value: &Tensor) -> Result<Option<Tensor>> {
        let direction = match self.action {
            Action::Change { direction, .. } => direction,
            Action::Look { .. } => return Ok(None),
        };
        let d = value.dim(2)?;
        let mut values: Vec<f32> = value.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let mut steps = self.steps.range((layer, 0)..(layer + 1, 0)).peekable();
        if steps.peek().is_none() {
            return Ok(None);
        }
        for (&(_, position), step) in steps {
            let norm = norm_squared(step).sqrt();
            let row = values[position * d..(position + 1) * d].iter_mut();
            match direction {
                Some(direction) => row.zip(direction).for_each(|(v, u)| *v += norm * u),
                None => row.zip(step).for_each(|(v, step)| *v += step),
            }
        }
        Ok(Some(Tensor::from_vec(values, value.shape(), value.device())?.to_dtype(value.dtype())?))
    }
}

impl Tap for Pass<'_> {
    fn wants(&self, hook: &Hook) -> bool {
        let patterns = match self.action {
            Action::Look { patterns } => patterns,
            Action::Change { held, .. } => held.is_some(),
        };
        self.of.transcoders.reads(hook)
            || hook.site == Site::MlpOut && matches!(self.action, Action::Change { .. })
            || hook.site == Site::Pattern && patterns
    }

    fn wants_routing(&self) -> bool {
        false
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        if hook.site == Site::Pattern {
            if let Action::Change { held: Some(held), .. } = self.action {
                return Ok(held.get(&hook.layer).cloned());
            }
            self.patterns.insert(hook.layer, value.clone());
            return Ok(None);
        }
        if self.of.transcoders.reads(hook) {
            self.read(hook.layer, value)?;
        }
        if hook.site == Site::MlpOut { self.written(hook.layer, value) } else { Ok(None) }
    }
}

/// The activation of a feature, 0 where it does not fire.
fn of_feature(codes: &Codes, position: usize, feature: u32) -> f32 {
    let (features, values) = codes.row(position);
    features.iter().position(|other| *other == feature).map_or(0.0, |at| values[at])
}

/// The activation of a feature's node.
fn activation(node: &GraphNodeRow, codes: &BTreeMap<usize, Codes>) -> Option<f32> {
    let codes = codes.get(&(node.layer? as usize))?;
    Some(of_feature(codes, node.position? as usize, node.feature?))
}

/// By how much a node's value moved.
fn moved(
    node: &GraphNodeRow,
    before: (&[f32], &BTreeMap<usize, Codes>),
    after: (&[f32], &BTreeMap<usize, Codes>),
) -> Option<f32> {
    match node.kind.as_str() {
        graph::FEATURE => Some(activation(node, after.1)? - activation(node, before.1)?),
        graph::LOGIT => {
            let token = node.token? as usize;
            let of = |logits: &[f32]| {
                let mean = logits.iter().map(|&logit| f64::from(logit)).sum::<f64>() / logits.len() as f64;
                f64::from(logits[token]) - mean
            };
            Some((of(after.0) - of(before.0)) as f32)
        }
        _ => None,
    }
}

fn shifts(before: &Logits<'_>, after: &Logits<'_>) -> Vec<Shift> {
    let mut tokens: Vec<u32> = before.top(TOP).into_iter().map(|(token, _)| token).collect();
    let new = after.top(TOP).into_iter().map(|(token, _)| token).filter(|token| !tokens.contains(token));
    tokens.extend(new.collect::<Vec<_>>());
    let probability = |of: &Logits<'_>, token| of.log(token).exp() as f32;
    tokens
        .into_iter()
        .map(|token| Shift { token, before: probability(before, token), after: probability(after, token) })
        .collect()
}
