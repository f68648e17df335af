//! Everything that one pass over a routing table counts. Memory: layers × experts² and a bounded number of
//! token types.

use std::collections::BTreeMap;

use super::kinds::Kinds;
use super::pairs::Pairs;
use super::scores::ScoreSums;
use super::transitions::Transitions;
use super::usage::Usage;
use super::vocabulary::Vocabulary;
use crate::experts::routing::{Choice, Overview, ScoreKind, Source, WeightRule};
use crate::{Progress, Result};

/// Memory that pairs and transitions may take, bytes; if they need more they are left out, which is noted as
/// a gap.
const BYTES_TOGETHER: usize = 256 << 20;

/// Counts of a routing table.
#[derive(Debug)]
pub struct Tally {
    /// Loads by layer and domain.
    pub usage: Usage,
    /// Co-activation by layer; `None` where there are too many experts for it.
    pub pairs: Option<BTreeMap<u16, Pairs>>,
    /// From layer to layer.
    pub transitions: Option<Transitions>,
    /// Tokens by expert.
    pub vocabulary: Vocabulary,
    /// Kinds of tokens by expert; `None` where the dataset has no vocabulary.
    pub kinds: Option<Kinds>,
    /// Sums of scores by layer and domain; `None` where none were kept.
    pub scores: Option<Scores>,
    /// Figures that the data cannot give, and why, one sentence each.
    pub gaps: Vec<String>,
    /// Rows counted.
    pub rows: u64,
    last: Option<(u32, u32)>,
    kind: Option<u32>,
}

/// Sums of scores of one kind.
#[derive(Debug)]
pub struct Scores {
    kind: ScoreKind,
    experts: usize,
    domains: usize,
    layers: BTreeMap<u16, Vec<ScoreSums>>,
}

impl Scores {
    /// Nothing added yet.
    pub fn new(kind: ScoreKind, experts: usize, domains: usize) -> Self {
        Self { kind, experts, domains, layers: BTreeMap::new() }
    }

    /// Adds a row that has scores.
    ///
    /// # Errors
    /// As [`ScoreSums::add`].
    pub fn add(&mut self, domain: usize, choice: &Choice<'_>) -> Result<()> {
        let Self { kind, experts, domains, layers } = self;
        let sums = layers.entry(choice.layer).or_insert_with(|| vec![ScoreSums::new(*experts); *domains]);
        sums[domain].add(choice, *kind)
    }

    /// Sums of a layer, one per domain; empty if the layer has none.
    pub fn by_domain(&self, layer: u16) -> &[ScoreSums] {
        self.layers.get(&layer).map_or(&[], Vec::as_slice)
    }

    /// Sums of a layer over all domains.
    pub fn over_all(&self, layer: u16) -> ScoreSums {
        let mut sum = ScoreSums::new(self.experts);
        self.by_domain(layer).iter().for_each(|of| sum.merge(of));
        sum
    }

    /// The load-balance loss as transformers computes it, over the tokens of all layers; k = balanced.
    pub fn hugging_face_loss(&self) -> Option<f64> {
        let mut sum = ScoreSums::new(self.experts);
        self.layers.values().flatten().for_each(|of| sum.merge(of));
        sum.hugging_face_loss()
    }
}

/// Counts the whole table.
///
/// # Errors
/// A table that cannot be read, a row that cannot be true, or [`Error::Stopped`](crate::Error::Stopped).
pub fn tally(source: &Source, progress: &mut dyn Progress) -> Result<Tally> {
    let overview = source.overview(progress)?;
    let mut tally = Tally::new(source, &overview, progress)?;
    let started = std::time::Instant::now();
    source.each(progress, |domain, choice| tally.add(domain, choice))?;
    let rate = tally.rows as f64 / started.elapsed().as_secs_f64().max(1e-9);
    progress.end(&format!(
        "{} layers, {} experts, {} rows, {rate:.0} rows/s",
        overview.layers.len(),
        tally.usage.experts(),
        tally.rows
    ));
    Ok(tally)
}

impl Tally {
    fn new(source: &Source, overview: &Overview, progress: &mut dyn Progress) -> Result<Self> {
        let declared = source.declared();
        let mut gaps = Vec::new();
        if declared.experts.is_none() {
            gaps.push(
                "neither the dataset nor its model says how many experts there are: counted up to the highest that was chosen"
                    .to_owned(),
            );
        }
        let experts = declared.experts.unwrap_or(overview.highest);
        let layers = &overview.layers;
        // Pairs keep two counts for half of E², transitions one for all of it.
        let bytes = 2 * layers.len() * experts * experts * size_of::<u64>();
        let fits = bytes <= BYTES_TOGETHER;
        if !fits {
            gaps.push(format!(
                "co-activation and transitions of {experts} experts in {} layers would take {bytes} bytes of memory: left out",
                layers.len()
            ));
        }
        let vocabulary = Vocabulary::new(experts, layers, &overview.seen);
        if vocabulary.left_out() > 0 {
            gaps.push(format!(
                "vocabulary: the {} rarest of the token types with 10 tokens or more were left out, for memory",
                vocabulary.left_out()
            ));
        }
        let kinds = Kinds::of(source.dataset(), experts)?;
        if kinds.is_none() {
            gaps.push("kinds of tokens are not known: the dataset has no vocabulary".into());
        }
        if source.declared().rule == WeightRule::Any {
            gaps.push("the sum of a token's weights is not declared: sums were not checked".into());
        }
        let scores = match source.has_scores() {
            true => Some(scores(source, experts, &mut gaps)?),
            false => None,
        };
        gaps.iter().for_each(|gap| progress.remark(gap));
        Ok(Self {
            usage: Usage::new(experts, source.domains().to_vec()).with_rule(declared.rule),
            pairs: fits.then(|| layers.iter().map(|&layer| (layer, Pairs::new(experts))).collect()),
            transitions: fits.then(|| Transitions::new(experts)),
            vocabulary,
            kinds,
            scores,
            gaps,
            rows: 0,
            last: None,
            kind: None,
        })
    }

    fn add(&mut self, domain: usize, choice: &Choice<'_>) -> Result<()> {
        self.usage.add(domain, choice)?;
        if let Some(pairs) = self.pairs.as_mut().and_then(|pairs| pairs.get_mut(&choice.layer)) {
            pairs.add(choice.experts);
        }
        if let Some(transitions) = &mut self.transitions {
            transitions.add(choice)?;
        }
        let place = Some((choice.document, choice.position));
        if self.last != place {
            (self.last, self.kind) = (place, self.vocabulary.type_of(choice.token));
        }
        self.vocabulary.add(self.kind, choice);
        if let Some(kinds) = &mut self.kinds {
            kinds.add(choice);
        }
        if let Some(scores) = &mut self.scores {
            scores.add(domain, choice)?;
        }
        self.rows += 1;
        Ok(())
    }
}

/// Sums for the kind of scores that the first rows have.
fn scores(source: &Source, experts: usize, gaps: &mut Vec<String>) -> Result<Scores> {
    let (kind, remark) = source.score_kind()?;
    gaps.extend(remark);
    Ok(Scores::new(kind, experts, source.domains().len()))
}
