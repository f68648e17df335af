//! Which features a text is about: those that fire on its words, those that somebody named so, those that promote it.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;
use storage::token_features::{self, FiringFeature, relevance};
use storage::{Run, explanations, notes};

use crate::{Error, Result};

/// Why a feature was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum FoundBy {
    /// It fires on every word of the text.
    FiresOn {
        /// That word, by its place in [`FoundFeatures::words`].
        word: usize,
        /// Occurrences of the word on which it fires least often.
        count: u64,
        /// Indexed occurrences of that word.
        occurrences: u64,
        /// count / occurrences.
        share: f64,
        /// Mean activation there.
        mean: f64,
    },
    /// Its label, a person's or the index's, has the text in it.
    Label,
    /// An explanation has the text in it.
    Explanation,
    /// It makes a word of the text likelier: the word is among the tokens that it promotes most.
    Promotes,
}

/// A feature that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundFeature {
    /// Number of the feature.
    pub feature: u32,
    /// Why it was found; the strongest reason.
    #[serde(flatten)]
    pub by: FoundBy,
    /// Share of all indexed tokens on which it fires.
    pub density: f32,
    /// What a person or else the index calls it.
    pub label: Option<String>,
    /// Its first explanation.
    pub explanation: Option<String>,
}

/// The answer to a search.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FoundFeatures {
    /// The words of the text, each as the tokens that it stands for; empty where it cannot be spelled with the vocabulary.
    pub words: Vec<Vec<String>>,
    /// The features: what fires on the text, then labels and explanations, then what promotes it.
    pub features: Vec<FoundFeature>,
    /// Why nothing is known of what fires on the text.
    pub gap: Option<String>,
}

/// Finds the features of the run in `run_dir` that `text` is about, at most `limit`.
///
/// # Errors
/// A run without an index, or tables that cannot be read.
pub fn find(run_dir: &Path, text: &str, limit: usize) -> Result<FoundFeatures> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Error::request("the text to find is empty"));
    }
    crate::rows::must_be_run(run_dir, "an index")?;
    let run = Run::open(run_dir)?;
    let Some(table) = run.features()? else {
        return Err(Error::request(format!("{} has no feature index", run_dir.display()))
            .with_remedy(format!("run `sae index {}`", run_dir.display())));
    };
    let features = storage::features::FeatureColumns::read(&table, &["density", "label", "top_logits"])?;
    let (mut found, firing) = firing_on(&run, text, &features.density)?;
    let known =
        FeatureTexts { labels: labels(run_dir, &features.label)?, explanations: explanations_of(run_dir)? };
    let mut seen: Vec<bool> = vec![false; features.density.len()];
    let mut add = |feature: u32, by: FoundBy| {
        if let Some(seen) = seen.get_mut(feature as usize).filter(|seen| !**seen) {
            *seen = true;
            found.features.push(known.describe(feature, by, &features.density));
        }
    };
    for one in firing {
        let (share, FiringFeature { feature, word, count, occurrences, mean }) = (one.share(), one);
        add(feature, FoundBy::FiresOn { word, count, occurrences, share, mean });
    }
    let needle = text.trim_matches('"').to_lowercase();
    let has = |text: &String| text.to_lowercase().contains(&needle);
    for feature in 0..features.density.len() as u32 {
        if known.labels.get(&feature).is_some_and(has) {
            add(feature, FoundBy::Label);
        } else if known.explanations.get(&feature).is_some_and(|texts| texts.iter().any(has)) {
            add(feature, FoundBy::Explanation);
        }
    }
    for (feature, promoted) in (0..).zip(&features.top_logits) {
        let every = |word: &Vec<u32>| promoted.iter().any(|(token, _)| word.contains(token));
        if !found.words.is_empty() && found.tokens.iter().all(every) {
            add(feature, FoundBy::Promotes);
        }
    }
    found.features.truncate(limit);
    Ok(FoundFeatures { words: found.words, features: found.features, gap: found.gap })
}

/// The answer while it is made.
#[derive(Default)]
struct Search {
    words: Vec<Vec<String>>,
    tokens: Vec<Vec<u32>>,
    features: Vec<FoundFeature>,
    gap: Option<String>,
}

/// The words of the text, and the features that fire on all of them, the best first.
fn firing_on(run: &Run, text: &str, density: &[f32]) -> Result<(Search, Vec<FiringFeature>)> {
    let mut search = Search::default();
    let Some(vocabulary) = run.vocabulary()? else {
        search.gap = Some("the rows of this run are not tokens, or it has no vocabulary".to_owned());
        return Ok((search, Vec::new()));
    };
    let vocabulary = storage::vocabulary::read(&vocabulary)?;
    match token_features::spell(text, &vocabulary.iter().map(String::as_str)) {
        Ok(words) => search.tokens = words,
        Err(word) => {
            search.gap = Some(format!("“{word}” cannot be spelled with the tokens of this run"));
            return Ok((search, Vec::new()));
        }
    }
    let texts = |word: &Vec<u32>| word.iter().map(|token| vocabulary[*token as usize].clone()).collect();
    search.words = search.tokens.iter().map(texts).collect();
    let Some(table) = run.token_features()? else {
        let how = format!("run `sae index {}` again", run.dir().display());
        search.gap = Some(format!("the index does not say which features fire on which token; {how}"));
        return Ok((search, Vec::new()));
    };
    let mut firing = token_features::firing_on(&table, &search.tokens)?;
    let worth = |one: &FiringFeature| {
        let density = density.get(one.feature as usize).copied().unwrap_or_default();
        relevance(one.share(), f64::from(density))
    };
    firing.sort_by(|a, b| worth(b).total_cmp(&worth(a)).then(a.feature.cmp(&b.feature)));
    Ok((search, firing))
}

/// Labels and explanations of features.
struct FeatureTexts {
    labels: HashMap<u32, String>,
    explanations: HashMap<u32, Vec<String>>,
}

impl FeatureTexts {
    fn describe(&self, feature: u32, by: FoundBy, density: &[f32]) -> FoundFeature {
        FoundFeature {
            feature,
            by,
            density: density.get(feature as usize).copied().unwrap_or_default(),
            label: self.labels.get(&feature).cloned(),
            explanation: self.explanations.get(&feature).and_then(|texts| texts.first().cloned()),
        }
    }
}

/// Labels of the index, and in their place those of people.
fn labels(run_dir: &Path, of_index: &[Option<String>]) -> Result<HashMap<u32, String>> {
    let mut labels: HashMap<u32, String> =
        (0..).zip(of_index).filter_map(|(feature, label)| Some((feature, label.clone()?))).collect();
    let named = notes::read(run_dir)?.into_iter().filter(|note| !note.label.is_empty());
    labels.extend(named.map(|note| (note.feature, note.label)));
    Ok(labels)
}

fn explanations_of(run_dir: &Path) -> Result<HashMap<u32, Vec<String>>> {
    let mut texts: HashMap<u32, Vec<String>> = HashMap::new();
    for source in explanations::sources(run_dir)? {
        for row in explanations::read(run_dir, &source)? {
            texts.entry(row.feature).or_default().push(row.text);
        }
    }
    Ok(texts)
}
