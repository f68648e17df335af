//! The index: rows to buckets (`encode`), buckets to tables (`describe`, `write`).

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use storage::IndexRecord;
use storage::examples::ExampleRow;
use storage::schema::VOCABULARY;

use super::describe::Describer;
use super::encode::{Encoded, encode, keep};
use super::examples::ExampleOptions;
use super::heads::{self, AttributionTarget, HeadDictionary, HeadTables};
use super::inverted::Inverted;
use super::layers::{self, LayersSubject};
use super::map::{self, alive};
use super::shards::{CodedByShards, weight_files};
use super::weights::{Weights, WeightsInOrder};
use super::write::FeaturePass;
use crate::lens::Lens;
use crate::partial::Partial;
use crate::rows::{Choice, ModelChoice, Subject, choose, documents, load_model, must_be_run};
use crate::shards::Shards;
use crate::{Error, Progress, Result};
use lm::model::{LanguageModel, hexadecimal};

/// How to index.
#[derive(Debug, Clone)]
pub struct IndexOptions {
    /// Dataset; the one that the run was trained on when `None`.
    pub data: Option<PathBuf>,
    /// Model for the logits.
    pub model: ModelChoice,
    /// Folder of a Jacobian lens that logits are taken through; the direct path when `None`.
    pub lens: Option<PathBuf>,
    /// Tokens at most, in whole documents drawn by seed; all when `None`. Each takes 8 bytes of memory.
    pub tokens: Option<u64>,
    /// Rows encoded at a time.
    pub batch: usize,
    /// How examples are chosen.
    pub examples: ExampleOptions,
    /// Rows from which co-activation is counted, at most.
    pub coactive_rows: u64,
    /// Whether features get places in the plane.
    pub map: bool,
    /// Strongest examples of a feature that are traced to the tokens they come from, in dictionaries of
    /// attention heads; at most those that are kept.
    pub sources_of: usize,
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self {
            data: None,
            model: ModelChoice::OfTheData,
            lens: None,
            tokens: None,
            batch: 8192,
            examples: ExampleOptions::default(),
            coactive_rows: 200_000,
            map: true,
            sources_of: ExampleOptions::default().top,
        }
    }
}

/// Indexes the run in `run_dir` into `RUN/features`. An index that is there already is replaced at the very
/// end, its labels are kept.
///
/// # Errors
/// A run or dataset that cannot be read or do not belong together, a model of the wrong weights or width, an
/// index that cannot be written, or [`Error::Stopped`].
pub fn index(run_dir: &Path, options: &IndexOptions, progress: &mut dyn Progress) -> Result<IndexRecord> {
    Prepared::open(run_dir, options, progress)?.write(run_dir, options, None, progress)
}

/// What an index is made of.
pub(super) struct Prepared {
    pub(super) subject: Subject,
    /// What encodes, if that is not the subject's dictionary.
    pub(super) layers: Option<LayersSubject>,
    /// `[V, d]`; `None` if features get no logits.
    pub(super) unembedding: Option<Vec<f32>>,
    /// What `index.json` says about logits.
    pub(super) logits: String,
    of_heads: std::result::Result<HeadDictionary, HeadTables>,
    /// The rows to index.
    pub(super) choice: Choice,
}

impl Prepared {
    /// # Errors
    /// A run, dataset or model that cannot be read or do not belong together.
    pub(super) fn open(run_dir: &Path, options: &IndexOptions, progress: &mut dyn Progress) -> Result<Self> {
        must_be_run(run_dir, "an index")?;
        let (subject, layers) = layers::open(run_dir, options.data.as_deref())?;
        subject.dictionary.needs_positive_codes("the feature index")?;
        let model = load_model(&options.model, subject.dataset.manifest())?;
        let (unembedding, logits) =
            unembedding((&subject, layers.is_some()), model.as_ref(), options.lens.as_deref())?;
        if unembedding.is_none() {
            progress.remark(&format!("features get no logits: {logits}"));
        }
        let of_heads = heads::of(&subject, model)?;
        let which: Vec<_> = documents(&subject.dataset)?.into_iter().map(|(_, which)| which).collect();
        let choice = choose(&which, options.tokens, options.examples.seed);
        if choice.tokens == 0 {
            return Err(Error::data(format!("{} has no rows to index", subject.dataset.dir().display())));
        }
        Ok(Self { subject, layers, unembedding, logits, of_heads, choice })
    }

    /// What rows are read and encoded from.
    pub(super) fn encoded_from(&self) -> (&Subject, Option<&LayersSubject>) {
        (&self.subject, self.layers.as_ref())
    }

    /// SHA-256 of the unembedding, in hexadecimal; `None` without one.
    pub(super) fn unembedding_sha256(&self) -> Option<String> {
        let bytes = |values: &Vec<f32>| {
            let mut hash = Sha256::new();
            values.chunks(1 << 16).for_each(|values| {
                hash.update(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
            });
            hexadecimal(&hash.finalize())
        };
        self.unembedding.as_ref().map(bytes)
    }

    /// Writes the index of what is read now, or of what `shards` made.
    ///
    /// # Errors
    /// Rows that cannot be read, files that cannot be written, [`Error::Stopped`].
    pub(super) fn write(
        self,
        run_dir: &Path,
        options: &IndexOptions,
        shards: Option<&Shards>,
        progress: &mut dyn Progress,
    ) -> Result<IndexRecord> {
        let (subject, choice) = (&self.subject, &self.choice);
        let labels = labels(run_dir, progress)?;
        let partial = Partial::begin(&run_dir.join("features"))?;
        partial.note().iter().for_each(|note| progress.remark(note));
        let folder = partial.folder();
        let mut encoded = match shards {
            None => encode(self.encoded_from(), choice, options, folder, progress)?,
            Some(shards) => {
                let coded = CodedByShards::new(&self, options, shards)?;
                keep(coded, subject, choice, options, folder, progress)?
            }
        };
        let weights = match shards {
            None => WeightsInOrder::computed(Weights::new(&subject.dictionary, self.unembedding.as_deref())),
            Some(shards) => WeightsInOrder::of_files(weight_files(shards)),
        };
        let inverted = inverted(&mut encoded, subject.dictionary.d_sae, folder)?;
        let wanted =
            self.write_features(&encoded, weights, inverted, (&labels, folder), options, progress)?;
        copy_vocabulary(subject, folder)?;
        let written = match &self.of_heads {
            Ok(of_heads) => {
                let wanted = Some(wanted).filter(|_| options.sources_of > 0);
                of_heads.write(subject, &encoded.tokens, wanted.as_deref(), folder, progress)?
            }
            Err(written) => written.clone(),
        };
        let summary = summary(subject, choice, &encoded, self.logits.clone(), written, options);
        summary.write(folder)?;
        partial.publish()?;
        Ok(summary)
    }

    /// The pass over the features; gives the examples that are to be traced to their sources.
    fn write_features(
        &self,
        encoded: &Encoded,
        weights: WeightsInOrder<'_>,
        inverted: Option<Inverted>,
        (labels, folder): (&[Option<String>], &Path),
        options: &IndexOptions,
        progress: &mut dyn Progress,
    ) -> Result<Vec<AttributionTarget>> {
        let dictionary = &self.subject.dictionary;
        let describer = Describer {
            dictionary,
            tokens: &encoded.tokens,
            coactivity: &encoded.coactivity,
            examples: &options.examples,
        };
        let pass = FeaturePass { describer, weights, buckets: &encoded.buckets, labels, folder };
        let mut wanted = Vec::new();
        let mut each = |example: &ExampleRow| {
            if self.of_heads.is_ok()
                && example.interval == 0
                && usize::from(example.rank) < options.sources_of
            {
                wanted.push(AttributionTarget::of(example));
            }
        };
        pass.write(inverted, progress, &mut each, |neighbours, progress| {
            if !options.map {
                return Ok(());
            }
            let alive = alive(encoded.buckets.counts().iter().map(|count| *count == 0));
            map::write(folder, dictionary, &alive, neighbours, None, options.examples.seed, progress)?;
            Ok(())
        })?;
        Ok(wanted)
    }
}

/// The unembedding `[V, d]`, and what `index.json` says about logits.
fn unembedding(
    (subject, many_layers): (&Subject, bool),
    model: Option<&LanguageModel>,
    lens: Option<&Path>,
) -> Result<(Option<Vec<f32>>, String)> {
    let Some(model) = model else {
        if lens.is_some() {
            return Err(Error::request("a lens is given, but no model").with_remedy("leave --no-model out"));
        }
        return Ok((None, "no model was given".into()));
    };
    let hook = match &subject.dictionary.target {
        None => subject.dataset.manifest().hook.clone().unwrap_or_default(),
        Some(target) => match &target.hook {
            Some(hook) => hook.clone(),
            None => return Ok((None, "where the transcoder's output is was not recorded".into())),
        },
    };
    if let Some(folder) = lens {
        if many_layers {
            return Err(Error::request(
                "a lens is of one hook, and the features of a cross-layer transcoder write at several",
            )
            .with_remedy("leave --lens out"));
        }
        let jacobian = Lens::load(folder)?.at(&hook, subject.dictionary.d_out(), model)?;
        let matrix = model.unembedding()?.to_dtype(candle_core::DType::F32)?.matmul(&jacobian)?;
        let about =
            format!("decoder row · mean Jacobian of {} · unembedding, as without a lens", folder.display());
        return Ok((Some(matrix.flatten_all()?.to_vec1()?), about));
    }
    let site = hook.parse::<lm::model::Hook>()?.site;
    if !site.writes_to_the_stream() {
        return Ok((None, format!("directions at {hook} are not written into the residual stream")));
    }
    let matrix = model.unembedding()?;
    let (_, width) = matrix.dims2()?;
    if width != subject.dictionary.d_out() {
        return Err(Error::request(format!(
            "the model's residual stream has width {width}, the dictionary {}",
            subject.dictionary.d_out()
        ))
        .with_remedy("give the model of the dataset with --model"));
    }
    let values = matrix.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?;
    let row = if many_layers { "sum of the decoder rows to all layers" } else { "decoder row" };
    let about = format!("{row} · unembedding, the final norm's gain folded in, its division left out");
    Ok((Some(values), about))
}

/// Labels of the index that is there, by feature. An index that is damaged is made again to have a whole one: what cannot be read of it does
/// not stop that. A disk that fails does, because the labels may still be there.
fn labels(run_dir: &Path, progress: &mut dyn Progress) -> Result<Vec<Option<String>>> {
    let run = storage::Run::open(run_dir)?;
    let read = run.features().and_then(|table| match table {
        Some(table) => storage::features::scalar_columns(&table).map(|columns| columns.label),
        None => Ok(Vec::new()),
    });
    match read {
        Err(error) if !matches!(error, storage::Error::Io { .. }) => {
            progress.remark(&format!("labels of the index that was there are lost: {error}"));
            Ok(Vec::new())
        }
        read => Ok(read?),
    }
}

/// The inverted index to be; none if rows are not tokens.
fn inverted(encoded: &mut Encoded, features: usize, folder: &Path) -> Result<Option<Inverted>> {
    let counts = std::mem::take(&mut encoded.counts);
    if counts.is_empty() { Ok(None) } else { Inverted::create(folder, counts, features).map(Some) }
}

/// So that a run shows text without its dataset.
fn copy_vocabulary(subject: &Subject, folder: &Path) -> Result<()> {
    // Activations from elsewhere may have come without one.
    if !subject.dataset.has_table(VOCABULARY) {
        return Ok(());
    }
    let table = subject.dataset.table(VOCABULARY)?;
    let texts = storage::vocabulary::read(&table)?;
    let bytes = storage::vocabulary::read_bytes(&table)?;
    let rows: Vec<(String, Vec<u8>)> = texts.into_iter().zip(bytes).collect();
    storage::vocabulary::write(&folder.join("vocabulary.parquet"), &rows)?;
    Ok(())
}

fn summary(
    subject: &Subject,
    choice: &Choice,
    encoded: &Encoded,
    logits: String,
    of_heads: HeadTables,
    options: &IndexOptions,
) -> IndexRecord {
    let manifest = subject.dataset.manifest();
    let counts = encoded.buckets.counts();
    IndexRecord {
        data: subject.dataset.dir().display().to_string(),
        model: manifest.model.id.clone(),
        model_sha256: manifest.model.sha256.clone(),
        hook: manifest.hook.clone(),
        rows_are: manifest.rows_are,
        dictionary_sha256: subject.dictionary_sha256.clone(),
        tokens: choice.tokens,
        documents: choice.documents,
        features: counts.len() as u64,
        dead: counts.iter().filter(|&&n| n == 0).count() as u64,
        activations: counts.iter().sum(),
        coactive_rows: encoded.coactivity.rows() as u64,
        logits,
        heads: of_heads.heads,
        attributed: of_heads.examples,
        attribution: of_heads.about,
        examples: options.examples,
        ..IndexRecord::new()
    }
}
