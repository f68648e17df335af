//! One harvest by several machines: which documents are whose.

use super::HarvestConfig;
use super::sequences::Sequences;
use crate::shards::Shard;
use crate::{Error, Progress, Result};
use lm::model::Tokenizer;
use lm::text;

/// What a document of the text makes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Length {
    /// Rows, cut where the harvest ends.
    pub rows: u64,
    /// Sequences of tokens that have rows: most documents are one. Each has a number.
    pub sequences: u32,
}

/// The documents of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    /// Of every document of the text.
    pub lengths: Vec<Length>,
    /// The shard's documents in `lengths`.
    pub range: std::ops::Range<usize>,
}

/// Reads the text once and gives every shard the documents whose first token lies in its part of all tokens,
/// so that the shards are consecutive and about equally long. Reading is a thousandth of what the model will
/// take.
pub(super) fn share(
    config: &HarvestConfig,
    tokenizer: &Tokenizer,
    shard: Shard,
    progress: &mut dyn Progress,
) -> Result<Share> {
    progress.begin("count the text's tokens", None, "documents");
    let (mut lengths, mut left) = (Vec::new(), config.tokens.unwrap_or(u64::MAX));
    let mut sequences = Sequences::new(tokenizer, &config.roles);
    for document in text::documents(&config.text, &config.text_options())? {
        let mut length = Length::default();
        for tokens in sequences.of(document?.text)? {
            let rows = tokens.rows().min(left);
            left -= rows;
            length.rows += rows;
            length.sequences += u32::from(rows > 0);
        }
        lengths.push(length);
        progress.advance(lengths.len() as u64, "");
        if left == 0 {
            break;
        }
        if progress.stop_requested() {
            return Err(Error::stopped("the text was being counted; give the same command again"));
        }
    }
    let share = divide(lengths, shard);
    progress.end(&format!("documents {} to {} are this shard's", share.range.start, share.range.end));
    Ok(share)
}

fn divide(lengths: Vec<Length>, shard: Shard) -> Share {
    let total: u64 = lengths.iter().map(|length| length.rows).sum();
    // The first document that begins at or after a shard's part of the tokens.
    let bound = |index: usize| {
        let wanted = u128::from(total) * index as u128 / shard.count as u128;
        let mut at = 0u128;
        let before = |length: &&Length| {
            let here = at;
            at += u128::from(length.rows);
            here < wanted
        };
        lengths.iter().take_while(before).count()
    };
    let last = if shard.index + 1 == shard.count { lengths.len() } else { bound(shard.index + 1) };
    Share { range: bound(shard.index)..last, lengths }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_consecutive_complete_and_about_equal() {
        let length = |i: u64| Length { rows: i * 7919 % 23, sequences: 1 };
        let lengths: Vec<Length> = (0..500).map(length).collect();
        let total: u64 = lengths.iter().map(|length| length.rows).sum();
        for count in [1, 2, 3, 7, 64] {
            let mut next = 0;
            for index in 0..count {
                let share = divide(lengths.clone(), Shard { index, count });
                assert_eq!(share.range.start, next);
                next = share.range.end;
                let rows: u64 = lengths[share.range].iter().map(|length| length.rows).sum();
                assert!(rows.abs_diff(total / count as u64) <= 23, "{rows} of {count}");
            }
            assert_eq!(next, lengths.len());
        }
    }

    #[test]
    fn more_shards_than_documents_leave_some_empty() {
        let ranges: Vec<_> = (0..4)
            .map(|index| {
                divide(vec![Length { rows: 5, sequences: 1 }; 2], Shard { index, count: 4 }).range.len()
            })
            .collect();
        assert_eq!(ranges.iter().sum::<usize>(), 2);
    }
}
