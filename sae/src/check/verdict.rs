//! What the numbers of a check say, in one sentence with a remedy.
//!
//! All rules compare numbers of the same rows, so that none needs to know how well a good dictionary of this kind does:
//!
//! - **The control**: the documented reading on the same rows with their components in reverse order, a basis in which it cannot be at
//!   home. With f the fraction of variance explained (FVE) and c that of the control (at least 0, which the mean alone explains),
//!   (f − c)/(1 − c) is what it explains beyond that. Below [`BELONGS`] it does not belong to these rows; from [`WELL`] on it fits.
//! - **A different reading** is meant if what it leaves unexplained is at most [`CLEARLY`] of what the documented one leaves ([`PAIRED`]
//!   on the same rows with no more features), it belongs to the rows, and it does not buy that with more features: no more than [`AS_SPARSE`] times as many per token, or, where
//!   the documented reading explains nothing, no more than half the width.
//! - **A different hook** by the same measure.
//! - **Thresholds** that fire as many features as were published or trained for are right: other ones are not meant, whatever they explain.
//! - **L0** is far from the published one beyond a factor of [`FAR`].

use storage::check::{CheckHook, CheckReading, Judgement};

/// Least share, beyond the control, of a dictionary that belongs to its rows: sparse codes over random directions reach a few hundredths.
pub(super) const BELONGS: f64 = 0.2;
/// Share, beyond the control, from which on a dictionary fits: it explains more than it leaves.
pub(super) const WELL: f64 = 0.5;
/// Greatest part of the documented reading's error that a reading may leave which was meant instead, where it sees different rows or uses
/// more features. Of dictionaries trained here, wrong ones left as much or more (docs/check.md).
pub(super) const CLEARLY: f64 = 0.85;
/// The same on the same rows with no more features: the same tokens with the same variance, so that chance moves the ratio by hundredths.
const PAIRED: f64 = 0.95;
/// Readings that change the rows, and so what there is to explain, or the thresholds, which nobody sets to leave the least error: that of
/// a whole batch leaves a little more on other rows than one that is a fifth higher.
const LESS_ALIKE: [&str; 6] = [
    "without-outliers",
    "centred",
    "without-gain",
    "thresholds-times-scale",
    "thresholds-over-scale",
    "thresholds-published",
];
/// Readings that change the thresholds alone.
const THRESHOLDS: [&str; 3] = ["thresholds-times-scale", "thresholds-over-scale", "thresholds-published"];
/// Errors that differ by less than this factor are the same: the simpler explanation is taken.
const EQUAL: f64 = 1.1;
/// How many times as many features a better reading may use.
const AS_SPARSE: f64 = 2.0;
/// Factor between the published number of features per token and the measured one from which on they do not agree: text and contexts
/// alone move it by a few tens of percent.
const FAR: f64 = 2.5;

/// The measured numbers.
#[derive(Debug)]
pub(super) struct Numbers<'a> {
    /// The documented reading first, the control last.
    pub readings: &'a [CheckReading],
    /// The documented reading at hooks of the model.
    pub hooks: &'a [CheckHook],
    /// The hook that it is documented at.
    pub hook: &'a str,
    /// Features per token as published, or as training had them.
    pub published_l0: Option<f64>,
    /// Width of a row.
    pub d: usize,
    /// What the dictionary reconstructs, in words.
    pub what: &'a str,
}

/// What the numbers say.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    pub judgement: Judgement,
    /// The reading or hook that was meant instead.
    pub instead: Option<String>,
    pub text: String,
}

/// Judges.
pub(super) fn judge(numbers: &Numbers<'_>) -> Verdict {
    let Some((documented, control)) = numbers.readings.first().zip(numbers.readings.last()) else {
        return verdict(Judgement::NotMeasured, None, "no rows were given to measure it on".to_owned());
    };
    let Some(fve) = documented.fve else {
        return verdict(
            Judgement::NotMeasured,
            None,
            "the rows do not vary: there is nothing to explain".to_owned(),
        );
    };
    let by_control = control.fve.unwrap_or_default().clamp(0.0, 0.99);
    let beyond = |fve: f64| (fve - by_control) / (1.0 - by_control);
    let l0 = documented.l0;
    let explained =
        format!("{} of the variance of {} with {} features per token", percent(fve), numbers.what, count(l0));
    let hook = better_hook(numbers, beyond);
    let other = better_reading(numbers, fve, beyond);
    // At a wrong hook a wrong scale may help a little: what explains most is meant.
    let more = |hook: &CheckHook, other: &CheckReading| hook.fve > other.fve;
    if let Some(other) = other.filter(|other| hook.is_none_or(|hook| !more(hook, other))) {
        return instead_of(numbers, documented, other);
    }
    if let Some(hook) = hook {
        let here = numbers.hooks.iter().find(|h| h.hook == numbers.hook).and_then(|h| h.fve).unwrap_or(fve);
        let text = format!(
            "it reads {} rather than {}: FVE {} there, {} here",
            hook.hook,
            numbers.hook,
            number(hook.fve),
            number(Some(here))
        );
        return verdict(Judgement::Elsewhere, Some(hook.hook.clone()), text);
    }
    if beyond(fve) < BELONGS {
        let mean = if fve < 0.0 { ", less than the mean alone explains" } else { "" };
        let text = format!(
            "it does not belong to these activations: FVE {}{mean}, and {} where it cannot belong (components reversed); no reading explains them",
            number(Some(fve)),
            number(control.fve)
        );
        return verdict(Judgement::Foreign, None, text);
    }
    if let Some(published) = numbers.published_l0.filter(|published| far(*published, l0)) {
        let text = format!(
            "{} features per token where {} are published; it explains {explained}",
            count(l0),
            count(published)
        );
        return verdict(Judgement::Sparsity, None, text);
    }
    match beyond(fve) >= WELL {
        true => verdict(Judgement::Fits, None, format!("read as it was meant: it explains {explained}")),
        false => {
            let text =
                format!("it explains {explained}, which is little; no other reading explains much more");
            verdict(Judgement::Weak, None, text)
        }
    }
}

fn verdict(judgement: Judgement, instead: Option<String>, text: String) -> Verdict {
    Verdict { judgement, instead, text }
}

/// The reading that was meant rather than the documented one, if one was.
fn better_reading<'a>(
    numbers: &Numbers<'a>,
    fve: f64,
    beyond: impl Fn(f64) -> f64,
) -> Option<&'a CheckReading> {
    let (documented, others) = numbers.readings.split_first()?;
    // BOS rows are long, and whoever explains them explains most of the variance: they say nothing about the reading.
    let others: Vec<&CheckReading> = others.split_last()?.1.iter().filter(|r| r.id != "with-bos").collect();
    // A published number decides between readings that differ in how many features fire, however much more features explain.
    if let Some(published) = numbers.published_l0.filter(|published| far(*published, documented.l0)) {
        let near = others
            .iter()
            .copied()
            .filter(|r| !far(published, r.l0) && r.fve.is_some_and(|f| beyond(f) >= BELONGS));
        let distance = |r: &&CheckReading| (r.l0 / published).ln().abs();
        if let Some(nearest) = near.min_by(|a, b| distance(a).total_cmp(&distance(b))) {
            return Some(nearest);
        }
    }
    let most = match beyond(fve) < BELONGS {
        true => numbers.d as f64 / 2.0,
        false => AS_SPARSE * documented.l0.max(1.0),
    };
    let left = |r: &CheckReading| 1.0 - r.fve.unwrap_or(f64::NEG_INFINITY);
    let margin = |r: &CheckReading| {
        let paired = !LESS_ALIKE.contains(&r.id.as_str()) && r.l0 <= 1.05 * documented.l0;
        if paired { PAIRED } else { CLEARLY }
    };
    // Thresholds of a batch leave a little more than lower ones do, which fire more: that is not a mistake.
    let fires_as_it_should = numbers.published_l0.is_some_and(|published| !far(published, documented.l0));
    let meant = |r: &&CheckReading| {
        if fires_as_it_should && THRESHOLDS.contains(&r.id.as_str()) {
            return false;
        }
        left(r) <= margin(r) * (1.0 - fve) && r.fve.is_some_and(|f| beyond(f) >= BELONGS) && r.l0 <= most
    };
    let least = others.iter().copied().filter(meant).map(left).min_by(f64::total_cmp)?;
    others.iter().copied().filter(meant).find(|r| left(r) <= EQUAL * least)
}

fn instead_of(numbers: &Numbers<'_>, documented: &CheckReading, other: &CheckReading) -> Verdict {
    let compared = format!(
        "FVE {} and L0 {} instead of {} and {}",
        number(other.fve),
        count(other.l0),
        number(documented.fve),
        count(documented.l0)
    );
    let published = match numbers.published_l0.filter(|l0| far(*l0, documented.l0)) {
        Some(l0) => format!(" (published: {})", count(l0)),
        None => String::new(),
    };
    let rows = other.id == "without-outliers";
    let text = match rows {
        true => format!(
            "a few rows of outlying norm (first tokens, BOS) decide the numbers; without them {compared}{published}"
        ),
        false => format!("it was meant differently: {}: {compared}{published}", other.about),
    };
    let judgement = if rows { Judgement::Rows } else { Judgement::Misread };
    verdict(judgement, Some(other.id.clone()), text)
}

fn better_hook<'a>(numbers: &Numbers<'a>, beyond: impl Fn(f64) -> f64) -> Option<&'a CheckHook> {
    let here = numbers.hooks.iter().find(|h| h.hook == numbers.hook)?;
    // Of equal ones the first: the value after a block is also that before the next.
    let better = |a: &'a CheckHook, b: &'a CheckHook| if b.fve > a.fve { b } else { a };
    let best = numbers.hooks.iter().reduce(better)?;
    let (here_fve, best_fve) = (here.fve?, best.fve?);
    let sparse = best.l0 <= AS_SPARSE * here.l0.max(1.0) || beyond(here_fve) < BELONGS;
    let better = 1.0 - best_fve <= CLEARLY * (1.0 - here_fve) && beyond(best_fve) >= BELONGS;
    (better && sparse && best.hook != numbers.hook).then_some(best)
}

fn far(published: f64, l0: f64) -> bool {
    l0 <= 0.0 || (l0 / published).ln().abs() > FAR.ln()
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

pub(super) fn number(fve: Option<f64>) -> String {
    match fve {
        None => "–".to_owned(),
        Some(fve) if fve.abs() < 1000.0 => format!("{fve:.3}"),
        Some(fve) => format!("{fve:.1e}"),
    }
}

pub(super) fn count(l0: f64) -> String {
    if l0 < 100.0 { format!("{l0:.1}") } else { format!("{l0:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(id: &str, fve: f64, l0: f64) -> CheckReading {
        CheckReading { id: id.into(), about: id.into(), fve: Some(fve), l0, dead_share: 0.0 }
    }

    fn judged(readings: &[CheckReading], hooks: &[CheckHook], published_l0: Option<f64>) -> Verdict {
        judge(&Numbers { readings, hooks, hook: "here", published_l0, d: 100, what: "rows" })
    }

    #[test]
    fn rules_one_by_one() {
        let control = reading("control", -0.5, 8.0);
        let with = |documented: (f64, f64), other: (f64, f64), published: Option<f64>| {
            let readings = [
                reading("documented", documented.0, documented.1),
                reading("other", other.0, other.1),
                control.clone(),
            ];
            judged(&readings, &[], published).judgement
        };
        assert_eq!(with((0.8, 8.0), (0.805, 8.0), None), Judgement::Fits);
        assert_eq!(
            with((0.8, 8.0), (0.815, 8.0), None),
            Judgement::Misread,
            "on the same rows a little is enough"
        );
        assert_eq!(with((0.8, 8.0), (0.815, 9.0), None), Judgement::Fits, "with more features it is not");
        assert_eq!(with((0.4, 8.0), (0.42, 8.0), None), Judgement::Weak);
        assert_eq!(with((0.1, 8.0), (0.15, 8.0), None), Judgement::Foreign);
        assert_eq!(with((-3.0, 8.0), (0.1, 8.0), None), Judgement::Foreign, "better than bad is not good");
        assert_eq!(with((0.5, 8.0), (0.7, 8.0), None), Judgement::Misread);
        assert_eq!(
            with((0.5, 8.0), (0.7, 17.0), None),
            Judgement::Fits,
            "bought with twice as many features"
        );
        assert_eq!(with((-1.0, 0.0), (0.7, 40.0), None), Judgement::Misread);
        assert_eq!(
            with((-1.0, 0.0), (0.7, 60.0), None),
            Judgement::Foreign,
            "more than half the width is not sparse"
        );
        assert_eq!(with((0.9, 90.0), (0.7, 9.0), Some(10.0)), Judgement::Misread);
        assert_eq!(with((0.9, 90.0), (0.7, 800.0), Some(10.0)), Judgement::Sparsity);
        assert_eq!(with((0.9, 12.0), (0.7, 10.0), Some(10.0)), Judgement::Fits);
    }

    /// A run by batches, measured: thresholds of a fifth explain more with nearly twice as many features.
    #[test]
    fn thresholds_that_fire_as_they_should_are_meant() {
        let readings = [
            reading("documented", 0.8985, 31.3),
            reading("thresholds-times-scale", 0.9236, 59.0),
            reading("control", -0.88, 108.8),
        ];
        assert_eq!(judged(&readings, &[], Some(32.0)).judgement, Judgement::Fits);
        assert_eq!(judged(&readings, &[], None).judgement, Judgement::Misread);
        assert_eq!(judged(&readings, &[], Some(80.0)).judgement, Judgement::Misread);
    }

    #[test]
    fn what_a_dictionary_explains_anywhere_does_not_count() {
        let readings = [reading("documented", 0.5, 8.0), reading("control", 0.45, 8.0)];
        assert_eq!(judged(&readings, &[], None).judgement, Judgement::Foreign);
    }

    #[test]
    fn of_equal_explanations_the_first_is_taken() {
        let readings = [
            reading("documented", 0.1, 8.0),
            reading("without-outliers", 0.89, 8.0),
            reading("layer-norm", 0.90, 8.0),
            reading("control", 0.0, 8.0),
        ];
        let verdict = judged(&readings, &[], None);
        assert_eq!(
            (verdict.judgement, verdict.instead.as_deref()),
            (Judgement::Rows, Some("without-outliers"))
        );
    }

    #[test]
    fn a_hook_where_it_is_at_home() {
        let hook = |name: &str, fve: f64| CheckHook { hook: name.into(), fve: Some(fve), l0: 8.0 };
        let readings = [reading("documented", 0.6, 8.0), reading("control", 0.0, 8.0)];
        let verdict = judged(&readings, &[hook("there", 0.8), hook("here", 0.6)], None);
        assert_eq!((verdict.judgement, verdict.instead.as_deref()), (Judgement::Elsewhere, Some("there")));
        let near = judged(&readings, &[hook("there", 0.65), hook("here", 0.6)], None);
        assert_eq!(near.judgement, Judgement::Fits);
    }
}
