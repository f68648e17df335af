//! What a crosscoder over two sites finds of their difference.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use storage::Dataset;
use storage::difference::{self, Difference, FeatureDifference, SiteFit};

use super::scaling::{Rows, Sums};
use crate::dictionary::Dictionary;
use crate::partial::Partial;
use crate::rows::{RowReader, Source, choose, documents};
use crate::{Error, Progress, Result};
use kernels::reduce;
use kernels::wide::dot;

/// Rows that are looked at together.
const BATCH: usize = 4096;

/// What is looked at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DifferenceOptions {
    /// Tokens at most; all if none is given.
    pub tokens: Option<u64>,
    /// Documents that were trained on too, not only held-out ones.
    pub all_documents: bool,
    /// Seed of which documents are taken.
    pub seed: u64,
}

/// Compares the sites of the crosscoder in `run` on its joined dataset, or the one in `data`, and keeps the result in `RUN/difference`. Of
/// more than two sites the first and the last are compared.
///
/// # Errors
/// A run that is not a crosscoder's, sites of different widths, no documents to look at; files that cannot be read or written;
/// [`Error::Stopped`].
pub fn difference(
    run: &Path,
    data: Option<&Path>,
    options: &DifferenceOptions,
    progress: &mut dyn Progress,
) -> Result<(PathBuf, Difference, Vec<FeatureDifference>)> {
    let source = Source::open(run)?;
    let folder = source.data(run, data)?;
    let dataset = Dataset::open(&folder)?;
    let sites = Sites::of(&dataset)?;
    let dictionary = &source.dictionary;
    let all = documents(&dataset)?.into_iter();
    let wanted: Vec<_> =
        all.filter(|(row, _)| options.all_documents || row.held_out).map(|(_, which)| which).collect();
    let choice = choose(&wanted, options.tokens, options.seed);
    if choice.tokens == 0 {
        return Err(Error::request(format!("{} has no held-out documents", folder.display()))
            .with_remedy("look at what the dictionary was trained on with --all-documents"));
    }
    let mut reader = RowReader::new(&dataset, &choice.ranges, BATCH, dictionary.d_in)?;
    let mut work = Work::new(dictionary, &sites);
    progress.begin("compare sites", Some(choice.tokens), "tokens");
    while let Some(batch) = reader.next_batch()? {
        work.add(&batch.activations);
        progress.advance(work.tokens, "");
        if progress.stop_requested() {
            return Err(Error::stopped("the comparison was not finished; an older one stays as it is"));
        }
    }
    let features = work.features();
    let mut classes = BTreeMap::new();
    features.iter().for_each(|feature| *classes.entry(feature.class.clone()).or_insert(0) += 1);
    let record = Difference {
        format: difference::FORMAT.to_owned(),
        version: difference::VERSION,
        sha256: source.sha256.clone(),
        data: folder.display().to_string(),
        tokens: work.tokens,
        sites: work.fits(&dataset),
        l0: work.active as f64 / work.tokens.max(1) as f64,
        classes,
    };
    let place = run.join(difference::FOLDER);
    write(&place, &features, &record)?;
    progress.end(&format!("{} features", features.len()));
    Ok((place, record, features))
}

fn write(place: &Path, features: &[FeatureDifference], record: &Difference) -> Result<()> {
    let partial = Partial::begin(place)?;
    storage::row::write(&partial.folder().join(difference::FEATURES), features)?;
    record.write(partial.folder())?;
    partial.publish()
}

/// Where in a row each site is, and which two are compared.
struct Sites {
    ranges: Vec<std::ops::Range<usize>>,
}

impl Sites {
    fn of(dataset: &Dataset) -> Result<Self> {
        let sites = &dataset.manifest().sites;
        let (Some(first), Some(last)) = (sites.first(), sites.last()) else {
            return Err(Error::request(format!(
                "{} is not a joined dataset, so there are no sites to compare",
                dataset.dir().display()
            ))
            .with_remedy("join datasets with `sae join` and train on the joined one"));
        };
        if first.width != last.width {
            return Err(Error::request(format!(
                "the first site is {} wide and the last {}: their rows cannot be compared",
                first.width, last.width
            )));
        }
        let mut ranges = Vec::new();
        let mut start = 0;
        for site in sites {
            ranges.push(start..start + site.width);
            start += site.width;
        }
        Ok(Self { ranges })
    }

    /// The two that are compared.
    fn ends(&self) -> [std::ops::Range<usize>; 2] {
        [self.ranges[0].clone(), self.ranges[self.ranges.len() - 1].clone()]
    }
}

/// Sums over tokens.
struct Work<'a> {
    dictionary: &'a Dictionary,
    sites: &'a Sites,
    rows: Vec<Rows>,
    sums: Vec<Sums>,
    tokens: u64,
    active: u64,
    /// Σ‖x − x̂‖², Σ‖x‖² and Σx of each site.
    squared_errors: Vec<f64>,
    squares: Vec<f64>,
    columns: Vec<f64>,
}

impl<'a> Work<'a> {
    fn new(dictionary: &'a Dictionary, sites: &'a Sites) -> Self {
        let [a, b] = sites.ends();
        let rows = |f: usize| {
            let row = dictionary.decoder_row(f);
            Rows::of(&row[a.clone()], &row[b.clone()])
        };
        let n = sites.ranges.len();
        Self {
            rows: (0..dictionary.d_sae).map(rows).collect(),
            sums: vec![Sums::default(); dictionary.d_sae],
            tokens: 0,
            active: 0,
            squared_errors: vec![0.0; n],
            squares: vec![0.0; n],
            columns: vec![0.0; dictionary.d_in],
            dictionary,
            sites,
        }
    }

    fn add(&mut self, x: &[f32]) {
        let (d, ends) = (self.dictionary.d_in, self.sites.ends());
        let codes = self.dictionary.encode(x);
        let made = self.dictionary.decode(&codes);
        reduce::add_column_sums(&mut self.columns, x);
        for (i, (x, made)) in x.chunks_exact(d).zip(made.chunks_exact(d)).enumerate() {
            let error: Vec<f32> = x.iter().zip(made).map(|(x, made)| x - made).collect();
            let decoded: Vec<f32> =
                made.iter().zip(&self.dictionary.b_dec).map(|(made, b)| made - b).collect();
            for (site, range) in self.sites.ranges.iter().enumerate() {
                self.squared_errors[site] += dot(&error[range.clone()], &error[range.clone()]);
                self.squares[site] += dot(&x[range.clone()], &x[range.clone()]);
            }
            let (features, values) = codes.row(i);
            for (&feature, &value) in features.iter().zip(values) {
                let feature = feature as usize;
                let strong = ends[self.rows[feature].stronger].clone();
                let row = &self.dictionary.decoder_row(feature)[strong];
                let (sums, value) = (&mut self.sums[feature], f64::from(value));
                sums.fired += 1;
                sums.squares += value * value;
                for (site, range) in ends.iter().enumerate() {
                    sums.errors[site] += value * dot(row, &error[range.clone()]);
                    sums.reconstructions[site] += value * dot(row, &decoded[range.clone()]);
                }
            }
            self.active += features.len() as u64;
            self.tokens += 1;
        }
    }

    fn features(&self) -> Vec<FeatureDifference> {
        let feature = |(f, (rows, sums)): (usize, (&Rows, &Sums))| {
            let [error, reconstruction] = rows.ratios(sums);
            FeatureDifference {
                feature: f as u32,
                density: (sums.fired as f64 / self.tokens.max(1) as f64) as f32,
                norm_a: rows.norms[0],
                norm_b: rows.norms[1],
                relative_norm: rows.relative(),
                cosine: rows.cosine,
                error_ratio: error.map(|ratio| ratio as f32),
                reconstruction_ratio: reconstruction.map(|ratio| ratio as f32),
                class: rows.class(sums).to_owned(),
            }
        };
        self.rows.iter().zip(&self.sums).enumerate().map(feature).collect()
    }

    fn fits(&self, dataset: &Dataset) -> Vec<SiteFit> {
        let sites = dataset.manifest().sites.iter().zip(&self.sites.ranges).enumerate();
        let fit = |(i, (site, range)): (usize, (&storage::manifest::Site, &std::ops::Range<usize>))| {
            let spread =
                reduce::centred_sum_of_squares(self.tokens, &self.columns[range.clone()], self.squares[i]);
            SiteFit {
                hook: site.hook.clone(),
                model: site.model.id.clone(),
                fve: (spread > 0.0).then(|| 1.0 - self.squared_errors[i] / spread),
            }
        };
        sites.map(fit).collect()
    }
}
