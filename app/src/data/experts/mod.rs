//! How the tokens of a dataset were shared among the experts of a mixture-of-experts model: load and balance here, in
//! `tables` what `sae experts` writes beside them, in `features` the join with a run, in `tokens` the text of an expert.

pub mod features;
pub mod tables;
pub mod tokens;

use std::path::Path;

use storage::TableReader;
use storage::experts::{ExpertLayerRow, ExpertLoadRow};

use super::problem;
use crate::load::Problem;

/// The load of all layers.
#[derive(Clone, Debug, Default)]
pub struct ExpertUsage {
    /// One entry a layer, ascending.
    pub layers: Vec<LayerUsage>,
    /// Kinds of text that are counted apart.
    pub domains: Vec<String>,
}

/// One layer.
#[derive(Clone, Debug, Default)]
pub struct LayerUsage {
    /// Which layer of the model.
    pub layer: u16,
    /// Experts a token goes to.
    pub k: u16,
    /// Tokens counted.
    pub tokens: u64,
    /// Coefficient of variation of the load.
    pub cv: f64,
    /// max load / mean load − 1.
    pub max_violation: f64,
    /// Gini coefficient of the load.
    pub gini: f64,
    /// Entropy of the load over ln(experts): 1 for a uniform load.
    pub load_entropy: f64,
    /// exp(entropy of the load in nats): experts as if all were used alike.
    pub effective_experts: f64,
    /// Mean entropy of the router's distribution, nats.
    pub router_entropy: f64,
    /// Experts with less than [`DEAD`] of the slots.
    pub dead: u16,
    /// All text first, then each domain in the order of [`ExpertUsage::domains`].
    pub loads: Vec<Vec<ExpertLoad>>,
}

/// One expert's load, index = expert.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExpertLoad {
    /// Tokens that went to it.
    pub tokens: u64,
    /// Its share of the slots (k a token).
    pub share: f64,
    /// Mean weight that was applied.
    pub weight: f64,
}

pub use storage::experts::DEAD_SHARE as DEAD;

impl LayerUsage {
    /// Number of experts.
    pub fn experts(&self) -> usize {
        self.loads.first().map_or(0, Vec::len)
    }

    /// The load of `expert` over all text (0) or a domain (from 1 on).
    pub fn load(&self, domain: usize, expert: usize) -> Option<&ExpertLoad> {
        self.loads.get(domain)?.get(expert)
    }

    /// Place of `expert` by its share of all text: 1 = the most used.
    pub fn rank(&self, expert: usize) -> Option<usize> {
        let own = self.load(0, expert)?.share;
        Some(1 + self.loads[0].iter().filter(|load| load.share > own).count())
    }

    /// Shares of the slots of all text, the largest first.
    pub fn by_rank(&self) -> Vec<f64> {
        let mut shares: Vec<f64> = self.loads.iter().take(1).flatten().map(|load| load.share).collect();
        shares.sort_by(|a, b| b.total_cmp(a));
        shares
    }
}

impl ExpertUsage {
    /// The layer with this number.
    pub fn layer(&self, layer: u16) -> Option<&LayerUsage> {
        self.layers.iter().find(|l| l.layer == layer)
    }

    /// Largest number of experts of a layer.
    pub fn experts(&self) -> usize {
        self.layers.iter().flat_map(|l| l.loads.first()).map(Vec::len).max().unwrap_or(0)
    }
}

/// Reads `experts/load.parquet` and `experts/layers.parquet` of a dataset.
pub fn read(dataset: &Path) -> Result<ExpertUsage, Problem> {
    let folder = tables::folder_of(dataset);
    if !folder.join("load.parquet").exists() {
        return Err(not_counted(dataset));
    }
    let open = |name: &str, schema| TableReader::open_file(&folder.join(name), &schema).map_err(problem);
    let load = open("load.parquet", storage::schema::expert_load())?;
    let load = storage::experts::read_load(&load).map_err(problem)?;
    let layers = open("layers.parquet", storage::schema::expert_layers())?;
    let layers = storage::experts::read_layers(&layers).map_err(problem)?;
    Ok(assemble(&load, &layers))
}

/// Why there are no tables, and what makes them.
fn not_counted(dataset: &Path) -> Problem {
    let name = dataset.display();
    match super::routing::folder_of(dataset) {
        Some(_) => Problem::new(format!("The routing of {name} has not been counted yet."))
            .with_remedy(format!("`sae experts {name}` does it.")),
        None => Problem::new(format!("{name} has no routing table."))
            .with_remedy("Harvest a mixture-of-experts model with `sae harvest --routing`."),
    }
}

fn assemble(load: &[ExpertLoadRow], layers: &[ExpertLayerRow]) -> ExpertUsage {
    let mut domains: Vec<String> = load.iter().filter_map(|row| row.domain.clone()).collect();
    domains.sort();
    domains.dedup();
    let mut rows: Vec<&ExpertLayerRow> = layers.iter().collect();
    rows.sort_by_key(|row| row.layer);
    let layers = rows
        .into_iter()
        .map(|row| {
            let mut loads = vec![vec![ExpertLoad::default(); usize::from(row.experts)]; domains.len() + 1];
            for entry in load.iter().filter(|entry| entry.layer == row.layer) {
                let at = match &entry.domain {
                    None => 0,
                    Some(domain) => 1 + domains.binary_search(domain).unwrap_or(0),
                };
                if let Some(slot) = loads[at].get_mut(usize::from(entry.expert)) {
                    *slot = ExpertLoad { tokens: entry.tokens, share: entry.share, weight: entry.weight };
                }
            }
            LayerUsage {
                layer: row.layer,
                k: row.k,
                tokens: row.tokens,
                cv: row.cv,
                max_violation: row.max_violation,
                gini: row.gini,
                load_entropy: row.load_entropy,
                effective_experts: row.effective_experts,
                router_entropy: row.router_entropy,
                dead: row.dead,
                loads,
            }
        })
        .collect();
    ExpertUsage { layers, domains }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_sorted_into_layers_domains_and_experts() {
        let entry = |layer, expert, domain: Option<&str>, tokens| ExpertLoadRow {
            layer,
            expert,
            domain: domain.map(Into::into),
            tokens,
            ..ExpertLoadRow::default()
        };
        let load =
            [entry(1, 0, None, 7), entry(0, 1, Some("law"), 3), entry(0, 1, None, 5), entry(0, 9, None, 1)];
        let layer = |layer| ExpertLayerRow { layer, experts: 2, k: 1, ..ExpertLayerRow::default() };
        let usage = assemble(&load, &[layer(1), layer(0)]);
        assert_eq!(usage.domains, ["law"]);
        assert_eq!(usage.layers[0].loads[0][1].tokens, 5);
        assert_eq!(usage.layers[0].loads[1][1].tokens, 3);
        assert_eq!(usage.layers[1].loads[0][0].tokens, 7);
        assert_eq!(usage.experts(), 2);
    }
}
