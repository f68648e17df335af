//! The probes of one labelled set: dictionaries and controls are candidates whose columns are chosen, fitted and measured alike.

use lm::model::Hook;
use rayon::prelude::*;
use storage::probe::ProbeRow;

use super::activations::Reading;
use super::columns::{Columns, difference_of_means, principal_components};
use super::protocol::{Rows, probe};
use super::split::{self, Fold};
use super::tasks::{self, Task};
use super::{ALL, LabelledSet, Penalty, ProbeOptions, RAW, Subject};
use crate::Result;
use crate::dictionary::Dictionary;
use crate::evaluate::controls;

/// A row of the table: a dictionary or a control.
struct Candidate {
    name: String,
    control: &'static str,
    hook: Hook,
    columns: Kind,
}

/// What its columns are.
enum Kind {
    /// The same for every split.
    Fixed(Columns),
    /// The activation's own, all of them at once.
    All,
    /// Fitted to the training rows.
    Components,
    /// Fitted to the training rows.
    Difference,
}

/// The probes of one set by all dictionaries of one hook and by the controls.
///
/// # Errors
/// Activations that cannot be read.
pub(super) fn probe_set(
    subjects: &[Subject],
    reading: &Reading<'_>,
    set: &LabelledSet,
    options: &ProbeOptions,
) -> Result<Vec<ProbeRow>> {
    let here: Vec<&Subject> = subjects.iter().filter(|subject| subject.hook == reading.hook).collect();
    let Some(first) = here.first() else { return Ok(Vec::new()) };
    let d = first.dictionary.d_in;
    let (mut x, mut there) = reading.read(set, d)?;
    let mut labels = set.labels.clone();
    if let Some(shifted) = &set.shifted {
        let (more, also) = reading.read(shifted, d)?;
        x.extend(more);
        there.extend(also);
        labels.extend(&shifted.labels);
    }
    let candidates = candidates(&here, &x, d);
    let tasks = tasks::of(set, &there, &options.settings, &options.splits, &options.seeds);
    let work: Vec<(&Task, &Candidate)> =
        tasks.iter().flat_map(|task| candidates.iter().map(move |candidate| (task, candidate))).collect();
    let rows: Vec<Vec<ProbeRow>> = work
        .par_iter()
        .map(|(task, candidate)| rows_of(set, task, candidate, (&x, d), &labels, options))
        .collect();
    Ok(rows.into_iter().flatten().collect())
}

/// The dictionaries, then the controls.
fn candidates(here: &[&Subject], x: &[f32], d: usize) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for subject in here {
        let codes = subject.dictionary.encode(x);
        candidates.push(Candidate {
            name: subject.name.clone(),
            control: subject.control,
            hook: subject.hook,
            columns: Kind::Fixed(Columns::Codes(codes, subject.dictionary.d_sae)),
        });
    }
    let Some(first) = here.first() else { return candidates };
    let mut control = |name: &str, control: &'static str, columns: Kind| {
        candidates.push(Candidate { name: name.to_owned(), control, hook: first.hook, columns });
    };
    control(RAW, "raw dimensions", Kind::Fixed(Columns::Dense(x.to_vec(), d)));
    control("principal components", "principal components", Kind::Components);
    let random = random_rows(&first.dictionary, x, d);
    control("random rows", "random rows, not trained", Kind::Fixed(random));
    control("difference of means", "difference of means", Kind::Difference);
    control(ALL, "all dimensions", Kind::All);
    candidates
}

/// Codes by random unit rows, as many and as many at a time as `dictionary` has.
fn random_rows(dictionary: &Dictionary, x: &[f32], d: usize) -> Columns {
    let rows = (x.len() / d).max(1);
    let k = (dictionary.encode(x).features.len() as f64 / rows as f64).round().max(1.0) as usize;
    let mut mean = vec![0.0_f64; d];
    for row in x.chunks_exact(d) {
        mean.iter_mut().zip(row).for_each(|(m, &x)| *m += f64::from(x) / rows as f64);
    }
    let mean: Vec<f32> = mean.into_iter().map(|m| m as f32).collect();
    let random = controls::random_rows(&mean, &[], dictionary.d_sae, k, 0);
    Columns::Codes(random.encode(x), dictionary.d_sae)
}

/// The probes of one task by one candidate, a row for every penalty and k.
fn rows_of(
    set: &LabelledSet,
    task: &Task,
    candidate: &Candidate,
    (x, d): (&[f32], usize),
    labels: &[bool],
    options: &ProbeOptions,
) -> Vec<ProbeRow> {
    let (train, test) = (&task.split.train, &task.split.test);
    let of = |rows: &[usize]| rows.iter().map(|&row| labels[row]).collect::<Vec<bool>>();
    let (train_labels, test_labels) = (of(train), of(test));
    let folds = split::folds(&train_labels, task.seed);
    let ks = options.k(task.setting);
    let most = ks.iter().copied().max().unwrap_or(1);
    let made;
    let columns = match &candidate.columns {
        Kind::Fixed(columns) => columns,
        Kind::All => {
            made = Columns::Dense(x.to_vec(), d);
            &made
        }
        Kind::Components => {
            made = principal_components(x, d, train, most);
            &made
        }
        Kind::Difference => {
            made = difference_of_means(x, d, train, labels);
            &made
        }
    };
    // Components are in their order already; all dimensions have none.
    let chosen: Vec<u32> = match (&candidate.columns, columns) {
        (Kind::All | Kind::Components, Columns::Dense(_, width)) => (0..*width as u32).collect(),
        _ => columns.choose(train, labels, most),
    };
    let (train_x, test_x) = (columns.gather(train, &chosen), columns.gather(test, &chosen));
    let whole = matches!(candidate.columns, Kind::All | Kind::Difference);
    let mut rows = Vec::new();
    for &penalty in &options.penalties {
        // With all dimensions there is nothing to choose among, and l1 would only choose again.
        if whole && penalty == Penalty::L1 && options.penalties.len() > 1 {
            continue;
        }
        let ks = if whole { vec![0] } else { ks.clone() };
        for k in ks {
            let used = if whole { chosen.len() } else { k.min(chosen.len()) };
            let first = |x: &[f64]| first_columns(x, chosen.len(), used);
            let (a, b) = (first(&train_x), first(&test_x));
            let penalty = if whole { Penalty::L2 } else { penalty };
            let sides = (Rows { x: &a, labels: &train_labels }, Rows { x: &b, labels: &test_labels });
            rows.push(row(set, task, candidate, (k, penalty), sides, folds.as_deref(), &chosen[..used]));
        }
    }
    rows
}

/// The first `used` of `width` columns of `x[n, width]`.
fn first_columns(x: &[f64], width: usize, used: usize) -> Vec<f64> {
    if width == used || width == 0 {
        return x.to_vec();
    }
    x.chunks_exact(width).flat_map(|row| row[..used].iter().copied()).collect()
}

/// A probe that is fitted and measured.
fn row(
    set: &LabelledSet,
    task: &Task,
    candidate: &Candidate,
    (k, penalty): (usize, Penalty),
    (train, test): (Rows<'_>, Rows<'_>),
    folds: Option<&[Fold]>,
    chosen: &[u32],
) -> ProbeRow {
    let found = probe(train, test, folds, penalty);
    let positives = train.labels.iter().filter(|label| **label).count();
    let listed = k > 0;
    ProbeRow {
        set: set.name.clone(),
        setting: task.setting.name().to_owned(),
        split: task.splits.name().to_owned(),
        seed: task.seed,
        dictionary: candidate.name.clone(),
        control: candidate.control.to_owned(),
        hook: candidate.hook.to_string(),
        penalty: penalty.name().to_owned(),
        k: k as u32,
        train: train.labels.len() as u32,
        test: test.labels.len() as u32,
        positives: positives as f64 / train.labels.len().max(1) as f64,
        leak: task.leak,
        c: found.c,
        val_auc: found.val_auc,
        test_auc: found.auc,
        test_accuracy: found.accuracy,
        test_f1: found.f1,
        features: if listed { chosen.to_vec() } else { Vec::new() },
        weights: if listed { found.fit.weights.iter().map(|&w| w as f32).collect() } else { Vec::new() },
        bias: found.fit.bias,
    }
}
