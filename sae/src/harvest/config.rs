//! What a harvest is asked to do.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use storage::Dtype;

use crate::shards::Shard;
use crate::{Error, Result};
use lm::model::{Compute, Hook, LanguageModel, ModelSource};
use lm::text::TextOptions;

/// Tokens of a context where nothing else is asked for. Models of today take 100,000; attention over so many
/// is slow and a dictionary learns nothing from it.
pub const CONTEXT_LENGTH: usize = 1024;

/// Tokens of a batch where nothing else is asked for.
const BATCH_TOKENS: usize = 2048;

/// Options of a harvest.
#[derive(Debug, Clone)]
pub struct HarvestConfig {
    /// The model.
    pub model: ModelSource,
    /// Text files and folders.
    pub text: Vec<PathBuf>,
    /// The field of the text; `text`, `input_ids` or `messages` if not given.
    pub text_column: Option<String>,
    /// Of chats, keep the rows of what these roles say; all rows if there are none.
    pub roles: Vec<String>,
    /// Where activations are taken; may be empty if only routing is wanted.
    pub hooks: Vec<Hook>,
    /// Write the experts' choices too.
    pub routing: bool,
    /// Write d(sum of next-token cross-entropy)/d(activation) too.
    pub gradients: bool,
    /// Rows to stop after; all of the text if not given.
    pub tokens: Option<u64>,
    /// Tokens per context, BOS included; if not given the model's own, at most [`CONTEXT_LENGTH`].
    pub context_length: Option<usize>,
    /// Type of the stored activations.
    pub dtype: Dtype,
    /// Rows of the model's batch, a context each; if not given as many as make about 2048 tokens: more would
    /// not be faster, and would not stay in the caches.
    pub batch_rows: Option<usize>,
    /// Tokens after which a part is closed.
    pub rows_per_part: u64,
    /// Share of the documents set aside where the text does not say which are held out.
    pub held_out_share: f64,
    /// Chooses the documents that are set aside.
    pub seed: u64,
    /// Harvest a part of the documents only, into a folder next to those of the other parts.
    pub shard: Option<Shard>,
}

impl Default for HarvestConfig {
    fn default() -> Self {
        Self {
            model: ModelSource::Default,
            text: Vec::new(),
            text_column: None,
            roles: Vec::new(),
            hooks: Vec::new(),
            routing: false,
            gradients: false,
            tokens: None,
            context_length: None,
            dtype: Dtype::F16,
            batch_rows: None,
            rows_per_part: 1 << 18,
            held_out_share: 0.05,
            seed: 1,
            shard: None,
        }
    }
}

/// Everything that decides which rows there are and in what order: what a harvest that continues must share
/// with its beginning.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Settings {
    pub tokens: Option<u64>,
    pub batch_rows: usize,
    pub gradients: bool,
    pub held_out_share: f64,
    pub seed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_column: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Analyses of the dataset let the model multiply so, too.
    #[serde(default, skip_serializing_if = "Compute::is_f32")]
    pub compute: Compute,
}

impl HarvestConfig {
    pub(super) fn settings(&self, model: &LanguageModel) -> Settings {
        Settings {
            tokens: self.tokens,
            batch_rows: self.batch_rows(model),
            gradients: self.gradients,
            held_out_share: self.held_out_share,
            seed: self.seed,
            text_column: self.text_column.clone(),
            roles: self.roles.clone(),
            compute: model.compute(),
        }
    }

    /// How the text is read.
    pub(super) fn text_options(&self) -> TextOptions {
        TextOptions {
            column: self.text_column.clone(),
            held_out_share: Some(self.held_out_share),
            tokens: self.tokens,
        }
    }

    /// Tokens per context, never more than the model was made for.
    pub(super) fn context_length(&self, model: &LanguageModel) -> usize {
        let own = model.config().max_position_embeddings;
        self.context_length.unwrap_or(CONTEXT_LENGTH).min(own)
    }

    /// Rows of the model's batch.
    pub(super) fn batch_rows(&self, model: &LanguageModel) -> usize {
        self.batch_rows.unwrap_or((BATCH_TOKENS / self.context_length(model).max(1)).clamp(1, 64))
    }

    /// An error if the model cannot do what is asked.
    pub(super) fn check(&self, model: &LanguageModel) -> Result<()> {
        for hook in &self.hooks {
            hook.width(model.config())?;
            if !hook.site.is_vector() {
                return Err(Error::request(format!(
                    "the value at `{hook}` is not a vector of numbers for every token, which a dataset of activations is made of"
                )));
            }
        }
        let ok = |ok: bool, problem: &str| if ok { Ok(()) } else { Err(Error::request(problem)) };
        ok(!self.hooks.is_empty() || self.routing, "nothing to harvest: name a hook, or ask for routing")?;
        ok(!self.gradients || !self.hooks.is_empty(), "gradients need a hook to be taken at")?;
        ok(self.tokens != Some(0), "tokens must be more than 0")?;
        ok(self.batch_rows != Some(0) && self.rows_per_part > 0, "batch and part sizes must be more than 0")?;
        ok(
            (0.0..1.0).contains(&self.held_out_share),
            "the held-out share must be at least 0 and less than 1",
        )?;
        let longest = model.config().max_position_embeddings;
        ok(
            self.context_length.is_none_or(|n| (2..=longest).contains(&n)),
            &format!("the context length must be 2 to {longest}, which {} was made for", model.id()),
        )
    }

    /// The folder of each dataset: `out` itself for one, `out/HOOK` and `out/routing` for several.
    pub(super) fn folders(&self, out: &Path) -> (Vec<PathBuf>, PathBuf) {
        match self.hooks.as_slice() {
            [_] | [] => (vec![out.to_path_buf(); self.hooks.len()], out.to_path_buf()),
            several => {
                let hooks = several.iter().map(|hook| out.join(hook.to_string())).collect();
                (hooks, out.join("routing"))
            }
        }
    }
}
