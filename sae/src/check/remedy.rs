//! What to do about a verdict.

use storage::Check;
use storage::check::Judgement;

use super::verdict::Verdict;

/// The remedy for `verdict`; `limit` is the norm above which rows are outliers.
pub(super) fn of(check: &Check, verdict: &Verdict, limit: f64) -> Option<String> {
    let import =
        |option: &str| format!("import it so: sae import dictionary {} --out RUN {option}", check.source);
    match verdict.judgement {
        Judgement::NotMeasured | Judgement::Fits => None,
        Judgement::Weak => Some("compare it with others of the same place: sae evaluate --pca".to_owned()),
        Judgement::Misread => verdict.instead.as_deref().map(|id| match id {
            "without-gain" => {
                "it was trained on the norm's output without its gain; import activations taken that way (fold_ln)".to_owned()
            }
            id => import(&format!("--reading {id}")),
        }),
        Judgement::Elsewhere => verdict.instead.as_deref().map(|hook| import(&format!("--hook {hook}"))),
        Judgement::Rows => Some(format!("leave them out: import it with --norm-limit {limit:.0}")),
        Judgement::Sparsity => {
            Some("check its thresholds and the scale of its input, or measure on text like its authors'".to_owned())
        }
        Judgement::Foreign => Some(match (&check.model, &check.rows) {
            (Some(named), Some(rows)) if *named != rows.model => {
                format!("it names `{named}`, and the rows are of `{}`: give that model with --model", rows.model)
            }
            _ => "check that model and hook are those it was trained on: --model, --hook".to_owned(),
        }),
    }
}
