//! Tokens with their codes and the experts they chose, those that predictors are made from and those that they
//! are measured on.

use std::collections::{BTreeMap, HashMap};

use kernels::chance::{Purpose, generator};
use storage::documents::DocumentRow;

use super::dense::Moments;
use crate::dictionary::Codes;
use crate::experts::features::Walk;
use crate::experts::routing::Source;
use crate::rows::{RowReader, Subject, choose, documents};
use crate::{Error, Progress, Result};

/// Rows read at a time.
const BATCH: usize = 8192;
/// The token before the first of a text.
pub const NOTHING: u32 = u32::MAX;

/// The experts that tokens chose in one layer, `experts[offsets[t]..offsets[t + 1]]`.
#[derive(Debug, Clone)]
pub struct Choices {
    offsets: Vec<usize>,
    experts: Vec<u32>,
}

impl Default for Choices {
    fn default() -> Self {
        Self { offsets: vec![0], experts: Vec::new() }
    }
}

impl Choices {
    /// Experts of token `t`, the strongest first.
    pub fn of(&self, t: usize) -> &[u32] {
        &self.experts[self.offsets[t]..self.offsets[t + 1]]
    }

    /// Tokens.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Adds a token.
    pub fn push(&mut self, experts: &[u32]) {
        self.experts.extend_from_slice(experts);
        self.offsets.push(self.experts.len());
    }

    /// The choices of token `order[t]` for token t.
    pub fn reordered(&self, order: &[usize]) -> Self {
        let mut all = Self::default();
        order.iter().for_each(|&t| all.push(self.of(t)));
        all
    }

    /// Tokens that chose each of `experts`.
    pub fn counts(&self, experts: usize) -> Vec<u64> {
        let mut counts = vec![0; experts];
        self.experts.iter().for_each(|&e| counts[e as usize] += 1);
        counts
    }
}

/// Tokens of one side.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    /// Codes of every token.
    pub codes: Codes,
    /// The tokens.
    pub tokens: Vec<u32>,
    /// The token before each in its document; [`NOTHING`] before the first and where it was not read.
    pub before: Vec<u32>,
    /// Positions in their documents.
    pub positions: Vec<u32>,
    /// Domain of each, an index into the domains.
    pub domains: Vec<usize>,
    /// Choices by layer.
    pub choices: BTreeMap<u16, Choices>,
    /// Activations `[n, d]`; only of tokens that are measured.
    pub activations: Vec<f32>,
}

impl Tokens {
    /// Tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }
}

/// Both sides.
#[derive(Debug)]
pub struct Gathered {
    /// What predictors are made from.
    pub made: Tokens,
    /// What they are measured on.
    pub measured: Tokens,
    /// For the baseline of all dimensions: products of activations with each other and with choices.
    pub moments: Moments,
    /// Names of the domains.
    pub domains: Vec<String>,
    /// Whether the dataset's held-out documents are measured; else half of the documents, drawn by seed.
    pub held_out: bool,
}

/// Which documents are measured: those that the dataset holds out, if there are such and others; else every
/// second in an order drawn by `seed`.
fn measured(rows: &[DocumentRow], seed: u64) -> (HashMap<u32, bool>, bool) {
    let marked = |row: &&DocumentRow| row.held_out;
    let some = rows.iter().filter(marked).count();
    if some > 0 && some < rows.len() {
        return (rows.iter().map(|row| (row.document, row.held_out)).collect(), true);
    }
    let drawn = |document: u32| generator(seed, Purpose::Halves, u64::from(document), 0).next_u64();
    let mut order: Vec<(u64, u32)> = rows.iter().map(|row| (drawn(row.document), row.document)).collect();
    order.sort_unstable();
    (order.iter().enumerate().map(|(i, (_, document))| (*document, i % 2 == 1)).collect(), false)
}

/// Reads up to `limit` tokens, in whole documents drawn by `seed`.
///
/// # Errors
/// Activations and routing that are not of the same tokens, or [`Error::Stopped`].
pub fn gather(
    subject: &Subject,
    source: &Source,
    (layers, experts): (&[u16], usize),
    (limit, seed): (u64, u64),
    progress: &mut dyn Progress,
) -> Result<Gathered> {
    let placed = documents(&subject.dataset)?;
    let (rows, which): (Vec<_>, Vec<_>) = placed.into_iter().unzip();
    let (is_measured, held_out) = measured(&rows, seed);
    let domain_of: HashMap<u32, usize> =
        rows.iter().map(|row| Ok((row.document, source.domain_of(row.document)?))).collect::<Result<_>>()?;
    let choice = choose(&which, Some(limit), seed);
    let mut reader = RowReader::new(&subject.dataset, &choice.ranges, BATCH, subject.dictionary.d_in)?;
    let mut encoder = subject.dictionary.encoder();
    let mut walk = Walk::new(source, experts)?;
    let d = subject.dictionary.d_in;
    let mut of = Gathered {
        made: Tokens::default(),
        measured: Tokens::default(),
        moments: Moments::new(d, layers, experts),
        domains: source.domains().to_vec(),
        held_out,
    };
    let mut last = None;
    let mut done = 0;
    progress.begin("features and routing", Some(choice.tokens), "tokens");
    while let Some(batch) = reader.next_batch()? {
        let codes = encoder.encode(&batch.activations);
        let places: Vec<(u32, u32, u32)> =
            (0..batch.len()).map(|i| (batch.documents[i], batch.positions[i], batch.tokens[i])).collect();
        let mut chosen: BTreeMap<(usize, u16), Vec<u32>> = BTreeMap::new();
        walk.up_to(&places, |i, choice| {
            chosen.insert((i, choice.layer), choice.experts.to_vec());
        })?;
        for (i, &(document, position, token)) in places.iter().enumerate() {
            let side = match is_measured.get(&document) {
                Some(true) => &mut of.measured,
                _ => &mut of.made,
            };
            let before = match last {
                Some((d, p, t)) if d == document && p + 1 == position => t,
                _ => NOTHING,
            };
            last = Some((document, position, token));
            let (features, values) = codes.row(i);
            side.codes.push_row(features, values);
            side.tokens.push(token);
            side.before.push(before);
            side.positions.push(position);
            side.domains.push(domain_of.get(&document).copied().unwrap_or_default());
            for &layer in layers {
                let experts = chosen.get(&(i, layer)).map_or(&[][..], Vec::as_slice);
                side.choices.entry(layer).or_default().push(experts);
            }
            let x = &batch.activations[i * d..(i + 1) * d];
            if is_measured.get(&document) == Some(&true) {
                side.activations.extend_from_slice(x);
            } else {
                of.moments.push(x, |layer| chosen.get(&(i, layer)).map_or(&[][..], Vec::as_slice));
            }
        }
        of.moments.flush();
        done += batch.len() as u64;
        progress.advance(done, "");
        if progress.stop_requested() {
            return Err(Error::stopped("the routers were not explained, nothing was written"));
        }
    }
    progress.end(&format!("{} tokens to make, {} to measure", of.made.len(), of.measured.len()));
    if of.made.len() == 0 || of.measured.len() == 0 {
        return Err(Error::data(format!(
            "{} documents have {} tokens to make predictors from and {} to measure them on",
            choice.documents,
            of.made.len(),
            of.measured.len()
        ))
        .with_remedy("take more tokens (--tokens), or a dataset of more documents"));
    }
    Ok(of)
}
