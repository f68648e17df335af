//! The index of a cross-layer transcoder: the features of all layers, one after the other. Feature j of layer ℓ is number ℓ·F + j, its codes
//! are those of layer ℓ's encoder, and its direction is what it writes into the residual stream in all.

use std::ops::Range;
use std::path::Path;

use storage::{Dataset, RunRecord};

use crate::dictionary::{Codes, CrossLayerTranscoder, Dictionary, Encoder};
use crate::files::files_sha256;
use crate::interop::dictionaries::{Content, open_path};
use crate::rows::{RowBatch, RowReader, Subject, datasets_of, folder_of_layers, is_cross_layer_run};
use crate::{Error, Result};

/// The layers of a cross-layer transcoder, with what each of them reads.
#[derive(Debug)]
pub(super) struct LayersSubject {
    transcoder: CrossLayerTranscoder,
    /// By layer.
    inputs: Vec<Dataset>,
}

/// What is indexed in `run_dir`, on `data` or on the dataset that the run names. A cross-layer transcoder's subject has the dictionary that
/// [`CrossLayerTranscoder::summed`] makes and the first layer's dataset; what encodes is next to it.
///
/// # Errors
/// As [`Subject::open`]; for a cross-layer transcoder, a folder that does not have the datasets of all its layers.
pub(super) fn open(run_dir: &Path, data: Option<&Path>) -> Result<(Subject, Option<LayersSubject>)> {
    if !is_cross_layer_run(run_dir)? {
        return Ok((Subject::open(run_dir, data)?, None));
    }
    let record = RunRecord::read(run_dir)?;
    let (transcoder, dictionary_sha256) = load(run_dir)?;
    let inputs = datasets_of(&folder_of_layers(run_dir, data)?, &transcoder.hooks()?)?;
    let subject = Subject {
        dictionary: transcoder.summed(),
        dictionary_sha256,
        dataset: Dataset::open(inputs[0].dir())?,
        norm_limit: record.norm_limit.map(|limit| limit as f32),
        is_run: true,
    };
    Ok((subject, Some(LayersSubject { transcoder, inputs })))
}

/// The dictionary whose features the index of `run_dir` describes.
///
/// # Errors
/// A dictionary that cannot be read.
pub(crate) fn described(run_dir: &Path) -> Result<Dictionary> {
    match is_cross_layer_run(run_dir)? {
        true => Ok(load(run_dir)?.0.summed()),
        false => Dictionary::load(run_dir),
    }
}

fn load(run_dir: &Path) -> Result<(CrossLayerTranscoder, String)> {
    let opened = open_path(run_dir)?;
    let sha256 = files_sha256(&opened.reading.files)?;
    match opened.content {
        Content::CrossLayer(transcoder) => Ok((transcoder, sha256)),
        _ => Err(Error::data(format!("{} is not a cross-layer transcoder", run_dir.display()))),
    }
}

/// Rows to encode, in batches: of one dataset, or the same rows of a dataset per layer. A batch's activations are then those of the first
/// layer, `[n, d]`, followed by those of the second, and so on.
#[derive(Debug)]
pub(super) struct Rows(Vec<RowReader>);

impl Rows {
    /// `ranges` of what `subject` or else its `layers` are encoded from.
    ///
    /// # Errors
    /// As [`RowReader::new`].
    pub(super) fn new(
        (subject, layers): (&Subject, Option<&LayersSubject>),
        ranges: &[Range<u64>],
        batch: usize,
    ) -> Result<Self> {
        let datasets = layers.map_or(std::slice::from_ref(&subject.dataset), |layers| &layers.inputs[..]);
        let d = subject.dictionary.d_in;
        let readers = datasets.iter().map(|dataset| RowReader::new(dataset, ranges, batch, d));
        Ok(Self(readers.collect::<Result<_>>()?))
    }

    /// Batches have documents, positions and tokens alone, which all layers have alike.
    pub(super) fn places_alone(self) -> Self {
        Self(self.0.into_iter().take(1).map(RowReader::places_alone).collect())
    }

    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// As [`RowReader::next_batch`]; layers whose rows are of different tokens.
    pub(super) fn next_batch(&mut self) -> Result<Option<RowBatch>> {
        let Some((first, others)) = self.0.split_first_mut() else { return Ok(None) };
        let Some(mut batch) = first.next_batch()? else { return Ok(None) };
        for (layer, reader) in (1..).zip(others) {
            let other = reader.next_batch()?.unwrap_or_default();
            let same = (&other.documents, &other.positions, &other.tokens)
                == (&batch.documents, &batch.positions, &batch.tokens);
            if !same {
                return Err(Error::data(format!(
                    "the rows of layer {layer} are of other tokens than those of layer 0"
                ))
                .with_remedy("harvest all hooks in one pass"));
            }
            batch.activations.extend(other.activations);
        }
        Ok(Some(batch))
    }
}

/// Encodes batches of [`Rows`].
pub(super) enum RowEncoder<'a> {
    Alone(Encoder<'a>),
    /// One of each layer.
    Layers(Vec<Encoder<'a>>, &'a CrossLayerTranscoder),
}

impl<'a> RowEncoder<'a> {
    pub(super) fn new((subject, layers): (&'a Subject, Option<&'a LayersSubject>)) -> Self {
        match layers {
            None => Self::Alone(subject.dictionary.encoder()),
            Some(LayersSubject { transcoder, .. }) => {
                Self::Layers(transcoder.layers.iter().map(Dictionary::encoder).collect(), transcoder)
            }
        }
    }

    /// The codes of a batch's activations.
    pub(super) fn encode(&mut self, x: &[f32]) -> Codes {
        match self {
            Self::Alone(encoder) => encoder.encode(x),
            Self::Layers(encoders, transcoder) => {
                let parts = x.chunks(share(x, encoders.len()));
                let codes: Vec<Codes> = encoders.iter_mut().zip(parts).map(|(e, x)| e.encode(x)).collect();
                transcoder.numbered(&codes)
            }
        }
    }

    /// As [`Encoder::begin_with`].
    pub(super) fn begin_with(&mut self, x: &[f32]) {
        match self {
            Self::Alone(encoder) => encoder.begin_with(x),
            Self::Layers(encoders, _) => {
                let parts = x.chunks(share(x, encoders.len()));
                encoders.iter_mut().zip(parts).for_each(|(encoder, x)| encoder.begin_with(x));
            }
        }
    }
}

/// Numbers of `x` for each of `layers`.
fn share(x: &[f32], layers: usize) -> usize {
    (x.len() / layers.max(1)).max(1)
}
