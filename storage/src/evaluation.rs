//! How good a dictionary is: `RUN/evaluation/`, which `sae evaluate` writes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::error::{Error, Result};
use crate::json::{read_json, read_versioned};
use crate::record::{Record as _, record};
use crate::row::{self, row};
use crate::table::Scan;

/// `format` of an [`Evaluation`].
pub const FORMAT: &str = "sae-workbench evaluation";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The folder of a run that holds its evaluations.
pub const FOLDER: &str = "evaluation";
/// The [`Evaluation`] of the run's dictionary as it is.
pub const CORE: &str = "core.json";
/// The [`Evaluation`] of the dictionary with one threshold in place of the k best of a token.
pub const BY_THRESHOLD: &str = "threshold.json";
/// The [`Evaluation`] of the dictionary with leave-one-out pruning.
pub const PRUNED: &str = "pruned.json";
/// The [`Evaluation`] of the dictionary with codes that were searched for from its own.
pub const RECODED: &str = "recoded.json";
/// A list of [`BaselineEvaluation`].
pub const BASELINES: &str = "pca.json";

/// The [`EvaluatedDocumentRow`]s of `core.json`.
pub const DOCUMENTS: &str = "documents.parquet";
/// The [`EvaluatedDocumentRow`]s of `threshold.json`.
pub const DOCUMENTS_BY_THRESHOLD: &str = "threshold-documents.parquet";
/// The [`EvaluatedDocumentRow`]s of `pruned.json`.
pub const DOCUMENTS_PRUNED: &str = "pruned-documents.parquet";
/// The [`EvaluatedDocumentRow`]s of `recoded.json`.
pub const DOCUMENTS_RECODED: &str = "recoded-documents.parquet";

row! {
    /// What an evaluation found on one document: sums, so that figures over any choice of documents follow (intervals by bootstrap).
    EvaluatedDocumentRow {
        /// The document's number in the dataset.
        document: u32,
        /// Tokens that were reconstructed.
        tokens: u64,
        /// Σ‖x−x̂‖² over them.
        residual: f64,
        /// Active pairs.
        active: u64,
        /// Tokens whose predictions were compared; 0 without a model.
        predicted: u64,
        /// Sum of their cross-entropy with the model as it is, nats.
        ce_clean: f64,
        /// … with reconstructions at the hook.
        ce_reconstructed: f64,
        /// Sum of KL(clean ‖ reconstructed), nats.
        kl: f64,
    }
}

/// Writes the documents that go with the evaluation `name` of `run`.
///
/// # Errors
/// When the file cannot be written.
pub fn write_documents(run: &Path, name: &str, documents: &[EvaluatedDocumentRow]) -> Result<()> {
    let folder = run.join(FOLDER);
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    row::write(&folder.join(documents_of(name)), documents).map(|_| ())
}

/// Reads the documents that go with the evaluation `name` of `run`; `None` where there are none.
///
/// # Errors
/// When the table cannot be read.
pub fn read_documents(run: &Path, name: &str) -> Result<Option<Vec<EvaluatedDocumentRow>>> {
    let path = run.join(FOLDER).join(documents_of(name));
    if !path.exists() {
        return Ok(None);
    }
    row::read(&row::open::<EvaluatedDocumentRow>(&path)?, Scan::default()).map(Some)
}

fn documents_of(name: &str) -> &'static str {
    match name {
        BY_THRESHOLD => DOCUMENTS_BY_THRESHOLD,
        PRUNED => DOCUMENTS_PRUNED,
        RECODED => DOCUMENTS_RECODED,
        _ => DOCUMENTS,
    }
}

record! {
    /// How well a dictionary reconstructs the activations of some documents, and what the model loses with reconstructions
    /// in their place. Null where a number is not defined or where no model was there to measure it.
    ///
    /// In the model, the reconstruction x̂, zeros or the mean of the evaluated activations take the place of every document
    /// token's activation at the hook. BOS keeps its own (the dictionary was not trained on it), and so does padding.
    #[derive(Default)]
    Evaluation {
        /// Always `sae-workbench evaluation`.
        format: String,
        /// Version of the layout.
        version: u64,

        /// Fraction of variance explained: 1 − Σ‖x−x̂‖² / Σ‖x−mean x‖², sums and mean over the evaluated tokens.
        fve: Option<f64>,
        /// Fraction of variance unexplained: 1 − fve.
        fvu: Option<f64>,
        /// Σ‖x−x̂‖² / Σ‖x‖², not centred.
        nmse: Option<f64>,
        /// Mean squared error of a component.
        mse: f64,
        /// Mean number of features that fire on a token.
        l0: f64,
        /// Standard deviation of that number over tokens.
        l0_sd: f64,
        /// Quantiles 0, 0.05, 0.25, 0.5, 0.75, 0.95 and 1 of that number over tokens.
        l0_quantiles: [u64; 7],
        /// Share of features that fire on less than a tenth of the tokens that the mean feature fires on, over d_sae.
        under_used_share: f64,
        /// Mean over tokens of the sum of their codes.
        l1: f64,
        /// Share of features that fire on none of `tokens`, over d_sae.
        dead_share: f64,
        /// Number of such features.
        dead: u64,
        /// Mean over tokens of cos(x, x̂), 0 where either is 0.
        cosine: f64,
        /// Mean over tokens of ‖x̂‖ / ‖x‖.
        l2_ratio: Option<f64>,
        /// E‖x̂‖² / E[x·x̂].
        relative_reconstruction_bias: Option<f64>,
        /// Share of Σ‖x‖² that is in the rows left out, of all rows looked at: a few rows may hold most of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left_out_mass: Option<f64>,
        /// γ = ‖μ‖ / ‖σ‖, with μ the mean and σ the standard deviation of each component of the evaluated activations. Where it is far
        /// above 1, many features die.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mean_to_spread: Option<f64>,
        /// Mean ‖x‖.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        norm_in: Option<f64>,
        /// Mean ‖x̂‖.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        norm_out: Option<f64>,
        /// Mean over tokens of 1 − ‖x−x̂‖² / ‖x−m‖², with m the mean of the 256 tokens around it: the figure that SAEBench calls
        /// legacy. A token near m decides it, so it is only for comparison with its files.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fve_legacy: Option<f64>,
        /// Share of features that fire on more than 1 % of the tokens, over d_sae.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over_1_percent: Option<f64>,
        /// Share of features that fire on more than 10 % of the tokens, over d_sae.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over_10_percent: Option<f64>,
        /// Share of all firings that is of features that fire on more than 1 % of the tokens.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        firings_over_1_percent: Option<f64>,
        /// Share of all firings that is of features that fire on more than 10 % of the tokens.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        firings_over_10_percent: Option<f64>,
        /// Mean over pairs of different features of |cos| of their decoder rows; 1/√d · √(2/π) for random rows in many dimensions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        decoder_cosine: Option<f64>,
        /// Mean over features of the largest cosine of its decoder row with the row of a different feature.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_decoder_cosine: Option<f64>,
        /// The same of encoder rows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_encoder_cosine: Option<f64>,
        /// Features whose rows were compared with those of all others for these three: all, or evenly spaced ones of a large dictionary.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cosine_features: Option<u64>,

        /// Mean next-token cross-entropy of the model as it is, in nats over `predicted_tokens`; the token after BOS is not
        /// counted.
        ce_clean: Option<f64>,
        /// The same with reconstructions at the hook.
        ce_reconstructed: Option<f64>,
        /// The same with zeros at the hook.
        ce_zero: Option<f64>,
        /// The same with the mean activation at the hook.
        ce_mean: Option<f64>,
        /// (ce_zero − ce_reconstructed) / (ce_zero − ce_clean).
        loss_recovered: Option<f64>,
        /// (ce_mean − ce_reconstructed) / (ce_mean − ce_clean).
        loss_recovered_mean_ablation: Option<f64>,
        /// Mean over `predicted_tokens` of KL(clean ‖ reconstructed), nats.
        kl: Option<f64>,
        /// Mean over `predicted_tokens` of KL(clean ‖ zeros), nats.
        kl_zero: Option<f64>,
        /// Mean over `predicted_tokens` of KL(clean ‖ mean), nats.
        kl_mean: Option<f64>,
        /// (kl_zero − kl) / kl_zero.
        kl_score: Option<f64>,

        /// Tokens that were reconstructed.
        tokens: u64,
        /// Tokens besides these whose norm is above the limit of training: they are not among `tokens`, and keep their
        /// activation in the model.
        left_out: u64,
        /// That limit; null if there is none.
        norm_limit: Option<f32>,
        /// Documents that the tokens come from.
        documents: u64,
        /// Tokens whose predictions were compared; fewer than `tokens`, as the last of a context predicts nothing.
        predicted_tokens: u64,
        /// `held-out` or `all`.
        split: String,
        /// The dataset's folder.
        data: String,
        /// Where the activations were taken (a TransformerLens name).
        hook: String,
        /// Where the value is that a transcoder reconstructs: every number of reconstruction is about it, and the model runs with
        /// reconstructions, zeros or the mean there. Missing for a dictionary that reconstructs its input.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<String>,
        /// Codes were pruned: a feature stayed on a token if its best code, the others being as they are, is more than this. Missing
        /// if they were not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pruned_below: Option<f64>,
        /// Codes were searched for from the dictionary's own, with at most as many features per token: by `refit`, `pursuit`, `soft`,
        /// `hard`, `half`, `firm`, `log-sum`, `posterior` or `best`. Missing if they were not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recoded: Option<String>,
        /// Tokens per context, BOS counted.
        context_length: usize,
        /// Name of the model.
        model: String,
        /// SHA-256 of the model, in hexadecimal.
        model_sha256: String,
        /// `bf16` if the model multiplied with its weights in bfloat16; missing if in single precision.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compute: Option<String>,
        /// SHA-256 of the dictionary's weight file, in hexadecimal.
        dictionary_sha256: String,
        /// Features of the dictionary.
        d_sae: u64,
        /// Decides which documents a limit on tokens takes.
        seed: u64,
        /// What the fields mean, for readers of the file alone.
        definitions: BTreeMap<String, String>,
    }
}

impl Evaluation {
    /// One with the format, version and definitions of this program and everything else empty.
    pub fn new() -> Self {
        let definition = |field: &crate::record::FieldDoc| {
            (field.name.to_owned(), field.about.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        let definitions = Self::FIELDS.iter().map(definition).collect();
        Self { format: FORMAT.to_owned(), version: VERSION, definitions, ..Self::default() }
    }

    /// Writes `RUN/evaluation/NAME`; `name` is [`CORE`] or [`BY_THRESHOLD`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, run: &Path, name: &str) -> Result<()> {
        write(run, name, self)
    }

    /// Reads `RUN/evaluation/NAME`; `None` where there is none.
    ///
    /// # Errors
    /// When the file cannot be read, is of another kind or lacks a field.
    pub fn read(run: &Path, name: &str) -> Result<Option<Self>> {
        let path = run.join(FOLDER).join(name);
        if path.exists() { read_versioned(&path, FORMAT, VERSION).map(Some) } else { Ok(None) }
    }
}

/// A dictionary that is computed, not trained: what a figure is worth shows next to these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// Those of the k components with the largest variance: PCA.
    PcaFirst,
    /// The k that are largest in this token, of all components: a sparse code over an orthogonal basis.
    PcaLargest,
    /// The k coordinates of this token that are farthest from their means: the activation's own dimensions as features.
    RawLargest,
    /// The k best of random directions of norm 1, as many as the dictionary has, that nothing trained.
    RandomRows,
    /// A trained dictionary whose decoder rows were given to other features: the same codes, which no longer mean their rows.
    PermutedDecoder,
}

impl Baseline {
    /// Those that are made of principal components.
    pub const PCA: [Self; 2] = [Self::PcaFirst, Self::PcaLargest];
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::PcaFirst, Self::PcaLargest, Self::RawLargest, Self::RandomRows, Self::PermutedDecoder];

    /// The name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::PcaFirst => "pca-first",
            Self::PcaLargest => "pca-largest",
            Self::RawLargest => "raw-largest",
            Self::RandomRows => "random-rows",
            Self::PermutedDecoder => "permuted-decoder",
        }
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

record! {
    /// A dictionary that was computed and not trained, and how good it is.
    BaselineEvaluation {
        /// `pca-first` (the k components with the largest variance), `pca-largest` (a token's k largest coefficients), `raw-largest` (a
        /// token's k coordinates farthest from their means), `random-rows` (random directions) or `permuted-decoder`.
        baseline: Baseline,
        /// Coefficients that a token may use.
        k: usize,
        /// How good it is: the fields of `core.json`, on the same level as these.
        #[serde(flatten)]
        evaluation: Evaluation,
    }
}

/// Writes `RUN/evaluation/pca.json`.
///
/// # Errors
/// When the file cannot be written.
pub fn write_baselines(run: &Path, baselines: &[BaselineEvaluation]) -> Result<()> {
    write(run, BASELINES, baselines)
}

/// Reads `RUN/evaluation/pca.json`; none where there is no such file.
///
/// # Errors
/// When the file cannot be read or lacks a field.
pub fn read_baselines(run: &Path) -> Result<Vec<BaselineEvaluation>> {
    let path = run.join(FOLDER).join(BASELINES);
    if path.exists() { read_json(&path) } else { Ok(Vec::new()) }
}

fn write<T: Serialize + ?Sized>(run: &Path, name: &str, value: &T) -> Result<()> {
    let folder = run.join(FOLDER);
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    atomic::write_json(&folder.join(name), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluations_come_back_and_one_that_lacks_a_number_is_refused_by_name() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(Evaluation::read(run.path(), CORE).unwrap(), None);
        let evaluation = Evaluation { fve: Some(0.5), l0: 8.0, l2_ratio: Some(0.9), ..Evaluation::new() };
        assert!(evaluation.definitions["loss_recovered"].contains("(ce_zero − ce_reconstructed)"));
        evaluation.write(run.path(), CORE).unwrap();
        assert_eq!(Evaluation::read(run.path(), CORE).unwrap().as_ref(), Some(&evaluation));
        let baseline = BaselineEvaluation { baseline: Baseline::PcaLargest, k: 3, evaluation };
        write_baselines(run.path(), std::slice::from_ref(&baseline)).unwrap();
        assert_eq!(read_baselines(run.path()).unwrap(), [baseline]);

        let path = run.path().join(FOLDER).join(CORE);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"dead_share\"", "\"share_of_the_dead\"")).unwrap();
        let error = Evaluation::read(run.path(), CORE).unwrap_err().to_string();
        assert!(error.contains("core.json") && error.contains("dead_share"), "{error}");
    }
}
