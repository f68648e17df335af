//! The inverted index: of every token of the vocabulary, the features that fire on it.
//!
//! The pass over the features meets them one after the other, the table is sorted by token: pairs are spilled to files of ranges of
//! tokens, and each is sorted when its turn comes, as `buckets` does with features. A range is as wide as its pairs can be many.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use storage::token_features::{TokenFeatureRow, TokenFeatureWriter};

use super::tally::FiredToken;
use crate::{Error, Result};

/// One spilled pair: token u32, feature u32, count u32, mean f32, little endian.
const RECORD: usize = 16;
/// Memory that the pairs of one range may take when they are sorted.
const TARGET_BYTES: u64 = 64 << 20;
/// Open files at most.
const MOST_RANGES: u64 = 200;

/// How often each token occurs and how many activations there are on it.
#[derive(Debug, Default)]
pub struct TokenCounts {
    occurrences: Vec<u32>,
    activations: Vec<u64>,
}

impl TokenCounts {
    /// Counts an occurrence of `token` on which `active` features fire.
    pub fn add(&mut self, token: u32, active: usize) {
        let token = token as usize;
        if token >= self.occurrences.len() {
            self.occurrences.resize(token + 1, 0);
            self.activations.resize(token + 1, 0);
        }
        self.occurrences[token] += 1;
        self.activations[token] += active as u64;
    }

    /// Whether there are none: rows are not tokens.
    pub fn is_empty(&self) -> bool {
        self.occurrences.is_empty()
    }

    /// The last token of each range: no range has more than `most` pairs, unless one token alone has, or the files would be too many.
    fn ranges(&self, features: usize, most: u64) -> Vec<u32> {
        // A feature makes one pair with a token however often it fires there.
        let pairs = |fired: &u64| (*fired).min(features as u64);
        let all: u64 = self.activations.iter().map(pairs).sum();
        let most = most.max(all.div_ceil(MOST_RANGES)).max(1);
        let (mut ends, mut sum) = (Vec::new(), 0);
        for (token, fired) in self.activations.iter().enumerate() {
            if sum > 0 && sum + pairs(fired) > most {
                ends.push(token as u32 - 1);
                sum = 0;
            }
            sum += pairs(fired);
        }
        ends.extend(self.activations.len().checked_sub(1).map(|last| last as u32));
        ends
    }
}

/// Receives features and writes the table at the end.
pub struct Inverted {
    occurrences: Vec<u32>,
    ends: Vec<u32>,
    files: Vec<(PathBuf, BufWriter<File>)>,
    written: Vec<u64>,
}

impl Inverted {
    /// Opens the files in `folder`, which exists.
    ///
    /// # Errors
    /// A file that cannot be made.
    pub fn create(folder: &Path, counts: TokenCounts, features: usize) -> Result<Self> {
        let ends = counts.ranges(features, TARGET_BYTES / RECORD as u64);
        Self::with_ranges(folder, counts, ends)
    }

    fn with_ranges(folder: &Path, counts: TokenCounts, ends: Vec<u32>) -> Result<Self> {
        let open = |range: usize| {
            let path = folder.join(format!("tokens-{range:05}.bin"));
            let file = File::create(&path).map_err(|e| Error::io(&path, e))?;
            Ok((path, BufWriter::with_capacity(1 << 16, file)))
        };
        let files = (0..ends.len()).map(open).collect::<Result<Vec<_>>>()?;
        let written = vec![0; files.len()];
        Ok(Self { occurrences: counts.occurrences, ends, files, written })
    }

    /// Adds a feature with the tokens it fires on, by token.
    ///
    /// # Errors
    /// A disk that is full or fails.
    pub fn add(&mut self, feature: u32, fired: &[FiredToken]) -> Result<()> {
        for on in fired {
            let mut record = [0; RECORD];
            record[..4].copy_from_slice(&on.token.to_le_bytes());
            record[4..8].copy_from_slice(&feature.to_le_bytes());
            record[8..12].copy_from_slice(&on.count.to_le_bytes());
            record[12..].copy_from_slice(&on.mean.to_le_bytes());
            let range = self.ends.partition_point(|end| *end < on.token);
            let (path, file) = &mut self.files[range];
            file.write_all(&record).map_err(|e| Error::io(path, e))?;
            self.written[range] += 1;
        }
        Ok(())
    }

    /// Writes the table to `path` and removes the files; rows of the table.
    ///
    /// # Errors
    /// A disk that is full or fails; a file that holds less than was written.
    pub fn finish(self, path: &Path) -> Result<u64> {
        let mut table = TokenFeatureWriter::create(path)?;
        let mut rows = 0;
        for ((spilled, mut file), written) in self.files.into_iter().zip(self.written) {
            file.flush().map_err(|e| Error::io(&spilled, e))?;
            drop(file);
            let mut pairs = read(&spilled, written)?;
            std::fs::remove_file(&spilled).map_err(|e| Error::io(&spilled, e))?;
            pairs.sort_unstable_by_key(|row| (row.token, std::cmp::Reverse(row.count), row.feature));
            for mut row in pairs {
                row.occurrences = self.occurrences.get(row.token as usize).copied().unwrap_or(row.count);
                row.share = (f64::from(row.count) / f64::from(row.occurrences)) as f32;
                table.append(row)?;
                rows += 1;
            }
        }
        table.finish()?;
        Ok(rows)
    }
}

fn read(path: &Path, records: u64) -> Result<Vec<TokenFeatureRow>> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut record = [0; RECORD];
    let mut pairs = Vec::with_capacity(usize::try_from(records).unwrap_or(0));
    for _ in 0..records {
        reader.read_exact(&mut record).map_err(|e| Error::io(path, e))?;
        let [token, feature, count, mean] =
            [0, 4, 8, 12].map(|at| [record[at], record[at + 1], record[at + 2], record[at + 3]]);
        pairs.push(TokenFeatureRow {
            token: u32::from_le_bytes(token),
            feature: u32::from_le_bytes(feature),
            count: u32::from_le_bytes(count),
            mean: f32::from_le_bytes(mean),
            ..TokenFeatureRow::default()
        });
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::super::summary::Activations;
    use super::super::tally::TokenTally;
    use super::*;
    use proptest::prelude::*;
    use storage::token_features::{self, FILE};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]
        #[test]
        fn as_counting_every_pair(
            tokens in prop::collection::vec(0u32..9, 1..60),
            fired in prop::collection::vec(prop::collection::btree_set(0usize..60, 0..20), 1..7),
            most in 1u64..12,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let rows_of: Vec<Vec<u32>> = fired
                .iter()
                .map(|rows| rows.iter().filter(|row| **row < tokens.len()).map(|row| *row as u32).collect())
                .collect();
            let value = |feature: usize, row: u32| 0.5 + (feature as f32) + (row % 7) as f32;
            let mut counts = TokenCounts::default();
            for (row, token) in tokens.iter().enumerate() {
                counts.add(*token, rows_of.iter().filter(|rows| rows.contains(&(row as u32))).count());
            }
            let ends = counts.ranges(rows_of.len(), most);
            prop_assert_eq!(ends.last().copied(), tokens.iter().max().copied());
            let mut inverted = Inverted::with_ranges(folder.path(), counts, ends).unwrap();
            for (feature, rows) in rows_of.iter().enumerate() {
                let values: Vec<f32> = rows.iter().map(|row| value(feature, *row)).collect();
                let fired = TokenTally::default().count(Activations { rows, values: &values }, &tokens);
                inverted.add(feature as u32, &fired).unwrap();
            }
            let path = folder.path().join(FILE);
            inverted.finish(&path).unwrap();
            let table = storage::row::open::<TokenFeatureRow>(&path).unwrap();
            for token in 0..9u32 {
                let occurrences = tokens.iter().filter(|t| **t == token).count();
                let mut expected: Vec<(u32, u32)> = rows_of
                    .iter()
                    .enumerate()
                    .map(|(f, rows)| (f as u32, rows.iter().filter(|r| tokens[**r as usize] == token).count() as u32))
                    .filter(|(_, count)| *count > 0)
                    .collect();
                expected.sort_by_key(|(feature, count)| (std::cmp::Reverse(*count), *feature));
                let found = token_features::read(&table, token).unwrap();
                prop_assert_eq!(found.iter().map(|r| (r.feature, r.count)).collect::<Vec<_>>(), expected);
                for row in found {
                    prop_assert_eq!(row.occurrences as usize, occurrences);
                    prop_assert!((row.share - row.count as f32 / occurrences as f32).abs() < 1e-6);
                    let on = rows_of[row.feature as usize].iter().filter(|r| tokens[**r as usize] == token);
                    let mean = on.map(|r| value(row.feature as usize, *r)).sum::<f32>() / row.count as f32;
                    prop_assert!((row.mean - mean).abs() < 1e-4);
                }
            }
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "spilled files are gone");
        }
    }

    #[test]
    fn no_range_has_more_pairs_than_it_may() {
        let mut counts = TokenCounts::default();
        for (token, active) in [(0, 5), (0, 5), (1, 3), (2, 1), (3, 4), (7, 2)] {
            counts.add(token, active);
        }
        // Bounds of the pairs with 8 features: 8, 3, 1, 4, 0, 0, 0, 2.
        assert_eq!(counts.ranges(8, 5), [0, 2, 6, 7]);
        assert_eq!(counts.ranges(8, 100), [7]);
        assert!(TokenCounts::default().ranges(8, 5).is_empty());
    }
}
