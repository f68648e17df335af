//! Neuronpedia's batch files: what its importer copies into its database, table by table.
//!
//! ```text
//! MODEL/LAYER-SET/release.jsonl      SourceRelease
//!                 model.jsonl        Model
//!                 sourceset.jsonl    SourceSet
//!                 source.jsonl       Source
//!                 features/batch-N.jsonl.gz       Neuron
//!                 activations/batch-N.jsonl.gz    Activation
//!                 explanations/batch-N.jsonl.gz   Explanation
//! ```
//!
//! Numbers have five decimals, as there. What the index does not know (correlated neurons, direct feature attribution) is an
//! empty list, never a made-up number.

mod rows;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::{Value, json};

use super::Job;
use super::indexed::Indexed;
use super::weights::Subject;
use crate::{Error, Progress, Result};

/// Features of a batch.
const BATCH: usize = 256;

/// What every row says about where it belongs.
struct Source<'a> {
    subject: &'a Subject,
    model: String,
    layer: usize,
    set: String,
    /// `LAYER-SET`, which the rows call their layer.
    id: String,
    time: &'a str,
}

pub(super) fn write(subject: &Subject, job: &mut Job<'_>, progress: &mut dyn Progress) -> Result<u64> {
    let indexed = Indexed::open(subject)?;
    let chosen = indexed.chosen(&job.options.choice)?;
    let source = source(subject, job)?;
    let folder = job.folder.join(&source.model).join(&source.id);
    for table in ["features", "activations", "explanations"] {
        let path = folder.join(table);
        std::fs::create_dir_all(&path).map_err(|e| Error::io(&path, e))?;
    }
    metadata(&folder, &source, &indexed, subject)?;

    let mut batch = Batch::default();
    indexed.for_each(&chosen, progress, |feature| {
        batch.features.push(rows::feature(&source, &indexed, &feature));
        batch.explanations.extend(rows::explanations(&source, &feature));
        batch.activations.extend(rows::activations(&source, &indexed, feature, job.options.examples));
        if batch.features.len() == BATCH { batch.write(&folder) } else { Ok(()) }
    })?;
    batch.write(&folder)?;
    job.notes.push(format!(
        "source {}/{}: set its creatorId to your user before an import",
        source.model, source.id
    ));
    Ok(chosen.len() as u64)
}

/// Rows of one file of each table.
#[derive(Default)]
struct Batch {
    number: usize,
    features: Vec<Value>,
    activations: Vec<Value>,
    explanations: Vec<Value>,
}

impl Batch {
    fn write(&mut self, folder: &Path) -> Result<()> {
        if self.features.is_empty() {
            return Ok(());
        }
        let name = format!("batch-{}.jsonl.gz", self.number);
        for (table, rows) in [
            ("features", &mut self.features),
            ("activations", &mut self.activations),
            ("explanations", &mut self.explanations),
        ] {
            if !rows.is_empty() {
                zipped(&folder.join(table).join(&name), rows)?;
                rows.clear();
            }
        }
        self.number += 1;
        Ok(())
    }
}

fn zipped(path: &PathBuf, rows: &[Value]) -> Result<()> {
    let mut out = GzEncoder::new(Vec::new(), Compression::new(5));
    for row in rows {
        out.write_all(&line(path, row)?).map_err(|e| Error::io(path, e))?;
    }
    let bytes = out.finish().map_err(|e| Error::io(path, e))?;
    Ok(storage::atomic::write(path, &bytes)?)
}

fn line(path: &Path, row: &impl Serialize) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(row).map_err(|e| Error::format(path, e.to_string()))?;
    line.push(b'\n');
    Ok(line)
}

fn source<'a>(subject: &'a Subject, job: &Job<'_>) -> Result<Source<'a>> {
    let Some((layer, site)) = subject.place() else {
        return Err(Error::request(format!(
            "the hook is {}; Neuronpedia's sources are numbered by layer, and this one has none",
            subject.hook().unwrap_or("unknown")
        ))
        .with_remedy("export to html"));
    };
    let model = match &job.options.model_id {
        Some(id) => id.clone(),
        None => {
            let name = subject.model().unwrap_or_default();
            name.rsplit('/').next().unwrap_or_default().to_lowercase()
        }
    };
    let set = job.options.set.clone().unwrap_or_else(|| {
        let site = match site {
            "hook_resid_post" => "res",
            "hook_mlp_out" => "mlp",
            "hook_attn_out" | "attn.hook_z" => "att",
            other => other.strip_prefix("hook_").unwrap_or(other),
        };
        let clean: String = site.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let features = subject.dictionary.d_sae;
        let width = if features >= 1024 { format!("{}k", features / 1024) } else { features.to_string() };
        format!("saeworkbench-{clean}-{width}")
    });
    for (option, name) in [("--model-id", &model), ("--set", &set)] {
        if name.is_empty()
            || name.starts_with('.')
            || name.contains(['/', '\\'])
            || name.contains(char::is_whitespace)
        {
            return Err(Error::request(format!("`{name}` is not an id on Neuronpedia")).with_remedy(
                format!(
                    "give one with {option}, such as `{}`",
                    if option == "--set" { "res-16k" } else { "gpt2-small" }
                ),
            ));
        }
    }
    Ok(Source { subject, model, layer, id: format!("{layer}-{set}"), set, time: subject.time() })
}

/// The user of Neuronpedia's own exports, which every installation has: rows of tables need an owner.
const CREATOR: &str = "clkht01d40000jv08hvalcvly";

fn metadata(folder: &Path, source: &Source<'_>, indexed: &Indexed, subject: &Subject) -> Result<()> {
    let Source { model, set, id, time, layer, .. } = source;
    let release = format!("{model}-{set}");
    let text = format!(
        "{} dictionary of {} features at {}, trained with SAE Workbench",
        subject.record().map_or("A", |record| record.method.as_str()),
        subject.dictionary.d_sae,
        subject.hook().unwrap_or_default()
    );
    let context = subject.dictionary.info.context_size;
    let rows = [
        (
            "release.jsonl",
            json!({
                "name": release, "description": text, "descriptionShort": text, "creatorName": "SAE Workbench",
                "creatorNameShort": "SAE Workbench", "creatorId": CREATOR, "creatorEmail": null, "visibility": "PUBLIC",
                "isNewUi": false, "featured": false, "urls": [], "defaultSourceSetName": null,
                "defaultSourceId": null, "defaultUmapSourceIds": [], "createdAt": time,
            }),
        ),
        (
            "model.jsonl",
            json!({
                "id": model, "instruct": model.ends_with("-it"), "displayNameShort": model, "displayName": model,
                "creatorId": CREATOR, "tlensId": null, "dimension": subject.dictionary.d_in, "visibility": "PUBLIC",
                "defaultSourceSetName": null, "defaultSourceId": null, "inferenceEnabled": false,
                // At least so many; the run does not say how many the model has.
                "layers": layer + 1, "neuronsPerLayer": 0, "owner": "", "website": null,
                "createdAt": time, "updatedAt": time,
            }),
        ),
        (
            "sourceset.jsonl",
            json!({
                "modelId": model, "name": set, "creatorId": CREATOR, "hasDashboards": true, "visibility": "PUBLIC",
                "description": text, "type": "", "creatorName": "SAE Workbench", "urls": [], "creatorEmail": null,
                "releaseName": release, "defaultOfModelId": null, "defaultRange": 1, "defaultShowBreaks": true,
                "showDfa": false, "showCorrelated": false, "showHeadAttribution": false, "showUmap": false,
                "createdAt": time,
            }),
        ),
        (
            "source.jsonl",
            json!({
                "id": id, "modelId": model, "setName": set, "creatorId": CREATOR, "hasDashboards": true,
                "inferenceEnabled": false, "inferenceHosts": [], "saelensConfig": null, "saelensRelease": null,
                "saelensSaeId": null, "hfRepoId": null, "hfFolderId": null, "visibility": "PUBLIC",
                "defaultOfModelId": null, "hasUmap": false, "hasUmapLogSparsity": false, "hasUmapClusters": false,
                "num_prompts": indexed.record.documents, "num_tokens_in_prompt": context,
                "dataset": subject.dictionary.info.dataset_path, "notes": null, "createdAt": time,
            }),
        ),
    ];
    for (name, row) in rows {
        let path = folder.join(name);
        storage::atomic::write(&path, &line(&path, &row)?)?;
    }
    Ok(())
}
