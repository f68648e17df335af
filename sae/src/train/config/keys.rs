//! The options of a configuration: names and help texts for `train.toml` and the command line, declared once. A name that does not exist
//! is answered with the nearest that does.

use std::path::Path;

use toml::{Table, Value};

use super::TrainConfig;
use crate::{Error, Result};

/// Reads `text`, which came from `path`.
///
/// # Errors
/// Text that is not TOML; a key that does not exist, and the nearest that does; a value of the wrong type.
pub fn parse(text: &str, path: &Path) -> Result<TrainConfig> {
    let problem = |message: String| Error::format(path, message);
    let table: Table = text.parse().map_err(|e: toml::de::Error| problem(e.to_string()))?;
    check_names(table.keys(), &known()).map_err(problem)?;
    toml::from_str(text).map_err(|e| problem(e.to_string()))
}

/// Says which of `keys` is none of `known`, and what was probably meant.
///
/// # Errors
/// The first key that is not among them.
pub fn check_names<'a>(keys: impl IntoIterator<Item = &'a String>, known: &[&str]) -> Result<(), String> {
    let Some(key) = keys.into_iter().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    let near = match nearest(key, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("there are {}", known.join(", ")),
    };
    Err(format!("unknown field `{key}`; {near}"))
}

/// An option of `train.toml`, which is an option of the command line too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainOption {
    /// Its name in `train.toml`; on the command line with `-` for `_`.
    pub key: &'static str,
    /// What it is about, as a heading of a list.
    pub group: &'static str,
    /// What its value is.
    pub value: OptionValue,
    /// What stands for the value in a help text.
    pub placeholder: &'static str,
    /// One line, with its default.
    pub help: &'static str,
}

/// What the value of an option is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionValue {
    /// `true` or `false`; on the command line the option stands alone.
    Flag,
    /// A number, whole or not.
    Number,
    /// A word.
    Text,
    /// A number, or a word instead.
    NumberOrText,
    /// Numbers, on the command line with `,` between them.
    Numbers,
}

impl TrainOption {
    /// The option as it is written on the command line, without its `--`.
    pub fn flag(&self) -> String {
        self.key.replace('_', "-")
    }

    /// The value that `text` of the command line stands for.
    ///
    /// # Errors
    /// If it is not what the option takes.
    pub fn parse(&self, text: &str) -> Result<Value> {
        let wrong =
            |expected: &str| Error::request(format!("--{} is `{text}`; it must be {expected}", self.flag()));
        let number = |text: &str| {
            let text = text.trim();
            let whole = text.parse::<i64>().ok().map(Value::Integer);
            whole.or_else(|| text.parse::<f64>().ok().map(Value::Float))
        };
        let value = match self.value {
            OptionValue::Flag => Value::Boolean(text.parse().map_err(|_| wrong("true or false"))?),
            OptionValue::Number => number(text).ok_or_else(|| wrong("a number"))?,
            OptionValue::Text => Value::String(text.to_owned()),
            OptionValue::NumberOrText => number(text).unwrap_or_else(|| Value::String(text.to_owned())),
            OptionValue::Numbers => {
                let numbers: Option<Vec<Value>> = text.split(',').map(number).collect();
                Value::Array(numbers.ok_or_else(|| wrong("numbers with commas between them"))?)
            }
        };
        // Alone in a file the option has no neighbours that an error could be about.
        let alone = Table::from_iter([(self.key.to_owned(), value.clone())]);
        match alone.try_into::<TrainConfig>() {
            Ok(_) => Ok(value),
            Err(e) => Err(Error::request(format!("--{} is `{text}`: {}", self.flag(), e.message()))),
        }
    }
}

impl TrainConfig {
    /// The configuration with `given`, by key, in place of what it has.
    ///
    /// # Errors
    /// If a value is not what its option takes.
    pub fn over(&self, given: &Table) -> Result<Self> {
        let wrong = |e: String| Error::request(format!("the options do not go together: {e}"));
        let mut table = Table::try_from(self).map_err(|e| wrong(e.to_string()))?;
        table.extend(given.clone());
        table.try_into().map_err(|e: toml::de::Error| wrong(e.message().to_owned()))
    }
}

/// Every option of [`TrainConfig`], in the order of the names of a sweep's runs.
pub const OPTIONS: &[TrainOption] = &[
    option("data", "Run", OptionValue::Text, "DIR", "The dataset, as `sae harvest` made it"),
    option(
        "target",
        "Run",
        OptionValue::Text,
        "DIR",
        "Train a transcoder: the dataset of what is reconstructed, harvested in one pass with --data [default: --data itself]",
    ),
    option(
        "cross_layer",
        "Run",
        OptionValue::Flag,
        "",
        "Train a cross-layer transcoder: --data is the folder of one harvest of hook_mlp_in and hook_mlp_out of all layers; --d-sae and --k are those of each layer",
    ),
    option(
        "from",
        "Run",
        OptionValue::Text,
        "RUN",
        "Begin with the weights of a run, or of a dictionary, instead of random directions",
    ),
    option(
        "method",
        "Method",
        OptionValue::Text,
        "METHOD",
        "Which features are active: topk (TopK, token choice), abs-topk (TopK of either sign), mutual-choice (BatchTopK; batch-topk and batchtopk are accepted), feature-choice, block-choice (TopK in blocks), gradient, gradient-mutual, gradient-feature, cosine, cosine-mutual (BatchTopK by cosine and norm), matching-pursuit; relu, jumprelu, gated, matryoshka, p-anneal, shrinkage [default: topk]",
    ),
    option(
        "skip",
        "Method",
        OptionValue::Flag,
        "",
        "With --target: train a linear path past the features too, W_skip (a skip transcoder)",
    ),
    option("d_sae", "Dictionary", OptionValue::Number, "F", "Number of features"),
    option(
        "expansion",
        "Dictionary",
        OptionValue::Number,
        "MULTIPLE",
        "Number of features as a multiple of d_model, if --d-sae is not given [default: 16]",
    ),
    option(
        "k",
        "Dictionary",
        OptionValue::Number,
        "K",
        "Active features per token: at most, or on average where the batch has a budget [default: 32]",
    ),
    option(
        "k_start",
        "Dictionary",
        OptionValue::Number,
        "K",
        "k at the first step; it falls to --k in a straight line [default: k]",
    ),
    option(
        "k_anneal_share",
        "Dictionary",
        OptionValue::Number,
        "SHARE",
        "Share of the run in which k falls [default: 0.1 if --k-start is given]",
    ),
    option(
        "multi_topk",
        "Method",
        OptionValue::Number,
        "MULTIPLE",
        "Multi-TopK: add an eighth of the loss with this many times k active features; 4 in Gao et al. (2024) [default: not]",
    ),
    option(
        "blocks",
        "Method",
        OptionValue::Number,
        "BLOCKS",
        "Blocks of features of block-choice, each with k / blocks winners per token [default: k, one winner each]",
    ),
    option(
        "budget_law",
        "Method",
        OptionValue::Text,
        "LAW",
        "Budgets of feature choice: uniform, zipf:s,q or fit [default: fit]",
    ),
    option(
        "budget_cap",
        "Method",
        OptionValue::Number,
        "SHARE",
        "Most tokens of a batch for one feature of feature choice, as a share of the batch [default: 0.5]",
    ),
    option(
        "mutual_share",
        "Method",
        OptionValue::Number,
        "SHARE",
        "Share of the run that is BatchTopK before feature choice begins [default: 0.5]",
    ),
    option(
        "score_lambda",
        "Method",
        OptionValue::Number,
        "LAMBDA",
        "λ of the gradient score relu(z)·(λ + β·|W_dec g|) [default: 1]",
    ),
    option(
        "score_beta",
        "Method",
        OptionValue::Number,
        "BETA",
        "β of the gradient score; with 0 gradients are not read [default: 1]",
    ),
    option(
        "gradient_norm",
        "Method",
        OptionValue::Text,
        "NORM",
        "How gradients are brought to one scale: token or batch [default: token]",
    ),
    option(
        "cosine_alpha",
        "Method",
        OptionValue::Text,
        "WHOSE",
        "α of the cosine score (x·e)·|x|^(α-1): one for all features (shared) or one for each (each) [default: each]",
    ),
    option(
        "align_encoder",
        "Method",
        OptionValue::Flag,
        "",
        "Keep the product of every encoder row with its decoder row at 1 (aligned training)",
    ),
    option(
        "lista_step",
        "Method",
        OptionValue::Number,
        "ETA",
        "Correct the codes once: what they leave is encoded too, times this (one LISTA step); 0.3 is usual [default: not]",
    ),
    option(
        "shuffle_gradients",
        "Method",
        OptionValue::Flag,
        "",
        "Control: score every token with the gradient of a different token of its batch",
    ),
    option(
        "freeze_decoder",
        "Method",
        OptionValue::Text,
        "HOW",
        "Control: decoder rows stay the random directions that they begin as (random), or within a cosine of 0.8 of them (soft)",
    ),
    option(
        "freeze_encoder",
        "Method",
        OptionValue::Flag,
        "",
        "Control: encoder rows and biases stay what they begin as; only the decoder is trained",
    ),
    option(
        "widths",
        "Method",
        OptionValue::Numbers,
        "F1,F2,…",
        "Features of the nested dictionaries of matryoshka, as 256,1024,4096 [default: F/16, F/8, F/4, F/2, F]",
    ),
    option(
        "detach_widths",
        "Method",
        OptionValue::Flag,
        "",
        "Matryoshka: every inner dictionary sees what the smaller ones reconstruct as a constant",
    ),
    option(
        "sort_widths",
        "Method",
        OptionValue::Flag,
        "",
        "Matryoshka: the nested dictionaries are of the features that fire most often, instead of the first ones",
    ),
    option(
        "tilt",
        "Method",
        OptionValue::Number,
        "T",
        "Tilted loss: rows count by softmax(t·loss / mean loss), badly reconstructed ones for more; 0.002 to 0.01 is mild [default: 0]",
    ),
    option(
        "sparsity_coefficient",
        "Method",
        OptionValue::Number,
        "LAMBDA",
        "λ of the penalty of relu, jumprelu, gated, p-anneal and shrinkage [default: √d/5, d/500 for jumprelu; for shrinkage that of the threshold √d/10]",
    ),
    option(
        "sparsity_warmup_share",
        "Method",
        OptionValue::Number,
        "SHARE",
        "Share of the run in which λ rises from 0 [default: 0.05]",
    ),
    option(
        "activation",
        "Method",
        OptionValue::Text,
        "SHRINKAGE",
        "How shrinkage shrinks pre-activations: soft, hard, half, firm or log-sum [default: half]",
    ),
    option(
        "jump_penalty",
        "Method",
        OptionValue::Text,
        "PENALTY",
        "What the codes of jumprelu cost: l0 or tanh [default: l0]",
    ),
    option(
        "jump_bandwidth",
        "Method",
        OptionValue::Number,
        "WIDTH",
        "Pre-activations within half of this move a threshold of jumprelu [default: √d/30]",
    ),
    option(
        "jump_threshold",
        "Method",
        OptionValue::Number,
        "THRESHOLD",
        "Thresholds of jumprelu at the first step [default: half the bandwidth]",
    ),
    option("power_end", "Method", OptionValue::Number, "P", "p at the end of p-anneal [default: 0.2]"),
    option(
        "resample_every",
        "Method",
        OptionValue::Number,
        "STEPS",
        "Steps after which dead features of relu get new rows [default: never]",
    ),
    option(
        "threshold_tokens",
        "Method",
        OptionValue::Number,
        "TOKENS",
        "Held-out tokens to fit thresholds on, at most [default: 1000000]",
    ),
    option("batch", "Optimiser", OptionValue::Number, "TOKENS", "Tokens per step [default: 2048]"),
    option(
        "tokens",
        "Optimiser",
        OptionValue::Number,
        "TOKENS",
        "Tokens to train on; more than the dataset has means several epochs [default: one epoch]",
    ),
    option(
        "learning_rate",
        "Optimiser",
        OptionValue::Number,
        "RATE",
        "Peak learning rate of Adam [default: from the width and the length of the run]",
    ),
    option(
        "warmup_steps",
        "Optimiser",
        OptionValue::Number,
        "STEPS",
        "Steps of linear warm-up [default: a twentieth of the run, at most 1000]",
    ),
    option(
        "decay_share",
        "Optimiser",
        OptionValue::Number,
        "SHARE",
        "Share of the run, at its end, in which the learning rate falls to 0 [default: 0.4]",
    ),
    option("beta1", "Optimiser", OptionValue::Number, "BETA", "β₁ of Adam [default: 0.9]"),
    option("beta2", "Optimiser", OptionValue::Number, "BETA", "β₂ of Adam [default: 0.999]"),
    option("epsilon", "Optimiser", OptionValue::Number, "EPSILON", "ε of Adam [default: 6.25e-10]"),
    option(
        "aux",
        "Dead features",
        OptionValue::Text,
        "LOSS",
        "Auxiliary loss of features that fire too rarely: auxk, zipf or none [default: auxk; zipf for feature choice, none with a penalty]",
    ),
    option(
        "auxk_coefficient",
        "Dead features",
        OptionValue::Number,
        "ALPHA",
        "Weight of the auxiliary loss; 0 turns it off [default: 1/32]",
    ),
    option(
        "k_aux",
        "Dead features",
        OptionValue::Number,
        "K",
        "Such features that a token may use, at most [default: the power of two nearest to d/2]",
    ),
    option(
        "aux_rho",
        "Dead features",
        OptionValue::Number,
        "SHARE",
        "With --aux zipf, a feature is under-used if it fires at less than this share of the rate that the law gives it [default: 0.3]",
    ),
    option(
        "dead_after",
        "Dead features",
        OptionValue::Number,
        "TOKENS",
        "Tokens without firing after which a feature is dead [default: an eighth of the run, at most 10 million]",
    ),
    option(
        "input_normalisation",
        "Input",
        OptionValue::Text,
        "SCALE",
        "What activations are multiplied by: none, mean_square, which makes the mean of ‖x‖² equal to d, or whiten, by the matrix that makes their covariance 1 [default: mean_square]",
    ),
    option(
        "max_norm",
        "Input",
        OptionValue::NumberOrText,
        "MULTIPLE",
        "Leave out rows with a norm above this multiple of the median norm (a transcoder's targets: ten times that); none keeps them all [default: 10]",
    ),
    option(
        "exact",
        "Run",
        OptionValue::Flag,
        "",
        "Compute all pre-activations, and the auxiliary loss, in f32: no candidates of a product in 8 bits, nothing rounded to bfloat16",
    ),
    option(
        "seed",
        "Run",
        OptionValue::Number,
        "SEED",
        "Seed of the first directions and, without --data-seed, of the order of rows [default: 0]",
    ),
    option(
        "data_seed",
        "Run",
        OptionValue::Number,
        "SEED",
        "Seed of the order of rows; runs of a sweep with the same one share batches [default: seed]",
    ),
    option(
        "threads",
        "Run",
        OptionValue::Number,
        "THREADS",
        "Threads; the result does not depend on them [default: one per processor]",
    ),
    option(
        "log_every",
        "Run",
        OptionValue::Number,
        "STEPS",
        "Steps between rows of metrics.parquet [default: a 200th of the run, 1 to 100]",
    ),
    option(
        "checkpoint_every",
        "Run",
        OptionValue::Number,
        "STEPS",
        "Steps between checkpoints; 0 writes them only when training is stopped [default: 1000]",
    ),
    option("keep_checkpoints", "Run", OptionValue::Number, "CHECKPOINTS", "Checkpoints kept [default: 2]"),
    option(
        "history",
        "Run",
        OptionValue::Number,
        "SNAPSHOTS",
        "Snapshots from which the history of every feature is made, at most; 0 for none [default: one for every 50 steps, 2 to 20]",
    ),
    option(
        "block_rows",
        "Input",
        OptionValue::Number,
        "ROWS",
        "Consecutive rows that stay together until their pool is permuted [default: 256]",
    ),
    option(
        "pool_rows",
        "Input",
        OptionValue::Number,
        "ROWS",
        "Rows in memory at once, of which there are two such pools [default: 128 MiB of them, at least 65536]",
    ),
];

const fn option(
    key: &'static str,
    group: &'static str,
    value: OptionValue,
    placeholder: &'static str,
    help: &'static str,
) -> TrainOption {
    TrainOption { key, group, value, placeholder, help }
}

/// The names of all options.
pub fn known() -> Vec<&'static str> {
    OPTIONS.iter().map(|option| option.key).collect()
}

/// The name of `names` that is nearest to `word`, if one is near: at most a third of its letters away.
pub fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
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
    fn options_of_the_command_line_are_those_of_the_file() {
        let option = |key: &str| OPTIONS.iter().find(|option| option.key == key).unwrap();
        let given = [
            ("k", "16"),
            ("learning_rate", "1e-3"),
            ("method", "batchtopk"),
            ("widths", "4,8"),
            ("exact", "true"),
        ];
        let table = given.map(|(key, text)| (key.to_owned(), option(key).parse(text).unwrap()));
        let base = TrainConfig { seed: 3, k: 8, ..TrainConfig::default() };
        let config = base.over(&Table::from_iter(table)).unwrap();
        let expected = TrainConfig {
            k: 16,
            learning_rate: Some(1e-3),
            method: crate::train::Method::MutualChoice,
            widths: Some(vec![4, 8]),
            exact: true,
            ..base
        };
        assert_eq!(config, expected);
        assert_eq!(option("k_anneal_share").flag(), "k-anneal-share");
        for (key, text, part) in [
            ("k", "many", "--k is `many`; it must be a number"),
            ("k", "-3", "--k is `-3`"),
            ("aux", "most", "auxk"),
            ("widths", "4;8", "commas"),
        ] {
            let message = option(key).parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn the_nearest_name_is_offered() {
        let wrong = |text: &str| parse(text, Path::new("train.toml")).unwrap_err().to_string();
        assert!(wrong("learning_rat = 1e-3").contains("did you mean `learning_rate`?"));
        assert!(wrong("budget-law = \"fit\"").contains("`budget_law`"));
        assert!(wrong("lambda = 3").contains("`score_lambda`"));
        assert!(wrong("lr = 1e-3").contains("unknown field `lr`; did you mean `learning_rate`?"));
        assert!(wrong("zzz = 3").contains("there are data, target, cross_layer, from, method"));
        assert!(wrong("k = ").contains("train.toml"));
        assert!(wrong("budget_law = \"even\"").contains("zipf:s,q"));
        assert_eq!(parse("k = 7", Path::new("x")).unwrap().k, 7);
    }

    #[test]
    fn distances_are_counts_of_letters() {
        assert_eq!([distance("kitten", "sitting"), distance("", "abc"), distance("same", "same")], [3, 3, 0]);
    }
}
