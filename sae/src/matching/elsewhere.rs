//! One feature in a different dictionary: which of its features point the same way, and which fire on the same tokens. Two directions
//! may be near each other and yet do different things, and two features that fire together may point anywhere, so both are told.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use kernels::wide::dot;
use storage::codes::each_token;
use storage::{IndexRecord, Run, TableReader, feature_activations};

use crate::rows::{Source, find_dataset};
use crate::{Error, Progress, Result};

/// Tokens between two looks at whether to stop.
const CHECKED: u64 = 4096;

/// A feature of the other run.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Counterpart {
    /// Its number.
    pub feature: u32,
    /// Cosine of the decoder rows; none where the dictionaries write to different places.
    pub cosine: Option<f32>,
    /// On how many tokens both fire; none where the indices are not of the same data.
    pub firing: Option<FiringOverlap>,
}

/// Tokens on which two features fire, of those that both indices have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct FiringOverlap {
    /// Both.
    pub both: u64,
    /// The feature that was asked about.
    pub here: u64,
    /// The other one.
    pub there: u64,
}

impl FiringOverlap {
    /// Tokens on which both fire ÷ tokens on which either does (Jaccard); 0 where neither fires.
    pub fn agreement(&self) -> f64 {
        let either = self.here + self.there - self.both;
        if either == 0 { 0.0 } else { self.both as f64 / either as f64 }
    }
}

/// A feature's counterparts in one other run.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Elsewhere {
    /// The nearest by direction and those that agree best in firing, the best of either first.
    pub counterparts: Vec<Counterpart>,
    /// Why directions cannot be compared.
    pub no_cosine: Option<String>,
    /// Why firing cannot be compared.
    pub no_firing: Option<String>,
}

/// Finds the `most` nearest features of `other` to `feature` of `run` by direction, and the `most` that agree best with it in firing.
/// One pass over the other run's codes.
///
/// # Errors
/// Runs or indices that cannot be read, a feature that `run` does not have, [`Error::Stopped`].
pub fn elsewhere(
    run: &Path,
    feature: u32,
    other: &Path,
    most: usize,
    progress: &mut dyn Progress,
) -> Result<Elsewhere> {
    let mut found = Elsewhere::default();
    let cosines = match cosines(run, feature, other)? {
        Ok(cosines) => cosines,
        Err(why) => {
            found.no_cosine = Some(why);
            Vec::new()
        }
    };
    let overlaps = match overlaps(run, feature, other, progress)? {
        Ok(overlaps) => overlaps,
        Err(why) => {
            found.no_firing = Some(why);
            Overlaps::default()
        }
    };
    let nowhere = FiringOverlap { here: overlaps.here, ..FiringOverlap::default() };
    let known = found.no_firing.is_none();
    let of = |feature: u32| Counterpart {
        feature,
        cosine: cosines.get(feature as usize).copied(),
        firing: known.then(|| overlaps.of.get(&feature).copied().unwrap_or(nowhere)),
    };
    let mut near: Vec<u32> = (0..cosines.len() as u32).collect();
    near.sort_by(|a, b| cosines[*b as usize].total_cmp(&cosines[*a as usize]));
    near.truncate(most);
    let mut together: Vec<(u32, f64)> = overlaps
        .of
        .iter()
        .map(|(feature, overlap)| (*feature, overlap.agreement()))
        .filter(|(_, agreement)| *agreement > 0.0)
        .collect();
    together.sort_by(|a, b| b.1.total_cmp(&a.1));
    together.truncate(most);
    let chosen: HashSet<u32> =
        near.into_iter().chain(together.into_iter().map(|(feature, _)| feature)).collect();
    found.counterparts = chosen.into_iter().map(of).collect();
    let best = |one: &Counterpart| {
        let firing = one.firing.map_or(0.0, |overlap| overlap.agreement());
        f64::from(one.cosine.unwrap_or(0.0)).max(firing)
    };
    found.counterparts.sort_by(|a, b| best(b).total_cmp(&best(a)).then(a.feature.cmp(&b.feature)));
    Ok(found)
}

/// Cosines of a decoder row with all of another dictionary, `[d_sae of the other]`, or why there are none.
fn cosines(run: &Path, feature: u32, other: &Path) -> Result<std::result::Result<Vec<f32>, String>> {
    let (a, b) = (Source::open(run)?, Source::open(other)?);
    if a.hook() != b.hook() {
        return Ok(Err(match b.hook() {
            "" => "its rows are not a model's activations".to_owned(),
            hook => format!("it is at {hook}, not at {}", a.hook()),
        }));
    }
    let (a, b) = (a.dictionary, b.dictionary);
    if feature as usize >= a.d_sae {
        return Err(Error::request(format!(
            "{} has features 0 to {}, not {feature}",
            run.display(),
            a.d_sae.saturating_sub(1)
        )));
    }
    if a.d_out() != b.d_out() {
        return Ok(Err(format!("it writes activations of width {}, not {}", b.d_out(), a.d_out())));
    }
    let row = a.decoder_row(feature as usize);
    let length = |row: &[f32]| dot(row, row).sqrt();
    let cosine = |other: &[f32]| match length(row) * length(other) {
        norms if norms > 0.0 => (dot(row, other) / norms) as f32,
        _ => 0.0,
    };
    Ok(Ok((0..b.d_sae).map(|f| cosine(b.decoder_row(f))).collect()))
}

/// Where a feature and those of another run fire.
#[derive(Default)]
struct Overlaps {
    /// Tokens on which the feature fires, of those that both indices have.
    here: u64,
    /// The features of the other run that fire at all.
    of: BTreeMap<u32, FiringOverlap>,
}

/// Counts where they fire, or says why nobody can.
fn overlaps(
    run: &Path,
    feature: u32,
    other: &Path,
    progress: &mut dyn Progress,
) -> Result<std::result::Result<Overlaps, String>> {
    let (first, second) = (Run::open(run)?, Run::open(other)?);
    let (Some(a), Some(activations)) = (first.index()?, first.activations()?) else {
        return Err(Error::data(format!("{} has no index", run.display()))
            .with_remedy(format!("make it with `sae index {}`", run.display())));
    };
    let (Some(b), Some(codes)) = (second.index()?, second.codes()?) else {
        return Ok(Err("it has no index".to_owned()));
    };
    if !same_data([run, other], [&a, &b]) {
        return Ok(Err("its index is of different data".to_owned()));
    }
    // An index of a part of the documents says nothing about the others.
    let indexed = match a.tokens == b.tokens && a.documents == b.documents {
        true => None,
        false => first.codes()?.as_ref().map(documents).transpose()?,
    };
    let has = |document: &u32| indexed.as_ref().is_none_or(|indexed| indexed.contains(document));
    let fired = feature_activations::read(&activations, feature)?;
    let fired: HashSet<(u32, u32)> = fired.iter().map(|row| (row.document, row.position)).collect();
    let mut counts: Vec<[u64; 2]> = Vec::new();
    let (mut here, mut seen, mut stopped) = (0, 0_u64, false);
    progress.begin("tokens of the other run", Some(codes.rows()), "tokens");
    each_token(&codes, |document, position, features| {
        seen += 1;
        if seen.is_multiple_of(CHECKED) {
            progress.advance(seen, "");
            stopped = progress.stop_requested();
        }
        if !has(&document) {
            return !stopped;
        }
        let both = u64::from(fired.contains(&(document, position)));
        here += both;
        for &there in features {
            if there as usize >= counts.len() {
                counts.resize(there as usize + 1, [0; 2]);
            }
            counts[there as usize][0] += both;
            counts[there as usize][1] += 1;
        }
        !stopped
    })?;
    if stopped {
        return Err(Error::stopped("the other run was not read to its end"));
    }
    progress.end("");
    let of = (0..).zip(counts).map(|(f, [both, there])| (f, FiringOverlap { both, here, there }));
    Ok(Ok(Overlaps { here, of: of.collect() }))
}

/// Indices name their dataset as it was given, `data` here and `/home/me/data` there, so folders are compared, too.
fn same_data(runs: [&Path; 2], [a, b]: [&IndexRecord; 2]) -> bool {
    let folder = |run, index: &IndexRecord| {
        find_dataset(run, &index.data, &index.model_sha256, index.hook.as_deref()).canonicalize().ok()
    };
    let same_folder = || folder(runs[0], a).is_some_and(|found| folder(runs[1], b) == Some(found));
    a.hook == b.hook && a.model_sha256 == b.model_sha256 && (a.data == b.data || same_folder())
}

fn documents(codes: &TableReader) -> Result<HashSet<u32>> {
    let mut found = HashSet::new();
    each_token(codes, |document, _, _| {
        found.insert(document);
        true
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{IndexOptions, index};
    use crate::rows::fixture;
    use crate::{ModelChoice, Quiet};

    /// Two dictionaries of the same data, indexed; feature 5 of the second is feature 9 of the first, twice as long.
    fn runs(folder: &Path) -> [std::path::PathBuf; 2] {
        let texts = fixture::texts(&[40, 30, 50, 20], 60, 1);
        fixture::dataset(
            &folder.join("data"),
            fixture::header(8),
            &texts,
            &fixture::activations(140, 8, 1),
            2,
        );
        let a = fixture::dictionary(8, 24, 4, 1);
        let mut b = fixture::dictionary(8, 20, 3, 2);
        let twice = |row: &[f32]| row.iter().map(|x| 2.0 * x).collect::<Vec<_>>();
        let (dec, enc) = (twice(a.decoder_row(9)), twice(a.encoder_row(9)));
        b.w_dec[5 * 8..6 * 8].copy_from_slice(&dec);
        b.w_enc[5 * 8..6 * 8].copy_from_slice(&enc);
        [("a", a), ("b", b)].map(|(name, dictionary)| {
            let run = fixture::run(&folder.join(name), &dictionary, &folder.join("data"));
            let options = IndexOptions { model: ModelChoice::Without, map: false, ..IndexOptions::default() };
            index(&run, &options, &mut Quiet).unwrap();
            run
        })
    }

    /// Where a feature fires, from the table that is sorted by feature.
    fn fires(run: &Path, feature: u32) -> HashSet<(u32, u32)> {
        let table = Run::open(run).unwrap().activations().unwrap().unwrap();
        let rows = feature_activations::read(&table, feature).unwrap();
        rows.iter().map(|row| (row.document, row.position)).collect()
    }

    #[test]
    fn a_feature_is_found_by_direction_and_by_firing() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = runs(folder.path());
        let found = elsewhere(&a, 9, &b, 20, &mut Quiet).unwrap();
        assert_eq!((found.counterparts.len(), &found.no_cosine, &found.no_firing), (20, &None, &None));
        assert_eq!(found.counterparts[0].feature, 5);
        assert!((found.counterparts[0].cosine.unwrap() - 1.0).abs() < 1e-6);
        let here = fires(&a, 9);
        for one in &found.counterparts {
            let there = fires(&b, one.feature);
            let both = here.intersection(&there).count() as u64;
            let expected = FiringOverlap { both, here: here.len() as u64, there: there.len() as u64 };
            assert_eq!(one.firing.unwrap(), expected, "feature {}", one.feature);
        }
        assert!(found.counterparts.iter().any(|one| one.firing.unwrap().both > 0));
        let one = elsewhere(&a, 9, &b, 1, &mut Quiet).unwrap();
        assert!(one.counterparts.len() <= 2, "the nearest and the one that agrees best");
    }

    #[test]
    fn one_dataset_under_two_names_is_the_same_data() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = runs(folder.path());
        let path = b.join("features/index.json");
        let named = std::fs::read_to_string(&path).unwrap();
        let whole = Run::open(&b).unwrap().index().unwrap().unwrap().data;
        let other = folder.path().join("a/../data");
        std::fs::write(&path, named.replace(&whole, &other.display().to_string())).unwrap();
        assert_ne!(Run::open(&b).unwrap().index().unwrap().unwrap().data, whole);
        assert_eq!(elsewhere(&a, 9, &b, 3, &mut Quiet).unwrap().no_firing, None);
        // A different one stays different.
        std::fs::write(&path, named.replace(&whole, "/nowhere/else")).unwrap();
        let gap = elsewhere(&a, 9, &b, 3, &mut Quiet).unwrap().no_firing;
        assert_eq!(gap.as_deref(), Some("its index is of different data"));
    }

    #[test]
    fn what_cannot_be_compared_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = runs(folder.path());
        std::fs::remove_dir_all(b.join("features")).unwrap();
        let found = elsewhere(&a, 9, &b, 3, &mut Quiet).unwrap();
        assert_eq!(found.no_firing.as_deref(), Some("it has no index"));
        assert!(found.counterparts.iter().all(|one| one.firing.is_none() && one.cosine.is_some()));
        let message = elsewhere(&a, 24, &b, 3, &mut Quiet).unwrap_err().to_string();
        assert!(message.contains("features 0 to 23, not 24"), "{message}");
        let message = elsewhere(&b, 5, &a, 3, &mut Quiet).unwrap_err().to_string();
        assert!(message.contains("has no index"), "{message}");
    }
}
