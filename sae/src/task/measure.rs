//! What a dictionary, the supervised one and the controls are measured by.

use storage::task::{TaskEdit, TaskLabels, TaskResult};

use super::TaskOptions;
use super::bench::{Bench, Prediction};
use super::candidates::{Candidate, Ceiling, Features};
use super::figures;
use super::labels::{Active, label};
use super::prompts::{Maker, Prompt};
use super::supervised::Supervised;
use crate::dictionary::{Codes, Dictionary};
use crate::evaluate::controls;
use crate::{Progress, Result};

/// Features that an edit may change.
const EDITS: [usize; 4] = [1, 4, 16, 64];

/// Everything that dictionaries are measured on, at one position: what the model says of it is asked once for all dictionaries.
pub(super) struct Measure<'a> {
    bench: &'a Bench<'a>,
    pub maker: &'a Maker<'a>,
    position: usize,
    train: &'a [Prompt],
    pub test: &'a [Prompt],
    /// Activations of the test prompts, `[test, d]`.
    pub own: Vec<f32>,
    /// Of the same with each attribute changed.
    pub changed: Vec<Vec<f32>>,
    /// Of the train prompts, `[train, d]`.
    made_from: Vec<f32>,
    clean: Vec<Prediction>,
    /// With the mean of the train prompts in place.
    ablated: Vec<f64>,
    /// With each attribute's changed activations in place.
    truths: Vec<Vec<Prediction>>,
    supervised: Supervised,
    /// Share of each attribute in the norms of the supervised directions.
    norms: Vec<f64>,
}

/// What was read before anything is measured; fields as in [`Measure`].
pub(super) struct Seen {
    pub clean: Vec<Prediction>,
    pub own: Vec<f32>,
    pub changed: Vec<Vec<f32>>,
    pub made_from: Vec<f32>,
}

impl<'a> Measure<'a> {
    /// Asks the model what is the same for all dictionaries; `prompts` are those to learn from and those to measure on, which `bench`
    /// has read.
    ///
    /// # Errors
    /// What the model refuses; [`crate::Error::Stopped`].
    pub fn new(
        bench: &'a Bench<'a>,
        maker: &'a Maker<'a>,
        position: usize,
        [train, test]: [&'a [Prompt]; 2],
        seen: Seen,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let Seen { clean, own, changed, made_from } = seen;
        let values: Vec<&[usize]> = train.iter().map(|prompt| prompt.values.as_slice()).collect();
        let sizes: Vec<usize> = maker.values.iter().map(Vec::len).collect();
        let supervised = Supervised::new(&made_from, bench.width, &values, &sizes);
        let norms = supervised.norms(&values);
        let run = |put: &[f32]| bench.with(position, put, progress);
        let ablated = differences(&run(&supervised.mean.repeat(test.len()))?);
        let truths = changed.iter().map(|target| run(target)).collect::<Result<_>>()?;
        Ok(Self {
            bench,
            maker,
            position,
            train,
            test,
            own,
            changed,
            made_from,
            clean,
            ablated,
            truths,
            supervised,
            norms,
        })
    }

    /// Width of the activations.
    pub fn d(&self) -> usize {
        self.bench.width
    }

    /// The result of the supervised dictionary.
    ///
    /// # Errors
    /// What the model refuses; [`crate::Error::Stopped`].
    pub fn ceiling(&self, progress: &dyn Progress) -> Result<TaskResult> {
        let ceiling = Ceiling { measure: self, supervised: &self.supervised };
        let mut result = self.result(&ceiling, &[1], progress)?;
        result.dictionary = "supervised".to_owned();
        result.features = self.maker.values.iter().map(Vec::len).sum::<usize>() as u64;
        result.l0 = self.maker.values.len() as f64;
        Ok(result)
    }

    /// The results of `dictionary`, of the supervised one, which is `ceiling`, and, if `options` ask for them, of the controls. `done`
    /// counts dictionaries for `progress`.
    ///
    /// # Errors
    /// What the model refuses; [`crate::Error::Stopped`].
    pub fn all(
        &self,
        dictionary: &Dictionary,
        ceiling: &TaskResult,
        options: &TaskOptions,
        progress: &mut dyn Progress,
        done: &mut u64,
    ) -> Result<Vec<TaskResult>> {
        let codes = dictionary.encode(&self.own);
        let l0 = (codes.features.len() as f64 / self.test.len() as f64).round().max(1.0) as usize;
        let mut dictionaries = vec![("run", false, dictionary.clone())];
        if options.controls {
            let (made_from, d_sae) = (&self.made_from, dictionary.d_sae);
            let random = controls::random_rows(&self.supervised.mean, made_from, d_sae, l0, options.seed);
            let permuted = controls::permuted(dictionary, options.seed);
            dictionaries.extend([("random rows", true, random), ("permuted decoder", true, permuted)]);
        }
        let mut results = Vec::new();
        for (name, control, dictionary) in &dictionaries {
            let features = Features::new(self, dictionary);
            let mut result = self.result(&features, &EDITS, progress)?;
            result.dictionary = (*name).to_owned();
            (result.control, result.features) = (*control, dictionary.d_sae as u64);
            result.l0 = features.own.features.len() as f64 / self.test.len() as f64;
            result.labels = self.labels(dictionary, &features.own, &self.norms);
            results.push(result);
            *done += 1;
            progress.advance(*done, "");
        }
        results.insert(1, ceiling.clone());
        Ok(results)
    }

    fn result(
        &self,
        candidate: &dyn Candidate,
        edits: &[usize],
        progress: &dyn Progress,
    ) -> Result<TaskResult> {
        let (rebuilt, mean) = (candidate.reconstructions(), &self.supervised.mean);
        let errors: Vec<f32> =
            (0..self.own.len()).map(|i| mean[i % self.d()] + self.own[i] - rebuilt[i]).collect();
        let run = |put: &[f32]| self.bench.with(self.position, put, progress);
        let clean = differences(&self.clean);
        let sufficient = differences(&run(&rebuilt)?);
        let necessary = differences(&run(&errors)?);
        let mut result = TaskResult {
            dictionary: String::new(),
            control: false,
            features: 0,
            l0: 0.0,
            fve: self.fve(&rebuilt),
            sufficiency: figures::of_means([&sufficient, &clean], |[with, without]| with / without),
            necessity: figures::of_means([&self.ablated, &necessary, &clean], |[mean, error, clean]| {
                1.0 - (mean - error).abs() / (mean - clean).abs()
            }),
            edits: Vec::new(),
            labels: Vec::new(),
        };
        for (attribute, (target, truth)) in self.changed.iter().zip(&self.truths).enumerate() {
            for &k in std::iter::once(&0).chain(edits) {
                let put: Vec<f32> = match k {
                    0 => self.own.clone(),
                    k => {
                        (0..self.test.len()).flat_map(|prompt| candidate.edit(prompt, attribute, k)).collect()
                    }
                };
                let found = if k == 0 { self.clean.clone() } else { run(&put)? };
                let same = found.iter().zip(truth).filter(|(a, b)| a.best == b.best).count();
                result.edits.push(TaskEdit {
                    attribute: self.maker.attributes[attribute].clone(),
                    k: k as u32,
                    agreement: figures::share(same, found.len()),
                    distance: self.distance(&put, target),
                });
            }
        }
        Ok(result)
    }

    fn fve(&self, rebuilt: &[f32]) -> Option<f64> {
        let (d, n) = (self.d(), self.test.len() as f64);
        let mut mean = vec![0.0; d];
        self.own
            .chunks_exact(d)
            .for_each(|row| mean.iter_mut().zip(row).for_each(|(m, x)| *m += f64::from(*x) / n));
        let (mut error, mut all) = (0.0, 0.0);
        for (i, x) in self.own.iter().enumerate() {
            error += (f64::from(*x) - f64::from(rebuilt[i])).powi(2);
            all += (f64::from(*x) - mean[i % d]).powi(2);
        }
        (all > 0.0).then(|| 1.0 - error / all)
    }

    /// Mean over prompts of what is left of the way to the target.
    fn distance(&self, put: &[f32], target: &[f32]) -> f64 {
        let d = self.d();
        let far =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        let rows = put.chunks_exact(d).zip(target.chunks_exact(d)).zip(self.own.chunks_exact(d));
        let shares: Vec<f64> = rows
            .map(|((put, target), own)| (far(put, target), far(own, target)))
            // A change that this position does not see leaves nothing to be done.
            .filter(|(_, all)| *all > 0.0)
            .map(|(left, all)| left / all)
            .collect();
        if shares.is_empty() { 0.0 } else { shares.iter().sum::<f64>() / shares.len() as f64 }
    }

    fn labels(&self, dictionary: &Dictionary, own: &Codes, norms: &[f64]) -> Vec<TaskLabels> {
        let lists =
            |codes: &Codes| -> Active { (0..codes.rows()).map(|i| codes.row(i).0.to_vec()).collect() };
        let (train, test) = (lists(&dictionary.encode(&self.made_from)), lists(own));
        let values = |prompts: &[Prompt], attribute: usize| -> Vec<usize> {
            prompts.iter().map(|prompt| prompt.values[attribute]).collect()
        };
        let one = |attribute: usize| {
            let (own, other) = (values(self.train, attribute), values(self.test, attribute));
            let size = self.maker.values[attribute].len();
            let found = label((&train, &own), (&test, &other), size, dictionary.d_sae);
            TaskLabels {
                attribute: self.maker.attributes[attribute].clone(),
                values: found.values as u64,
                told: found.told as u64,
                f1: found.f1,
                split: found.split,
                norm: norms[attribute],
            }
        };
        (0..self.maker.attributes.len()).map(one).collect()
    }
}

fn differences(predictions: &[Prediction]) -> Vec<f64> {
    predictions.iter().map(|p| p.difference).collect()
}
