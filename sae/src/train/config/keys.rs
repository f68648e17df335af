//! Names of what a configuration may say: a name that does not exist is answered with the nearest that does.

use std::path::Path;

use super::TrainConfig;
use crate::{Error, Result};

/// Reads `text`, which came from `path`.
pub(crate) fn parse(text: &str, path: &Path) -> Result<TrainConfig> {
    let problem = |message: String| Error::format(path, message);
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| problem(e.to_string()))?;
    check_names(table.keys(), &known()).map_err(problem)?;
    toml::from_str(text).map_err(|e| problem(e.to_string()))
}

/// Says which of `keys` is none of `known`, and what was probably meant.
pub(crate) fn check_names<'a>(
    keys: impl IntoIterator<Item = &'a String>,
    known: &[&str],
) -> Result<(), String> {
    let Some(key) = keys.into_iter().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    let near = match nearest(key, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("there are {}", known.join(", ")),
    };
    Err(format!("unknown field `{key}`; {near}"))
}

/// Every option of [`TrainConfig`].
pub(crate) fn known() -> Vec<&'static str> {
    vec![
        "data",
        "method",
        "d_sae",
        "expansion",
        "k",
        "k_start",
        "k_anneal_share",
        "multi_topk",
        "budget_law",
        "budget_cap",
        "mutual_share",
        "score_lambda",
        "score_beta",
        "gradient_norm",
        "shuffle_gradients",
        "freeze_decoder",
        "widths",
        "sparsity_coefficient",
        "sparsity_warmup_share",
        "jump_penalty",
        "jump_bandwidth",
        "jump_threshold",
        "power_end",
        "resample_every",
        "threshold_tokens",
        "batch",
        "tokens",
        "learning_rate",
        "warmup_steps",
        "decay_share",
        "beta1",
        "beta2",
        "epsilon",
        "aux",
        "auxk_coefficient",
        "k_aux",
        "aux_rho",
        "dead_after",
        "input_normalisation",
        "max_activation_norm_multiple",
        "exact",
        "seed",
        "data_seed",
        "threads",
        "log_every",
        "checkpoint_every",
        "keep_checkpoints",
        "history",
        "block_rows",
        "pool_rows",
    ]
}

/// The name of `names` that is nearest to `word`, if one is near: at most a third of its letters away.
pub(crate) fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let near =
        names.iter().map(|name| (distance(word, name), *name)).min_by_key(|(distance, _)| *distance)?;
    if near.0 * 3 <= word.chars().count().max(near.1.len()) {
        return Some(near.1);
    }
    // A part of a name is near too, and so are its initials: `lambda`, `lr`.
    let part =
        |name: &str| word.len() >= 4 && (name.contains(word) || word.contains(name) && name.len() >= 4);
    let initials = |name: &str| {
        word.len() >= 2 && name.split(['_', '-']).filter_map(|w| w.chars().next()).eq(word.chars())
    };
    names.iter().find(|name| part(name) || initials(name)).copied()
}

/// Letters to insert, remove or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// serde names every field it knows when it meets one that it does not: the list above is that list.
    #[test]
    fn the_list_is_complete() {
        let message = toml::from_str::<TrainConfig>("nothing = 1").unwrap_err().to_string();
        let listed = message.split("expected one of").nth(1).unwrap();
        let mut fields: Vec<&str> = listed.split('`').skip(1).step_by(2).collect();
        fields.sort_unstable();
        let mut known = known();
        known.sort_unstable();
        assert_eq!(fields, known);
    }

    #[test]
    fn the_nearest_name_is_offered() {
        let wrong = |text: &str| parse(text, Path::new("train.toml")).unwrap_err().to_string();
        assert!(wrong("learning_rat = 1e-3").contains("did you mean `learning_rate`?"));
        assert!(wrong("budget-law = \"fit\"").contains("`budget_law`"));
        assert!(wrong("lambda = 3").contains("`score_lambda`"));
        assert!(wrong("lr = 1e-3").contains("unknown field `lr`; did you mean `learning_rate`?"));
        assert!(wrong("zzz = 3").contains("there are data, method"));
        assert!(wrong("k = ").contains("train.toml"));
        assert!(wrong("budget_law = \"even\"").contains("zipf:s,q"));
        assert_eq!(parse("k = 7", Path::new("x")).unwrap().k, 7);
    }

    #[test]
    fn distances_are_counts_of_letters() {
        assert_eq!([distance("kitten", "sitting"), distance("", "abc"), distance("same", "same")], [3, 3, 0]);
    }
}
