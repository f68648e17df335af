//! `sae latent`: models with latent variables, learned by expectation truncation.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Output, Session};
use sae::Result;
use sae::latent::{self, Kind, LatentOptions, ModelOptions};
use storage::truncation::TruncationScore;

/// Learn a probabilistic sparse code of a dataset's rows: binary, ternary, discrete, maximal or spike-and-slab causes
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae synth bars --out bars\n  sae latent --model bsc --data bars --latents 10 --out bsc\n  \
    sae latent --model gsc --data patches --latents 100 --rows 20000 --iterations 50 --out gsc\n\n\
    The model is kept in RUN/truncation, its W as the run's dictionary. The same command again continues a run that was stopped.\n\
    docs/latent.md says what the models are and how they are learned."
)]
pub struct Command {
    /// The model
    #[arg(long, value_enum)]
    model: ModelName,
    /// The dataset, as `sae harvest`, `sae import` or `sae synth` made it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Folder for the run
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Latents
    #[arg(long, value_name = "N")]
    latents: usize,
    /// Candidates per row, of which combinations are looked at [default: 8 for bsc and mca, 7 for the others]
    #[arg(long, value_name = "N")]
    candidates: Option<usize>,
    /// Latents that a state may have active [default: 5, for gsc 4]
    #[arg(long, value_name = "N")]
    active: Option<usize>,
    /// What an active latent may be, for dsc alone
    #[arg(long, value_name = "V,V", value_delimiter = ',', allow_negative_numbers = true, default_values_t = [1.0, 2.0])]
    values: Vec<f64>,
    /// Iterations [default: 150; 300 for tsc, mca and mmca, 100 for dsc]
    #[arg(long, value_name = "N")]
    iterations: Option<usize>,
    /// Temperature at the beginning; it falls to 1 [default: 5 for bsc, 2 for tsc and dsc, 4 for the others]
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Noise that is added to W at the beginning, in standard deviations of the rows; it falls to 0 with the temperature [default: 0.1,
    /// for tsc 0.3]
    #[arg(long, value_name = "SD")]
    noise: Option<f64>,
    /// Rows at most, in whole documents; every iteration reads all of them from memory
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    rows: u64,
    /// Subtract the mean row first, as activations need and bars and whitened patches do not
    #[arg(long)]
    centre: bool,
}

/// The models by name.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ModelName {
    /// Binary sparse coding: latents are 0 or 1
    Bsc,
    /// Ternary sparse coding: latents are −1, 0 or 1
    Tsc,
    /// Discrete sparse coding: latents are 0 or one of --values
    Dsc,
    /// Maximal causes: of all active latents the largest entry counts
    Mca,
    /// Maximum-magnitude causes: the entry that is largest without its sign
    Mmca,
    /// Gaussian sparse coding, spike and slab: an active latent has a normal code
    Gsc,
}

impl ModelName {
    /// The model of that name.
    pub fn kind(self) -> Kind {
        match self {
            Self::Bsc => Kind::Bsc,
            Self::Tsc => Kind::Tsc,
            Self::Dsc => Kind::Dsc,
            Self::Mca => Kind::Mca,
            Self::Mmca => Kind::Mmca,
            Self::Gsc => Kind::Gsc,
        }
    }
}

impl Command {
    fn options(self, seed: u64) -> LatentOptions {
        let mut model = ModelOptions::usual(self.model.kind(), self.latents);
        model.candidates = self.candidates.unwrap_or(model.candidates);
        // With fewer candidates fewer can be active.
        model.active = self.active.unwrap_or(model.active.min(model.candidates));
        model.values = self.values;
        model.schedule.iterations = self.iterations.unwrap_or(model.schedule.iterations);
        model.schedule.temperature = self.temperature.unwrap_or(model.schedule.temperature);
        model.schedule.noise = self.noise.unwrap_or(model.schedule.noise);
        model.seed = seed;
        LatentOptions { data: self.data, model, rows: self.rows, centre: self.centre }
    }

    /// Runs the command.
    ///
    /// # Errors
    /// Options that make no sense; a dataset that cannot be read; a folder with a different run; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let out = self.out.clone();
        let options = self.options(session.seed.unwrap_or_default());
        let learned = latent::run(&options, &out, &mut session.progress)?;
        let t = &learned.truncation;
        let mut output = Output::new(serde_json::json!(t));
        output.row("run", out.display());
        output.row("iterations", format!("{} on {} rows", t.iterations_done, t.rows));
        let shown = |s: &TruncationScore| {
            let share = |fve: Option<f64>| fve.map_or_else(|| "–".to_owned(), |fve| format!("{fve:.4}"));
            format!(
                "free energy {:.4} nats per row, FVE {} at L0 {:.2}; most probable state: FVE {} at L0 {:.2}",
                s.free_energy,
                share(s.fve),
                s.l0,
                share(s.fve_map),
                s.l0_map
            )
        };
        t.training.iter().for_each(|s| output.row("training", shown(s)));
        t.held_out.iter().for_each(|s| output.row("held out", shown(s)));
        let mean = t.rates.iter().sum::<f64>() / t.rates.len().max(1) as f64;
        output.row("rate", format!("{mean:.4}"));
        output.row("sigma", format!("{:.4}", t.sigma));
        if let Some(bars) = &t.bars {
            let error = bars.error.map_or_else(String::new, |error| format!(", mean error of W {error:.3}"));
            output.row(
                "bars",
                format!("{} of {} found, mean |cosine| {:.3}{error}", bars.recovered, bars.bars, bars.cosine),
            );
        }
        Ok(output)
    }
}
