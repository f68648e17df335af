//! Figures over the seeds of a group.

use storage::comparison::{ComparisonRow, MeanRow};

use kernels::student::quantile;

/// A figure: its name and what it is of a row.
pub(super) type Figure = (&'static str, fn(&ComparisonRow) -> Option<f64>);

/// The figures that means are taken of.
pub(super) const FIGURES: [Figure; 20] = [
    ("fve", |row| row.fve),
    ("ce_increase", |row| Some(row.ce? - row.ce_clean?)),
    ("kl", |row| row.kl),
    ("loss_recovered", |row| row.loss_recovered),
    ("l0", |row| Some(row.l0)),
    ("l0_sd", |row| row.l0_sd),
    ("l0_p5", |row| row.l0_p5),
    ("l0_median", |row| row.l0_median),
    ("l0_p95", |row| row.l0_p95),
    ("dead_share", |row| Some(row.dead_share)),
    ("under_used_share", |row| row.under_used_share),
    ("cosine", |row| Some(row.cosine)),
    ("l2_ratio", |row| row.l2_ratio),
    ("reconstruction_bias", |row| row.reconstruction_bias),
    ("decoder_cosine", |row| row.decoder_cosine),
    ("max_decoder_cosine", |row| row.max_decoder_cosine),
    ("over_1_percent", |row| row.over_1_percent),
    ("l0_training", |row| row.l0_training),
    ("fve_training", |row| row.fve_training),
    ("seconds", |row| row.seconds),
];

/// Whether two rows differ in their seed alone. Rows of a group stand together.
pub(super) fn same_group(a: &ComparisonRow, b: &ComparisonRow) -> bool {
    (&a.group, &a.hook, a.d_sae) == (&b.group, &b.hook, b.d_sae)
}

/// The means of all figures of a group.
pub(super) fn means(group: &[ComparisonRow]) -> Vec<MeanRow> {
    FIGURES.iter().filter_map(|figure| mean(group, figure)).collect()
}

/// The values of a figure that are numbers.
pub(super) fn values(group: &[ComparisonRow], of: fn(&ComparisonRow) -> Option<f64>) -> Vec<f64> {
    group.iter().filter_map(of).filter(|value| value.is_finite()).collect()
}

/// Mean and variance (n − 1) of some numbers; no variance of one.
pub(super) fn moments(values: &[f64]) -> (f64, Option<f64>) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, (values.len() > 1).then(|| squares / (n - 1.0)))
}

fn mean(group: &[ComparisonRow], (figure, of): &Figure) -> Option<MeanRow> {
    let values = values(group, *of);
    let (first, n) = (group.first()?, values.len() as f64);
    if values.is_empty() {
        return None;
    }
    let (mean, variance) = moments(&values);
    let sd = variance.map(f64::sqrt);
    let half = sd.map(|sd| quantile(0.975, n - 1.0) * sd / n.sqrt());
    Some(MeanRow {
        group: first.group.clone(),
        method: first.method.clone(),
        variant: first.variant.clone(),
        control: first.control.clone(),
        hook: first.hook.clone(),
        k: first.k,
        d_sae: first.d_sae,
        figure: (*figure).to_owned(),
        seeds: values.len() as u64,
        mean,
        sd,
        low: half.map(|half| mean - half),
        high: half.map(|half| mean + half),
        data_low: None,
        data_high: None,
        least: values.iter().copied().fold(f64::INFINITY, f64::min),
        most: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    })
}

/// The means of one group, by figure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group<'a>(pub(super) &'a [MeanRow]);

impl<'a> Group<'a> {
    /// All groups, in order.
    pub(super) fn all(means: &'a [MeanRow]) -> impl Iterator<Item = Self> {
        means.chunk_by(|a, b| (&a.group, &a.hook, a.d_sae) == (&b.group, &b.hook, b.d_sae)).map(Self)
    }

    /// A figure of the group.
    pub(super) fn get(&self, figure: &str) -> Option<&'a MeanRow> {
        self.0.iter().find(|row| row.figure == figure)
    }

    /// Any of its rows, for what they have in common.
    pub(super) fn head(&self) -> &'a MeanRow {
        &self.0[0]
    }
}
