//! Features of an index, one after the other, with their labels and explanations.

use std::collections::HashMap;
use std::ops::Range;

use storage::examples::ExampleRow;
use storage::explanations::Explanation;
use storage::features::FeatureRow;
use storage::notes::Note;
use storage::{IndexRecord, Run, TableReader, examples, explanations, features, notes};

use super::options::Choice;
use super::text::Words;
use super::weights::Subject;
use crate::rows::weights_sha256;
use crate::{Error, Progress, Result};

/// Consecutive features are read this many at a time.
const AT_ONCE: usize = 64;
/// `interval` of examples that were drawn from all activations.
pub(super) const RANDOM: i8 = crate::features::RANDOM;

/// An explanation and the name of its source.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub source: String,
    pub explanation: Explanation,
}

impl Told {
    /// The figure that explanations of a feature are compared by: the first.
    pub(super) fn score(&self) -> Option<(&str, f32)> {
        self.explanation.scores.first().map(|score| (score.kind.as_str(), score.value))
    }
}

/// One feature.
#[derive(Debug)]
pub(super) struct Feature {
    pub row: FeatureRow,
    pub examples: Vec<ExampleRow>,
    /// What a person called it, or the index.
    pub label: String,
    pub note: String,
    pub told: Vec<Told>,
}

/// The index of a run.
#[derive(Debug)]
pub(super) struct Indexed {
    pub record: IndexRecord,
    pub words: Words,
    features: TableReader,
    examples: Option<TableReader>,
    notes: HashMap<u32, Note>,
    told: HashMap<u32, Vec<Told>>,
}

impl Indexed {
    /// The index of `subject`, which must be of the weights that are there now.
    pub(super) fn open(subject: &Subject) -> Result<Self> {
        let run = subject.run()?;
        let (Some(record), Some(features)) = (run.index()?, run.features()?) else {
            return Err(Error::request(format!("{} has no feature index", run.dir().display()))
                .with_remedy("index it first (`sae index`)"));
        };
        if record.dictionary_sha256 != weights_sha256(run.dir())? {
            return Err(Error::data(format!(
                "{}: the feature index is of other weights than sae_weights.safetensors has now",
                run.dir().display()
            ))
            .with_remedy("index the run again (`sae index`)"));
        }
        let notes = notes::read(run.dir())?.into_iter().map(|note| (note.feature, note)).collect();
        Ok(Self {
            words: Words::read(run.vocabulary()?.as_ref())?,
            examples: run.examples()?,
            told: told(run)?,
            record,
            features,
            notes,
        })
    }

    /// The chosen features.
    pub(super) fn chosen(&self, choice: &Choice) -> Result<Vec<u32>> {
        let all = u32::try_from(self.features.rows())
            .map_err(|_| Error::data("the index has more than 2³² features"))?;
        let chosen: Vec<u32> = match choice {
            Choice::All => (0..all).collect(),
            Choice::These(features) => {
                if let Some(feature) = features.iter().find(|&&feature| feature >= all) {
                    return Err(Error::request(format!("there is no feature {feature}"))
                        .with_remedy(format!("choose from 0 to {}", all - 1)));
                }
                features.clone()
            }
            Choice::Labelled(text) => {
                let labels = features::scalar_columns(&self.features)?.label;
                let text = text.to_lowercase();
                (0..all).filter(|&f| self.is_called(f, labels[f as usize].as_deref(), &text)).collect()
            }
            Choice::Top(count) => {
                let counts = features::scalar_columns(&self.features)?.count;
                let mut order: Vec<u32> = (0..all).collect();
                order.sort_by_key(|&f| (std::cmp::Reverse(counts[f as usize]), f));
                order.truncate(*count);
                order
            }
        };
        if chosen.is_empty() {
            return Err(Error::request("no feature was chosen: none has such a label, note or explanation")
                .with_remedy("choose by number, such as --features 1,2,17-40"));
        }
        Ok(chosen)
    }

    fn is_called(&self, feature: u32, label: Option<&str>, text: &str) -> bool {
        let note = self.notes.get(&feature);
        let told = self.told.get(&feature).map_or(&[][..], Vec::as_slice);
        let words = label
            .into_iter()
            .chain(note.into_iter().flat_map(|note| [note.label.as_str(), note.text.as_str()]))
            .chain(told.iter().map(|told| told.explanation.text.as_str()));
        words.into_iter().any(|words| words.to_lowercase().contains(text))
    }

    /// Calls `each` with every one of `chosen`, in that order.
    pub(super) fn for_each(
        &self,
        chosen: &[u32],
        progress: &mut dyn Progress,
        mut each: impl FnMut(Feature) -> Result<()>,
    ) -> Result<()> {
        progress.begin("export", Some(chosen.len() as u64), "features");
        let mut done = 0;
        for range in consecutive(chosen) {
            for row in features::read(&self.features, u64::from(range.start)..u64::from(range.end))? {
                each(self.feature(row)?)?;
                done += 1;
                progress.advance(done, "");
                if progress.stop_requested() {
                    return Err(Error::stopped("nothing was written"));
                }
            }
        }
        progress.end("");
        Ok(())
    }

    fn feature(&self, row: FeatureRow) -> Result<Feature> {
        let feature = row.feature;
        let examples = match &self.examples {
            Some(reader) if !row.dead => examples::read(reader, feature)?,
            _ => Vec::new(),
        };
        let note = self.notes.get(&feature).cloned().unwrap_or_default();
        let label = if note.label.is_empty() { row.label.clone().unwrap_or_default() } else { note.label };
        let told = self.told.get(&feature).cloned().unwrap_or_default();
        Ok(Feature { row, examples, label, note: note.text, told })
    }
}

/// All explanations of a run, by feature; those of one source in its order.
fn told(run: &Run) -> Result<HashMap<u32, Vec<Told>>> {
    let mut by_feature: HashMap<u32, Vec<Told>> = HashMap::new();
    for source in explanations::sources(run.dir())? {
        for explanation in explanations::read(run.dir(), &source)? {
            let told = Told { source: source.clone(), explanation };
            by_feature.entry(told.explanation.feature).or_default().push(told);
        }
    }
    Ok(by_feature)
}

/// Ranges of consecutive numbers, of [`AT_ONCE`] at most.
fn consecutive(numbers: &[u32]) -> Vec<Range<u32>> {
    let mut ranges: Vec<Range<u32>> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some(last) if last.end == number && last.len() < AT_ONCE => last.end += 1,
            _ => ranges.push(number..number + 1),
        }
    }
    ranges
}

/// At most `count` of a feature's examples: half of them the strongest, the rest from every fifth of its strength and at random.
pub(super) fn pick(mut examples: Vec<ExampleRow>, count: usize) -> Vec<ExampleRow> {
    let top = count.div_ceil(2);
    // Five fifths and those at random.
    let each = (count - top) / 6;
    examples.retain(|example| {
        let kept = if example.interval == 0 { top } else { each };
        usize::from(example.rank) < kept
    });
    examples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_numbers_are_read_together() {
        assert_eq!(consecutive(&[1, 2, 3, 7, 5, 6]), [1..4, 7..8, 5..7]);
        let many: Vec<u32> = (0..100).collect();
        assert_eq!(consecutive(&many), [0..64, 64..100]);
    }
}
