//! One harvest by several machines: which documents are whose.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::HarvestConfig;
use lm::model::Tokenizer;
use lm::text;

use crate::{Error, Progress, Result};

/// Part `index` of `count`, counted from 0, written `index/count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which part.
    pub index: usize,
    /// Of how many.
    pub count: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("`{text}` is no shard; expected i/n with 0 ≤ i < n ≤ 100000, e.g. 0/8 to 7/8");
        let (index, count) = text.split_once('/').ok_or_else(wrong)?;
        let shard =
            Self { index: index.parse().map_err(|_| wrong())?, count: count.parse().map_err(|_| wrong())? };
        if shard.index < shard.count && shard.count <= 100_000 { Ok(shard) } else { Err(wrong()) }
    }
}

impl Shard {
    /// Where this shard's datasets are while the others are made.
    pub fn folder(&self, out: &Path) -> PathBuf {
        out.join(format!("shard-{:05}-of-{:05}", self.index, self.count))
    }
}

/// The documents of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    /// Tokens of every document of the text, cut where the harvest ends. Documents of 0 tokens have no number.
    pub lengths: Vec<u32>,
    /// The shard's documents in `lengths`.
    pub range: std::ops::Range<usize>,
}

/// Reads the text once and gives every shard the documents whose first token lies in its part of all tokens, so that the shards are
/// consecutive and about equally long. Reading is a thousandth of what the model will take.
pub(super) fn share(
    config: &HarvestConfig,
    tokenizer: &Tokenizer,
    shard: Shard,
    progress: &mut dyn Progress,
) -> Result<Share> {
    progress.begin("count the text's tokens", None, "documents");
    let (mut lengths, mut left) = (Vec::new(), config.tokens.unwrap_or(u64::MAX));
    for document in text::open(&config.text)? {
        let tokens = tokenizer.encode(&document?.text)?.len() as u64;
        lengths.push(u32::try_from(tokens.min(left)).unwrap_or(u32::MAX));
        left -= tokens.min(left);
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

fn divide(lengths: Vec<u32>, shard: Shard) -> Share {
    let total: u64 = lengths.iter().map(|&n| u64::from(n)).sum();
    // The first document that begins at or after a shard's part of the tokens.
    let bound = |index: usize| {
        let wanted = u128::from(total) * index as u128 / shard.count as u128;
        let mut at = 0u128;
        let before = |n: &&u32| {
            let here = at;
            at += u128::from(**n);
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
    fn shards_are_parsed_and_checked() {
        assert_eq!("3/8".parse(), Ok(Shard { index: 3, count: 8 }));
        for bad in ["", "3", "8/8", "-1/2", "0/0", "1/2/3", "0/1000000"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }

    #[test]
    fn shards_are_consecutive_complete_and_about_equal() {
        let lengths: Vec<u32> = (0..500u32).map(|i| i * 7919 % 23).collect();
        let total: u32 = lengths.iter().sum();
        for count in [1, 2, 3, 7, 64] {
            let mut next = 0;
            for index in 0..count {
                let share = divide(lengths.clone(), Shard { index, count });
                assert_eq!(share.range.start, next);
                next = share.range.end;
                let tokens: u32 = lengths[share.range].iter().sum();
                assert!(
                    (i64::from(tokens) - i64::from(total) / count as i64).abs() <= 23,
                    "{tokens} of {count}"
                );
            }
            assert_eq!(next, lengths.len());
        }
    }

    #[test]
    fn more_shards_than_documents_leave_some_empty() {
        let ranges: Vec<_> =
            (0..4).map(|index| divide(vec![5, 5], Shard { index, count: 4 }).range.len()).collect();
        assert_eq!(ranges.iter().sum::<usize>(), 2);
    }
}
