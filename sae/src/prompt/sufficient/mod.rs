//! A prediction by few features: a small set of codes that keeps it when all other codes of the dictionary are gone.
//!
//! A code is a feature at a token. Codes are ranked by [attribution](super::subsets), the shortest beginning of that ranking that keeps
//! the prediction is found by doubling and halving, and then every member that can go does. A second set grows from none, each time by the
//! code that brings it nearest; the smaller of both is kept. So the set holds by the model's
//! own passes, and none of its members can be left out; a smaller set of different codes may exist, which only a search through all
//! sets could rule out. What the dictionary misses stays in place: how much of the prediction that carries alone is reported.

use serde::Serialize;

use super::effect::Spread;
use super::prompter::Prompter;
use super::reading::Reading;
use super::subsets::{Code, Subsets};
use crate::{Error, Progress, Result};
use kernels::chance::{Purpose, generator, shuffle};
use kernels::feature::norm_squared;

/// Where the random sets begin among the draws of [`Purpose::Controls`].
const SETS: u64 = 5 << 40;
/// Codes that a set may grow by.
const WIDTH: usize = 32;

/// What is to be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// The token's probability.
    #[default]
    Probability,
    /// Its logit, less the mean of all logits.
    Logit,
}

/// What takes the place of a code that is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rest {
    /// Nothing.
    #[default]
    Zero,
    /// The feature's mean over all tokens of the index.
    Mean,
}

/// Which prediction is explained, and how closely.
#[derive(Debug, Clone, PartialEq)]
pub struct SufficientOptions {
    /// The predicted token.
    pub token: u32,
    /// The token of the text that it follows, counted from 0.
    pub position: usize,
    /// What is kept.
    pub measure: Measure,
    /// How far it may move, as a share of what it is: 0.1 keeps it within 10 %.
    pub within: f64,
    /// What takes the place of the other codes.
    pub rest: Rest,
    /// Random orders to compare with.
    pub draws: u16,
    /// Their seed.
    pub seed: u64,
}

/// A code that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Member {
    /// The token of the text.
    pub position: usize,
    /// The feature.
    pub feature: u32,
    /// Its activation there.
    pub activation: f32,
    /// What it gives ln p (or the logit), by integrated gradients.
    pub attribution: f32,
}

/// What is left with so many codes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SubsetValue {
    /// Codes that stay.
    pub size: usize,
    /// With those of the highest attribution.
    pub attributed: f32,
    /// With those of the largest activation · ‖W_dec‖.
    pub strongest: f32,
    /// With random ones, one value per draw.
    pub random: Vec<f32>,
}

/// A prediction and the codes that keep it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SufficientSet {
    /// The predicted token.
    pub token: u32,
    /// The token of the text that it follows.
    pub position: usize,
    /// What is kept.
    pub measure: Measure,
    /// What takes the place of the other codes.
    pub rest: Rest,
    /// How far it may move.
    pub within: f64,
    /// What it is in the model as it is.
    pub clean: f32,
    /// … with all codes gone: what the dictionary misses, alone.
    pub none: f32,
    /// … with all codes and without what the dictionary misses.
    pub reconstruction: f32,
    /// The set, the highest attribution first.
    pub members: Vec<Member>,
    /// What is left with it.
    pub value: f32,
    /// What is left with random sets of its size, one value per draw.
    pub random: Vec<f32>,
    /// Codes up to the position that can change the prediction.
    pub candidates: usize,
    /// The curve, by size, from 0 to all candidates.
    pub curve: Vec<SubsetValue>,
    /// Passes of the model that this took.
    pub passes: usize,
}

impl SufficientSet {
    /// (value − none) / (clean − none): 0 where nothing is left of what the codes do, 1 where all is. None if they do nothing.
    pub fn faithfulness(&self, value: f32) -> Option<f64> {
        let whole = f64::from(self.clean) - f64::from(self.none);
        (whole != 0.0).then(|| (f64::from(value) - f64::from(self.none)) / whole)
    }

    /// The random sets' values, summarised.
    pub fn random_spread(&self) -> Option<Spread> {
        Spread::of(self.random.iter().map(|value| f64::from(*value)))
    }

    /// Different features in the set.
    pub fn features(&self) -> usize {
        let features: std::collections::BTreeSet<u32> = self.members.iter().map(|m| m.feature).collect();
        features.len()
    }
}

impl Prompter {
    /// The codes that keep a prediction within `options.within` of what it is.
    ///
    /// # Errors
    /// A token or a position that does not exist, a share that is not between 0 and 1, means that are not known, a position without
    /// codes; [`Error::Stopped`].
    pub fn sufficient_set(
        &self,
        reading: &Reading,
        options: &SufficientOptions,
        progress: &mut dyn Progress,
    ) -> Result<SufficientSet> {
        self.check(reading, super::Target::Logit { token: options.token, position: options.position })?;
        if !(options.within > 0.0 && options.within < 1.0) {
            return Err(Error::request(format!(
                "a prediction cannot be kept within {} % of what it is",
                100.0 * options.within
            ))
            .with_remedy("give a number between 0 and 100"));
        }
        let place = (options.token, options.position);
        let mut subsets = Subsets::new(self, reading, place, options.measure, options.rest)?;
        if subsets.codes.is_empty() {
            return Err(Error::request(format!(
                "no feature fires up to token {}, so none explains what follows it",
                options.position
            )));
        }
        progress.begin("explain", None, "passes");
        let attributions = subsets.attributions()?;
        let mut search = Search::new(self, options, subsets, attributions, progress)?;
        let members = search.minimal()?;
        let value = search.value_of(&members)?;
        let curve = search.curve()?;
        let random = search.random(members.len())?;
        let reconstruction = search.subsets.reconstructed()?;
        let member = |&code: &usize| {
            let Code { token, feature, activation, .. } = search.subsets.codes[code];
            Member { position: token, feature, activation, attribution: search.attributions[code] }
        };
        let found = SufficientSet {
            token: options.token,
            position: options.position,
            measure: options.measure,
            rest: options.rest,
            within: options.within,
            clean: search.clean,
            none: search.none,
            reconstruction,
            members: members.iter().map(member).collect(),
            value,
            random,
            candidates: search.order.len(),
            curve,
            passes: search.subsets.passes,
        };
        let summary = format!("{} of {} codes", found.members.len(), found.candidates);
        search.progress.end(&summary);
        Ok(found)
    }
}

/// The search for a set.
struct Search<'a> {
    prompter: &'a Prompter,
    options: &'a SufficientOptions,
    subsets: Subsets<'a>,
    progress: &'a mut dyn Progress,
    /// Of every code.
    attributions: Vec<f32>,
    /// Codes that can change the prediction, those first that bring it nearest to what it is.
    order: Vec<usize>,
    clean: f32,
    none: f32,
}

impl<'a> Search<'a> {
    fn new(
        prompter: &'a Prompter,
        options: &'a SufficientOptions,
        mut subsets: Subsets<'a>,
        attributions: Vec<f32>,
        progress: &'a mut dyn Progress,
    ) -> Result<Self> {
        let n = subsets.codes.len();
        let ends = subsets.values(&[vec![true; n], vec![false; n]])?;
        let (clean, none) = (ends[0], ends[1]);
        // Where the codes speak against the token, what they take is what keeps the prediction.
        let sign = if clean >= none { 1.0 } else { -1.0 };
        let mut order: Vec<usize> = (0..n).filter(|&code| attributions[code] != 0.0).collect();
        order.sort_by(|&a, &b| (sign * attributions[b]).total_cmp(&(sign * attributions[a])).then(a.cmp(&b)));
        Ok(Self { prompter, options, subsets, progress, attributions, order, clean, none })
    }

    fn keeps(&self, value: f32) -> bool {
        let moved = (f64::from(value) - f64::from(self.clean)).abs();
        moved <= self.options.within * f64::from(self.clean).abs()
    }

    /// What is measured with these codes alone, for each set.
    fn values(&mut self, sets: &[Vec<usize>]) -> Result<Vec<f32>> {
        let n = self.subsets.codes.len();
        let mut values = Vec::with_capacity(sets.len());
        for part in sets.chunks(self.subsets.rows()) {
            if self.progress.stop_requested() {
                return Err(Error::stopped("the prediction was not explained"));
            }
            let kept = |set: &Vec<usize>| {
                let mut kept = vec![false; n];
                set.iter().for_each(|&code| kept[code] = true);
                kept
            };
            values.extend(self.subsets.values(&part.iter().map(kept).collect::<Vec<_>>())?);
            self.progress.advance(self.subsets.passes as u64, "");
        }
        Ok(values)
    }

    fn value_of(&mut self, set: &[usize]) -> Result<f32> {
        Ok(self.values(&[set.to_vec()])?[0])
    }

    /// A set that keeps the prediction and none of whose members can be left out, in the ranking's order.
    fn minimal(&mut self) -> Result<Vec<usize>> {
        let beginning = self.beginning()?;
        let set = self.without_idle(beginning)?;
        // Codes act together: one that is next in the ranking need not be the one that brings a set nearest.
        match self.grown(set.len())? {
            Some(other) => {
                let other = self.without_idle(other)?;
                Ok(if other.len() < set.len() { other } else { set })
            }
            None => Ok(set),
        }
    }

    /// `set` without the members that can go, one after the other.
    fn without_idle(&mut self, mut set: Vec<usize>) -> Result<Vec<usize>> {
        loop {
            let before = set.len();
            // The last to come are the first to go. Candidates are tried many to a pass; after one has gone, those after it are tried anew.
            let mut at = set.len();
            while at > 0 {
                let first = at.saturating_sub(self.subsets.rows());
                let tried: Vec<Vec<usize>> = (first..at).rev().map(|gone| without(&set, gone)).collect();
                let values = self.values(&tried)?;
                match values.iter().position(|&value| self.keeps(value)) {
                    Some(i) => {
                        at -= i + 1;
                        set.remove(at);
                    }
                    None => at = first,
                }
            }
            if set.len() == before {
                return Ok(set);
            }
        }
    }

    /// A set of fewer than `size` codes that keeps the prediction, grown from none by whichever of the codes with the largest
    /// attributions brings it nearest, if there is one.
    fn grown(&mut self, size: usize) -> Result<Option<Vec<usize>>> {
        let mut candidates = self.order.clone();
        let strength = |code: &usize| self.attributions[*code].abs();
        candidates.sort_by(|a, b| strength(b).total_cmp(&strength(a)).then(a.cmp(b)));
        candidates.truncate(WIDTH);
        let mut set = Vec::new();
        while set.len() + 1 < size && !candidates.is_empty() {
            let with = |&code: &usize| set.iter().copied().chain([code]).collect();
            let tried: Vec<Vec<usize>> = candidates.iter().map(with).collect();
            let values = self.values(&tried)?;
            let far = |i: usize| (f64::from(values[i]) - f64::from(self.clean)).abs();
            let Some(nearest) = (0..values.len()).min_by(|&a, &b| far(a).total_cmp(&far(b))) else { break };
            set.push(candidates.remove(nearest));
            if self.keeps(values[nearest]) {
                set.sort_by_key(|code| self.order.iter().position(|ranked| ranked == code));
                return Ok(Some(set));
            }
        }
        Ok(None)
    }

    /// The shortest beginning of the ranking that doubling and halving find.
    fn beginning(&mut self) -> Result<Vec<usize>> {
        if self.keeps(self.none) {
            return Ok(Vec::new());
        }
        let sizes = sizes(self.order.len());
        let prefixes: Vec<Vec<usize>> = sizes.iter().map(|&size| self.order[..size].to_vec()).collect();
        let values = self.values(&prefixes)?;
        // All codes that can change anything keep it: what is left out changes nothing.
        let found = values.iter().position(|&value| self.keeps(value)).unwrap_or(sizes.len() - 1);
        let (mut low, mut high) = (if found == 0 { 0 } else { sizes[found - 1] }, sizes[found]);
        while high - low > 1 {
            let middle = low.midpoint(high);
            let strongest = self.order[..middle].to_vec();
            let value = self.value_of(&strongest)?;
            if self.keeps(value) { high = middle } else { low = middle }
        }
        Ok(self.order[..high].to_vec())
    }

    fn curve(&mut self) -> Result<Vec<SubsetValue>> {
        let sizes = sizes(self.order.len());
        let mut strongest = self.order.clone();
        let strength = |search: &Self, code: usize| {
            let Code { feature, activation, .. } = search.subsets.codes[code];
            activation.abs() * norm_squared(search.prompter.dictionary.decoder_row(feature as usize)).sqrt()
        };
        strongest.sort_by(|&a, &b| strength(self, b).total_cmp(&strength(self, a)).then(a.cmp(&b)));
        let mut orders = vec![self.order.clone(), strongest];
        orders.extend((0..self.options.draws).map(|draw| self.shuffled(draw)));
        let mut lines = Vec::with_capacity(orders.len());
        for order in &orders {
            let sets: Vec<Vec<usize>> = sizes.iter().map(|&size| order[..size].to_vec()).collect();
            lines.push(self.values(&sets)?);
        }
        let point = |(i, &size): (usize, &usize)| SubsetValue {
            size,
            attributed: lines[0][i],
            strongest: lines[1][i],
            random: lines[2..].iter().map(|line| line[i]).collect(),
        };
        Ok(sizes.iter().enumerate().map(point).collect())
    }

    /// What is left with the first `size` codes of each random order.
    fn random(&mut self, size: usize) -> Result<Vec<f32>> {
        let set = |draw| self.shuffled(draw)[..size].to_vec();
        let sets: Vec<Vec<usize>> = (0..self.options.draws).map(set).collect();
        self.values(&sets)
    }

    /// The candidates in random order.
    fn shuffled(&self, draw: u16) -> Vec<usize> {
        let mut order = self.order.clone();
        order.sort_unstable();
        shuffle(&mut order, &mut generator(self.options.seed, Purpose::Controls, SETS + u64::from(draw), 0));
        order
    }
}

/// `set` without its member at `gone`.
fn without(set: &[usize], gone: usize) -> Vec<usize> {
    set.iter().enumerate().filter(|(i, _)| *i != gone).map(|(_, &code)| code).collect()
}

/// 0, 1, 2, 3, 4, 6, 8, 12, … and `all`.
fn sizes(all: usize) -> Vec<usize> {
    let mut sizes = vec![0, 1];
    let mut power = 2;
    while power < all {
        sizes.extend([power, power + power / 2]);
        power *= 2;
    }
    sizes.retain(|&size| size < all);
    sizes.push(all);
    sizes
}

#[cfg(test)]
mod tests;
