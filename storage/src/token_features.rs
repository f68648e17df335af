//! The codes by token: `features/token_features.parquet`, which answers what fires on a word.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::field::TOKEN;
use crate::manifest::Part;
use crate::row::{self, RowQueue, row};
use crate::table::{Scan, TableReader};

/// The file's name inside `features/`.
pub const FILE: &str = "token_features.parquet";

row! {
    /// One pair of a token of the vocabulary and a feature that fires on it, sorted by token, and of a token the most frequent
    /// first. Pairs that never happen have no row.
    #[layout(by_token)]
    #[derive(Copy)]
    TokenFeatureRow {
        /// Id of the token.
        token: u32,
        /// Number of the feature.
        feature: u32,
        /// Occurrences of the token on which the feature fires.
        count: u32,
        /// Occurrences of the token among those that were indexed.
        occurrences: u32,
        /// count / occurrences.
        share: f32,
        /// Mean activation of the feature over those `count` occurrences.
        mean: f32,
    }
}

/// Writes sorted rows. A row out of order is an error: readers rely on the order.
#[derive(Debug)]
pub struct TokenFeatureWriter {
    queue: RowQueue<TokenFeatureRow>,
    last: u32,
}

impl TokenFeatureWriter {
    /// Begins the file.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        Ok(Self { queue: RowQueue::create(path)?, last: 0 })
    }

    /// Appends the next row.
    ///
    /// # Errors
    /// When its token comes before that of the last row, or the file cannot be written.
    pub fn append(&mut self, row: TokenFeatureRow) -> Result<()> {
        if row.token < self.last {
            return Err(Error::column(
                TOKEN,
                format!("a token from {} on", self.last),
                row.token.to_string(),
            ));
        }
        self.last = row.token;
        self.queue.append(row)
    }

    /// Writes what waits and closes the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(self) -> Result<Part> {
        self.queue.finish()
    }
}

/// Reads the rows of one token. Only its row groups and pages are read.
///
/// # Errors
/// When the table cannot be read.
pub fn read(reader: &TableReader, token: u32) -> Result<Vec<TokenFeatureRow>> {
    let range = Some((TOKEN.to_owned(), u64::from(token), u64::from(token)));
    row::read(reader, Scan { range, ..Scan::default() })
}

/// A feature that fires on every word of a search.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct FiringFeature {
    /// Number of the feature.
    pub feature: u32,
    /// The word that is counted, by its place among those of the search: of several the one with the least share.
    pub word: usize,
    /// Occurrences of that word on which it fires.
    pub count: u64,
    /// Indexed occurrences of that word.
    pub occurrences: u64,
    /// Mean activation over those `count` occurrences.
    pub mean: f64,
}

impl FiringFeature {
    /// Share of the occurrences on which it fires.
    pub fn share(&self) -> f64 {
        if self.occurrences == 0 { 0.0 } else { self.count as f64 / self.occurrences as f64 }
    }
}

/// The features that fire on each of `words`, which are lists of tokens that stand for the same: a feature's count is that over all
/// tokens of a word. Of several words the one on which it fires least often counts. In the order of their numbers.
///
/// # Errors
/// When the table cannot be read.
pub fn firing_on(reader: &TableReader, words: &[Vec<u32>]) -> Result<Vec<FiringFeature>> {
    let mut every: Option<HashMap<u32, FiringFeature>> = None;
    for (word, tokens) in words.iter().enumerate() {
        let of_word = firing_on_word(reader, word, tokens)?;
        every = Some(match every {
            None => of_word,
            Some(before) => weaker_of_both(before, &of_word),
        });
    }
    let mut found: Vec<_> = every.unwrap_or_default().into_values().collect();
    found.sort_unstable_by_key(|one| one.feature);
    Ok(found)
}

fn firing_on_word(reader: &TableReader, word: usize, tokens: &[u32]) -> Result<HashMap<u32, FiringFeature>> {
    let (mut occurrences, mut found) = (0, HashMap::<u32, FiringFeature>::new());
    let mut tokens = tokens.to_vec();
    tokens.sort_unstable();
    tokens.dedup();
    for token in tokens {
        let rows = read(reader, token)?;
        // A token on which nothing fires has no rows; it then takes no part.
        occurrences += rows.first().map_or(0, |row| u64::from(row.occurrences));
        for row in rows {
            let one = found.entry(row.feature).or_insert(FiringFeature {
                feature: row.feature,
                word,
                count: 0,
                occurrences: 0,
                mean: 0.0,
            });
            let count = u64::from(row.count);
            one.count += count;
            // A running mean: its weight is what was counted so far.
            one.mean += (f64::from(row.mean) - one.mean) * count as f64 / one.count.max(1) as f64;
        }
    }
    found.values_mut().for_each(|one| one.occurrences = occurrences);
    Ok(found)
}

fn weaker_of_both(
    mut before: HashMap<u32, FiringFeature>,
    word: &HashMap<u32, FiringFeature>,
) -> HashMap<u32, FiringFeature> {
    before.retain(|feature, one| match word.get(feature) {
        None => false,
        Some(other) => {
            if other.share() < one.share() {
                *one = *other;
            }
            true
        }
    });
    before
}

/// How well a feature answers "what fires on this": the share of the occurrences, weighed by how many times more often it fires there
/// than on any token (`density`). A feature that fires everywhere does not answer the search, whatever its share.
pub fn relevance(share: f64, density: f64) -> f64 {
    if share <= 0.0 || density <= 0.0 { 0.0 } else { share * (share / density).ln().max(0.0) }
}

/// The tokens that each word of a typed text stands for. Words are what spaces separate. A word stands for the tokens that read like
/// it without the space around them and whatever the case; where no token does, it is cut into the longest pieces that are tokens,
/// and each piece counts as a word. Text in quotation marks stands for the token that reads exactly so, spaces and case included.
///
/// A word that cannot be spelled with these tokens is the error.
///
/// # Errors
/// The word that no token reads like.
pub fn spell<'a>(
    text: &str,
    vocabulary: &(impl Iterator<Item = &'a str> + Clone),
) -> std::result::Result<Vec<Vec<u32>>, String> {
    let texts = || (0..).zip(vocabulary.clone());
    if let Some(exact) = text.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        let same: Vec<u32> = texts().filter(|(_, token)| *token == exact).map(|(id, _)| id).collect();
        return if same.is_empty() { Err(exact.to_owned()) } else { Ok(vec![same]) };
    }
    let wanted: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let mut read: HashMap<String, Vec<u32>> = HashMap::new();
    for (id, token) in texts() {
        let token = token.trim();
        // Most tokens are not part of what was typed; only the others are worth a copy.
        if !token.is_empty() && wanted.iter().any(|word| token.len() <= 2 * word.len()) {
            let token = token.to_lowercase();
            if wanted.iter().any(|word| word.contains(&token)) {
                read.entry(token).or_default().push(id);
            }
        }
    }
    let mut words = Vec::new();
    for word in wanted {
        let mut rest = word.as_str();
        while !rest.is_empty() {
            let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8()).rev();
            let longest = ends.into_iter().find_map(|end| Some((end, read.get(&rest[..end])?)));
            let Some((end, tokens)) = longest else { return Err(word.clone()) };
            words.push(tokens.clone());
            rest = &rest[end..];
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(u32, u32, u32, u32, f32)]) -> (tempfile::TempDir, TableReader) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let mut writer = TokenFeatureWriter::create(&path).unwrap();
        for &(token, feature, count, occurrences, mean) in rows {
            let share = count as f32 / occurrences as f32;
            writer.append(TokenFeatureRow { token, feature, count, occurrences, share, mean }).unwrap();
        }
        writer.finish().unwrap();
        let reader = row::open::<TokenFeatureRow>(&path).unwrap();
        (folder, reader)
    }

    #[test]
    fn of_several_words_the_one_with_the_least_share_counts() {
        let rows = [(1, 7, 3, 4, 2.0), (1, 9, 1, 4, 1.0), (2, 7, 1, 2, 8.0), (5, 7, 1, 10, 3.0)];
        let (_folder, reader) = table(&rows);
        let word = firing_on(&reader, &[vec![2, 1, 1]]).unwrap();
        // Feature 7 fires on 3 of 4 and 1 of 2: on 4 of 6, mean (3·2 + 8) / 4.
        assert_eq!(
            word,
            [
                FiringFeature { feature: 7, word: 0, count: 4, occurrences: 6, mean: 3.5 },
                FiringFeature { feature: 9, word: 0, count: 1, occurrences: 6, mean: 1.0 }
            ]
        );
        let both = firing_on(&reader, &[vec![1, 2], vec![5]]).unwrap();
        assert_eq!(both, [FiringFeature { feature: 7, word: 1, count: 1, occurrences: 10, mean: 3.0 }]);
        assert!(
            firing_on(&reader, &[vec![3]]).unwrap().is_empty() && firing_on(&reader, &[]).unwrap().is_empty()
        );
    }

    #[test]
    fn a_row_out_of_order_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = TokenFeatureWriter::create(&folder.path().join(FILE)).unwrap();
        writer.append(TokenFeatureRow { token: 3, ..TokenFeatureRow::default() }).unwrap();
        let error = writer.append(TokenFeatureRow { token: 2, ..TokenFeatureRow::default() }).unwrap_err();
        assert!(error.to_string().contains("a token from 3 on"), "{error}");
    }

    #[test]
    fn words_are_spelled_in_tokens() {
        let vocabulary = [" court", "Court", "s", "the", " the", "u", "co", "\n"];
        let spell = |text| spell(text, &vocabulary.iter().copied());
        assert_eq!(spell("The court"), Ok(vec![vec![3, 4], vec![0, 1]]));
        assert_eq!(spell("courts"), Ok(vec![vec![0, 1], vec![2]]), "the longest piece first");
        assert_eq!(spell("\" court\""), Ok(vec![vec![0]]));
        assert_eq!(spell("courtx"), Err("courtx".to_owned()));
        assert_eq!(spell("  "), Ok(vec![]));
    }

    #[test]
    fn what_fires_everywhere_is_no_answer() {
        assert_eq!(relevance(0.3, 0.3), 0.0);
        assert!(relevance(0.9, 0.001) > relevance(1.0, 0.5));
        assert!(relevance(0.9, 0.001) > relevance(0.5, 0.001));
        assert_eq!(relevance(0.0, 0.1), 0.0);
    }
}
