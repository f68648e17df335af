//! `sae probe`: what a few features know of labelled prompts.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::shards::{self, Part, Sharded};
use super::{Output, Session};
use lm::model::Hook;
use sae::probe::{self, Penalty, Pooling, ProbeOptions, Probed, RAW, Setting, Splits};
use sae::{Error, Result};
use storage::probe::ProbeMeanRow;

/// Probe labelled prompts with a few features of dictionaries, next to controls: the protocol of sae-probes, with and without its leak
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sae probe topk frozen --sets assets/sae-probes --out probes\n  \
                  sae probe topk --sets reviews --only films,books --k 1,5 --out probes\n\n\
                  --sets is a folder of .csv or .jsonl files (also .zst, .gz) with a column `prompt` or `text` and a column `target` or `label` \
                  of two values, or that of the package sae-probes (docs/probe.md). The model runs once for all dictionaries. An interrupted \
                  probe resumes when the same command is given again.\n\nSeveral machines: give each the same command with --shard 0/8 to 7/8, then one \
                  with --merge (docs/scale-out.md).")]
pub struct Command {
    /// Runs, or dictionaries of different programs, of one model
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<String>,
    /// Folder of labelled prompts
    #[arg(long, value_name = "DIR")]
    sets: PathBuf,
    /// Folder for the results
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Only these sets, by name
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Features that a probe is given [default: 1,2,5,10,20,50,100; in the scarce and imbalanced settings 16,128]
    #[arg(long, value_name = "K1,K2,…", value_delimiter = ',')]
    k: Option<Vec<usize>>,
    /// What keeps weights small
    #[arg(long, value_enum, value_delimiter = ',', default_value = "l1")]
    penalty: Vec<PenaltyName>,
    /// What of a prompt is read
    #[arg(long, value_enum, default_value = "last")]
    pool: PoolName,
    /// How sets are used
    #[arg(long, value_enum, value_delimiter = ',', default_value = "normal")]
    setting: Vec<SettingName>,
    /// Which prompts may be on both sides
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["published", "different"])]
    split: Vec<SplitName>,
    /// Number of seeds of splits and folds; the first is --seed, or 42 as published
    #[arg(long, default_value_t = 1)]
    seeds: u32,
    /// Model that reads the prompts [default: the one that the dictionaries were trained on]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Dataset that says where the model is [default: the one that a run names]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where dictionaries belong that do not say it, a TransformerLens name
    #[arg(long)]
    hook: Option<Hook>,
    /// Folder of the prompts' activations, to share them between probes [default: OUT/activations]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    #[command(flatten)]
    sharded: Sharded,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PenaltyName {
    L1,
    L2,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PoolName {
    /// The activation of the last token
    Last,
    /// The mean over tokens
    Mean,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SettingName {
    /// Up to 1024 prompts to train on, half of them positive
    Normal,
    /// 2 to 1024 prompts
    Scarce,
    /// Shares of positives from 0.05 to 0.95
    Imbalanced,
    /// Tested on prompts of a different distribution (files NAME_OOD)
    Shifted,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SplitName {
    /// As sae-probes draws them: identical prompts may be on both sides
    Published,
    /// Every prompt once
    Different,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// Prompts, a dictionary or a model that cannot be found or read, or that do not belong together; a seed
    /// of 2³² or more; a folder that cannot be written to; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let sources = self.sources.iter().map(|name| session.source(name)).collect::<Result<Vec<_>>>()?;
        let first = u32::try_from(session.seed.unwrap_or(42))
            .map_err(|_| Error::request("--seed must be below 2^32 for splits as NumPy draws them"))?;
        let options = ProbeOptions {
            only: self.only,
            data: self.data,
            model: super::inputs::choice(self.model.as_deref(), false, session)?,
            hook: self.hook,
            pooling: match self.pool {
                PoolName::Last => Pooling::Last,
                PoolName::Mean => Pooling::Mean,
            },
            k: self.k,
            penalties: self
                .penalty
                .iter()
                .map(|name| match name {
                    PenaltyName::L1 => Penalty::L1,
                    PenaltyName::L2 => Penalty::L2,
                })
                .collect(),
            settings: self
                .setting
                .iter()
                .map(|name| match name {
                    SettingName::Normal => Setting::Normal,
                    SettingName::Scarce => Setting::Scarce,
                    SettingName::Imbalanced => Setting::Imbalanced,
                    SettingName::Shifted => Setting::Shifted,
                })
                .collect(),
            splits: self
                .split
                .iter()
                .map(|name| match name {
                    SplitName::Published => Splits::Published,
                    SplitName::Different => Splits::Different,
                })
                .collect(),
            seeds: (0..self.seeds).map(|i| first.wrapping_add(i)).collect(),
            cache: self.cache,
            ..ProbeOptions::new(self.sets)
        };
        let progress = &mut session.progress;
        Ok(match self.sharded.part() {
            Part::Whole => shown(&probe::run(&sources, &self.out, &options, progress)?),
            Part::Merge => shown(&probe::merge(&sources, &self.out, &options, progress)?),
            Part::Shard(shard) => {
                shards::finished(probe::run_shard(&sources, &self.out, &options, shard, progress)?)
            }
        })
    }
}

fn shown(probed: &Probed) -> Output {
    let mut output = Output::new(serde_json::json!({
        "out": probed.out, "sets": probed.sets, "means": probed.means,
    }));
    let leaks: Vec<f64> = probed.sets.iter().filter_map(|set| set.leak).collect();
    if !leaks.is_empty() {
        let mean = leaks.iter().sum::<f64>() / leaks.len() as f64;
        let above = leaks.iter().filter(|leak| **leak > 0.05).count();
        output.row(
                "leak",
                format!(
                    "{:.1} % of the prompts that the published splits test on are also trained on; above 5 % in {above} of {} sets",
                    100.0 * mean,
                    leaks.len()
                ),
            );
    }
    table(&probed.means, &mut output);
    output.row("results", probed.out.display());
    output
}

/// A block of lines for each setting, split and penalty: a line per dictionary and control, a column per k.
fn table(means: &[ProbeMeanRow], output: &mut Output) {
    let block = |row: &ProbeMeanRow| (row.hook.clone(), row.setting.clone(), row.split.clone());
    let mut blocks: Vec<(String, String, String)> = Vec::new();
    for row in means {
        if !blocks.contains(&block(row)) {
            blocks.push(block(row));
        }
    }
    for (hook, setting, split) in blocks {
        let here: Vec<&ProbeMeanRow> =
            means.iter().filter(|row| block(row) == (hook.clone(), setting.clone(), split.clone())).collect();
        let seen: Vec<f64> = here.iter().filter_map(|row| row.detectable).collect();
        let range = seen.iter().copied().reduce(f64::min).zip(seen.iter().copied().reduce(f64::max));
        output.row(&format!("{hook}, {setting}, {split} splits"), "mean AUC [95 % over sets]");
        if let Some((least, most)) = range {
            output.row(
                "  smallest difference from raw dimensions that could have been seen",
                format!("{least:.4} to {most:.4}, from line to line"),
            );
        }
        let mut names: Vec<(&str, &str)> = Vec::new();
        for row in &here {
            if !names.contains(&(&*row.dictionary, &*row.penalty)) {
                names.push((&row.dictionary, &row.penalty));
            }
        }
        for (name, penalty) in names {
            let own = here.iter().filter(|row| (&*row.dictionary, &*row.penalty) == (name, penalty));
            let cells: Vec<String> = own.clone().map(|row| cell(row)).collect();
            let control = own.clone().next().map_or("", |row| row.control.as_str());
            let mark = match control {
                "" => String::new(),
                control if control == name => " (control)".to_owned(),
                control => format!(" (control: {control})"),
            };
            output.row(&format!("  {name}{mark}, {penalty}"), cells.join("   "));
        }
    }
    output.row(
        "≠ raw",
        "the interval of its difference from raw dimensions with as many columns does not hold 0",
    );
}

fn cell(row: &ProbeMeanRow) -> String {
    let k = if row.k == 0 { "all".to_owned() } else { format!("k {}", row.k) };
    let interval =
        row.low.zip(row.high).map_or(String::new(), |(low, high)| format!(" [{low:.3}, {high:.3}]"));
    let apart = row.over_raw_low.zip(row.over_raw_high).is_some_and(|(low, high)| low > 0.0 || high < 0.0);
    let mark = if apart && row.dictionary != RAW { " ≠ raw" } else { "" };
    format!("{k}: {:.3}{interval}{mark}", row.auc)
}
