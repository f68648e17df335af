//! The transcoders that stand for a model's MLPs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::dictionary::{Codes, Dictionary, Target};
use crate::interop::dictionaries::{Content, Opened};
use crate::rows::is_run;
use crate::{Error, Result};
use kernels::gather::add_rows;
use lm::model::{Config, Hook, Site};
use storage::RunRecord;

/// One transcoder for each of some layers; of a cross-layer transcoder also what they write into later ones.
#[derive(Debug)]
pub struct Transcoders {
    pub(super) layers: BTreeMap<usize, LayerTranscoder>,
}

/// The transcoder of a layer.
#[derive(Debug)]
pub(super) struct LayerTranscoder {
    pub dictionary: Dictionary,
    /// What it reads: the MLP's input, or the stream before it.
    pub site: Site,
    /// What its features write into the layers after this one, `[F, d_model]` each.
    pub later: Vec<Vec<f32>>,
    /// Where it was read from.
    pub from: PathBuf,
}

impl LayerTranscoder {
    fn target(&self) -> Option<&Target> {
        self.dictionary.target.as_ref()
    }

    /// The skip path, `[d_model, d_model]` (output, input).
    pub fn skip(&self) -> Option<&[f32]> {
        self.target()?.skip.as_deref()
    }
}

impl Transcoders {
    /// Of what was read: a transcoder, a set of them, a cross-layer transcoder; several are put together.
    ///
    /// # Errors
    /// Something that does not stand for an MLP, two transcoders of a layer, a hook that is not named or that no
    /// graph can be traced from, rows that are normalised.
    pub fn new(opened: impl IntoIterator<Item = (PathBuf, Opened)>) -> Result<Self> {
        let mut all = Self { layers: BTreeMap::new() };
        for (path, opened) in opened {
            let reading = &opened.reading;
            match opened.content {
                Content::Dictionary(mut dictionary) => {
                    if let (Some(target), true) = (&mut dictionary.target, is_run(&path)) {
                        target.norm_limit =
                            RunRecord::read(&path)?.target_norm_limit.map(|limit| limit as f32);
                    }
                    let hook = reading.hook_in.clone().or_else(|| dictionary.info.hook_name.clone());
                    let hook = named(&path, hook.as_deref())?;
                    all.add(&path, hook.layer, hook.site, dictionary, Vec::new())?;
                }
                Content::Set(set) => {
                    for (layer, dictionary) in set {
                        let hook = named(&path, dictionary.info.hook_name.as_deref())?;
                        all.add(&path, layer, hook.site, dictionary, Vec::new())?;
                    }
                }
                Content::CrossLayer(mut transcoder) => {
                    if is_run(&path) {
                        transcoder.set_norm_limits(&RunRecord::read(&path)?);
                    }
                    for (layer, (dictionary, later)) in
                        transcoder.layers.into_iter().zip(transcoder.later).enumerate()
                    {
                        let hook = named(&path, dictionary.info.hook_name.as_deref())?;
                        all.add(&path, layer, hook.site, dictionary, later)?;
                    }
                }
            }
        }
        match all.layers.is_empty() {
            true => Err(Error::request("a graph needs at least one transcoder")
                .with_remedy("name a transcoder, a set or a cross-layer transcoder with --transcoders")),
            false => Ok(all),
        }
    }

    fn add(
        &mut self,
        path: &Path,
        layer: usize,
        site: Site,
        dictionary: Dictionary,
        later: Vec<Vec<f32>>,
    ) -> Result<()> {
        let shown = path.display();
        let Some(target) = &dictionary.target else {
            return Err(Error::request(format!(
                "{shown} reconstructs its input; a graph needs transcoders, which reconstruct what an MLP writes"
            )));
        };
        if let Some(out) = &target.hook {
            let out: Hook = out.parse()?;
            if out != Hook::new(layer, Site::MlpOut) {
                return Err(Error::request(format!(
                    "{shown} writes to {out}; a graph needs what stands for an MLP: {}",
                    Hook::new(layer, Site::MlpOut)
                )));
            }
        }
        dictionary.needs_raw_rows("an attribution graph")?;
        dictionary.needs_pre_activations("an attribution graph")?;
        if !matches!(site, Site::MlpIn | Site::ResidMid | Site::ResidPre) {
            let hook = Hook::new(layer, site);
            return Err(Error::request(format!("{shown} reads {hook}; a graph needs what an MLP reads")));
        }
        let transcoder = LayerTranscoder { dictionary, site, later, from: path.to_owned() };
        match self.layers.insert(layer, transcoder) {
            None => Ok(()),
            Some(other) => Err(Error::request(format!(
                "{} and {shown} are both transcoders of layer {layer}",
                other.from.display()
            ))),
        }
    }

    /// Whether they fit a model.
    ///
    /// # Errors
    /// A layer that the model does not have, a transcoder of a different width.
    pub fn check(&self, config: &Config) -> Result<()> {
        let (layers, d) = (config.num_hidden_layers, config.hidden_size);
        for (&layer, transcoder) in &self.layers {
            let shown = transcoder.from.display();
            let (d_in, d_out) = (transcoder.dictionary.d_in, transcoder.dictionary.d_out());
            if layer >= layers || layer + transcoder.later.len() >= layers.max(1) {
                let last = layer + transcoder.later.len();
                return Err(Error::request(format!(
                    "{shown} is for layer {last}, but the model has layers 0 to {}",
                    layers.saturating_sub(1)
                ))
                .with_remedy("give the model that the transcoders were made for"));
            }
            if (d_in, d_out) != (d, d) {
                return Err(Error::request(format!(
                    "{shown} is of width {d_in} → {d_out}, but the model's residual stream is {d} wide"
                ))
                .with_remedy("give the model that the transcoders were made for"));
            }
        }
        Ok(())
    }

    /// The layers whose MLPs are replaced, ascending.
    pub fn covered(&self) -> impl Iterator<Item = usize> + '_ {
        self.layers.keys().copied()
    }

    /// The dictionary of a layer and what it reads.
    pub(super) fn dictionary(&self, layer: usize) -> Option<(Hook, &Dictionary)> {
        let transcoder = self.layers.get(&layer)?;
        Some((Hook::new(layer, transcoder.site), &transcoder.dictionary))
    }

    /// Whether the layer has one.
    pub fn has(&self, layer: usize) -> bool {
        self.layers.contains_key(&layer)
    }

    /// Whether one of them reads the values at `hook`.
    pub fn reads(&self, hook: &Hook) -> bool {
        self.layers.get(&hook.layer).is_some_and(|transcoder| transcoder.site == hook.site)
    }

    /// What they say of the MLP's output of `layer`, `[n, d_model]`, from what those of the layers up to it have read,
    /// `[n, d_model]` each. A layer that has read nothing gives nothing.
    pub fn output(&self, layer: usize, inputs: &BTreeMap<usize, Vec<f32>>) -> Vec<f32> {
        let (Some(own), Some(x)) = (self.layers.get(&layer), inputs.get(&layer)) else { return Vec::new() };
        let d = own.dictionary.d_out();
        let mut out = own.dictionary.decode_with(&own.dictionary.encode(x), x);
        for (&earlier, transcoder) in self.layers.range(..layer) {
            let (Some(decoder), Some(x)) = (transcoder.later.get(layer - earlier - 1), inputs.get(&earlier))
            else {
                continue;
            };
            add_codes(&mut out, decoder, &transcoder.dictionary.encode(x), d);
        }
        out
    }

    /// Norm of what the MLP of `layer` writes above which its transcoder knows nothing of it.
    pub(crate) fn norm_limit(&self, layer: usize) -> Option<f32> {
        self.layers.get(&layer)?.target()?.norm_limit
    }

    /// The codes of every layer and what they all say of its MLP's output, `[n, d_model]`, from what all layers have read: as
    /// [`Transcoders::output`], with every layer encoded once.
    pub(crate) fn all(&self, inputs: &BTreeMap<usize, Vec<f32>>) -> BTreeMap<usize, (Codes, Vec<f32>)> {
        let mut made: BTreeMap<usize, (Codes, Vec<f32>)> = BTreeMap::new();
        for (&layer, transcoder) in &self.layers {
            let Some(x) = inputs.get(&layer) else { continue };
            let codes = transcoder.dictionary.encode(x);
            let mut out = transcoder.dictionary.decode_with(&codes, x);
            for (&earlier, (codes, _)) in &made {
                let later = self.layers.get(&earlier).map(|earlier| &earlier.later);
                if let Some(decoder) = later.and_then(|later| later.get(layer - earlier - 1)) {
                    add_codes(&mut out, decoder, codes, transcoder.dictionary.d_out());
                }
            }
            made.insert(layer, (codes, out));
        }
        made
    }

    /// Features of the transcoder of `layer`.
    pub(crate) fn features_of(&self, layer: usize) -> usize {
        self.layers.get(&layer).map_or(0, |transcoder| transcoder.dictionary.d_sae)
    }

    /// Features of all layers.
    pub fn features(&self) -> usize {
        self.layers.values().map(|transcoder| transcoder.dictionary.d_sae).sum()
    }
}

/// Adds codes times decoder rows to `out[n, d]`.
fn add_codes(out: &mut [f32], decoder: &[f32], codes: &Codes, d: usize) {
    for (i, row) in out.chunks_exact_mut(d).enumerate() {
        let (features, values) = codes.row(i);
        add_rows(row, decoder, features, values);
    }
}

fn named(path: &Path, hook: Option<&str>) -> Result<Hook> {
    let missing = || Error::request(format!("{} does not name the hook that it reads", path.display()));
    hook.ok_or_else(missing)?.parse()
}
