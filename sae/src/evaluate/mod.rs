//! How good a dictionary is, on documents that it was not trained on.
//!
//! ```text
//! held-out rows of the dataset ── encode, decode ──▶ Reconstruction: FVE, L0, dead, cosine, shrinkage
//!              └── documents' tokens ── contexts ── model ──▶ Behaviour: cross-entropy and KL with x̂, 0 or the mean
//!                                                             in the place of the activations
//! ```

mod behaviour;
mod passes;
mod reconstruction;
mod report;
mod splice;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use behaviour::{Behaviour, BehaviourFigures, Replacement};
pub use reconstruction::{Figures, Reconstruction};
pub use report::{Evaluation, FORMAT};
pub use splice::{Energy, Splice, SpliceAt};

use crate::model::Hook;
use crate::rows::{Choice, ModelChoice, Subject, choose, documents, load_model};
use crate::{Error, Progress, Result};
use passes::{Setting, check_energy, over_contexts, over_rows};

/// How to evaluate.
#[derive(Debug, Clone)]
pub struct EvaluateOptions {
    /// Dataset; the one that the run was trained on when `None`.
    pub data: Option<PathBuf>,
    /// The model that the dictionary is spliced into.
    pub model: ModelChoice,
    /// Tokens at most, in whole documents drawn by `seed`; all when `None`.
    pub tokens: Option<u64>,
    /// Rows encoded at a time.
    pub batch: usize,
    /// Also documents that were trained on.
    pub all_documents: bool,
    /// Seed of the choice of documents.
    pub seed: u64,
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        Self {
            data: None,
            model: ModelChoice::OfTheData,
            tokens: None,
            batch: 8192,
            all_documents: false,
            seed: 0,
        }
    }
}

/// Evaluates the run in `run_dir` and writes `RUN/evaluation/core.json`.
pub fn run(run_dir: &Path, options: &EvaluateOptions, progress: &mut dyn Progress) -> Result<Evaluation> {
    let subject = Subject::open(run_dir, options.data.as_deref())?;
    let model = load_model(&options.model, subject.dataset.manifest())?;
    let choice = choose_documents(&subject, options)?;
    let pass = over_rows(&subject, &choice, options.batch, model.is_some(), progress)?;
    let figures =
        pass.reconstruction.figures().ok_or_else(|| Error::data("there are no rows to evaluate"))?;
    let mut evaluation = provenance(&subject, &choice, options).with_reconstruction(&figures);
    if let Some(model) = &model {
        let hook = hook_of(&subject)?;
        let setting = Setting {
            model,
            hook,
            dictionary: &subject.dictionary,
            mean: &pass.reconstruction.mean(),
            context_length: subject.dataset.manifest().context_length,
        };
        let (behaviour, energy) = over_contexts(&setting, pass.documents, progress)?;
        check_energy(energy, pass.reconstruction.mean_energy(), hook)?;
        match behaviour.figures() {
            Some(figures) => evaluation = evaluation.with_behaviour(&figures),
            None => {
                progress.remark("no evaluated document has two tokens: there is no prediction to compare");
            }
        }
    }
    evaluation.write(run_dir)?;
    Ok(evaluation)
}

fn choose_documents(subject: &Subject, options: &EvaluateOptions) -> Result<Choice> {
    let all = documents(&subject.dataset)?;
    let wanted =
        all.into_iter().filter(|(row, _)| options.all_documents || row.held_out).map(|(_, which)| which);
    let choice = choose(&wanted.collect::<Vec<_>>(), options.tokens, options.seed);
    if choice.tokens == 0 {
        return Err(Error::request(format!(
            "{} has no {}; harvest a dataset with held-out documents and give it with --data, or evaluate on what the \
             dictionary was trained on with --all-documents",
            subject.dataset.dir().display(),
            if options.all_documents { "rows" } else { "held-out documents" }
        )));
    }
    Ok(choice)
}

fn hook_of(subject: &Subject) -> Result<Hook> {
    let named = subject.dataset.manifest().hook.as_deref().ok_or_else(|| {
        Error::request(format!("{} does not say at which hook it was taken", subject.dataset.dir().display()))
    })?;
    named.parse()
}

fn provenance(subject: &Subject, choice: &Choice, options: &EvaluateOptions) -> Evaluation {
    let manifest = subject.dataset.manifest();
    Evaluation {
        format: FORMAT.to_owned(),
        version: 1,
        documents: choice.documents,
        split: if options.all_documents { "all" } else { "held-out" }.to_owned(),
        data: subject.dataset.dir().display().to_string(),
        hook: manifest.hook.clone().unwrap_or_default(),
        context_length: manifest.context_length,
        model: manifest.model.id.clone(),
        model_sha256: manifest.model.sha256.clone(),
        dictionary_sha256: subject.dictionary_sha256.clone(),
        d_sae: subject.dictionary.d_sae as u64,
        seed: options.seed,
        definitions: report::definitions(),
        ..Evaluation::default()
    }
}
