//! `sae train`: a dictionary from a dataset of activations.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches};

use super::{Output, Session};
use sae::shards::Shard;
use sae::train::sweep::{self, NamedConfig, Plan};
use sae::train::{self, OPTIONS, OptionValue, TrainConfig, TrainOption, TrainOutcome};
use sae::{Error, Result};

/// Options of `train.toml` that the command line has by itself.
const ELSEWHERE: [&str; 3] = ["data", "seed", "threads"];

/// What is given of the options of `train.toml`, by key.
#[derive(Debug, Clone, Default)]
struct Options(toml::Table);

/// The options of `train.toml` that are options here, too.
fn options() -> impl Iterator<Item = &'static TrainOption> {
    OPTIONS.iter().filter(|option| !ELSEWHERE.contains(&option.key))
}

impl Args for Options {
    fn augment_args(command: clap::Command) -> clap::Command {
        options().fold(command, |command, option| {
            // Clap wants names that live as long as the program; a command is made once.
            let flag: &'static str = option.flag().leak();
            let argument = Arg::new(option.key).long(flag).help(option.help).help_heading(option.group);
            command.arg(match option.value {
                OptionValue::Flag => argument.action(ArgAction::SetTrue),
                // A negative number is a value, to be refused by what it is about.
                _ => argument.value_name(option.placeholder).allow_negative_numbers(true),
            })
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Options {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut options = Self::default();
        options.update_from_arg_matches(matches)?;
        Ok(options)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for option in options() {
            let text = match option.value {
                OptionValue::Flag if matches.get_flag(option.key) => Some("true"),
                OptionValue::Flag => None,
                _ => matches.get_one::<String>(option.key).map(String::as_str),
            };
            let Some(text) = text else { continue };
            let value = option
                .parse(text)
                .map_err(|e| clap::Error::raw(ErrorKind::ValueValidation, format!("{e}\n")))?;
            self.0.insert(option.key.to_owned(), value);
        }
        Ok(())
    }
}

/// Train a sparse autoencoder, or many of them, on a dataset of activations
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae train --data data --d-sae 2048 --k 32 --tokens 4000000 --out topk\n  sae train --out topk --resume\n  sae train --config sweep.toml --out sweep      # docs/sweeps.md\n  sae train --config sweep.toml --shard 3/8 --out sweep      # docs/scale-out.md"
)]
pub struct Command {
    /// The dataset, as `sae harvest` made it
    #[arg(long, required_unless_present_any = ["resume", "config"], value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder for the run
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// All options as TOML (a run's train.toml), or a sweep of many runs; options on the command line override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Resume from the newest checkpoint in --out
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    options: Options,
    /// Memory in GiB for all runs of a sweep that train together [default: most of what is free]
    #[arg(long, value_name = "GIB")]
    memory: Option<f64>,
    /// Train part i of n (counted from 0) of a sweep's runs; when all n are done, --merge makes one sweep of
    /// them. The same command continues what was interrupted
    #[arg(long, value_name = "I/N", requires = "config", conflicts_with = "resume")]
    shard: Option<Shard>,
    /// Check that every run of the sweep in --config was trained by the shards, and write its table
    #[arg(long, requires = "config", conflicts_with_all = ["shard", "resume", "dry_run"])]
    merge: bool,
    /// Only show what would be trained, and the memory it needs
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: also time a few steps of every shape on made-up activations, and say how long the training takes
    #[arg(long, requires = "dry_run")]
    estimate: bool,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// No dataset, options that make no sense, a folder that is taken or has nothing to resume, files that
    /// cannot be read or written; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        if let Some(asked) = self.sweep(session)? {
            let mut plan = self.plan(&asked, session)?;
            if self.merge {
                return Ok(super::sweep::swept(&sweep::merge(&plan, &self.out, &mut session.progress)?));
            }
            if let Some(shard) = self.shard {
                plan = self.plan(&sweep::share(&asked, shard), session)?;
            }
            if self.dry_run {
                return self.planned(&plan, session);
            }
            plan.must_fit(&mut session.progress)?;
            let outcome = match self.shard {
                Some(shard) => sweep::run_shard(&plan, shard, &self.out, &mut session.progress)?,
                None => sweep::run(&plan, &self.out, self.resume, &mut session.progress)?,
            };
            return Ok(super::sweep::swept(&outcome));
        }
        if self.shard.is_some() || self.merge {
            return Err(Error::request("--config asks for one run, which cannot be cut into shards")
                .with_remedy("write a sweep: docs/sweeps.md"));
        }
        let own = self.out.join(train::CONFIG_FILE);
        let base = match &self.config {
            // What a run is resumed with is compared with what it began with, so an option is never ignored.
            None if self.resume && self.data.is_none() && own.exists() => train::read_config_file(&own)?,
            None if self.resume && self.data.is_none() => {
                return Ok(report(&train::resume(&self.out, &mut session.progress)?));
            }
            None => TrainConfig::default(),
            Some(path) => train::read_config_file(path)?,
        };
        let config = self.over(&base, session)?;
        let data = config
            .data
            .clone()
            .ok_or_else(|| Error::request("no dataset is given").with_remedy("give --data DIR"))?;
        let name = self.out.display().to_string();
        let plan = self.plan(&[NamedConfig { name, config: config.clone() }], session)?;
        if self.dry_run {
            return self.planned(&plan, session);
        }
        plan.must_fit(&mut session.progress)?;
        Ok(report(&train::run(&config, &data, &self.out, self.resume, &mut session.progress)?))
    }

    /// The runs of the sweep that is asked for, if one is.
    fn sweep(&self, session: &Session) -> Result<Option<Vec<NamedConfig>>> {
        let asked = match &self.config {
            Some(path) if sweep::is_sweep(path)? => sweep::read_file(path)?,
            None if self.resume && self.out.join(sweep::SWEEP_FILE).exists() => sweep::read_out(&self.out)?,
            _ => return Ok(None),
        };
        let over = |asked: NamedConfig| {
            let config = self.over(&asked.config, session)?;
            Ok(NamedConfig { name: asked.name, config })
        };
        asked.into_iter().map(over).collect::<Result<Vec<_>>>().map(Some)
    }

    fn plan(&self, asked: &[NamedConfig], session: &Session) -> Result<Plan> {
        if let Some(gib) = self.memory.filter(|gib| !(*gib > 0.0 && gib.is_finite())) {
            return Err(Error::request(format!("--memory is {gib}; it must be a number of GiB above 0")));
        }
        let limit = self.memory.map(|gib| (gib * (1_u64 << 30) as f64) as u64);
        Plan::new(asked, limit, session.threads)
    }

    /// What would be trained; with `--estimate` how long it takes.
    fn planned(&self, plan: &Plan, session: &mut Session) -> Result<Output> {
        let seconds = match self.estimate {
            true => plan.seconds(session.threads, &mut session.progress)?,
            false => vec![None; plan.runs.len()],
        };
        Ok(super::sweep::planned(plan, &seconds))
    }

    /// `base`, with what is given on the command line in its place.
    fn over(&self, base: &TrainConfig, session: &Session) -> Result<TrainConfig> {
        let mut config = base.over(&self.options.0)?;
        if self.options.0.contains_key("k") && config.method.is_penalised() {
            return Err(Error::request(format!(
                "--k has no meaning for {}: a penalty decides how many features of a token are active",
                config.method
            ))
            .with_remedy("give --sparsity-coefficient instead"));
        }
        config.data = self.data.clone().or(config.data);
        config.seed = session.seed.unwrap_or(config.seed);
        config.threads = session.threads.or(config.threads);
        Ok(config)
    }
}

fn report(outcome: &TrainOutcome) -> Output {
    let left_out = outcome.left_out;
    let mut output = Output::new(serde_json::json!({
        "run": outcome.run, "method": outcome.method, "steps": outcome.steps, "tokens": outcome.tokens, "seconds": outcome.seconds,
        "loss": outcome.loss, "fve": outcome.fve, "l0": outcome.l0, "dead": outcome.dead,
        "dead_share": outcome.dead_share, "dead_after": outcome.dead_after, "left_out": left_out.rows, "left_out_share": left_out.share, "mean_ratio": outcome.mean_ratio,
        "l0_threshold": outcome.l0_threshold, "capacity_bits": outcome.capacity_bits,
    }));
    output.row("run", outcome.run.display());
    output.row("method", outcome.method.label());
    output.row("steps", outcome.steps);
    output.row("tokens", outcome.tokens);
    output.row("time", super::progress::duration(outcome.seconds));
    // Undefined where the rows of the last window do not vary.
    let number = |n: f64, digits| if n.is_finite() { format!("{n:.digits$}") } else { "–".to_owned() };
    output.row("FVE", format!("{} (training rows, last window)", number(outcome.fve, 4)));
    output.row("L0", number(outcome.l0, 1));
    if let Some(l0) = outcome.l0_threshold {
        output.row("L0 by threshold", format!("{l0:.1}"));
    }
    if let Some([blocks, free]) = outcome.capacity_bits {
        output.row("capacity", format!("2^{blocks:.1} codes; TopK of the same k has 2^{free:.1}"));
    }
    let share = 100.0 * outcome.dead_share;
    if left_out.rows > 0 {
        output.row(
            "left out",
            format!("{} rows ({:.2} %), because of their norm", left_out.rows, 100.0 * left_out.share),
        );
    }
    output.row("dead", format!("{} ({share:.2} %, silent for {} tokens)", outcome.dead, outcome.dead_after));
    output
}
