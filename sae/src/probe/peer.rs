//! Probes as the files of sae-probes: `sae_probes/DICTIONARY/sae_probes_MODEL/SETTING_setting/SET_HOOK_…PENALTY.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use storage::probe::{Probe, ProbeRow};

use super::split;
use super::tasks::{Setting, Splits};
use crate::{Error, Result};

/// Writes the probes of `dictionary` on the published splits with the first seed; sae-probes has no other splits and one seed.
pub(super) fn write(
    out: &Path,
    dictionary: &str,
    hook: &str,
    request: &Probe,
    rows: &[ProbeRow],
) -> Result<()> {
    let Some(&seed) = request.seeds.first() else { return Ok(()) };
    let root = out
        .join("sae_probes")
        .join(dictionary)
        .join(format!("sae_probes_{}", request.model.replace(['/', '\\'], "_")));
    let mut files: BTreeMap<PathBuf, Vec<Value>> = BTreeMap::new();
    let own = rows.iter().filter(|row| {
        row.dictionary == dictionary && row.split == Splits::Published.name() && row.seed == seed
    });
    for row in own {
        let Some((setting, extra, (key, value))) = place(row) else { continue };
        let name = format!("{}_{hook}{extra}{}.json", row.set, row.penalty);
        let mut entry = json!({
            "test_f1": row.test_f1,
            "test_acc": row.test_accuracy,
            "test_auc": row.test_auc,
            "val_auc": row.val_auc,
            "k": row.k,
            "dataset": row.set,
            "hook_name": hook,
            "reg_type": row.penalty,
            "binarize": false,
            "indices": row.features,
        });
        if let (Some(object), false) = (entry.as_object_mut(), key.is_empty()) {
            object.insert(key.to_owned(), value);
        }
        files.entry(root.join(format!("{setting}_setting")).join(name)).or_default().push(entry);
    }
    for (path, entries) in files {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
        storage::atomic::write_json(&path, &entries)?;
    }
    Ok(())
}

/// The setting's name there, what the file's name says besides, and what an entry says besides; `None` for what sae-probes has no file for.
fn place(row: &ProbeRow) -> Option<(&'static str, String, (&'static str, Value))> {
    if row.setting == Setting::Normal.name() {
        return Some(("normal", "_".to_owned(), ("", Value::Null)));
    }
    if row.setting == Setting::Scarce.name() {
        return Some(("scarcity", format!("_{}_", row.train), ("num_train", json!(row.train))));
    }
    if row.setting == Setting::Imbalanced.name() {
        // The share that was asked for; whole prompts come near it.
        let near = |share: &f64| (share - row.positives).abs();
        let share = split::shares().into_iter().min_by(|a, b| near(a).total_cmp(&near(b)))?;
        return Some(("imbalance", format!("_frac{share}_"), ("frac", json!(share))));
    }
    None
}
