//! Two dictionaries matched by the cosine of their decoder rows.
//!
//! For every feature of one, the nearest of the other, and whether that is mutual. The mean over features of the largest cosine (MMCS) is
//! the measure of Sharkey et al. (2022) for how alike two dictionaries are; it is not symmetric, so both directions are given.
//! What counts as matched, split or merged is left to whoever looks: it depends on a threshold.

mod elsewhere;
mod nearest;

use std::path::{Path, PathBuf};

use storage::matching::{FEATURES, FOLDER, FORMAT, Matching, NearestRow, OTHERS, VERSION};

pub use elsewhere::{Counterpart, Elsewhere, FiringOverlap, elsewhere};
pub use nearest::{Nearest, nearest};

use crate::dictionary::Dictionary;
use crate::partial::Partial;
use crate::rows::Source;
use crate::{Error, Progress, Result};

/// Compares `run` with `other`, each a run or a dictionary of a different program, and writes `RUN/matching/NAME/`; the folder's path and
/// the record. `name` is by default that of the other's folder. Next to the files of a different program nothing is written, and there is
/// no folder.
///
/// # Errors
/// Sources that cannot be read, dictionaries of different widths or without features, a bad name, [`Error::Stopped`].
pub fn run(
    run: &Path,
    other: &Path,
    name: Option<&str>,
    progress: &mut dyn Progress,
) -> Result<(Option<PathBuf>, Matching)> {
    let (a, b) = (Source::open(run)?, Source::open(other)?);
    let is_run = a.record().is_some();
    let (sha256, other_sha256) = (a.sha256, b.sha256);
    let (a, b) = (a.dictionary, b.dictionary);
    if a.d_out() != b.d_out() {
        return Err(Error::request(format!(
            "{} writes activations of width {}, {} of width {}; only dictionaries of the same place can be compared",
            run.display(),
            a.d_out(),
            other.display(),
            b.d_out()
        )));
    }
    if a.d_sae == 0 || b.d_sae == 0 {
        return Err(Error::data("a dictionary without features cannot be compared"));
    }
    let folder = match is_run {
        true => Some(run.join(FOLDER).join(name_of(other, name)?)),
        false => None,
    };
    let there = both(&a, &b, "features of the run", progress)?;
    let back = both(&b, &a, "features of the other", progress)?;
    let mutual = |from: &[Nearest], to: &[Nearest], i: usize| {
        from[i].cosine > 0.0 && to[from[i].row as usize].row as usize == i
    };
    let rows = |from: &[Nearest], to: &[Nearest]| -> Vec<NearestRow> {
        from.iter()
            .enumerate()
            .map(|(i, one)| NearestRow {
                feature: i as u32,
                nearest: one.row,
                cosine: one.cosine,
                second: one.second,
                mutual: mutual(from, to, i),
            })
            .collect()
    };
    let (features, others) = (rows(&there, &back), rows(&back, &there));
    let mean =
        |rows: &[NearestRow]| rows.iter().map(|r| f64::from(r.cosine)).sum::<f64>() / rows.len() as f64;
    let whole = |path: &Path| std::path::absolute(path).map_err(|e| Error::io(path, e));
    let record = Matching {
        format: FORMAT.to_owned(),
        version: VERSION,
        run: whole(run)?,
        other: whole(other)?,
        sha256,
        other_sha256,
        features: a.d_sae as u64,
        others: b.d_sae as u64,
        mutual: features.iter().filter(|row| row.mutual).count() as u64,
        mean_max_cosine: mean(&features),
        others_mean_max_cosine: mean(&others),
    };
    if let Some(folder) = &folder {
        write(folder, &features, &others, &record)?;
    }
    Ok((folder, record))
}

fn both(a: &Dictionary, b: &Dictionary, what: &str, progress: &mut dyn Progress) -> Result<Vec<Nearest>> {
    progress.begin(what, Some(a.d_sae as u64), "features");
    let found = nearest(&a.w_dec, &b.w_dec, a.d_out(), |done| {
        progress.advance(done as u64, "");
        progress.stop_requested()
    });
    let found = found.ok_or_else(|| Error::stopped("nothing was written"))?;
    progress.end("");
    Ok(found)
}

fn write(place: &Path, features: &[NearestRow], others: &[NearestRow], record: &Matching) -> Result<()> {
    let partial = Partial::begin(place)?;
    storage::row::write(&partial.folder().join(FEATURES), features)?;
    storage::row::write(&partial.folder().join(OTHERS), others)?;
    record.write(partial.folder())?;
    partial.publish()
}

fn name_of(other: &Path, name: Option<&str>) -> Result<String> {
    let whole = std::path::absolute(other).map_err(|e| Error::io(other, e))?;
    let name = match name {
        Some(name) => name.to_owned(),
        None => whole.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
    };
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', '#']) {
        return Err(Error::request(format!("`{name}` is not a name for a folder; give one with --name")));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quiet;
    use crate::rows::fixture;

    fn dictionaries(folder: &Path) -> (PathBuf, PathBuf) {
        let a = fixture::dictionary(8, 40, 4, 1);
        let mut b = fixture::dictionary(8, 30, 4, 2);
        // Features 3 and 4 of b are feature 9 of a, once as it is and once longer and a little off.
        let row: Vec<f32> = a.decoder_row(9).to_vec();
        b.w_dec[3 * 8..4 * 8].copy_from_slice(&row);
        let off: Vec<f32> =
            row.iter().enumerate().map(|(i, x)| x * 2.0 + if i == 0 { 0.01 } else { 0.0 }).collect();
        b.w_dec[4 * 8..5 * 8].copy_from_slice(&off);
        for (name, dictionary) in [("a", &a), ("b", &b)] {
            fixture::run(&folder.join(name), dictionary, &folder.join("data"));
        }
        (folder.join("a"), folder.join("b"))
    }

    #[test]
    fn copies_are_found_whatever_their_length() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = dictionaries(folder.path());
        let (place, record) = run(&a, &b, None, &mut Quiet).unwrap();
        let place = place.unwrap();
        assert_eq!(place, a.join("matching/b"));
        assert_eq!((record.features, record.others), (40, 30));
        let read = |file: &str| -> Vec<NearestRow> {
            let table = storage::row::open::<NearestRow>(&place.join(file)).unwrap();
            storage::row::read(&table, storage::Scan::default()).unwrap()
        };
        let (features, others) = (read(FEATURES), read(OTHERS));
        assert_eq!((features[9].nearest, features[9].mutual), (3, true));
        assert!(features[9].cosine > 0.999_999 && features[9].second.unwrap() > 0.9);
        assert_eq!((others[4].nearest, others[4].mutual), (9, false));
        assert_eq!(record.mutual, others.iter().filter(|row| row.mutual).count() as u64);
        assert_eq!(Matching::read(&place).unwrap(), record);
        assert_eq!(storage::matching::find(&a), [place]);
        let same = run(&a, &a, Some("itself"), &mut Quiet).unwrap().1;
        assert!(same.mutual == 40 && (same.mean_max_cosine - 1.0).abs() < 1e-6);
    }

    #[test]
    fn of_foreign_dictionaries_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = dictionaries(folder.path());
        let foreign = folder.path().join("foreign");
        Dictionary::load(&a).unwrap().save(&foreign).unwrap();
        let before = std::fs::read_dir(&foreign).unwrap().count();
        let (place, record) = run(&foreign, &b, None, &mut Quiet).unwrap();
        assert_eq!((place, std::fs::read_dir(&foreign).unwrap().count()), (None, before));
        let kept = run(&a, &b, None, &mut Quiet).unwrap().1;
        assert_eq!((record.mutual, record.mean_max_cosine), (kept.mutual, kept.mean_max_cosine));
        let (back, _) = run(&b, &foreign, None, &mut Quiet).unwrap();
        assert_eq!(back.unwrap(), b.join("matching/foreign"));
    }

    #[test]
    fn what_cannot_be_compared_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = dictionaries(folder.path());
        fixture::dictionary(9, 5, 2, 1).save(&folder.path().join("wide")).unwrap();
        let error = run(&a, &folder.path().join("wide"), None, &mut Quiet).unwrap_err().to_string();
        assert!(error.contains("width 8") && error.contains("width 9"), "{error}");
        assert!(run(&a, &b, Some("../x"), &mut Quiet).unwrap_err().to_string().contains("--name"));
    }
}
