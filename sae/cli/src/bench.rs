//! `sae bench`: how fast training steps are on this machine.

use std::path::PathBuf;

use clap::Args;

use super::{Output, Session};
use sae::train::Method;
use sae::train::measure::growth::{Point, growth};
use sae::train::measure::limits::{Limits, limits};
use sae::train::measure::{PartTime, StepShape, StepTimes, time_steps};
use sae::{Error, Result};

/// Time training steps on made-up activations (a planted sparse dictionary)
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae bench\n  sae bench --d 768 --d-sae 24576 --batch 4096 --method mutual-choice\n  sae bench --dead 0.1 --json\n  sae bench --grow"
)]
pub struct Command {
    /// Width of the activations
    #[arg(long, default_value_t = 640)]
    d: usize,
    /// Number of features, F
    #[arg(long, default_value_t = 10_240)]
    d_sae: usize,
    /// Active features per token
    #[arg(long, default_value_t = 32)]
    k: usize,
    /// Tokens per step
    #[arg(long, default_value_t = 2048)]
    batch: usize,
    /// Rows to take batches from: a file of 32-bit floats and nothing else
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Steps that are timed
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// topk, mutual-choice (BatchTopK; batch-topk is accepted), feature-choice, gradient, gradient-mutual or gradient-feature
    #[arg(long, default_value_t = Method::Topk)]
    method: Method,
    /// Everything in f32, as with `sae train --exact`
    #[arg(long)]
    exact: bool,
    /// Share of the features that are dead at every step
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    dead: f64,
    /// Also time other F, d, B, k, shares of dead features and numbers of threads, next to a law of growth; takes minutes
    #[arg(long, conflicts_with = "data")]
    grow: bool,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A shape that no step has; a file of rows that cannot be read or is not rows of that width; an
    /// interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let shape = StepShape {
            d: self.d,
            features: self.d_sae,
            k: self.k,
            batch: self.batch,
            method: self.method,
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
        let (times, points) = match self.grow {
            true => growth(shape, free_memory(), self.steps, threads, seed, &mut session.progress)?,
            false => (time_steps(shape, rows, self.steps, threads, seed, &mut session.progress)?, Vec::new()),
        };
        // After the steps: its arrays are not part of their memory.
        let limits = limits(threads)?;
        let mut output = Output::new(serde_json::json!({
            "processor": kernels::processor(), "times": times, "limits": limits, "growth": points,
        }));
        output.row("processor", kernels::processor());
        output.row("threads", times.threads);
        output.row("step", format!("{:.1} ms (median of {})", times.median, self.steps));
        output.row("speed", format!("{:.0} tokens/s", times.tokens_per_second));
        for part in &times.parts {
            output.row(part.part, format!("{:.1} ms{}", part.milliseconds, share(part, &times, &limits)));
        }
        output.row("encode alone", format!("{:.0} tokens/s", times.encode_tokens_per_second));
        if let Some(bytes) = times.peak_memory {
            output.row("memory", format!("{} MiB at most", bytes >> 20));
        }
        if let Some(candidates) = times.candidates_per_match {
            output.row("candidates", format!("{candidates:.2} per active pair"));
        }
        if let Some(recall) = times.recall {
            output.row("recall", format!("{recall:.6}"));
        }
        let Limits { int8_gops, f32_gops, gigabytes_per_second } = limits;
        output.row(
            "limits",
            format!("{int8_gops:.0} GOP/s in 8 bits, {f32_gops:.0} in f32, {gigabytes_per_second:.0} GB/s"),
        );
        for point in &points {
            output.row(&changed(point), speed(point));
        }
        Ok(output)
    }
}

/// How near a part comes to what limits it.
fn share(part: &PartTime, times: &StepTimes, limits: &Limits) -> String {
    let StepShape { d, features, batch, method, .. } = times.shape;
    let seconds = part.milliseconds / 1e3;
    let matrix = (d * features) as f64;
    match part.part {
        "search" => {
            let products = if method.scores_gradients() { 2.0 } else { 1.0 };
            let gops = products * 2e-9 * batch as f64 * matrix / seconds;
            let (most, bits) = match times.candidates_per_match {
                Some(_) => (limits.int8_gops, "8 bits"),
                None => (limits.f32_gops, "f32"),
            };
            format!("  {gops:.0} GOP/s, {:.0} % of products in {bits} alone", 100.0 * gops / most)
        }
        "update" => {
            // Values and both moments of both matrices are read and written.
            let rate = 2.0 * 3.0 * 2.0 * 4e-9 * matrix / seconds;
            format!("  {rate:.0} GB/s, {:.0} % of the memory's", 100.0 * rate / limits.gigabytes_per_second)
        }
        _ => String::new(),
    }
}

/// What is different from the base, as `F 65536`.
fn changed(point: &Point) -> String {
    let shape = &point.shape;
    let value = match point.what {
        "F" => shape.features.to_string(),
        "d" => shape.d.to_string(),
        "B" => shape.batch.to_string(),
        "k" => shape.k.to_string(),
        "dead" => format!("{:.0} %", 100.0 * shape.dead),
        _ => point.threads.to_string(),
    };
    format!("{} {value}", point.what)
}

fn speed(point: &Point) -> String {
    let Point { tokens_per_second, expected, .. } = point;
    format!("{tokens_per_second:.0} tokens/s, by the law {expected:.0}: {:.2}", tokens_per_second / expected)
}

/// Half of what is free, or 4 GiB where that is unknown.
fn free_memory() -> u64 {
    sae::memory::available().map_or(4 << 30, |bytes| bytes / 2)
}
