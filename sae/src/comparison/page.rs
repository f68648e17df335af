//! The tables of a comparison in Markdown.

use storage::comparison::{ComparisonRow, DifferenceRow, MeanRow};

use super::differences::COMPARED;
use super::means::Group;

/// Columns: a heading, the figure, digits after the point, and what it is multiplied by.
const COLUMNS: [(&str, &str, usize, f64); 11] = [
    ("FVE", "fve", 4, 1.0),
    ("CE increase", "ce_increase", 4, 1.0),
    ("KL", "kl", 4, 1.0),
    ("loss recovered", "loss_recovered", 4, 1.0),
    ("dead %", "dead_share", 1, 100.0),
    ("under-used %", "under_used_share", 1, 100.0),
    ("bias", "reconstruction_bias", 3, 1.0),
    ("mean abs. cosine", "decoder_cosine", 3, 1.0),
    ("L0", "l0", 1, 1.0),
    ("L0 5 %", "l0_p5", 0, 1.0),
    ("L0 95 %", "l0_p95", 0, 1.0),
];

/// All groups: a table for each k, those without a budget last.
pub(super) fn page(rows: &[ComparisonRow], means: &[MeanRow], differences: &[DifferenceRow]) -> String {
    let mut text = String::from("# Comparison\n");
    let mut places: Vec<(&str, u64)> = means.iter().map(|row| (row.hook.as_str(), row.k)).collect();
    places.sort_unstable_by_key(|&(hook, k)| (hook, if k == 0 { u64::MAX } else { k }));
    places.dedup();
    for (hook, k) in places {
        let title = if k > 0 { format!("k = {k}") } else { "without a budget".to_owned() };
        text.push_str(&format!("\n## {hook}, {title}\n\n"));
        let here: Vec<&DifferenceRow> =
            differences.iter().filter(|row| (row.hook.as_str(), row.k) == (hook, k)).collect();
        text.push_str(&detectable(&here));
        let headings: Vec<&str> = COLUMNS.iter().map(|(heading, ..)| *heading).collect();
        text.push_str(&format!("| method | seeds | {} |\n", headings.join(" | ")));
        text.push_str(&format!("|---|---|{}\n", "---|".repeat(COLUMNS.len())));
        for group in
            Group::all(means).filter(|group| (group.head().hook.as_str(), group.head().k) == (hook, k))
        {
            text.push_str(&line(&group));
        }
        text.push_str(&controls(&here));
    }
    text.push_str(&notes(rows));
    text
}

fn line(group: &Group<'_>) -> String {
    let head = group.head();
    let mut name = match head.variant.as_str() {
        "" => head.method.clone(),
        variant => format!("{}, {}", head.method, variant.replace('_', "\\_")),
    };
    if !head.control.is_empty() {
        name = format!("{name} (control: {})", head.control);
    }
    let cells: Vec<String> = COLUMNS
        .iter()
        .map(|&(_, figure, digits, factor)| {
            group.get(figure).map_or("–".to_owned(), |row| cell(row, digits, factor))
        })
        .collect();
    format!("| {name} | {} | {} |\n", head.seeds, cells.join(" | "))
}

/// `mean [over seeds] (over documents)`.
fn cell(row: &MeanRow, digits: usize, factor: f64) -> String {
    let number = |x: f64| format!("{:.digits$}", factor * x);
    let mut text = number(row.mean);
    if let (Some(low), Some(high)) = (row.low, row.high) {
        text.push_str(&format!(" [{}, {}]", number(low), number(high)));
    }
    if let (Some(low), Some(high)) = (row.data_low, row.data_high) {
        text.push_str(&format!(" ({}, {})", number(low), number(high)));
    }
    text
}

/// How a figure is called in sentences.
fn name_of(figure: &str) -> &str {
    match figure {
        "fve" => "FVE",
        "ce_increase" => "CE increase",
        _ => "KL",
    }
}

/// The smallest differences that could have been seen, before anything is compared.
fn detectable(differences: &[&DifferenceRow]) -> String {
    let range = |figure: &str| {
        let all: Vec<f64> =
            differences.iter().filter(|row| row.figure == figure).filter_map(|row| row.detectable).collect();
        let least = all.iter().copied().reduce(f64::min)?;
        let most = all.iter().copied().reduce(f64::max)?;
        Some(format!("{} {least:.4} to {most:.4}", name_of(figure)))
    };
    let ranges: Vec<String> = COMPARED.into_iter().filter_map(range).collect();
    if ranges.is_empty() {
        return "Too few seeds and documents to tell any difference.\n\n".to_owned();
    }
    format!(
        "The smallest difference between two rows that this comparison would have seen four times of five, from pair to pair: {}.\n\n",
        ranges.join("; ")
    )
}

/// What the groups have over the controls.
fn controls(differences: &[&DifferenceRow]) -> String {
    // A pair has the earlier group first; here what is judged stands first.
    let controls: Vec<&&DifferenceRow> =
        differences.iter().filter(|row| !row.other_control.is_empty() && row.figure != "kl").collect();
    if controls.is_empty() {
        return "\nNo control stands next to these: their figures have nothing to be measured by.\n"
            .to_owned();
    }
    let mut text = String::from(
        "\n| group | minus the control | figure | difference | seeds | documents | |\n|---|---|---|---|---|---|---|\n",
    );
    for row in controls {
        let interval = |low: Option<f64>, high: Option<f64>| match (low, high) {
            (Some(low), Some(high)) => format!("[{low:+.4}, {high:+.4}]"),
            _ => "–".to_owned(),
        };
        text.push_str(&format!(
            "| {} | {} ({}) | {} | {:+.4} | {} | {} | {} |\n",
            row.group.replace('_', "\\_"),
            row.other.replace('_', "\\_"),
            row.other_control,
            name_of(&row.figure),
            row.difference,
            interval(row.low, row.high),
            interval(row.data_low, row.data_high),
            if row.apart { "apart" } else { "not told apart" }
        ));
    }
    text
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
        "\nMean [95 % interval over seeds, by Student's t] (95 % interval over documents, by bootstrap). Two groups are apart where no \
         interval of their difference holds 0: over seeds by Welch's t, over documents by draws of the same documents for both. Trained on {} tokens, measured on {} held-out tokens. FVE is centred; CE increase \
         is the cross-entropy with the reconstruction at the hook minus that of the model as it is, KL is from the model as it is, both \
         in nats per token; bias is E‖x̂‖² / E[x·x̂], mean abs. cosine is that of decoder rows of different features; dead is over the measured tokens, under-used is firing on less than a tenth of the tokens that the mean feature \
         fires on; L0 5 % and 95 % are quantiles over tokens. Methods that match whole batches select by thresholds, `topk` and `gradient` \
         the k best of a token, `pca-first` the first k components, `pca-largest` the k largest coefficients of a token, `raw-largest` the k \
         coordinates farthest from their means.\n",
        range(|row| row.tokens),
        range(|row| row.evaluated)
    )
}
