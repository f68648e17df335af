//! The fields of a run: measured, drawn and kept in `RUN/fields`.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use storage::fields::{self, FORMAT, FieldRow, Fields, VERSION};
use storage::{Dataset, RowsAre};

use super::measure::{FieldFigures, Limits, Measure};
use super::sheet;
use crate::partial::Partial;
use crate::rows::{RowReader, Subject, choose, documents};
use crate::{Error, Progress, Result};

/// Rows read at a time.
const BATCH: usize = 4096;

/// In which order fields are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortFields {
    /// As the dictionary has them.
    Feature,
    /// By orientation, oriented ones first.
    Orientation,
    /// By frequency.
    Frequency,
    /// The most used first.
    Usage,
}

/// What is measured.
#[derive(Debug, Clone)]
pub struct FieldsOptions {
    /// The dataset; by default the one that the run was trained on.
    pub data: Option<PathBuf>,
    /// The order of the picture.
    pub sort: SortFields,
    /// Rows on which usage is counted, at most.
    pub rows: u64,
    /// Decides the random fields and the rows.
    pub seed: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Over all features.
    pub fields: Fields,
    /// Of each.
    pub rows: Vec<FieldRow>,
    /// The picture.
    pub picture: PathBuf,
}

/// Measures the fields of the run in `run`, draws them and keeps both in `run/fields`.
///
/// # Errors
/// A run whose dataset is not of grey patches, files that cannot be read or written, [`Error::Stopped`].
pub fn run(run: &Path, options: &FieldsOptions, progress: &mut dyn Progress) -> Result<Found> {
    crate::rows::must_be_run(run, "fields")?;
    let subject = Subject::open(run, options.data.as_deref())?;
    let side = side(&subject.dataset)?;
    let (usage, rows) = usage(&subject, options, progress)?;
    let (measure, d) = (Measure::new(side), side * side);
    let limits = measure.limits(options.seed);
    let figures: Vec<FieldFigures> =
        subject.dictionary.w_dec.par_chunks(d).map(|field| measure.of(field)).collect();
    let row = |(feature, (figures, usage)): (usize, (&FieldFigures, &f64))| FieldRow {
        feature: feature as u32,
        usage: *usage,
        frequency: figures.frequency,
        orientation: figures.orientation,
        selectivity: figures.selectivity,
        spread: figures.spread,
        localised: figures.spread < limits.spread,
        oriented: figures.selectivity > limits.selectivity,
    };
    let table: Vec<FieldRow> = figures.iter().zip(&usage).enumerate().map(row).collect();
    let summary = Fields {
        rows,
        dictionary_sha256: subject.dictionary_sha256.clone(),
        ..summary(&table, side, limits)
    };
    let ordered = ordered(&table, options.sort);
    let drawn: Vec<&[f32]> = ordered.iter().map(|&f| subject.dictionary.decoder_row(f)).collect();
    let place = run.join(fields::FOLDER);
    let partial = Partial::begin(&place)?;
    storage::atomic::write(&partial.folder().join(fields::SHEET), &sheet::png(&drawn, side)?)?;
    fields::write_rows(partial.folder(), &table)?;
    summary.write(partial.folder())?;
    partial.publish()?;
    Ok(Found { fields: summary, rows: table, picture: place.join(fields::SHEET) })
}

/// Pixels of a side of the dataset's patches.
fn side(dataset: &Dataset) -> Result<usize> {
    let manifest = dataset.manifest();
    let refused = |why: &str| {
        Err(Error::request(format!("{}: {why}", dataset.dir().display())).with_remedy(
            "fields are of patches of grey pictures, as `sae import --images` makes them without colour",
        ))
    };
    if manifest.rows_are != RowsAre::Patches {
        return refused("rows are not patches of pictures");
    }
    let side = manifest.d_model.isqrt();
    match side * side == manifest.d_model {
        true => Ok(side),
        false => refused("patches are of colours"),
    }
}

/// Share of rows on which each feature is active, and of how many rows.
fn usage(subject: &Subject, options: &FieldsOptions, progress: &mut dyn Progress) -> Result<(Vec<f64>, u64)> {
    let dictionary = &subject.dictionary;
    let places: Vec<_> = documents(&subject.dataset)?.into_iter().map(|(_, rows)| rows).collect();
    let choice = choose(&places, Some(options.rows), options.seed);
    let mut reader = RowReader::new(&subject.dataset, &choice.ranges, BATCH, dictionary.d_in)?;
    let (mut counts, mut done) = (vec![0_u64; dictionary.d_sae], 0);
    let mut encoder = dictionary.encoder();
    progress.begin("usage", Some(choice.tokens), "patches");
    while let Some(batch) = reader.next_batch()? {
        encoder.encode(&batch.activations).features.iter().for_each(|&f| counts[f as usize] += 1);
        done += batch.len() as u64;
        progress.advance(done, "");
        if progress.stop_requested() {
            return Err(Error::stopped("nothing was measured"));
        }
    }
    progress.end("");
    let share = |count: u64| if done > 0 { count as f64 / done as f64 } else { 0.0 };
    Ok((counts.into_iter().map(share).collect(), done))
}

/// All but what is known of the dataset.
fn summary(table: &[FieldRow], side: usize, limits: Limits) -> Fields {
    let both: Vec<&FieldRow> = table.iter().filter(|row| row.localised && row.oriented).collect();
    let share = |count: usize| count as f64 / table.len().max(1) as f64;
    let frequencies = quartiles(both.iter().map(|row| row.frequency));
    let octaves = match frequencies[..] {
        [first, _, third] if first > 0.0 => Some((third / first).log2()),
        _ => None,
    };
    let (sin, cos) = both.iter().fold((0.0, 0.0), |(s, c), row| {
        let (sin, cos) = (2.0 * row.orientation.to_radians()).sin_cos();
        (s + sin, c + cos)
    });
    Fields {
        format: FORMAT.to_owned(),
        version: VERSION,
        side,
        features: table.len() as u64,
        localised: share(table.iter().filter(|row| row.localised).count()),
        oriented: share(table.iter().filter(|row| row.oriented).count()),
        both: share(both.len()),
        spread_limit: limits.spread,
        selectivity_limit: limits.selectivity,
        frequencies,
        octaves,
        orientation_bias: (!both.is_empty()).then(|| f64::hypot(sin, cos) / both.len() as f64),
        spreads: quartiles(both.iter().map(|row| row.spread)),
        ..Fields::default()
    }
}

/// The values a quarter, half and three quarters up; none of nothing.
fn quartiles(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => Vec::new(),
        n => [1, 2, 3].map(|quarter| values[(n - 1) * quarter / 4]).into(),
    }
}

/// Features in the order of `sort`, equal ones by number.
pub fn ordered(table: &[FieldRow], sort: SortFields) -> Vec<usize> {
    let mut order: Vec<usize> = (0..table.len()).collect();
    let key = |i: usize| match sort {
        SortFields::Feature => 0.0,
        SortFields::Orientation => table[i].orientation + if table[i].oriented { 0.0 } else { 1000.0 },
        SortFields::Frequency => table[i].frequency,
        SortFields::Usage => -table[i].usage,
    };
    order.sort_by(|&a, &b| key(a).total_cmp(&key(b)));
    order
}
