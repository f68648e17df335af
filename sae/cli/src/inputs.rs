//! What commands look at, declared once for all that have these options.

use std::path::PathBuf;

use clap::Args;

use super::Session;
use sae::{ModelChoice, Result};

/// `--model` of commands that need a model.
#[derive(Debug, Args)]
pub struct ModelOption {
    /// Language model [default: the one that made the dataset]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
}

/// `--model` and `--no-model` of commands that can do without one.
#[derive(Debug, Args)]
pub struct OptionalModel {
    #[command(flatten)]
    model: ModelOption,
    /// Load no model, and leave out what needs one: its loss, logits
    #[arg(long, conflicts_with = "model")]
    no_model: bool,
}

/// The dataset of a run, and the model.
#[derive(Debug, Args)]
pub struct RunInputs {
    /// Dataset [default: the one the run was trained on]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    pub model: OptionalModel,
}

impl ModelOption {
    /// True if a model was named.
    pub fn is_given(&self) -> bool {
        self.model.is_some()
    }

    /// The model that was named, fetched if the hub has it; else that of the data.
    ///
    /// # Errors
    /// A model that cannot be fetched.
    pub fn choice(&self, session: &mut Session) -> Result<ModelChoice> {
        choice(self.model.as_deref(), false, session)
    }
}

impl OptionalModel {
    /// As [`ModelOption::choice`], or no model.
    ///
    /// # Errors
    /// A model that cannot be fetched.
    pub fn choice(&self, session: &mut Session) -> Result<ModelChoice> {
        choice(self.model.model.as_deref(), self.no_model, session)
    }
}

/// The choice that `--model` and `--no-model` make.
pub fn choice(model: Option<&str>, no_model: bool, session: &mut Session) -> Result<ModelChoice> {
    Ok(match model {
        _ if no_model => ModelChoice::Without,
        Some(name) => ModelChoice::Source(session.model(name)?),
        None => ModelChoice::OfTheData,
    })
}
