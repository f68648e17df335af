//! What may be wrong with a run, judged by what its files say. Every rule is here, with its evidence and what
//! to do; a rule whose numbers a run does not have says nothing.
//!
//! The bounds are rules of thumb to look twice, not laws.

use crate::data::{Metrics, RunInfo};
use crate::widgets::format;

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// What may be wrong.
    pub what: &'static str,
    /// The numbers that say so, and where they are from.
    pub evidence: String,
    /// What to try.
    pub remedy: &'static str,
}

/// Share of dead features from which on something is wrong.
const DEAD: f64 = 0.1;
/// FVE under which a dictionary explains little.
const FVE_LOW: f64 = 0.7;
/// FVE over which a dictionary should also keep the model's loss.
const FVE_HIGH: f64 = 0.9;
/// Loss recovered under which it does not.
const RECOVERED_LOW: f64 = 0.8;
/// Reconstructions are this much shorter than activations when they shrink.
const SHRUNK: f64 = 0.9;
/// L0 by thresholds and in training differ by more than this share.
const L0_DIFFERS: f64 = 0.25;
/// The loss at the end over its least value when training went wrong.
const DIVERGED: f64 = 1.5;
/// Rise of FVE over the last tenth of training that says that it was not done.
const STILL_RISING: f64 = 0.005;
/// Median change of the loss from one logged step to the next, as a share, when batches are not alike.
const RESTLESS: f64 = 0.15;
/// Firings that a feature saw on average, under which it cannot have learned much.
const FIRINGS: f64 = 500.0;

type Rule = fn(&RunInfo, Option<&Metrics>) -> Option<Hint>;

const RULES: [Rule; 8] =
    [dead, explains_little, loss_not_kept, shrinks, thresholds_differ, diverged, restless, too_short];

/// What may be wrong with the run.
pub fn hints(info: &RunInfo, metrics: Option<&Metrics>) -> Vec<Hint> {
    RULES.iter().filter_map(|rule| rule(info, metrics)).collect()
}

fn dead(info: &RunInfo, _: Option<&Metrics>) -> Option<Hint> {
    let dead = info.dead.as_ref().filter(|dead| dead.share() > DEAD)?;
    Some(Hint {
        what: "Many features are dead",
        evidence: format!("{}: {}", format::percent(dead.share()), dead.about),
        remedy: "Look for a few dimensions with a very large mean or variance in the activations; lower the learning rate, \
                 give the auxiliary loss more weight, or train fewer features.",
    })
}

fn explains_little(info: &RunInfo, _: Option<&Metrics>) -> Option<Hint> {
    let fve = info.fve.filter(|fve| *fve < FVE_LOW)?;
    let k = info.k.map(|k| format!(" with k = {k} in {} dimensions", info.d_in)).unwrap_or_default();
    Some(Hint {
        what: "Little of the variance is explained",
        evidence: format!("FVE {fve:.3}{k} ({})", info.measured_on),
        remedy: "Use a larger k, more features or a weaker penalty.",
    })
}

fn loss_not_kept(info: &RunInfo, _: Option<&Metrics>) -> Option<Hint> {
    let fve = info.fve.filter(|fve| *fve > FVE_HIGH)?;
    let recovered = info.loss_recovered.filter(|recovered| *recovered < RECOVERED_LOW)?;
    Some(Hint {
        what: "Variance is explained, but the model's loss is not recovered",
        evidence: format!("FVE {fve:.3}, loss recovered {recovered:.3} ({})", info.measured_on),
        remedy: "A few outlier dimensions may hold most of the variance. Leave out the tokens that carry them (the first of \
                 a context) or scale the dimensions before training.",
    })
}

fn shrinks(info: &RunInfo, _: Option<&Metrics>) -> Option<Hint> {
    let ratio = info.evaluation.as_ref().and_then(|e| e.l2_ratio).filter(|ratio| *ratio < SHRUNK)?;
    Some(Hint {
        what: "Reconstructions are too short",
        evidence: format!("‖x̂‖ / ‖x‖ is {ratio:.3} ({})", info.measured_on),
        remedy: "A penalty on the size of activations shrinks them; JumpReLU, gated and TopK methods do not.",
    })
}

fn thresholds_differ(info: &RunInfo, _: Option<&Metrics>) -> Option<Hint> {
    let (training, threshold) = info.l0_by_threshold?;
    let share = (threshold - training).abs() / training.max(f64::MIN_POSITIVE);
    (share > L0_DIFFERS).then(|| Hint {
        what: "Thresholds select a different number of features than training did",
        evidence: format!("L0 {training:.1} in training, {threshold:.1} by threshold (run.json)"),
        remedy: "The held-out text may differ from the text of training; fit on more tokens (threshold_tokens).",
    })
}

fn diverged(info: &RunInfo, metrics: Option<&Metrics>) -> Option<Hint> {
    let loss = finite(metrics?.curve(|m| &m.overall_loss)?);
    let (least, last) = (loss.iter().copied().fold(f64::INFINITY, f64::min), *loss.last()?);
    (loss.len() >= 10 && least > 0.0 && last > DIVERGED * least).then(|| Hint {
        what: "The loss rose again",
        evidence: format!(
            "{} at the end, {} at best (metrics.parquet)",
            format::value(last),
            format::value(least)
        ),
        remedy: if info.method == "p-anneal" || info.method == "relu" {
            "A growing penalty can raise the loss on purpose; otherwise lower the learning rate or warm up longer."
        } else {
            "Lower the learning rate or warm up longer."
        },
    })
}

fn restless(_: &RunInfo, metrics: Option<&Metrics>) -> Option<Hint> {
    let loss = finite(metrics?.curve(|m| &m.overall_loss)?);
    // The second half: at the beginning the loss falls, and should.
    let loss = loss.get(loss.len() / 2..).filter(|half| half.len() >= 10)?;
    let change = |w: &[f64]| ((w[1] - w[0]) / w[0].max(f64::MIN_POSITIVE)).abs();
    let mut changes: Vec<f64> = loss.windows(2).map(change).collect();
    // The median, so that a single jump does not count.
    changes.sort_by(f64::total_cmp);
    let median = changes[changes.len() / 2];
    (median > RESTLESS).then(|| Hint {
        what: "Batches differ from each other",
        evidence: format!(
            "in the second half of training the loss changes by {} between logged steps (median, metrics.parquet)",
            format::percent(median)
        ),
        remedy: "The rows may follow the order of the corpus: shuffle over more of it. Or use a larger batch.",
    })
}

fn too_short(info: &RunInfo, metrics: Option<&Metrics>) -> Option<Hint> {
    let firings = info.tokens as f64 * info.l0? / info.d_sae.max(1) as f64;
    let rise = metrics.and_then(|m| {
        let fve = finite(m.curve(|m| &m.explained_variance)?);
        (fve.len() >= 20).then(|| fve[fve.len() - 1] - fve[fve.len() - 1 - fve.len() / 10])
    });
    let evidence = match rise {
        Some(rise) if rise > STILL_RISING => {
            format!("FVE rose by {rise:.3} over the last tenth (metrics.parquet)")
        }
        _ if firings < FIRINGS => {
            format!(
                "a feature fired {} times on average during training (run.json)",
                format::count(firings as u64)
            )
        }
        _ => return None,
    };
    (info.status == crate::data::Status::Finished).then_some(Hint {
        what: "Trained on few tokens",
        evidence,
        remedy: "Train on more tokens, or with fewer features.",
    })
}

fn finite(values: &[Option<f32>]) -> Vec<f64> {
    values.iter().flatten().map(|v| f64::from(*v)).filter(|v| v.is_finite()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{DeadFeatures, Evaluation, MetricsColumns, Status};

    fn healthy() -> (RunInfo, Metrics) {
        let info = RunInfo {
            status: Status::Finished,
            method: "topk".into(),
            k: Some(32),
            d_in: 128,
            d_sae: 2048,
            tokens: 2_000_000,
            fve: Some(0.94),
            loss_recovered: Some(0.98),
            l0: Some(32.0),
            dead: Some(DeadFeatures { count: 20, features: 2048, ..DeadFeatures::default() }),
            evaluation: Some(Evaluation { l2_ratio: Some(0.96), ..Evaluation::new() }),
            l0_by_threshold: Some((32.0, 33.0)),
            ..RunInfo::default()
        };
        let curve = |f: fn(f32) -> f32| (0..100).map(|s| Some(f(s as f32))).collect();
        let metrics = Metrics(MetricsColumns {
            step: (0..100).collect(),
            tokens: (0..100).collect(),
            overall_loss: curve(|s| 5.0 + 100.0 * (-s / 8.0).exp()),
            explained_variance: curve(|s| 0.94 - (-s / 8.0).exp()),
            ..MetricsColumns::default()
        });
        (info, metrics)
    }

    fn found(change: impl FnOnce(&mut RunInfo, &mut Metrics)) -> Vec<&'static str> {
        let (mut info, mut metrics) = healthy();
        change(&mut info, &mut metrics);
        hints(&info, Some(&metrics)).iter().map(|hint| hint.what).collect()
    }

    #[test]
    fn a_healthy_run_gets_no_hint_and_one_without_numbers_neither() {
        assert_eq!(found(|_, _| {}), [""; 0]);
        assert_eq!(hints(&RunInfo::default(), None), []);
    }

    #[test]
    fn each_rule_speaks_when_its_evidence_is_there() {
        assert_eq!(found(|i, _| i.dead.as_mut().unwrap().count = 600), ["Many features are dead"]);
        assert_eq!(found(|i, _| i.fve = Some(0.5)), ["Little of the variance is explained"]);
        let lost = ["Variance is explained, but the model's loss is not recovered"];
        assert_eq!(found(|i, _| i.loss_recovered = Some(0.5)), lost);
        assert_eq!(
            found(|i, _| i.evaluation.as_mut().unwrap().l2_ratio = Some(0.7)),
            ["Reconstructions are too short"]
        );
        let differ = ["Thresholds select a different number of features than training did"];
        assert_eq!(found(|i, _| i.l0_by_threshold = Some((32.0, 60.0))), differ);
        assert_eq!(found(|_, m| m.0.overall_loss[99] = Some(50.0)), ["The loss rose again"]);
        assert_eq!(found(|i, _| i.tokens = 10_000), ["Trained on few tokens"]);
        assert_eq!(found(|_, m| m.0.explained_variance[99] = Some(0.97)), ["Trained on few tokens"]);
        let restless = found(|_, m| {
            for (i, value) in m.0.overall_loss.iter_mut().flatten().enumerate() {
                *value *= if i % 2 == 0 { 1.0 } else { 1.3 };
            }
        });
        assert_eq!(restless, ["Batches differ from each other"]);
    }
}
