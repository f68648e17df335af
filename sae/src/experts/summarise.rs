//! The routing table streamed into counts, the counts written as tables.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float32Type, UInt16Type, UInt32Type};
use arrow::record_batch::RecordBatch;
use storage::experts::{ExpertLayerRow, ExpertLoadRow};
use storage::schema::routing::{ENTROPY, EXPERTS, LAYER, WEIGHTS};
use storage::schema::{DOCUMENT, DOCUMENTS, POSITION, ROUTING};
use storage::{Dataset, column};

use super::balance::Balance;
use super::usage::{Choice, Load, Usage};
use crate::model::Config;
use crate::rows::source_of;
use crate::{Error, Progress, Result};

/// What [`summarise`] found and wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// `DATASET/experts`.
    pub folder: PathBuf,
    /// Domains, sorted.
    pub domains: Vec<String>,
    /// Balance of every layer.
    pub layers: Vec<ExpertLayerRow>,
    /// Load of every expert, over all domains and by domain.
    pub load: Vec<ExpertLoadRow>,
}

/// Streams the routing table of `dataset` (or of `DATASET/routing`, where several hooks share one) and writes
/// `DATASET/experts/load.parquet` and `layers.parquet`. Memory: layers × experts × domains.
pub fn summarise(dataset: &Path, progress: &mut dyn Progress) -> Result<Summary> {
    let routed = open(dataset)?;
    let usage = count(&routed, progress)?;
    for layer in usage.layers().collect::<Vec<_>>() {
        remark_on(layer, &usage, progress);
    }
    let folder = dataset.join("experts");
    let summary =
        Summary { domains: usage.domains().to_vec(), layers: layers(&usage), load: load(&usage), folder };
    std::fs::create_dir_all(&summary.folder).map_err(|e| Error::io(&summary.folder, e))?;
    storage::experts::write_load(&summary.folder.join("load.parquet"), &summary.load)?;
    storage::experts::write_layers(&summary.folder.join("layers.parquet"), &summary.layers)?;
    Ok(summary)
}

/// The dataset that has the routing table: this folder, or its subfolder `routing`.
fn open(dir: &Path) -> Result<Dataset> {
    let routing = dir.join(ROUTING);
    let here = !routing.join(storage::dataset::MANIFEST).exists();
    let dataset = Dataset::open(if here { dir } else { &routing })?;
    if dataset.has_table(ROUTING) {
        return Ok(dataset);
    }
    Err(Error::request(format!(
        "{} has no routing table; harvest a mixture-of-experts model with --routing",
        dir.display()
    )))
}

fn count(dataset: &Dataset, progress: &mut dyn Progress) -> Result<Usage> {
    let documents = storage::documents::read(&dataset.table(DOCUMENTS)?)?;
    let mut domains: Vec<String> = documents.iter().map(|row| row.domain.clone()).collect();
    domains.sort();
    domains.dedup();
    let index = |domain: &String| domains.partition_point(|d| d < domain);
    let domain_of: HashMap<u32, usize> =
        documents.iter().map(|row| (row.document, index(&row.domain))).collect();
    let table = dataset.table(ROUTING)?;
    let declared = declared_experts(dataset);
    if declared.is_none() {
        progress.remark(
            "neither the dataset nor its model says how many experts there are: counted up to the highest that was chosen",
        );
    }
    let mut usage = Usage::new(declared, domains);
    progress.begin("experts", Some(table.rows()), "rows");
    let mut rows = 0;
    for batch in table.columns(&[DOCUMENT, POSITION, LAYER, EXPERTS, WEIGHTS, ENTROPY])? {
        let batch = batch?;
        count_batch(&batch, &domain_of, &mut usage)?;
        rows += batch.num_rows() as u64;
        progress.advance(rows, "");
        if progress.stop_requested() {
            return Err(Error::Stopped(format!("{rows} rows of routing were read, nothing was written")));
        }
    }
    progress.end(&format!("{} layers, {} experts, {rows} rows", usage.layers().count(), usage.experts()));
    if rows == 0 {
        return Err(Error::data(format!("{}: the routing table has no rows", dataset.dir().display())));
    }
    Ok(usage)
}

/// Experts a layer: a table alone does not tell of experts that nobody ever chose. The manifest's settings may say it,
/// else the model's config does.
fn declared_experts(dataset: &Dataset) -> Option<usize> {
    let of_settings = || usize::try_from(dataset.manifest().settings.get("experts")?.as_u64()?).ok();
    of_settings().or_else(|| Some(config(dataset)?.experts()?.0)).filter(|&n| n > 0)
}

/// The config of the dataset's model, if it is still there.
fn config(dataset: &Dataset) -> Option<Config> {
    source_of(dataset.manifest()).ok()?.config().ok()
}

fn count_batch(batch: &RecordBatch, domain_of: &HashMap<u32, usize>, usage: &mut Usage) -> Result<()> {
    let documents = column::primitive::<UInt32Type>(batch, DOCUMENT)?.values();
    let positions = column::primitive::<UInt32Type>(batch, POSITION)?.values();
    let layers = column::primitive::<UInt16Type>(batch, LAYER)?.values();
    let entropies = column::primitive::<Float32Type>(batch, ENTROPY)?.values();
    let experts = column::lists(batch, EXPERTS)?;
    let weights = column::lists(batch, WEIGHTS)?;
    let wrong =
        |name: &str| Error::data(format!("routing: column `{name}` is no list of numbers without nulls"));
    let flat = |list: &dyn Array| list.null_count() == 0;
    let ids = experts
        .values()
        .as_primitive_opt::<UInt16Type>()
        .filter(|a| flat(*a))
        .ok_or_else(|| wrong(EXPERTS))?;
    let applied = weights
        .values()
        .as_primitive_opt::<Float32Type>()
        .filter(|a| flat(*a))
        .ok_or_else(|| wrong(WEIGHTS))?;
    let span = |offsets: &[i32], row: usize| offsets[row] as usize..offsets[row + 1] as usize;
    for row in 0..batch.num_rows() {
        let document = documents[row];
        let domain = *domain_of.get(&document).ok_or_else(|| {
            Error::data(format!("routing of document {document}: documents.parquet has no such document"))
        })?;
        let choice = Choice {
            document,
            position: positions[row],
            layer: layers[row],
            experts: &ids.values()[span(experts.value_offsets(), row)],
            weights: &applied.values()[span(weights.value_offsets(), row)],
            entropy: entropies[row],
        };
        usage.add(domain, &choice)?;
    }
    Ok(())
}

/// Says where figures rest on too little.
fn remark_on(layer: u16, usage: &Usage, progress: &mut dyn Progress) {
    let load = usage.over_all(layer);
    let experts = usage.experts();
    if load.tokens < experts as u64 {
        progress.remark(&format!(
            "layer {layer}: {} tokens for {experts} experts; figures of balance mean nothing below one token an expert",
            load.tokens
        ));
    }
    if experts == 1 {
        progress.remark(&format!("layer {layer} has a single expert: balance is 1 by definition"));
    }
    if load.k == 0 {
        progress.remark(&format!("layer {layer}: no token chose any expert; its balance is left out"));
    }
}

/// One row a layer that was used at all.
fn layers(usage: &Usage) -> Vec<ExpertLayerRow> {
    let row = |layer: u16| {
        let load = usage.over_all(layer);
        let balance = Balance::of(&load.slots)?;
        Some(ExpertLayerRow {
            layer,
            experts: short(usage.experts()),
            k: short(load.k),
            tokens: load.tokens,
            cv: balance.cv,
            max_violation: balance.max_violation,
            gini: balance.gini,
            load_entropy: balance.load_entropy,
            effective_experts: balance.effective_experts,
            router_entropy: load.router_entropy()?,
            dead: short(balance.dead),
        })
    };
    usage.layers().filter_map(row).collect()
}

/// One row a (layer, domain, expert); all domains together first.
fn load(usage: &Usage) -> Vec<ExpertLoadRow> {
    let mut rows = Vec::new();
    for layer in usage.layers() {
        rows.extend(of_domain(layer, None, &usage.over_all(layer)));
        for (domain, load) in usage.domains().iter().zip(usage.by_domain(layer)) {
            rows.extend(of_domain(layer, Some(domain), load));
        }
    }
    rows
}

fn of_domain(layer: u16, domain: Option<&String>, load: &Load) -> impl Iterator<Item = ExpertLoadRow> {
    (0..load.slots.len()).map(move |expert| ExpertLoadRow {
        layer,
        expert: short(expert),
        domain: domain.cloned(),
        tokens: load.slots[expert],
        share: load.share(expert),
        // Nobody chose it: `tokens` says so, and there is no mean of nothing.
        weight: load.mean_weight(expert).unwrap_or(0.0),
    })
}

/// Experts are counted in u16 on disk.
fn short(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use rand::seq::SliceRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::Quiet;
    use crate::rows::fixture::{self, Routed, header, texts};

    fn routed(texts: &[fixture::Text], layers: u16, experts: u16, k: usize) -> Vec<Routed> {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut rows = Vec::new();
        for (document, text) in texts.iter().enumerate() {
            for (position, &token) in text.tokens.iter().enumerate() {
                for layer in 0..layers {
                    let mut ids: Vec<u16> = (0..experts - 1).collect();
                    ids.shuffle(&mut rng);
                    ids.truncate(k);
                    let weights = ids.iter().map(|_| rng.random::<f32>()).collect();
                    rows.push((
                        10 + document as u32,
                        position as u32,
                        token,
                        layer * 2,
                        ids,
                        weights,
                        rng.random(),
                    ));
                }
            }
        }
        rows
    }

    #[derive(Default)]
    struct Remarks(Vec<String>);

    impl Progress for Remarks {
        fn begin(&mut self, _: &str, _: Option<u64>, _: &str) {}
        fn advance(&mut self, _: u64, _: &str) {}
        fn end(&mut self, _: &str) {}
        fn remark(&mut self, message: &str) {
            self.0.push(message.to_owned());
        }
        fn stop_requested(&self) -> bool {
            false
        }
    }

    #[test]
    fn tables_as_by_counting() {
        let folder = tempfile::tempdir().unwrap();
        let texts = texts(&[30, 45, 8, 60], 50, 1);
        let rows = routed(&texts, 2, 6, 2);
        let mut head = header(4);
        head.settings = serde_json::json!({ "experts": 6 });
        fixture::routing(folder.path(), head, &texts, &rows);
        let found = summarise(folder.path(), &mut Quiet).unwrap();

        assert_eq!(found.domains, ["code", "prose"]);
        assert_eq!(found.load.len(), 2 * 3 * 6);
        for row in &found.load {
            let of: Vec<&Routed> = rows
                .iter()
                .filter(|r| r.3 == row.layer)
                .filter(|r| row.domain.as_ref().is_none_or(|d| texts[r.0 as usize - 10].domain == d))
                .collect();
            let chosen: Vec<f64> = of
                .iter()
                .filter_map(|r| r.4.iter().position(|&e| e == row.expert).map(|i| f64::from(r.5[i])))
                .collect();
            assert_eq!(row.tokens, chosen.len() as u64, "{row:?}");
            assert!((row.share - chosen.len() as f64 / (2 * of.len()) as f64).abs() < 1e-12);
            let mean = if chosen.is_empty() { 0.0 } else { chosen.iter().sum::<f64>() / chosen.len() as f64 };
            assert!((row.weight - mean).abs() < 1e-9);
        }
        assert_eq!(found.layers.iter().map(|l| l.layer).collect::<Vec<_>>(), [0, 2]);
        for layer in &found.layers {
            // Expert 5 is never drawn.
            assert_eq!((layer.experts, layer.k, layer.tokens, layer.dead), (6, 2, 143, 1));
            let entropy: f64 =
                rows.iter().filter(|r| r.3 == layer.layer).map(|r| f64::from(r.6)).sum::<f64>() / 143.0;
            assert!((layer.router_entropy - entropy).abs() < 1e-9);
            assert!(layer.max_violation > 0.0 && layer.effective_experts < 5.0 + 1e-9);
        }
        let read =
            |name: &str, schema| storage::TableReader::open_file(&found.folder.join(name), &schema).unwrap();
        let load = read("load.parquet", storage::schema::expert_load());
        assert_eq!(storage::experts::read_load(&load).unwrap(), found.load);
        let layers = read("layers.parquet", storage::schema::expert_layers());
        assert_eq!(storage::experts::read_layers(&layers).unwrap(), found.layers);
    }

    #[test]
    fn routing_in_a_folder_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let texts = texts(&[3], 50, 1);
        fixture::routing(&folder.path().join("routing"), header(4), &texts, &routed(&texts, 1, 9, 2));
        let mut remarks = Remarks::default();
        let found = summarise(folder.path(), &mut remarks).unwrap();
        assert_eq!(found.folder, folder.path().join("experts"));
        assert!(found.folder.join("layers.parquet").exists());
        assert!(remarks.0[0].contains("highest that was chosen"), "{:?}", remarks.0);
        assert!(remarks.0[1].contains("3 tokens for"), "{:?}", remarks.0);
    }

    #[test]
    fn damage_is_named() {
        let attempt = |experts: Vec<u16>, document: u32, settings: serde_json::Value| {
            let folder = tempfile::tempdir().unwrap();
            let mut head = header(4);
            head.settings = settings;
            let texts = texts(&[3], 50, 1);
            fixture::routing(
                folder.path(),
                head,
                &texts,
                &[(document, 0, 1, 0, experts, vec![0.5, 0.5], 0.1)],
            );
            let error = summarise(folder.path(), &mut Quiet).unwrap_err().to_string();
            assert!(!folder.path().join("experts").exists());
            error
        };
        let message = attempt(vec![1, 8], 10, serde_json::json!({ "experts": 8 }));
        assert!(message.contains("expert 8") && message.contains("document 10"), "{message}");
        let message = attempt(vec![1, 2], 77, serde_json::json!({}));
        assert!(message.contains("no such document"), "{message}");
    }

    #[test]
    fn without_a_routing_table_the_remedy_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let texts = texts(&[3, 4], 50, 1);
        fixture::dataset(folder.path(), header(2), &texts, &fixture::activations(7, 2, 1), 1);
        let message = summarise(folder.path(), &mut Quiet).unwrap_err().to_string();
        assert!(message.contains("--routing"), "{message}");
    }
}
