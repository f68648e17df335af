//! The tables of a comparison in Markdown.

use storage::comparison::{ComparisonRow, MeanRow};

use super::means::Group;

/// Columns: a heading, the figure, digits after the point, and what it is multiplied by.
const COLUMNS: [(&str, &str, usize, f64); 9] = [
    ("FVE", "fve", 4, 1.0),
    ("CE increase", "ce_increase", 4, 1.0),
    ("KL", "kl", 4, 1.0),
    ("loss recovered", "loss_recovered", 4, 1.0),
    ("dead %", "dead_share", 1, 100.0),
    ("under-used %", "under_used_share", 1, 100.0),
    ("L0", "l0", 1, 1.0),
    ("L0 5 %", "l0_p5", 0, 1.0),
    ("L0 95 %", "l0_p95", 0, 1.0),
];

/// All groups: a table for each k, those without a budget last.
pub(super) fn page(rows: &[ComparisonRow], means: &[MeanRow]) -> String {
    let mut text = String::from("# Comparison\n");
    let mut places: Vec<(&str, u64)> = means.iter().map(|row| (row.hook.as_str(), row.k)).collect();
    places.sort_unstable_by_key(|&(hook, k)| (hook, if k == 0 { u64::MAX } else { k }));
    places.dedup();
    for (hook, k) in places {
        let title = if k > 0 { format!("k = {k}") } else { "without a budget".to_owned() };
        text.push_str(&format!("\n## {hook}, {title}\n\n"));
        let headings: Vec<&str> = COLUMNS.iter().map(|(heading, ..)| *heading).collect();
        text.push_str(&format!("| method | seeds | {} |\n", headings.join(" | ")));
        text.push_str(&format!("|---|---|{}\n", "---|".repeat(COLUMNS.len())));
        for group in
            Group::all(means).filter(|group| (group.head().hook.as_str(), group.head().k) == (hook, k))
        {
            text.push_str(&line(&group));
        }
    }
    text.push_str(&notes(rows));
    text
}

fn line(group: &Group<'_>) -> String {
    let head = group.head();
    let name = match head.variant.as_str() {
        "" => head.method.clone(),
        variant => format!("{}, {}", head.method, variant.replace('_', "\\_")),
    };
    let cells: Vec<String> = COLUMNS
        .iter()
        .map(|&(_, figure, digits, factor)| {
            group.get(figure).map_or("–".to_owned(), |row| {
                let mean = format!("{:.digits$}", factor * row.mean);
                row.sd.map_or(mean.clone(), |sd| format!("{mean} ± {:.digits$}", factor * sd))
            })
        })
        .collect();
    format!("| {name} | {} | {} |\n", head.seeds, cells.join(" | "))
}

fn notes(rows: &[ComparisonRow]) -> String {
    let range = |of: fn(&ComparisonRow) -> u64| {
        let values = || rows.iter().map(of).filter(|&n| n > 0);
        match (values().min(), values().max()) {
            (Some(least), Some(most)) if least == most => least.to_string(),
            (Some(least), Some(most)) => format!("{least} to {most}"),
            _ => "no".to_owned(),
        }
    };
    format!(
        "\nMean ± standard deviation (n − 1) over seeds. Trained on {} tokens, measured on {} held-out tokens. FVE is centred; CE increase \
         is the cross-entropy with the reconstruction at the hook minus that of the model as it is, KL is from the model as it is, both \
         in nats a token; dead is over the measured tokens, under-used is firing on less than a tenth of the tokens that the mean feature \
         fires on; L0 5 % and 95 % are quantiles over tokens. Methods that match whole batches select by thresholds, `topk` and `gradient` \
         the k best of a token, `pca-first` the first k components, `pca-largest` the k largest coefficients of a token.\n",
        range(|row| row.tokens),
        range(|row| row.evaluated)
    )
}
