//! `sae bench`: how fast training steps are on this machine.

use std::path::PathBuf;

use clap::Args;

use super::{Output, Session};
use crate::train::measure::{StepShape, time_steps};
use crate::{Error, Result};

/// Time training steps on made-up activations (a planted sparse dictionary)
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae bench\n  sae bench --d 768 --d-sae 24576 --batch 4096 --mutual\n  sae bench --dead 0.1 --json"
)]
pub struct Command {
    /// Width of the activations
    #[arg(long, default_value_t = 640)]
    d: usize,
    /// Number of features, F
    #[arg(long, default_value_t = 10_240)]
    d_sae: usize,
    /// Active features a token
    #[arg(long, default_value_t = 32)]
    k: usize,
    /// Tokens a step
    #[arg(long, default_value_t = 2048)]
    batch: usize,
    /// Rows to take batches from: numbers of 32 bits, one after another, nothing else in the file
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Steps that are timed
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// Mutual choice instead of topk
    #[arg(long)]
    mutual: bool,
    /// Find matches in all pre-activations in f32
    #[arg(long)]
    exact: bool,
    /// Share of the features that are dead at every step
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    dead: f64,
}

impl Command {
    /// Runs the command.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let shape = StepShape {
            d: self.d,
            features: self.d_sae,
            k: self.k,
            batch: self.batch,
            mutual: self.mutual,
            exact: self.exact,
            dead: self.dead,
        };
        let rows = self.data.as_ref().map(|path| {
            let bytes =
                std::fs::read(path).map_err(|e| Error::request(format!("{}: {e}", path.display())))?;
            Ok::<_, Error>(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
        });
        let rows = rows.transpose()?;
        let (threads, seed) = (session.threads, session.seed.unwrap_or(1));
        let times = time_steps(shape, rows, self.steps, threads, seed, &mut session.progress)?;
        let mut output =
            Output::new(serde_json::json!({ "processor": crate::kernels::processor(), "times": times }));
        output.row("processor", crate::kernels::processor());
        output.row("threads", times.threads);
        output.row("step", format!("{:.1} ms (median of {})", times.median, self.steps));
        output.row("speed", format!("{:.0} tokens/s", times.tokens_per_second));
        for part in &times.parts {
            output.row(part.part, format!("{:.1} ms", part.milliseconds));
        }
        output.row("encode alone", format!("{:.0} tokens/s", times.encode_tokens_per_second));
        if let Some(bytes) = times.peak_memory {
            output.row("memory", format!("{} MiB at most", bytes >> 20));
        }
        output.row("product", format!("{:.0} GOP/s of the encoder's product", times.search_gops));
        if let Some(candidates) = times.candidates_per_match {
            output.row("candidates", format!("{candidates:.2} a match"));
        }
        if let Some(recall) = times.recall {
            output.row("recall", format!("{recall:.6}"));
        }
        Ok(output)
    }
}
