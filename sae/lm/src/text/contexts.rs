//! Documents cut and packed into the fixed-length rows that a model runs on.

use crate::{Error, Result};

/// A batch of rows of packed contexts.
///
/// A context is BOS (where the model has one) and consecutive tokens of one document. Several contexts may share a row; they have
/// different segment numbers and do not see each other, so every value is what the model would compute for that context alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contexts {
    /// Rows of the batch.
    pub rows: usize,
    /// Tokens a row, padding included.
    pub len: usize,
    /// Tokens, `[rows · len]`.
    pub tokens: Vec<u32>,
    /// Segment of each token, 1, 2, … within its row; 0 is padding.
    pub segments: Vec<u32>,
    /// Position of each token in its context, counted from 0 (BOS).
    pub positions: Vec<u32>,
    /// Document and position in it of each token; None for BOS and padding.
    pub origin: Vec<Option<(u32, u32)>>,
}

impl Contexts {
    /// Number of tokens that belong to documents.
    pub fn document_tokens(&self) -> usize {
        self.origin.iter().flatten().count()
    }

    /// For each token the one that follows it in its segment.
    pub fn targets(&self) -> Vec<Option<u32>> {
        let follows = |i: usize| {
            let last_of_row = (i + 1).is_multiple_of(self.len);
            (!last_of_row && self.segments[i] != 0 && self.segments[i] == self.segments[i + 1])
                .then(|| self.tokens[i + 1])
        };
        (0..self.tokens.len()).map(follows).collect()
    }

    /// An error if a token is not in a vocabulary of `size`.
    pub fn check_tokens(&self, size: usize) -> Result<()> {
        match self.tokens.iter().find(|&&t| t as usize >= size) {
            Some(token) => {
                Err(Error::data(format!("token {token} is outside the model's vocabulary of {size} tokens")))
            }
            None => Ok(()),
        }
    }

    /// An error if a position is beyond a table of `size` positions.
    pub fn check_positions(&self, size: usize) -> Result<()> {
        match self.positions.iter().find(|&&p| p as usize >= size) {
            Some(position) => Err(Error::data(format!(
                "position {position} is beyond the model's {size} positions; use a shorter context length"
            ))),
            None => Ok(()),
        }
    }

    /// A number for every token, the same within a context and another in the context beside it.
    pub fn sequences(&self) -> Vec<u32> {
        let of = |i: usize| {
            let row = (i / self.len.max(1)) as u32;
            // Neighbouring contexts differ in segment or row; that a number comes back later does not matter.
            self.segments[i].wrapping_mul(2).wrapping_add(row & 1)
        };
        (0..self.segments.len()).map(of).collect()
    }

    fn empty_rows(rows: usize, len: usize, padding: u32) -> Self {
        let n = rows * len;
        Self {
            rows,
            len,
            tokens: vec![padding; n],
            segments: vec![0; n],
            positions: vec![0; n],
            origin: vec![None; n],
        }
    }
}

/// One context: tokens `start..start + tokens.len()` of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Context {
    document: u32,
    start: u32,
    tokens: Vec<u32>,
}

/// Packs documents into batches of `rows` rows of `len` tokens, in order.
///
/// Contexts are placed first-fit into the open rows of a batch and a batch is closed when the next context fits nowhere, so every
/// document's tokens appear in order over the batches and no batch mixes up what a reader must sort: rows in (document, position)
/// order are found by sorting one batch.
#[derive(Debug)]
pub struct Packer<D> {
    documents: D,
    bos: Option<u32>,
    rows: usize,
    len: usize,
    waiting: std::collections::VecDeque<Context>,
}

/// See [`Packer`]. `context_length` counts BOS.
pub fn pack<D>(
    documents: D,
    context_length: usize,
    bos: Option<u32>,
    rows: usize,
) -> Result<Packer<D::IntoIter>>
where
    D: IntoIterator<Item = Result<(u32, Vec<u32>)>>,
{
    if rows == 0 || context_length < 2 {
        return Err(Error::request(format!(
            "a context length of {context_length} tokens and {rows} rows a batch cannot hold a token and the one that follows it"
        )));
    }
    Ok(Packer {
        documents: documents.into_iter(),
        bos,
        rows,
        len: context_length,
        waiting: Default::default(),
    })
}

impl<D: Iterator<Item = Result<(u32, Vec<u32>)>>> Packer<D> {
    /// Makes sure that a context waits, if there is one at all.
    fn refill(&mut self) -> Result<bool> {
        let room = self.len - usize::from(self.bos.is_some());
        while self.waiting.is_empty() {
            let Some(next) = self.documents.next() else { return Ok(false) };
            let (document, tokens) = next?;
            let cut = |(i, part): (usize, &[u32])| Context {
                document,
                start: (i * room) as u32,
                tokens: part.to_vec(),
            };
            self.waiting.extend(tokens.chunks(room).enumerate().map(cut));
        }
        Ok(true)
    }

    fn batch(&mut self) -> Result<Option<Contexts>> {
        let mut contexts = Contexts::empty_rows(self.rows, self.len, self.bos.unwrap_or(0));
        let mut filled = vec![0; self.rows];
        let mut segments = vec![0u32; self.rows];
        while self.refill()? {
            let extra = usize::from(self.bos.is_some());
            let fits = |next: &Context| filled.iter().position(|f| f + next.tokens.len() + extra <= self.len);
            let Some(row) = self.waiting.front().and_then(fits) else { break };
            let Some(context) = self.waiting.pop_front() else { break };
            segments[row] += 1;
            let at = row * self.len + filled[row];
            let begin = self.bos.map(|bos| (bos, None));
            let start = context.start;
            let body = context.tokens.iter().zip(start..).map(|(&t, p)| (t, Some((context.document, p))));
            for (i, (token, origin)) in begin.into_iter().chain(body).enumerate() {
                contexts.tokens[at + i] = token;
                contexts.segments[at + i] = segments[row];
                contexts.positions[at + i] = i as u32;
                contexts.origin[at + i] = origin;
            }
            filled[row] += context.tokens.len() + extra;
        }
        Ok((segments[0] > 0).then_some(contexts))
    }
}

impl<D: Iterator<Item = Result<(u32, Vec<u32>)>>> Iterator for Packer<D> {
    type Item = Result<Contexts>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(lengths: &[usize], len: usize, bos: Option<u32>, rows: usize) -> Vec<Contexts> {
        let documents =
            lengths.iter().enumerate().map(|(d, &n)| Ok((d as u32, (0..n as u32).map(|t| 10 + t).collect())));
        pack(documents, len, bos, rows).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn every_token_appears_once_with_its_origin() {
        let lengths = [3, 0, 17, 1, 8, 2, 5];
        for bos in [None, Some(1)] {
            let mut seen = Vec::new();
            for batch in batches(&lengths, 8, bos, 2) {
                for i in 0..batch.tokens.len() {
                    match batch.origin[i] {
                        Some((d, p)) => {
                            assert_eq!(batch.tokens[i], 10 + p);
                            seen.push((d, p));
                        }
                        None if batch.segments[i] != 0 => {
                            assert_eq!((Some(batch.tokens[i]), batch.positions[i]), (bos, 0));
                        }
                        None => assert!(batch.segments[i] == 0),
                    }
                }
            }
            seen.sort_unstable();
            let all: Vec<_> = lengths
                .iter()
                .enumerate()
                .flat_map(|(d, &n)| (0..n as u32).map(move |p| (d as u32, p)))
                .collect();
            assert_eq!(seen, all);
        }
    }

    #[test]
    fn targets_stay_inside_their_segment() {
        let batch = &batches(&[2, 3], 8, Some(1), 1)[0];
        assert_eq!(batch.segments, [1, 1, 1, 2, 2, 2, 2, 0]);
        assert_eq!(batch.positions, [0, 1, 2, 0, 1, 2, 3, 0]);
        assert_eq!(batch.targets(), [Some(10), Some(11), None, Some(10), Some(11), Some(12), None, None]);
    }

    #[test]
    fn long_documents_are_cut_into_consecutive_contexts() {
        let all = batches(&[10], 5, Some(1), 1);
        let starts: Vec<_> = all.iter().map(|b| b.origin[1]).collect();
        assert_eq!(starts, [Some((0, 0)), Some((0, 4)), Some((0, 8))]);
    }

    #[test]
    fn nonsense_sizes_are_refused() {
        assert!(pack(Vec::new(), 1, None, 1).is_err());
        assert!(pack(Vec::new(), 8, None, 0).is_err());
    }
}
