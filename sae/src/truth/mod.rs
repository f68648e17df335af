//! How well a dictionary found the features of a made world.

mod assignment;

use std::path::{Path, PathBuf};

use storage::truth::{FORMAT, PlantedLossScore, ScoredFeatureRow, TrueFeatureRow, TruthScore, VERSION};

use crate::dictionary::prune::threshold;
use crate::dictionary::recode::{self, Coding, Recoder};
use crate::dictionary::{Coder, Codes, Finish};
use crate::evaluate::Reconstruction;
use crate::partial::Partial;
use crate::rows::Source;
use crate::synth::dataset::world_of;
use crate::synth::generated::loss_of;
use crate::synth::loss::PlantedLoss;
use crate::synth::{Sample, World};
use crate::{Error, Progress, Result};
use assignment::{assign, cosines};

/// Rows encoded at a time.
const BATCH: u64 = 8192;
/// Rows on which it is measured what is pruned, and how features behave.
const TRAINING_ROWS: u64 = 20_000;

/// How to score.
#[derive(Debug, Clone)]
pub struct ScoreOptions {
    /// The world; that of the dataset the dictionary was trained on when `None`.
    pub world: Option<PathBuf>,
    /// The dataset that holds the world; the one that the run names when `None`.
    pub data: Option<PathBuf>,
    /// Rows to score on. They are in no dataset of the world.
    pub rows: u64,
    /// Seed of these rows.
    pub seed: u64,
    /// Leave-one-out pruning, in medians of the dictionary's codes; none when `None`.
    pub prune: Option<f64>,
    /// How codes are searched for from the dictionary's own; not at all when `None`. Pruning and this exclude each other.
    pub recode: Option<Coding>,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self { world: None, data: None, rows: 100_000, seed: 0, prune: None, recode: None }
    }
}

/// A score with what it is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// All in all.
    pub score: TruthScore,
    /// The dictionary's features.
    pub features: Vec<ScoredFeatureRow>,
    /// The world's.
    pub world: Vec<TrueFeatureRow>,
}

/// Scores the run or foreign dictionary at `path`; of a run the result is kept in `RUN/truth/`,
/// with pruning in `RUN/truth/pruned/`, with codes that were searched for in `RUN/truth/recoded/`.
///
/// # Errors
/// A dictionary or a world that cannot be read, or of different widths; a dictionary that does not reconstruct its input; pruning of
/// one that cannot be pruned; [`Error::Stopped`].
pub fn run(path: &Path, options: &ScoreOptions, progress: &mut dyn Progress) -> Result<Scored> {
    let source = Source::open(path)?;
    let (folder, data) = match &options.world {
        Some(world) => (world.clone(), None),
        None => {
            let data = source.data(path, options.data.as_deref())?;
            (world_of(&data)?, Some(data))
        }
    };
    let (world, world_sha256) = World::read_with_sha256(&folder)?;
    let dictionary = &source.dictionary;
    if dictionary.d_in != world.d {
        return Err(Error::request(format!(
            "{} takes rows of width {}, those of the world {} have {}",
            path.display(),
            dictionary.d_in,
            folder.display(),
            world.d
        ))
        .with_remedy("name the world that made its rows with --world"));
    }
    dictionary.needs_its_input("a score against a world")?;
    let training = || world.rows(options.seed, 0..TRAINING_ROWS).activations;
    let recoder = match options.recode {
        Some(coding) => {
            let rows = if coding.needs_slabs() { training() } else { Vec::new() };
            Some(Recoder::new(dictionary, coding, recode::ITERATIONS, &rows)?)
        }
        None => None,
    };
    let finish = match (options.prune, &recoder) {
        (Some(_), Some(_)) => {
            return Err(Error::request("codes are either pruned or searched for, not both"));
        }
        (Some(multiple), None) => Finish::Pruned(threshold(dictionary, &training(), multiple)?),
        (None, Some(recoder)) => Finish::Recoded(recoder),
        (None, None) => Finish::AsTheyAre,
    };
    let loss = match &data {
        Some(data) => loss_of(data, &world)?,
        None => None,
    };
    let coder = Coder { dictionary, finish };
    let mut scored = score(&world, loss.as_ref(), coder, options, progress)?;
    scored.score.world = folder;
    scored.score.world_sha256 = world_sha256;
    scored.score.dictionary_sha256.clone_from(&source.sha256);
    if source.record().is_some() {
        keep(path, &scored)?;
    }
    Ok(scored)
}

/// Puts the tables in their place: `RUN/truth`, `RUN/truth/pruned` where codes were pruned, `RUN/truth/recoded` where they were searched for.
/// None replaces another.
fn keep(run: &Path, scored: &Scored) -> Result<()> {
    let score = &scored.score;
    let place = match (score.pruned_below, &score.recoded) {
        (Some(_), _) => storage::truth::PRUNED,
        (None, Some(_)) => storage::truth::RECODED,
        (None, None) => storage::truth::FOLDER,
    };
    let partial = Partial::begin(&run.join(place))?;
    score.write(partial.folder(), &scored.features, &scored.world)?;
    if place == storage::truth::FOLDER {
        partial.keep("pruned")?;
        partial.keep("recoded")?;
    }
    partial.publish()
}

/// Counts over rows.
struct Counts {
    /// The world's feature that each of the dictionary's is nearest to.
    truth: Vec<u32>,
    /// Rows on which each of the dictionary's features fired.
    fired: Vec<u64>,
    /// … together with its truth.
    together: Vec<u64>,
    /// Rows on which each of the world's features fired.
    true_fired: Vec<u64>,
    /// Whether each of the world's fires on the row that is being counted.
    now: Vec<bool>,
}

impl Counts {
    fn new(truth: Vec<u32>, world: usize) -> Self {
        let n = truth.len();
        Self {
            truth,
            fired: vec![0; n],
            together: vec![0; n],
            true_fired: vec![0; world],
            now: vec![false; world],
        }
    }

    fn add(&mut self, found: &Codes, truth: &Codes) {
        for row in 0..truth.rows() {
            let there = truth.row(row).0;
            for &feature in there {
                self.true_fired[feature as usize] += 1;
                self.now[feature as usize] = true;
            }
            for &feature in found.row(row).0 {
                let i = feature as usize;
                self.fired[i] += 1;
                self.together[i] += u64::from(self.now[self.truth[i] as usize]);
            }
            there.iter().for_each(|&feature| self.now[feature as usize] = false);
        }
    }
}

/// Sums of a planted loss over rows.
#[derive(Default)]
struct Losses {
    at_rows: f64,
    at_reconstructions: f64,
    at_bias: f64,
}

impl Losses {
    fn add(&mut self, loss: &PlantedLoss, world: &World, sample: &Sample, reconstructed: &[f32]) {
        self.at_rows += loss.total(&sample.activations, &sample.codes);
        self.at_reconstructions += loss.total(reconstructed, &sample.codes);
        self.at_bias += loss.total(&world.bias.repeat(sample.codes.rows()), &sample.codes);
    }

    /// What came of `loss`, by the features of the dictionary and of the world.
    fn score(
        &self,
        loss: &PlantedLoss,
        rows: u64,
        features: &[ScoredFeatureRow],
        world: &[TrueFeatureRow],
    ) -> PlantedLossScore {
        let matters = loss.matters(world.len());
        let mean =
            |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        let of_truth = |wanted: bool| -> Vec<f64> {
            features.iter().filter(|row| matters[row.truth as usize] == wanted).map(|row| row.f1).collect()
        };
        let cosines = |wanted: bool| -> Vec<f64> {
            let rows = world.iter().filter(|row| matters[row.truth as usize] == wanted);
            rows.map(|row| f64::from(row.cosine)).collect()
        };
        let serving = of_truth(true);
        let taken = self.at_bias - self.at_rows;
        let n = rows as f64;
        PlantedLossScore {
            world_features: loss.features.len() as u64,
            at_rows: self.at_rows / n,
            at_reconstructions: self.at_reconstructions / n,
            at_bias: self.at_bias / n,
            recovered: (taken > 0.0).then(|| (self.at_bias - self.at_reconstructions) / taken),
            features: serving.len() as u64,
            f1: mean(serving),
            f1_of_others: mean(of_truth(false)),
            cosine: mean(cosines(true)).unwrap_or_default(),
            cosine_of_others: mean(cosines(false)),
        }
    }
}

/// Scores `coder` on fresh rows of `world`, and what it leaves of a planted loss. Places and hashes of the record stay empty.
///
/// # Errors
/// Options that make no sense; a reconstruction that is not finite; [`Error::Stopped`].
pub fn score(
    world: &World,
    loss: Option<&PlantedLoss>,
    coder: Coder<'_>,
    options: &ScoreOptions,
    progress: &mut dyn Progress,
) -> Result<Scored> {
    if options.rows == 0 {
        return Err(Error::request("a score needs more than 0 rows"));
    }
    let dictionary = coder.dictionary;
    let (n, features, d) = (world.features(), dictionary.d_sae, world.d);
    let likeness = cosines(&dictionary.w_dec, &world.directions, d);
    let truth = nearest_of_rows(&likeness, n);
    let mut counts = Counts::new(truth.iter().map(|&(truth, _)| truth).collect(), n);
    let mut reconstruction = Reconstruction::new(d, features);
    let mut encoder = dictionary.encoder();
    let mut true_active = 0_u64;
    let mut losses = Losses::default();
    progress.begin("score", Some(options.rows), "rows");
    for first in (0..options.rows).step_by(BATCH as usize) {
        let end = options.rows.min(first + BATCH);
        let sample = world.fresh_rows(options.seed, first..end);
        let codes = coder.finish(encoder.encode(&sample.activations), &sample.activations);
        let reconstructed = dictionary.decode_with(&codes, &sample.activations);
        reconstruction.add(&sample.activations, &codes, &reconstructed)?;
        counts.add(&codes, &sample.codes);
        if let Some(loss) = loss {
            losses.add(loss, world, &sample, &reconstructed);
        }
        true_active += sample.codes.features.len() as u64;
        progress.advance(end, "");
        if progress.stop_requested() {
            return Err(Error::stopped("nothing was scored"));
        }
    }
    let assigned = assign(&likeness, features, n);
    let rows = scored_features(&counts, &truth, &assigned, &likeness);
    let world_rows = true_features(world, &counts, &rows, &likeness, options.rows);
    let figures = reconstruction.figures().ok_or_else(|| Error::data("there are no rows to score"))?;
    let mean = |of: fn(&ScoredFeatureRow) -> f64| rows.iter().map(of).sum::<f64>() / features as f64;
    let pairs: Vec<f64> = rows.iter().filter_map(|row| row.assigned_cosine).map(f64::from).collect();
    let with = |fits: fn(u32) -> bool| world_rows.iter().filter(|row| fits(row.features)).count() as u64;
    let found = world_rows.iter().filter(|row| row.features > 0).count();
    let score = TruthScore {
        format: FORMAT.to_owned(),
        version: VERSION,
        rows: options.rows,
        seed: options.seed,
        d_sae: features as u64,
        world_features: n as u64,
        pruned_below: coder.pruned_below(),
        recoded: coder.recoded(),
        f1: mean(|row| row.f1),
        precision: mean(|row| row.precision),
        recall: mean(|row| row.recall),
        mcc: pairs.iter().sum::<f64>() / pairs.len().max(1) as f64,
        uniqueness: found as f64 / features as f64,
        fve: figures.fve,
        l0: figures.l0,
        true_l0: true_active as f64 / options.rows as f64,
        dead: figures.dead as u64,
        l2_ratio: figures.l2_ratio,
        matched: with(|n| n == 1),
        split: with(|n| n > 1),
        missed: with(|n| n == 0),
        loss: loss.map(|loss| losses.score(loss, options.rows, &rows, &world_rows)),
        ..TruthScore::default()
    };
    progress.end(&format!("F1 {:.3}, MCC {:.3}", score.f1, score.mcc));
    Ok(Scored { score, features: rows, world: world_rows })
}

/// The column of the largest number of each row, the first of equals, with the number.
fn nearest_of_rows(likeness: &[f32], columns: usize) -> Vec<(u32, f32)> {
    let best = |row: &[f32]| {
        row.iter().enumerate().fold((0, -1.0), |best, (i, &x)| if x > best.1 { (i as u32, x) } else { best })
    };
    likeness.chunks_exact(columns).map(best).collect()
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

fn scored_features(
    counts: &Counts,
    truth: &[(u32, f32)],
    assigned: &[Option<u32>],
    likeness: &[f32],
) -> Vec<ScoredFeatureRow> {
    let n = counts.true_fired.len();
    let row = |i: usize| {
        let (true_feature, cosine) = truth[i];
        let (fired, together) = (counts.fired[i], counts.together[i]);
        let there = counts.true_fired[true_feature as usize];
        let (precision, recall) = (ratio(together, fired), ratio(together, there));
        let sum = precision + recall;
        ScoredFeatureRow {
            feature: i as u32,
            truth: true_feature,
            cosine,
            assigned: assigned[i],
            assigned_cosine: assigned[i].map(|column| likeness[i * n + column as usize]),
            true_positives: together,
            false_positives: fired - together,
            false_negatives: there - together,
            precision,
            recall,
            f1: if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 },
        }
    };
    (0..truth.len()).map(row).collect()
}

fn true_features(
    world: &World,
    counts: &Counts,
    features: &[ScoredFeatureRow],
    likeness: &[f32],
    rows: u64,
) -> Vec<TrueFeatureRow> {
    let (n, levels) = (world.features(), world.levels());
    let mut all: Vec<TrueFeatureRow> = (0..n)
        .map(|i| TrueFeatureRow {
            truth: i as u32,
            level: levels[i],
            rate: ratio(counts.true_fired[i], rows),
            cosine: -1.0,
            ..TrueFeatureRow::default()
        })
        .collect();
    for (i, of_feature) in likeness.chunks_exact(n).enumerate() {
        for (row, &cosine) in all.iter_mut().zip(of_feature) {
            if cosine > row.cosine {
                (row.nearest, row.cosine) = (i as u32, cosine);
            }
        }
    }
    for feature in features {
        let row = &mut all[feature.truth as usize];
        row.features += 1;
        row.f1 = Some(row.f1.map_or(feature.f1, |best| best.max(feature.f1)));
    }
    all
}
