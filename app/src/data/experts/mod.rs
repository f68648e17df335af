//! How the tokens of a dataset were shared among the experts of a mixture-of-experts model: load and balance here, in
//! `tables` what else `sae experts` writes, in `features` the join with a run, in `routers` what sends tokens to experts, in `tokens` the text of an expert.

pub mod features;
pub mod routers;
pub mod stretches;
pub mod tables;
pub mod tokens;

use std::path::Path;

use storage::Scan;
pub use storage::experts::{BalanceRow, ExpertLoadRow, dead_share};

use crate::load::Problem;

/// The load of all layers.
#[derive(Clone, Debug, Default)]
pub struct ExpertUsage {
    /// One entry per layer, ascending.
    pub layers: Vec<LayerUsage>,
    /// Kinds of text that are counted apart.
    pub domains: Vec<String>,
}

/// One layer.
#[derive(Clone, Debug, Default)]
pub struct LayerUsage {
    /// Its balance over all text.
    pub balance: BalanceRow,
    /// Load of every expert, index = expert: all text first, then each domain in the order of [`ExpertUsage::domains`].
    pub loads: Vec<Vec<ExpertLoadRow>>,
    /// For each of these the experts from the most used to the least: made once, for a frame has no time to sort many.
    pub by_load: Vec<Vec<u32>>,
}

impl LayerUsage {
    /// Number of experts.
    pub fn experts(&self) -> usize {
        self.loads.first().map_or(0, Vec::len)
    }

    /// The load of `expert` over all text (0) or a domain (from 1 on).
    pub fn load(&self, domain: usize, expert: usize) -> Option<&ExpertLoadRow> {
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
        self.layers.iter().find(|l| l.balance.layer == layer)
    }

    /// Largest number of experts of a layer.
    pub fn experts(&self) -> usize {
        self.layers.iter().flat_map(|l| l.loads.first()).map(Vec::len).max().unwrap_or(0)
    }
}

/// Reads `experts/load.parquet` and `experts/balance.parquet` of a dataset.
///
/// # Errors
/// Experts that were not counted yet; tables that cannot be read.
pub fn read(dataset: &Path) -> Result<ExpertUsage, Problem> {
    if !tables::folder_of(dataset).join("load.parquet").exists() {
        return Err(not_counted(dataset));
    }
    let load = tables::read(dataset, "load.parquet", Scan::default())?;
    let balance = tables::read(dataset, "balance.parquet", Scan::default())?;
    Ok(assemble(load, balance))
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

fn assemble(load: Vec<ExpertLoadRow>, balance: Vec<BalanceRow>) -> ExpertUsage {
    let mut domains: Vec<String> = load.iter().filter_map(|row| row.domain.clone()).collect();
    domains.sort();
    domains.dedup();
    let mut layers: Vec<LayerUsage> = balance
        .into_iter()
        .filter(|row| row.domain.is_none())
        .map(|balance| LayerUsage {
            loads: vec![vec![ExpertLoadRow::default(); balance.experts as usize]; domains.len() + 1],
            by_load: Vec::new(),
            balance,
        })
        .collect();
    layers.sort_by_key(|layer| layer.balance.layer);
    for row in load {
        let at = match &row.domain {
            None => 0,
            Some(domain) => 1 + domains.binary_search(domain).unwrap_or(0),
        };
        let Ok(layer) = layers.binary_search_by_key(&row.layer, |layer| layer.balance.layer) else {
            continue;
        };
        if let Some(slot) = layers[layer].loads[at].get_mut(row.expert as usize) {
            *slot = row;
        }
    }
    for layer in &mut layers {
        layer.by_load = layer.loads.iter().map(|loads| by_load(loads)).collect();
    }
    ExpertUsage { layers, domains }
}

/// Experts from the most used to the least, ties to the lower number.
fn by_load(loads: &[ExpertLoadRow]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..loads.len() as u32).collect();
    order.sort_by(|a, b| loads[*b as usize].share.total_cmp(&loads[*a as usize].share).then(a.cmp(b)));
    order
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
        let load = vec![
            entry(1, 0, None, 7),
            entry(0, 1, Some("law"), 3),
            entry(0, 1, None, 5),
            entry(0, 9, None, 1),
        ];
        let row = |layer, domain: Option<&str>| BalanceRow {
            layer,
            domain: domain.map(Into::into),
            experts: 2,
            ..BalanceRow::default()
        };
        let usage = assemble(load, vec![row(1, None), row(1, Some("law")), row(0, None)]);
        assert_eq!(usage.layers.len(), 2);
        assert_eq!(usage.domains, ["law"]);
        assert_eq!(usage.layers[0].loads[0][1].tokens, 5);
        assert_eq!(usage.layers[0].loads[1][1].tokens, 3);
        assert_eq!(usage.layers[1].loads[0][0].tokens, 7);
        assert_eq!(usage.experts(), 2);
    }
}
