//! Tokens that chose an expert, in their context, straight from the routing table.

use std::collections::BTreeSet;
use std::path::Path;

use storage::routing::{COLUMNS, Choices};
use storage::{Scan, TableReader};

use crate::data::problem;
use crate::data::routing::{in_file, table};
use crate::load::{Feed, Problem};

/// Tokens before and after the one that an example is about.
const CONTEXT: usize = 12;
/// Rows of routing that are read at one place of the table.
const PLACE: u64 = 16 << 10;
/// Examples that one place gives at most, so that a page shows many documents; a small table has few places and gives more.
const OF_A_PLACE: u64 = 4;
/// Examples of a page.
pub const PAGE: usize = 40;

/// Which tokens to show first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// From places spread over the whole table: a fair look.
    #[default]
    Spread,
    /// The largest weights of all.
    Strongest,
}

/// What to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenQuery {
    /// The block.
    pub layer: u16,
    /// The expert in it.
    pub expert: u32,
    /// Which first.
    pub order: Order,
    /// Only these documents; `None` for all.
    pub documents: Option<BTreeSet<u32>>,
}

/// A token that chose the expert, with its neighbours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChosenToken {
    /// The document.
    pub document: u32,
    /// Position of the token.
    pub position: u32,
    /// The weight that was applied to the expert.
    pub weight: f32,
    /// Position of the first token of the window.
    pub start: u32,
    /// The window.
    pub tokens: Vec<u32>,
    /// The weight of the expert at every token of it; 0 where it was not chosen.
    pub weights: Vec<f32>,
}

impl ChosenToken {
    /// Index of the token in its window.
    pub fn marked(&self) -> usize {
        (self.position - self.start) as usize
    }
}

/// A piece of what was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// A token, in the order in which it is to be shown.
    Token(ChosenToken),
    /// The strongest so far, all of them: they take the place of those before.
    Strongest(Vec<ChosenToken>),
    /// Where a further page begins; `None` at the end of the table.
    Next(Option<u64>),
}

/// Finds a page of tokens. `from` is the place to begin at, as [`Piece::Next`] gave it; 0 at first.
///
/// # Errors
/// A dataset without routing, or whose table cannot be read.
pub fn find(dir: &Path, wanted: &TokenQuery, from: u64, feed: &Feed<Piece>) -> Result<(), Problem> {
    let table = table(dir)?;
    match wanted.order {
        Order::Spread => spread(&table, wanted, from, feed),
        Order::Strongest => strongest(&table, wanted, feed),
    }
}

/// Visits places of the table in an order in which any beginning is spread over all of it.
fn spread(table: &TableReader, wanted: &TokenQuery, from: u64, feed: &Feed<Piece>) -> Result<(), Problem> {
    let places = table.rows().div_ceil(PLACE);
    let mut found = 0;
    let mut visit = from;
    while visit < places.next_power_of_two() && found < PAGE {
        let place = reversed(visit, places.next_power_of_two());
        visit += 1;
        if place >= places {
            continue;
        }
        let start = place * PLACE;
        let rows = start..(start + PLACE).min(table.rows());
        let most = OF_A_PLACE.max((PAGE as u64).div_ceil(places));
        for token in at(table, wanted, rows, most as usize)? {
            found += 1;
            feed.send(Piece::Token(token));
        }
        feed.progress(visit, places.next_power_of_two());
        if feed.cancelled() {
            return Ok(());
        }
    }
    feed.send(Piece::Next((visit < places.next_power_of_two()).then_some(visit)));
    Ok(())
}

/// The bits of `n` below `size`, a power of two, in reverse: 0, half, a quarter, three quarters, …
fn reversed(n: u64, size: u64) -> u64 {
    match size.trailing_zeros() {
        0 => 0,
        bits => n.reverse_bits() >> (64 - bits),
    }
}

/// A few examples of one place, spread over it.
fn at(
    table: &TableReader,
    wanted: &TokenQuery,
    rows: std::ops::Range<u64>,
    most: usize,
) -> Result<Vec<ChosenToken>, Problem> {
    let mut text = Text::default();
    let mut all = Vec::new();
    walk(table, wanted, Some(rows), &mut text, |token| all.push(token))?;
    let each = all.len().div_ceil(most).max(1);
    Ok(all.chunks(each).filter_map(|near| near.get(near.len() / 2).cloned()).collect())
}

/// One pass over everything, the strongest kept.
fn strongest(table: &TableReader, wanted: &TokenQuery, feed: &Feed<Piece>) -> Result<(), Problem> {
    let order = |a: &ChosenToken, b: &ChosenToken| {
        b.weight.total_cmp(&a.weight).then(a.document.cmp(&b.document)).then(a.position.cmp(&b.position))
    };
    let mut best: Vec<ChosenToken> = Vec::new();
    let mut text = Text::default();
    let (mut start, chunk) = (0, PLACE * 8);
    while start < table.rows() {
        let rows = start..(start + chunk).min(table.rows());
        let before = best.len();
        let mut least = if before < PAGE { f32::NEG_INFINITY } else { best[before - 1].weight };
        let mut new = false;
        walk(table, wanted, Some(rows.clone()), &mut text, |token| {
            if token.weight > least {
                new = true;
                best.push(token);
                if best.len() >= 8 * PAGE {
                    best.sort_by(order);
                    best.truncate(PAGE);
                    least = best[PAGE - 1].weight;
                }
            }
        })?;
        if new {
            best.sort_by(order);
            best.truncate(PAGE);
            feed.send(Piece::Strongest(best.clone()));
        }
        start = rows.end;
        feed.progress(start, table.rows());
        if feed.cancelled() {
            return Ok(());
        }
    }
    feed.send(Piece::Next(None));
    Ok(())
}

/// The last tokens of a document, with the weight of the expert at each.
#[derive(Default)]
struct Text {
    document: u32,
    start: u32,
    tokens: Vec<u32>,
    weights: Vec<f32>,
    /// Tokens that chose the expert and whose window is not full yet, as indices.
    waiting: Vec<usize>,
}

impl Text {
    fn next(&self) -> u64 {
        u64::from(self.start) + self.tokens.len() as u64
    }

    /// Hands out the waiting tokens that have all the context they will get.
    fn release(&mut self, all: bool, take: &mut impl FnMut(ChosenToken)) {
        let full = |i: &usize| all || self.tokens.len() > i + CONTEXT;
        let ready = self.waiting.iter().take_while(|i| full(i)).count();
        for i in self.waiting.drain(..ready) {
            let (from, to) = (i.saturating_sub(CONTEXT), (i + CONTEXT + 1).min(self.tokens.len()));
            take(ChosenToken {
                document: self.document,
                position: self.start + i as u32,
                weight: self.weights[i],
                start: self.start + from as u32,
                tokens: self.tokens[from..to].to_vec(),
                weights: self.weights[from..to].to_vec(),
            });
        }
        // Only what a window may still need is kept.
        let needed = self.waiting.first().copied().unwrap_or(self.tokens.len()).saturating_sub(CONTEXT);
        if needed > 4096 {
            self.tokens.drain(..needed);
            self.weights.drain(..needed);
            self.start += needed as u32;
            self.waiting.iter_mut().for_each(|i| *i -= needed);
        }
    }
}

/// Gives every token of the rows that chose the expert to `take`, with its context as far as the rows reach.
fn walk(
    table: &TableReader,
    wanted: &TokenQuery,
    rows: Option<std::ops::Range<u64>>,
    text: &mut Text,
    mut take: impl FnMut(ChosenToken),
) -> Result<(), Problem> {
    *text = Text::default();
    for batch in table.scan(Scan { rows, ..Scan::of(&COLUMNS) }).map_err(problem)? {
        let batch = batch.map_err(problem)?;
        for choice in Choices::of(&batch).map_err(|e| in_file(table, e))?.iter() {
            let skipped = wanted.documents.as_ref().is_some_and(|only| !only.contains(&choice.document));
            if choice.layer != wanted.layer || skipped {
                continue;
            }
            let follows = text.document == choice.document && text.next() == u64::from(choice.position);
            if !follows || text.tokens.is_empty() {
                text.release(true, &mut take);
                *text = Text { document: choice.document, start: choice.position, ..Text::default() };
            }
            let weight = choice.of(wanted.expert).map(|(_, weight)| weight);
            if weight.is_some() {
                text.waiting.push(text.tokens.len());
            }
            text.tokens.push(choice.token);
            text.weights.push(weight.unwrap_or(0.0));
            text.release(false, &mut take);
        }
    }
    text.release(true, &mut take);
    Ok(())
}

/// Pieces put together: the tokens to show, and where to continue.
pub fn assemble(pieces: &[Piece]) -> (Vec<&ChosenToken>, Option<u64>) {
    let (mut tokens, mut next) = (Vec::new(), None);
    for piece in pieces {
        match piece {
            Piece::Token(token) => tokens.push(token),
            Piece::Strongest(all) => tokens = all.iter().collect(),
            Piece::Next(at) => next = *at,
        }
    }
    (tokens, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_of_the_visit_is_spread_over_everything() {
        let order: Vec<u64> = (0..8).map(|n| reversed(n, 8)).collect();
        assert_eq!(order, [0, 4, 2, 6, 1, 5, 3, 7]);
        assert_eq!(reversed(0, 1), 0);
    }

    #[test]
    fn windows_wait_for_their_context_and_old_text_is_let_go() {
        let mut text = Text { document: 4, start: 10, ..Text::default() };
        let mut taken = Vec::new();
        for i in 0..20_000u32 {
            let chosen = i % 1000 == 500;
            if chosen {
                text.waiting.push(text.tokens.len());
            }
            text.tokens.push(i);
            text.weights.push(if chosen { 0.5 } else { 0.0 });
            text.release(false, &mut |token| taken.push(token));
        }
        text.release(true, &mut |token| taken.push(token));
        assert_eq!(taken.len(), 20);
        for (n, token) in taken.iter().enumerate() {
            assert_eq!(token.position, 10 + 500 + 1000 * n as u32);
            assert_eq!(token.tokens[token.marked()], token.position - 10);
            assert_eq!(token.tokens.len(), 2 * CONTEXT + 1);
            assert_eq!(token.weights[token.marked()], 0.5);
        }
        assert!(text.tokens.len() < 10_000);
    }
}
