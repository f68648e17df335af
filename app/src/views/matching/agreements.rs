//! Agreement of firing for all pairs of a comparison, a piece at a time: what is on the screen first, and nothing while nobody looks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::data::{Agreement, AgreementReader};
use crate::load::{KeyedRequest, Lane, Problem, Request, Workers};

/// How long a piece takes: what a person asks for meanwhile waits for it.
const PIECE: Duration = Duration::from_millis(200);
/// Most pairs of a piece.
const PAIRS: usize = 512;

/// What is compared: both runs, and whether their data was found to be of one folder.
type Compared = ([PathBuf; 2], bool);

/// A side's features with what was found of each.
type Piece = (usize, Vec<(u32, Agreement)>);

/// What is known of the pairs of each side.
#[derive(Debug, Default)]
pub struct Agreements {
    reader: KeyedRequest<Compared, Option<AgreementReader>>,
    compared: Option<Compared>,
    piece: Request<Piece>,
    /// By feature of this run, and of the other.
    known: [Vec<Option<Agreement>>; 2],
    /// How many are known.
    count: [usize; 2],
    /// The first feature of each side that may be unknown.
    next: [usize; 2],
    /// Features on the screen, and the chosen one.
    seen: Vec<u32>,
    /// Whether the comparison was drawn since the last frame.
    drawn: bool,
    /// The shares of a side that is known whole, for sorting.
    shares: [Option<Arc<Vec<f32>>>; 2],
}

/// How it stands.
#[derive(Clone, Debug)]
pub enum State<'a> {
    /// Nothing is known yet.
    Opening,
    /// The runs are indexed on different datasets, or one is not in the open folder.
    Incomparable,
    /// It cannot be read.
    Failed(&'a Problem),
    /// So many of so many pairs are known, over what the text says.
    Known(usize, usize, &'a str),
}

impl Agreements {
    /// Once per frame: `features` of each side, and the nearest of each feature of `side`, which is shown.
    pub fn logic(&mut self, compared: Option<Compared>, side: usize, nearest: &[u32], workers: &Workers) {
        if self.compared != compared {
            *self = Self { compared, reader: std::mem::take(&mut self.reader), ..Self::default() };
        }
        let Some(compared) = self.compared.clone() else { return };
        let (runs, same_data) = compared.clone();
        self.reader.want(workers, Lane::Scans, &compared, move || {
            AgreementReader::open([&runs[0], &runs[1]], same_data)
        });
        if self.known[side].len() != nearest.len() {
            self.known[side] = vec![None; nearest.len()];
            (self.count[side], self.next[side]) = (0, 0);
        }
        if self.piece.poll(workers)
            && let Some(piece) = self.piece.value().cloned()
        {
            self.take(&piece);
        }
        let Some(reader) = self.reader.get(&compared).filter(|reader| reader.is_some()) else { return };
        if !std::mem::take(&mut self.drawn) || self.piece.loading() || self.piece.problem().is_some() {
            return;
        }
        let wanted = self.wanted(side, nearest);
        if wanted.is_empty() {
            return;
        }
        self.piece.ask(workers, Lane::Scans, move || {
            let (start, mut found) = (Instant::now(), Vec::new());
            let Some(reader) = reader.as_ref() else { return Ok((side, found)) };
            for (feature, pair) in wanted {
                found.push((feature, reader.read(pair)?));
                if start.elapsed() >= PIECE {
                    break;
                }
            }
            Ok((side, found))
        });
    }

    /// The features of the next piece, with their pairs.
    fn wanted(&mut self, side: usize, nearest: &[u32]) -> Vec<(u32, [u32; 2])> {
        let known = &self.known[side];
        let unknown = |feature: &u32| matches!(known.get(*feature as usize), Some(None));
        let mut wanted: Vec<u32> = self.seen.iter().copied().filter(unknown).collect();
        while matches!(known.get(self.next[side]), Some(Some(_))) {
            self.next[side] += 1;
        }
        let rest = (self.next[side] as u32..known.len() as u32).filter(unknown);
        wanted.extend(rest.take(PAIRS.saturating_sub(wanted.len())));
        let pair = |feature: u32| {
            let other = *nearest.get(feature as usize)?;
            Some((feature, if side == 0 { [feature, other] } else { [other, feature] }))
        };
        wanted.into_iter().filter_map(pair).collect()
    }

    fn take(&mut self, (side, found): &Piece) {
        let known = &mut self.known[*side];
        for (feature, agreement) in found {
            if let Some(place) = known.get_mut(*feature as usize)
                && place.replace(*agreement).is_none()
            {
                self.count[*side] += 1;
            }
        }
        if self.count[*side] == known.len() {
            let share = |one: &Option<Agreement>| {
                one.and_then(|one| one.share()).map_or(f32::NAN, |share| share as f32)
            };
            self.shares[*side] = Some(Arc::new(known.iter().map(share).collect()));
        }
    }

    /// What is on the screen; that it is drawn at all.
    pub fn see(&mut self, features: impl IntoIterator<Item = u32>) {
        self.seen.clear();
        self.seen.extend(features);
        self.drawn = true;
    }

    /// What is known of the pair of `feature`.
    pub fn of(&self, side: usize, feature: u32) -> Option<Agreement> {
        self.known[side].get(feature as usize).copied().flatten()
    }

    /// The share of every feature, once all are known; not a number where neither of a pair fires.
    pub fn shares(&self, side: usize) -> Option<&Arc<Vec<f32>>> {
        self.shares[side].as_ref()
    }

    /// How it stands.
    pub fn state(&self, side: usize) -> State<'_> {
        let Some(compared) = &self.compared else { return State::Incomparable };
        if let Some(problem) = self.reader.problem(compared).or(self.piece.problem()) {
            return State::Failed(problem);
        }
        match self.reader.last_of(compared) {
            None => State::Opening,
            Some(None) => State::Incomparable,
            Some(Some(reader)) => State::Known(self.count[side], self.known[side].len(), &reader.over),
        }
    }
}
