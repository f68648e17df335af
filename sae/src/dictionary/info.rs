//! Where a dictionary comes from: the `metadata` of SAELens's `cfg.json`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The SAELens release whose layout is written. Readers take configs without a version for the old, flat layout.
pub const SAE_LENS_LAYOUT: &str = "6.18.0";

/// Origin of a dictionary. Fields that SAELens has and this program does not use are kept in `other`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DictionaryInfo {
    /// Release of SAELens whose layout the folder has.
    #[serde(default)]
    pub sae_lens_version: Option<String>,
    /// The model's id or path.
    #[serde(default)]
    pub model_name: Option<String>,
    /// Where in the model the activations were taken, e.g. `blocks.2.hook_resid_post`.
    #[serde(default)]
    pub hook_name: Option<String>,
    /// The activations that it was trained on.
    #[serde(default)]
    pub dataset_path: Option<String>,
    /// Tokens of a context when the activations were computed.
    #[serde(default)]
    pub context_size: Option<usize>,
    /// Whether every context began with BOS.
    #[serde(default)]
    pub prepend_bos: Option<bool>,
    /// Everything else, as it was read.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for DictionaryInfo {
    fn default() -> Self {
        Self {
            sae_lens_version: Some(SAE_LENS_LAYOUT.to_owned()),
            model_name: None,
            hook_name: None,
            dataset_path: None,
            context_size: None,
            prepend_bos: None,
            other: Map::new(),
        }
    }
}
