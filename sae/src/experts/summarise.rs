//! The routing table streamed into counts, the counts written as tables.

use std::path::{Path, PathBuf};

use serde::Serialize;
use storage::experts::{
    BalanceRow, ExpertLoadRow, InformationRow, PairRow, SpecialisationRow, TransitionRow, VocabularyRow,
};
use storage::row;

use super::counts::{Tally, tally};
use super::figures::{InDomain, specialisation, total};
use super::rescore::rescore;
use super::routing::Source;
use super::tables;
use crate::rows::ModelChoice;
use crate::{Error, Progress, Result};

/// What [`summarise`] found and wrote.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Summary {
    /// `DATASET/experts`.
    pub folder: PathBuf,
    /// Domains, sorted.
    pub domains: Vec<String>,
    /// Load of every expert, over all domains and by domain.
    pub load: Vec<ExpertLoadRow>,
    /// Everything there is to say about balance.
    #[serde(flatten)]
    pub more: Figures,
    /// Figures that the data cannot give, and why.
    pub gaps: Vec<String>,
    /// Rows counted and seconds that the pass took.
    pub rows: u64,
    /// Wall time of everything.
    pub seconds: f64,
}

/// The tables besides `load`.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Figures {
    /// By layer, and by layer and domain.
    pub balance: Vec<BalanceRow>,
    /// By layer, expert and domain.
    pub specialisation: Vec<SpecialisationRow>,
    /// By layer.
    pub information: Vec<InformationRow>,
    /// Co-activation, all pairs.
    pub pairs: Vec<PairRow>,
    /// From layer to layer, all pairs.
    pub transitions: Vec<TransitionRow>,
    /// Tokens of experts.
    pub vocabulary: Vec<VocabularyRow>,
    /// By layer, expert and kind of token, whose name is in `domain`.
    pub kinds: Vec<SpecialisationRow>,
    /// `load_balancing_loss_func` of transformers over all layers' tokens; k = balanced. `None` without
    /// scores.
    pub hugging_face_balance_loss: Option<f64>,
}

impl Summary {
    /// Balance of every layer over all text.
    pub fn layers(&self) -> impl Iterator<Item = &BalanceRow> {
        self.more.balance.iter().filter(|row| row.domain.is_none())
    }
}

/// Streams the routing table of `dataset` (or of `DATASET/routing`, where several hooks share one) and writes
/// the tables of `DATASET/experts`. What needs the router's scores is null where the table keeps none.
///
/// # Errors
/// As [`summarise_with`].
pub fn summarise(dataset: &Path, progress: &mut dyn Progress) -> Result<Summary> {
    summarise_with(dataset, &ModelChoice::Without, progress)
}

/// As [`summarise`]; where the table keeps no scores, `model` is run over the dataset's tokens to have them.
///
/// # Errors
/// A dataset without routing, a row that cannot be true, a model that is not that of the dataset, a table
/// that cannot be written, or [`Error::Stopped`].
pub fn summarise_with(dataset: &Path, model: &ModelChoice, progress: &mut dyn Progress) -> Result<Summary> {
    let started = std::time::Instant::now();
    let source = Source::open(dataset)?;
    let mut counts = tally(&source, progress)?;
    if counts.scores.is_none() {
        counts.scores = rescore(&source, model, progress)?;
    }
    if counts.scores.is_none() {
        let why = source.declared().without_scores.map_or_else(
            || "which the table does not keep: give --model".to_owned(),
            |why| format!("and there are none: {why}"),
        );
        counts.gaps.push(format!(
            "load-balance loss, z-loss and margins of probabilities need a router's score of each expert, {why}"
        ));
    }
    remark_on(&mut counts, progress);
    let summary = Summary {
        domains: counts.usage.domains().to_vec(),
        load: tables::load(&counts.usage),
        more: more(&counts),
        gaps: counts.gaps,
        folder: dataset.join("experts"),
        rows: counts.rows,
        seconds: started.elapsed().as_secs_f64(),
    };
    write(&summary)?;
    Ok(summary)
}

fn more(counts: &Tally) -> Figures {
    let mut more = Figures {
        hugging_face_balance_loss: counts.scores.as_ref().and_then(|scores| scores.hugging_face_loss()),
        transitions: counts
            .transitions
            .as_ref()
            .map_or_else(Vec::new, |t| tables::transitions(t, &counts.usage)),
        ..Figures::default()
    };
    for layer in counts.usage.layers() {
        of_layer(layer, counts, &mut more);
    }
    if let Some(kinds) = &counts.kinds {
        more.kinds = kinds.rows();
    }
    more
}

fn of_layer(layer: u16, counts: &Tally, more: &mut Figures) {
    let (usage, all) = (&counts.usage, counts.usage.over_all(layer));
    let scores = counts.scores.as_ref();
    let of_all = scores.map(|scores| scores.over_all(layer));
    more.balance.push(tables::balance(layer, None, &all, of_all.as_ref()));
    for (d, (domain, load)) in usage.domains().iter().zip(usage.by_domain(layer)).enumerate() {
        let scores = scores.and_then(|scores| scores.by_domain(layer).get(d));
        more.balance.push(tables::balance(layer, Some(domain), load, scores));
    }
    let domains: Vec<InDomain<'_>> = usage
        .domains()
        .iter()
        .zip(usage.by_domain(layer))
        .map(|(domain, load)| InDomain { domain, tokens: Some(load.tokens), slots: &load.slots })
        .collect();
    // The mean, for layers in which tokens choose different numbers of experts.
    let k = total(&all.slots) as f64 / all.tokens.max(1) as f64;
    let (rows, mut information) = specialisation(layer, Some(k), &domains);
    more.specialisation.extend(rows);
    let concentration = counts.vocabulary.concentration(layer);
    information.types = Some(concentration.types);
    information.types_tokens = Some(concentration.tokens);
    information.vocabulary_top_k = concentration.mean_max_share_top_k;
    information.vocabulary_top_k_by_tokens = concentration.mean_max_share_top_k_by_tokens;
    information.vocabulary_top_1 = concentration.mean_max_share_top_1;
    information.vocabulary_top_1_by_tokens = concentration.mean_max_share_top_1_by_tokens;
    more.information.push(information);
    more.vocabulary.extend(counts.vocabulary.listed(layer));
    if let Some(pairs) = counts.pairs.as_ref().and_then(|pairs| pairs.get(&layer)) {
        more.pairs.extend(tables::pairs(layer, pairs, &all));
    }
}

/// A larger share than this of rows of logits that look like probabilities is not chance.
const MIXED: f64 = 0.01;

fn write(summary: &Summary) -> Result<()> {
    let (folder, more) = (&summary.folder, &summary.more);
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    storage::experts::write_load(&folder.join("load.parquet"), &summary.load)?;
    row::write(&folder.join("balance.parquet"), &more.balance)?;
    row::write(&folder.join("specialisation.parquet"), &more.specialisation)?;
    row::write(&folder.join("information.parquet"), &more.information)?;
    row::write(&folder.join("pairs.parquet"), &more.pairs)?;
    row::write(&folder.join("transitions.parquet"), &more.transitions)?;
    row::write(&folder.join("vocabulary.parquet"), &more.vocabulary)?;
    row::write(&folder.join("kinds.parquet"), &more.kinds)?;
    Ok(())
}

/// Says where figures rest on too little.
fn remark_on(counts: &mut Tally, progress: &mut dyn Progress) {
    let before = counts.gaps.len();
    let experts = counts.usage.experts();
    for layer in counts.usage.layers().collect::<Vec<_>>() {
        let load = counts.usage.over_all(layer);
        if load.tokens < experts as u64 {
            counts.gaps.push(format!(
                "layer {layer}: {} tokens for {experts} experts; figures of balance mean nothing below one token per expert",
                load.tokens
            ));
        }
        if experts == 1 {
            counts.gaps.push(format!("layer {layer} has a single expert: balance is 1 by definition"));
        }
        let like = counts.scores.as_ref().map_or(0.0, |scores| scores.over_all(layer).like_probabilities());
        if like > MIXED {
            counts.gaps.push(format!(
                "layer {layer}: {:.1} % of its rows of scores look like probabilities among logits; if they are, balance loss, \
                 z-loss and margins are wrong. A table must hold one kind of score",
                100.0 * like
            ));
        }
        if load.k == 0 {
            counts.gaps.push(format!("layer {layer}: no token chose any expert; its balance is left out"));
        }
    }
    if let Some(layer) = counts.usage.layers().next() {
        let empty = counts.usage.domains().iter().zip(counts.usage.by_domain(layer));
        let empty: Vec<String> = empty
            .filter(|(_, load)| load.tokens == 0)
            .map(|(domain, _)| format!("domain {domain} has no tokens: its figures are left out"))
            .collect();
        counts.gaps.extend(empty);
    }
    counts.gaps[before..].iter().for_each(|gap| progress.remark(gap));
}

#[cfg(test)]
mod tests {
    use rand::seq::SliceRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::Quiet;
    use crate::rows::fixture::{self, Routed, header, texts};

    fn routed(texts: &[fixture::Text], layers: u16, experts: u32, k: usize) -> Vec<Routed> {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut rows = Vec::new();
        for (document, text) in texts.iter().enumerate() {
            for (position, &token) in text.tokens.iter().enumerate() {
                for layer in 0..layers {
                    let mut ids: Vec<u32> = (0..experts - 1).collect();
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
        assert_eq!(found.layers().map(|l| l.layer).collect::<Vec<_>>(), [0, 2]);
        for layer in found.layers() {
            // Expert 5 is never drawn.
            assert_eq!((layer.experts, layer.k, layer.tokens, layer.dead), (6, Some(2), Some(143), Some(1)));
            let entropy: f64 =
                rows.iter().filter(|r| r.3 == layer.layer).map(|r| f64::from(r.6)).sum::<f64>() / 143.0;
            assert!((layer.router_entropy.unwrap() - entropy).abs() < 1e-9);
            assert!(layer.max_violation > Some(0.0) && layer.effective_experts < Some(5.0 + 1e-9));
        }
        let load = row::open::<ExpertLoadRow>(&found.folder.join("load.parquet")).unwrap();
        assert_eq!(storage::experts::read_load(&load).unwrap(), found.load);
        let balance = row::open::<BalanceRow>(&found.folder.join("balance.parquet")).unwrap();
        assert_eq!(row::read::<BalanceRow>(&balance, Default::default()).unwrap(), found.more.balance);
    }

    #[test]
    fn routing_in_a_folder_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let texts = texts(&[3], 50, 1);
        fixture::routing(&folder.path().join("routing"), header(4), &texts, &routed(&texts, 1, 9, 2));
        let mut remarks = Remarks::default();
        let found = summarise(folder.path(), &mut remarks).unwrap();
        assert_eq!(found.folder, folder.path().join("experts"));
        assert!(found.folder.join("balance.parquet").exists());
        for wanted in ["highest that was chosen", "sums were not checked", "no vocabulary", "3 tokens for"] {
            assert!(remarks.0.iter().any(|r| r.contains(wanted)), "{wanted}: {:?}", remarks.0);
        }
    }

    #[test]
    fn damage_is_named() {
        let attempt = |experts: Vec<u32>, document: u32, settings: serde_json::Value| {
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
