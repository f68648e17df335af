//! delphi's folders: `explanations/HOOK_latentN.txt`, a JSON string, and `scores/{detection,fuzz}/HOOK_latentN.txt`, a JSON list of judged
//! passages. What delphi prints as accuracy is the mean of the shares of both classes that were told right, of the passages with an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use storage::explanations::{Explanation, Score};
use storage::judged::JudgementRow;

use super::prompts::Prompts;
use super::scores::{Judged, Sheet};
use super::{Source, Test};
use crate::{Error, Result};

/// What was read of a folder.
#[derive(Debug, Default)]
pub struct Folder {
    pub rows: Vec<Explanation>,
    /// Explanations without a text.
    pub empty: u64,
    /// Files of other hooks.
    pub others: u64,
}

/// Hook and number of the feature, of a file's name.
fn named(path: &Path) -> Option<(String, u32)> {
    if path.extension().is_none_or(|end| end != "txt") {
        return None;
    }
    let stem = path.file_stem()?.to_str()?;
    let (hook, number) = stem.rsplit_once("latent")?;
    Some((hook.trim_end_matches('_').to_owned(), number.parse().ok()?))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|e| e.path()))
        .collect::<std::io::Result<_>>()
        .map_err(|e| Error::io(folder, e))?;
    paths.sort();
    Ok(paths)
}

fn json_of(path: &Path) -> Result<Value> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::format(path, format!("{e}, expected JSON")))
}

/// Reads a folder of results, of the hook `hook` where it has several.
///
/// # Errors
/// A folder without `explanations`, files that are not delphi's, several hooks of which none is chosen.
pub fn read(folder: &Path, hook: Option<&str>) -> Result<Folder> {
    let explanations = folder.join("explanations");
    if !explanations.is_dir() {
        return Err(Error::format(
            folder,
            "has no folder `explanations`, expected a folder of delphi's results",
        ));
    }
    let mut found = Folder::default();
    let mut hooks = BTreeSet::new();
    for path in files(&explanations)? {
        let Some((of, feature)) = named(&path) else { continue };
        if hook.is_some_and(|hook| hook != of) {
            found.others += 1;
            continue;
        }
        let text = json_of(&path)?;
        let Some(text) = text.as_str() else {
            return Err(Error::format(&path, format!("holds {text}, expected a text in quotation marks")));
        };
        hooks.insert(of.clone());
        if text.trim().is_empty() {
            found.empty += 1;
            continue;
        }
        let scores = scores(&folder.join("scores"), &of, feature)?;
        let (method, by) = ("delphi".to_owned(), String::new());
        found.rows.push(Explanation { feature, text: text.trim().to_owned(), method, by, scores });
    }
    if hooks.len() > 1 {
        let names: Vec<String> = hooks.into_iter().collect();
        return Err(Error::format(
            folder,
            format!("it explains features of several hooks: {}", names.join(", ")),
        )
        .with_remedy("choose one with --layer"));
    }
    if found.rows.is_empty() {
        return Err(Error::format(&explanations, "has no explanations named HOOK_latentN.txt"));
    }
    Ok(found)
}

/// Balanced accuracy by the kind of test.
fn scores(folder: &Path, hook: &str, feature: u32) -> Result<Vec<Score>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut scores = Vec::new();
    for test in files(folder)?.into_iter().filter(|path| path.is_dir()) {
        let kind = test.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = files(&test)?.into_iter().find(|path| named(path) == Some((hook.to_owned(), feature)));
        let Some(path) = path else { continue };
        let value = json_of(&path)?;
        let Some(list) = value.as_array() else {
            return Err(Error::format(&path, "expected a list of judged passages"));
        };
        let judged = list.iter().enumerate().map(|(i, one)| {
            let truth = one.get("activating").and_then(Value::as_bool);
            let truth = truth.ok_or_else(|| {
                Error::format(&path, format!("entry {}: `activating` is not true or false", i + 1))
            })?;
            let answer = match one.get("prediction") {
                Some(Value::Bool(is)) => Some(*is),
                Some(Value::Number(n)) => n.as_f64().map(|n| n >= 0.5),
                _ => None,
            };
            Ok(Judged { document: i as u32, truth, answer })
        });
        let sheet = Sheet::new(&judged.collect::<Result<Vec<_>>>()?);
        if let Some(value) = sheet.all.balanced() {
            let kind = if kind == "fuzz" { "fuzzing".to_owned() } else { kind };
            scores.push(Score { kind, value: value as f32 });
        }
    }
    Ok(scores)
}

/// Writes the model's explanations and what was judged by them as delphi's folders.
///
/// # Errors
/// A folder that cannot be written to.
pub fn write(
    folder: &Path,
    hook: &str,
    explanations: &BTreeMap<u32, String>,
    judgements: &[JudgementRow],
    prompts: &Prompts<'_>,
) -> Result<()> {
    let hook = hook.replace('/', "--");
    let name = |feature: u32| format!("{hook}_latent{feature}.txt");
    let put = |folder: PathBuf, feature: u32, value: &Value| {
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        let path = folder.join(name(feature));
        storage::atomic::write(&path, value.to_string().as_bytes()).map_err(Error::from)
    };
    for (feature, text) in explanations {
        put(folder.join("explanations"), *feature, &json!(text))?;
        for (test, sub) in [(Test::Detection, "detection"), (Test::Fuzzing, "fuzz")] {
            let of = |row: &&JudgementRow| {
                row.feature == *feature && row.source == Source::Model.name() && row.test == test.name()
            };
            let list: Vec<Value> = judgements.iter().filter(of).map(|row| judged(row, prompts)).collect();
            put(folder.join("scores").join(sub), *feature, &Value::Array(list))?;
        }
    }
    Ok(())
}

fn judged(row: &JudgementRow, prompts: &Prompts<'_>) -> Value {
    let answer = row.answer.map(|answer| answer == 1);
    json!({
        "str_tokens": row.tokens.iter().map(|token| prompts.text(&[*token])).collect::<Vec<_>>(),
        "activations": row.values,
        "distance": row.tenth,
        "activating": row.truth,
        "prediction": answer,
        "probability": null,
        "correct": answer.map(|answer| answer == row.truth),
    })
}
