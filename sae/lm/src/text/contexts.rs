//! Documents cut and packed into the fixed-length rows that a model runs on.

use crate::{Error, Result};

/// A batch of rows of packed contexts.
///
/// A context is BOS (where the model begins texts with one) and consecutive tokens of one document. Several
/// contexts may share a row; they have different segment numbers and do not see each other, so every value is
/// what the model would compute for that context alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contexts {
    /// Rows of the batch.
    pub rows: usize,
    /// Tokens per row, padding included.
    pub len: usize,
    /// Tokens, `[rows · len]`.
    pub tokens: Vec<u32>,
    /// Segment of each token, 1, 2, … within its row; 0 is padding.
    pub segments: Vec<u32>,
    /// Position of each token in its context, counted from 0 (BOS).
    pub positions: Vec<u32>,
    /// Document and position in it of each token; None for BOS, padding and tokens that become no row.
    pub origin: Vec<Option<(u32, u32)>>,
}

impl Contexts {
    /// Number of tokens that become rows.
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
    ///
    /// # Errors
    /// [`Error::Data`] with the first such token.
    pub fn check_tokens(&self, size: usize) -> Result<()> {
        match self.tokens.iter().find(|&&t| t as usize >= size) {
            Some(token) => {
                Err(Error::data(format!("token {token} is outside the model's vocabulary of {size} tokens"))
                    .with_remedy(
                        "take it out of the text, or use the tokenizer that the model was trained with",
                    ))
            }
            None => Ok(()),
        }
    }

    /// An error if a position is beyond a table of `size` positions.
    ///
    /// # Errors
    /// [`Error::Data`] with the first such position.
    pub fn check_positions(&self, size: usize) -> Result<()> {
        match self.positions.iter().find(|&&p| p as usize >= size) {
            Some(position) => {
                Err(Error::data(format!("position {position} is beyond the model's {size} positions"))
                    .with_remedy("use a shorter context length"))
            }
            None => Ok(()),
        }
    }

    /// A number for every token, the same within a context and different in the contexts next to it.
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

/// The tokens of a document, and what its contexts carry of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence<A> {
    /// Its number.
    pub document: u32,
    /// Its tokens, BOS not among them.
    pub tokens: Vec<u32>,
    /// Which of the tokens become rows; all if None. The model sees the others too.
    pub kept: Option<Vec<bool>>,
    /// What is known of the document.
    pub about: A,
}

/// One context: tokens `start..start + tokens.len()` of a document.
#[derive(Debug)]
struct Context<A> {
    document: u32,
    start: u32,
    tokens: Vec<u32>,
    kept: Option<Vec<bool>>,
    /// With a document's first context.
    about: Option<A>,
}

/// Packs documents into batches of `rows` rows of `len` tokens, in order. A batch comes with what is known of
/// the documents that begin in it.
///
/// Contexts are placed first-fit into the open rows of a batch and a batch is closed when the next context
/// fits nowhere, so every document's tokens appear in order over the batches and no batch mixes up what a
/// reader must sort: rows in (document, position) order are found by sorting one batch.
#[derive(Debug)]
pub struct Packer<D, A> {
    documents: D,
    bos: Option<u32>,
    rows: usize,
    len: usize,
    waiting: std::collections::VecDeque<Context<A>>,
}

/// Batches of documents of which nothing but their tokens is known; see [`Packer`]. `context_length` counts
/// BOS.
///
/// # Errors
/// [`Error::Request`] for a context length below 2 or no rows; of the iterator, the errors of `documents`.
pub fn pack<D>(
    documents: D,
    context_length: usize,
    bos: Option<u32>,
    rows: usize,
) -> Result<impl Iterator<Item = Result<Contexts>> + use<D>>
where
    D: IntoIterator<Item = Result<(u32, Vec<u32>)>>,
{
    let sequence = |document: Result<(u32, Vec<u32>)>| {
        document.map(|(document, tokens)| Sequence { document, tokens, kept: None, about: () })
    };
    let packer = pack_with(documents.into_iter().map(sequence), context_length, bos, rows)?;
    Ok(packer.map(|batch| batch.map(|(contexts, _)| contexts)))
}

/// See [`Packer`]. `context_length` counts BOS.
///
/// # Errors
/// As [`pack`].
pub fn pack_with<D, A>(
    documents: D,
    context_length: usize,
    bos: Option<u32>,
    rows: usize,
) -> Result<Packer<D::IntoIter, A>>
where
    D: IntoIterator<Item = Result<Sequence<A>>>,
{
    if rows == 0 || context_length < 2 {
        return Err(Error::request(format!(
            "a context length of {context_length} tokens and {rows} rows per batch cannot hold a token and the one that follows it"
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

impl<D: Iterator<Item = Result<Sequence<A>>>, A> Packer<D, A> {
    /// Where the documents come from.
    pub fn documents(&self) -> &D {
        &self.documents
    }

    /// Makes sure that a context waits, if there is one at all.
    fn refill(&mut self) -> Result<bool> {
        while self.waiting.is_empty() {
            let Some(next) = self.documents.next() else { return Ok(false) };
            self.cut(next?);
        }
        Ok(true)
    }

    fn cut(&mut self, sequence: Sequence<A>) {
        let room = self.len - usize::from(self.bos.is_some());
        let Sequence { document, tokens, kept, about } = sequence;
        let mut about = Some(about);
        for (start, part) in (0..).step_by(room).zip(tokens.chunks(room)) {
            let kept = kept.as_ref().map(|kept| kept[start..start + part.len()].to_vec());
            // Nothing of such a context would be kept, and no other context sees it.
            if kept.as_ref().is_some_and(|kept| !kept.contains(&true)) {
                continue;
            }
            let about = about.take();
            let (start, tokens) = (start as u32, part.to_vec());
            self.waiting.push_back(Context { document, start, tokens, kept, about });
        }
    }

    fn batch(&mut self) -> Result<Option<(Contexts, Vec<A>)>> {
        let mut contexts = Contexts::empty_rows(self.rows, self.len, self.bos.unwrap_or(0));
        let mut begun = Vec::new();
        let mut filled = vec![0; self.rows];
        let mut segments = vec![0u32; self.rows];
        while self.refill()? {
            let extra = usize::from(self.bos.is_some());
            let fits =
                |next: &Context<A>| filled.iter().position(|f| f + next.tokens.len() + extra <= self.len);
            let Some(row) = self.waiting.front().and_then(fits) else { break };
            let Some(context) = self.waiting.pop_front() else { break };
            segments[row] += 1;
            contexts.place(&context, self.bos, row * self.len + filled[row], segments[row]);
            filled[row] += context.tokens.len() + extra;
            begun.extend(context.about);
        }
        Ok((segments[0] > 0).then_some((contexts, begun)))
    }
}

impl Contexts {
    fn place<A>(&mut self, context: &Context<A>, bos: Option<u32>, at: usize, segment: u32) {
        let begin = bos.map(|bos| (bos, None));
        let origin = |i: usize| {
            let is_row = context.kept.as_ref().is_none_or(|kept| kept[i]);
            is_row.then_some((context.document, context.start + i as u32))
        };
        let body = context.tokens.iter().enumerate().map(|(i, &token)| (token, origin(i)));
        for (i, (token, origin)) in begin.into_iter().chain(body).enumerate() {
            self.tokens[at + i] = token;
            self.segments[at + i] = segment;
            self.positions[at + i] = i as u32;
            self.origin[at + i] = origin;
        }
    }
}

impl<D: Iterator<Item = Result<Sequence<A>>>, A> Iterator for Packer<D, A> {
    type Item = Result<(Contexts, Vec<A>)>;

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
    fn a_batch_tells_of_the_documents_that_begin_in_it_and_leaves_out_what_is_not_kept() {
        let sequence = |document: u32, n: usize, kept: Option<Vec<bool>>| {
            Ok(Sequence { document, tokens: vec![7; n], kept, about: document })
        };
        // Contexts of 4 tokens: of the second document the first has no row and is not computed.
        let mask = vec![false, false, false, false, true, false];
        let documents = [sequence(0, 9, None), sequence(1, 6, Some(mask)), sequence(2, 1, None)];
        let batches: Vec<_> = pack_with(documents, 5, Some(1), 1).unwrap().map(Result::unwrap).collect();
        let begun: Vec<_> = batches.iter().map(|(_, begun)| begun.as_slice()).collect();
        assert_eq!(begun, [&[0][..], &[], &[1], &[2]], "the third context of 1 token and BOS leaves room");
        let rows: Vec<_> =
            batches.iter().flat_map(|(contexts, _)| contexts.origin.iter().flatten()).collect();
        assert_eq!(rows.len(), 9 + 1 + 1);
        assert!(rows.contains(&&(1, 4)));
    }

    #[test]
    fn nonsense_sizes_are_refused() {
        assert!(pack(Vec::new(), 1, None, 1).is_err());
        assert!(pack(Vec::new(), 8, None, 0).is_err());
    }
}
