//! `sae synth`: made worlds whose features are known.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::latent::ModelName;
use super::progress::count;
use super::shards::{self, Part, Sharded};
use super::{Output, Session};
use sae::dictionary::recode::Coding;
use sae::latent::{BarsOptions, write_bars};
use sae::synth::dataset::{self, DatasetOptions};
use sae::synth::loss::LossOptions;
use sae::synth::{HierarchyOptions, World, WorldOptions};
use sae::truth::{self, ScoreOptions};
use sae::{Error, Result};
use storage::Dtype;

/// Rows that a description of a world is measured on.
const SHOWN_ROWS: u64 = 20_000;

/// Make a world whose features are known, write its rows as a dataset, and score what a dictionary found in them
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae synth make --out world\n  sae synth rows world --rows 6000000 --generate --out data\n  \
    sae train --data data --d-sae 512 --k 8 --method mutual-choice --tokens 6000000 --out batchtopk\n  \
    sae synth score batchtopk --prune\n  sae synth score batchtopk --recode posterior\n\nSeveral machines: `sae synth rows` with --shard 0/8 to 7/8, then with --merge.\ndocs/known-truth.md says what the figures mean."
)]
pub struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Make(Make),
    Show(Show),
    Rows(Rows),
    Score(Score),
    Bars(Bars),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Preset {
    /// 2,048 features in 256 dimensions
    Small,
    /// SynthSAEBench-16k: 16,384 features in 768 dimensions
    #[value(name = "16k")]
    Bench,
}

/// Make a world and write it as SAELens does
#[derive(Debug, Args)]
struct Make {
    /// Where the options that are not given come from
    #[arg(long, value_enum, default_value = "small")]
    preset: Preset,
    /// Folder for the world
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Features
    #[arg(long)]
    features: Option<usize>,
    /// Dimensions
    #[arg(long)]
    d_model: Option<usize>,
    /// Exponent of the rates (Zipf)
    #[arg(long)]
    exponent: Option<f64>,
    /// Rate of the most frequent feature
    #[arg(long)]
    max_prob: Option<f64>,
    /// Rate of the rarest feature
    #[arg(long)]
    min_prob: Option<f64>,
    /// Trees of the hierarchy; 0: there is none
    #[arg(long)]
    roots: Option<usize>,
    /// Children of a feature of a tree
    #[arg(long)]
    branching: Option<usize>,
    /// Levels of a tree below its root
    #[arg(long)]
    depth: Option<usize>,
    /// Rank of the correlations; 0: features are independent
    #[arg(long)]
    rank: Option<usize>,
    /// Scale of the correlations
    #[arg(long)]
    correlation_scale: Option<f32>,
    /// Steps that make the directions less alike
    #[arg(long)]
    orthogonal_steps: Option<usize>,
    /// Norm of what is added to every row
    #[arg(long)]
    bias: Option<f32>,
}

/// Describe a world
#[derive(Debug, Args)]
struct Show {
    /// Folder of the world, by `sae synth make` or SAELens
    world: PathBuf,
}

/// Write rows of a world as a dataset, with the features that made each
#[derive(Debug, Args)]
struct Rows {
    /// Folder of the world, by `sae synth make` or SAELens
    world: PathBuf,
    /// Folder for the dataset
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How many
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Store no rows: they are made each time they are read, so that any number of them takes no room
    #[arg(long)]
    generate: bool,
    /// Plant a loss that reads this share of the world's features, so that rows have gradients, which methods like `gradient` select by
    #[arg(long, value_name = "SHARE", num_args = 0..=1, require_equals = true, default_missing_value = "0.25", requires = "generate")]
    loss: Option<f64>,
    /// Stored type of the activations
    #[arg(long, value_enum, default_value = "f16", conflicts_with = "generate")]
    dtype: DtypeName,
    /// Share of the documents (runs of rows) that is held out
    #[arg(long, default_value_t = 0.05)]
    held_out: f64,
    #[command(flatten)]
    sharded: Sharded,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DtypeName {
    F16,
    F32,
}

/// Compare what a dictionary found with what the world has, on rows that no dataset holds
#[derive(Debug, Args)]
struct Score {
    /// A run, or a dictionary of a different program: a folder, a file, or OWNER/NAME[@REVISION][/PATH] of the hub
    #[arg(value_name = "SOURCE")]
    run: String,
    /// The world [default: that of the dataset that the run was trained on]
    #[arg(long, value_name = "DIR")]
    world: Option<PathBuf>,
    /// The dataset that holds the world [default: the one that the run names]
    #[arg(long, value_name = "DIR", conflicts_with = "world")]
    data: Option<PathBuf>,
    /// Rows to score on
    #[arg(long, default_value_t = 100_000)]
    rows: u64,
    /// With leave-one-out pruning: a feature stays on a row if its best code, the others being as they are, is more than so many
    /// medians of the dictionary's codes [default without a number: 0.4]
    #[arg(long, value_name = "MEDIANS", num_args = 0..=1, require_equals = true, default_missing_value = "0.4")]
    prune: Option<f64>,
    /// With codes that are searched for from the dictionary's own (`sae evaluate --help` says how): refit, pursuit, soft, hard, half, firm,
    /// log-sum, posterior or best
    #[arg(long, value_name = "CODING", conflicts_with = "prune")]
    recode: Option<Coding>,
}

/// Write pictures of made-up bars as a dataset, for `sae latent`
#[derive(Debug, Args)]
struct Bars {
    /// Folder for the dataset
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The model that makes them
    #[arg(long, value_enum, default_value = "bsc")]
    model: ModelName,
    /// Pixels of a side; there are twice as many bars
    #[arg(long, default_value_t = 5)]
    size: usize,
    /// How many pictures [default: 1000, for gsc 10,000]
    #[arg(long)]
    rows: Option<u64>,
    /// What a pixel of a bar is
    #[arg(long, default_value_t = 10.0)]
    amplitude: f64,
    /// How often a bar is there [default: two bars per picture]
    #[arg(long)]
    rate: Option<f64>,
    /// Standard deviation of the noise of a pixel [default: 2, for gsc 1]
    #[arg(long)]
    sigma: Option<f64>,
    /// Share of the documents (runs of 100 rows) that is held out
    #[arg(long, default_value_t = 0.0)]
    held_out: f64,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A world that cannot be, or that cannot be read or written; a dictionary that does not fit it; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        match self.action {
            Action::Make(make) => make.run(session),
            Action::Show(show) => show.run(session),
            Action::Rows(rows) => rows.run(session),
            Action::Score(score) => score.run(session),
            Action::Bars(bars) => bars.run(session),
        }
    }
}

impl Make {
    fn options(&self, seed: Option<u64>) -> Result<WorldOptions> {
        let preset = match self.preset {
            Preset::Small => WorldOptions::small(),
            Preset::Bench => WorldOptions::bench(),
        };
        let usual = preset.hierarchy.unwrap_or(HierarchyOptions { roots: 0, branching: 0, depth: 0 });
        let hierarchy = HierarchyOptions {
            roots: self.roots.unwrap_or(usual.roots),
            branching: self.branching.unwrap_or(usual.branching),
            depth: self.depth.unwrap_or(usual.depth),
        };
        let seed = match seed {
            None => preset.seed,
            Some(seed) => u32::try_from(seed)
                .map_err(|_| Error::request(format!("the seed of a world is below 2^32, not {seed}")))?,
        };
        Ok(WorldOptions {
            features: self.features.unwrap_or(preset.features),
            d: self.d_model.unwrap_or(preset.d),
            exponent: self.exponent.unwrap_or(preset.exponent),
            most: self.max_prob.unwrap_or(preset.most),
            least: self.min_prob.unwrap_or(preset.least),
            hierarchy: (hierarchy.roots > 0).then_some(hierarchy),
            rank: self.rank.unwrap_or(preset.rank),
            correlation_scale: self.correlation_scale.unwrap_or(preset.correlation_scale),
            orthogonal_steps: self.orthogonal_steps.unwrap_or(preset.orthogonal_steps),
            bias: self.bias.unwrap_or(preset.bias),
            seed,
            ..preset
        })
    }

    fn run(self, session: &mut Session) -> Result<Output> {
        let options = self.options(session.seed)?;
        let world = World::make(&options, &mut session.progress)?;
        world.write(&self.out)?;
        Ok(describe(&world, &self.out))
    }
}

impl Show {
    fn run(self, _: &mut Session) -> Result<Output> {
        Ok(describe(&World::read(&self.world)?, &self.world))
    }
}

fn describe(world: &World, folder: &std::path::Path) -> Output {
    let sample = world.rows(0, 0..SHOWN_ROWS);
    let l0 = sample.codes.features.len() as f64 / SHOWN_ROWS as f64;
    let n = world.features();
    let levels = world.levels();
    let below = levels.iter().filter(|&&level| level > 0).count();
    let deepest = levels.iter().max().copied().unwrap_or_default();
    let alike = world.mean_largest_cosine();
    let mut output = Output::new(serde_json::json!({
        "world": folder, "features": n, "d_model": world.d, "l0": l0, "features_under_others": below,
        "levels": deepest, "mean_largest_cosine": alike,
    }));
    output.row("world", folder.display());
    output.row("features", format!("{n} in {} dimensions", world.d));
    output.row("L0", format!("{l0:.2} on {} rows", count(SHOWN_ROWS as f64)));
    output.row("hierarchy", format!("{below} features under others, {deepest} levels below the roots"));
    output.row("nearest feature", format!("|cosine| {alike:.4} on average"));
    output
}

impl Rows {
    fn run(self, session: &mut Session) -> Result<Output> {
        let options = DatasetOptions {
            rows: self.rows,
            seed: session.seed.unwrap_or_default(),
            generated: self.generate,
            loss: self.loss.map(|share| LossOptions { share, seed: session.seed.unwrap_or_default() }),
            dtype: match self.dtype {
                _ if self.generate => Dtype::F32,
                DtypeName::F16 => Dtype::F16,
                DtypeName::F32 => Dtype::F32,
            },
            held_out_share: self.held_out,
            ..DatasetOptions::default()
        };
        let world = World::read(&self.world)?;
        let progress = &mut session.progress;
        let written = match self.sharded.part() {
            Part::Whole => dataset::write(&world, &options, &self.out, progress)?,
            Part::Merge => dataset::merge(&world, &options, &self.out, progress)?,
            Part::Shard(shard) => {
                let work = dataset::write_shard(&world, &options, shard, &self.out, progress)?;
                return Ok(shards::finished(work));
            }
        };
        let mut output = Output::new(serde_json::json!(written));
        output.row("dataset", written.dataset.display());
        let how =
            if written.generated { "made when they are read" } else { "stored, with the truth next to them" };
        output.row("rows", format!("{}, {how}", count(written.rows as f64)));
        output.row("documents", format!("{}, {} held out", written.documents, written.held_out));
        Ok(output)
    }
}

impl Score {
    fn run(self, session: &mut Session) -> Result<Output> {
        let run = session.source(&self.run)?;
        let options = ScoreOptions {
            world: self.world,
            data: self.data,
            rows: self.rows,
            seed: session.seed.unwrap_or_default(),
            prune: self.prune,
            recode: self.recode,
        };
        let scored = truth::run(&run, &options, &mut session.progress)?;
        let s = &scored.score;
        let mut output = Output::new(serde_json::json!(s));
        output.row("F1", format!("{:.4} (precision {:.4}, recall {:.4})", s.f1, s.precision, s.recall));
        output.row("MCC", format!("{:.4}", s.mcc));
        output.row("uniqueness", format!("{:.4}", s.uniqueness));
        output.row("FVE", s.fve.map_or_else(|| "–".to_owned(), |fve| format!("{fve:.4}")));
        output.row("L0", format!("{:.2}, the world's {:.2}", s.l0, s.true_l0));
        output.row("dead", format!("{} of {}", s.dead, s.d_sae));
        output.row(
            "world's features",
            format!("{} have one feature, {} several, {} none", s.matched, s.split, s.missed),
        );
        if let Some(ratio) = s.l2_ratio {
            output.row("L2 ratio", format!("{ratio:.4}"));
        }
        if let Some(loss) = &s.loss {
            let quality = |x: Option<f64>| x.map_or_else(|| "–".to_owned(), |x| format!("{x:.4}"));
            let (at_rows, found, nothing) = (loss.at_rows, loss.at_reconstructions, loss.at_bias);
            output.row(
                "planted loss",
                format!("{at_rows:.4} nats per row, reconstructed {found:.4}, without features {nothing:.4}"),
            );
            output.row("loss recovered", quality(loss.recovered));
            output.row(
                "read by it",
                format!(
                    "{} of the world's features; {} of the dictionary's, F1 {}, others {}",
                    loss.world_features,
                    loss.features,
                    quality(loss.f1),
                    quality(loss.f1_of_others)
                ),
            );
        }
        if let Some(below) = s.pruned_below {
            output.row("pruned below", format!("{below:.3}"));
        }
        if let Some(coding) = &s.recoded {
            output.row("codes searched by", coding);
        }
        Ok(output)
    }
}

impl Bars {
    fn run(self, session: &mut Session) -> Result<Output> {
        let usual = BarsOptions::usual(self.model.kind(), self.size);
        let options = BarsOptions {
            rows: self.rows.unwrap_or(usual.rows),
            amplitude: self.amplitude,
            rate: self.rate.unwrap_or(usual.rate),
            sigma: self.sigma.unwrap_or(usual.sigma),
            held_out: self.held_out,
            seed: session.seed.unwrap_or_default(),
            ..usual
        };
        let written = write_bars(&options, &self.out, &mut session.progress)?;
        let mut output = Output::new(serde_json::json!(written));
        output.row("dataset", written.dataset.display());
        output.row("rows", format!("{} of {} pixels, {} bars", written.rows, written.pixels, written.bars));
        Ok(output)
    }
}
