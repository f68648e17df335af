//! What a dictionary's encoder loses: for the same decoder and at most as many features per token, codes that are searched for
//! ([`crate::dictionary::recode`]).
//!
//! ```text
//! rows x ─ encoder ─▶ codes ─▶ all codings ─▶ FVE of each, how often each feature is taken by the encoder and by the best
//!                                  └──▶ reconstructions in the place of activations ─▶ model ─▶ cross-entropy of each
//! ```
//!
//! None of them is sure to find the very best features, which is a hard problem; the gap that is told is one that is there.

mod loss;
mod tally;

use std::path::{Path, PathBuf};

use storage::audit::{Audit, AuditCodingRow, AuditFeatureRow};

use crate::dictionary::recode::{Coding, ITERATIONS};
use crate::evaluate::passes::collect;
use crate::evaluate::{self, EvaluateOptions, choose_documents, is_within};
use crate::partial::Partial;
use crate::rows::{ModelChoice, RowReader, Subject};
use crate::{Error, Progress, Result};
use lm::model::Compute;
use tally::Tally;

/// Rows read at a time.
const BATCH: usize = 512;

/// How to audit.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// Dataset; the one that the run was trained on when `None`.
    pub data: Option<PathBuf>,
    /// The model whose loss is measured with the codes.
    pub model: ModelChoice,
    /// In what numbers the model multiplies; those that made the dataset when `None`.
    pub compute: Option<Compute>,
    /// Tokens at most, in whole documents drawn by `seed`.
    pub tokens: u64,
    /// Also documents that were trained on.
    pub all_documents: bool,
    /// Seed of the choice of documents.
    pub seed: u64,
    /// Steps of every iterative thresholding.
    pub iterations: usize,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self {
            data: None,
            model: ModelChoice::OfTheData,
            compute: None,
            tokens: 4096,
            all_documents: false,
            seed: 0,
            iterations: ITERATIONS,
        }
    }
}

/// An audit with its tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Audited {
    /// All in all.
    pub audit: Audit,
    /// Ways to find codes.
    pub codings: Vec<AuditCodingRow>,
    /// Features.
    pub features: Vec<AuditFeatureRow>,
}

/// Audits the run or foreign dictionary at `path`; of a run the result is kept in `RUN/audit/`.
///
/// # Errors
/// A dictionary, dataset or model that cannot be read, or that do not belong together; a transcoder; codes of either sign; no rows to
/// code; [`Error::Stopped`].
pub fn run(path: &Path, options: &AuditOptions, progress: &mut dyn Progress) -> Result<Audited> {
    let subject = Subject::open(path, options.data.as_deref())?;
    let (dictionary, dataset, limit) = (&subject.dictionary, &subject.dataset, subject.norm_limit);
    let chosen = EvaluateOptions {
        model: options.model.clone(),
        compute: options.compute,
        tokens: Some(options.tokens),
        all_documents: options.all_documents,
        seed: options.seed,
        ..EvaluateOptions::default()
    };
    let how = (Coding::Best, options.iterations);
    let recoder = evaluate::training::recoder(dictionary, dataset, how, limit, options.seed)?;
    let model = chosen.load_model(dataset.manifest())?;
    let choice = choose_documents(dataset, &chosen)?;
    let mut reader = RowReader::new(dataset, &choice.ranges, BATCH, dictionary.d_in)?;
    let mut tally = Tally::new(dictionary, &recoder, model.is_some());
    let (mut documents, mut done) = (Vec::new(), 0);
    progress.begin("audit", Some(choice.tokens), dataset.manifest().rows_are.name());
    while let Some(rows) = reader.next_batch()? {
        if model.is_some() {
            collect(&rows, &mut documents)?;
        }
        done += rows.len() as u64;
        let mut within = Vec::with_capacity(rows.activations.len());
        for (i, row) in rows.activations.chunks_exact(dictionary.d_in).enumerate() {
            if is_within(row, limit) {
                within.extend_from_slice(row);
                tally.place(rows.documents[i], rows.positions[i]);
            }
        }
        tally.add(&within)?;
        progress.advance(done, "");
        if progress.stop_requested() {
            return Err(Error::stopped("the audit was not finished; an older one stays as it is"));
        }
    }
    let (mut codings, features, mut audit) = tally.finish()?;
    progress.end(&format!("FVE {:.4}, the best that was found {:.4}", audit.fve, audit.fve_best));
    if let Some(model) = &model {
        let losses = loss::measure(model, &subject, &tally, documents, progress)?;
        losses.note(&mut audit, &mut codings);
        audit.compute = evaluate::named_compute(Some(model));
    }
    audit.data = dataset.dir().display().to_string();
    audit.dictionary_sha256.clone_from(&subject.dictionary_sha256);
    audit.split = if options.all_documents { "all" } else { "held-out" }.to_owned();
    audit.seed = options.seed;
    audit.iterations = options.iterations as u64;
    if subject.is_run {
        let partial = Partial::begin(&path.join(storage::audit::FOLDER))?;
        audit.write(partial.folder(), &codings, &features)?;
        partial.publish()?;
    }
    Ok(Audited { audit, codings, features })
}
