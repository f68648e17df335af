//! What `sae train` prints of a sweep.

use super::Output;
use sae::train::sweep::{Plan, SweepOutcome, SweptRun};

/// Bytes as a person reads them.
fn memory(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

/// What a sweep would do.
/// `seconds`: how long each run takes, where that was measured.
pub(super) fn planned(plan: &Plan, seconds: &[Option<f64>]) -> Output {
    let run = |i: usize, wave: usize| {
        let run = &plan.runs[i];
        let config = run.config();
        serde_json::json!({
            "run": run.name, "wave": wave, "method": config.method, "k": config.k, "d_sae": config.d_sae, "seed": config.seed,
            "tokens": run.tokens(), "bytes": run.bytes, "seconds": seconds[i], "config": config,
        })
    };
    let waves = || plan.waves.iter().enumerate();
    let mut output = Output::new(serde_json::json!({
        "runs": waves().flat_map(|(n, wave)| wave.runs.iter().map(move |&i| run(i, n))).collect::<Vec<_>>(),
        "waves": plan.waves.iter().map(|wave| wave.bytes).collect::<Vec<_>>(),
        "tokens": plan.tokens(), "peak_bytes": plan.peak(), "peak_bytes_with_help": plan.peak_with_help(), "limit_bytes": plan.limit,
    }));
    let duration = |seconds: Option<f64>| {
        seconds.map_or_else(String::new, |s| format!(", about {}", super::progress::duration(s)))
    };
    for (n, wave) in waves() {
        output.row(
            &format!("wave {}", n + 1),
            format!("{} runs together, about {}", wave.runs.len(), memory(wave.bytes)),
        );
        for (run, seconds) in wave.runs.iter().map(|&i| (&plan.runs[i], seconds[i])) {
            let features = run.config().d_sae.unwrap_or(0);
            let tokens = super::progress::count(run.tokens() as f64);
            output.row(
                &format!("  {}", run.name),
                format!(
                    "{}, {features} features, {tokens} tokens, {}{}",
                    run.config().method.label(),
                    memory(run.bytes),
                    duration(seconds)
                ),
            );
        }
    }
    output.row("tokens", format!("{} of all runs together", super::progress::count(plan.tokens() as f64)));
    let limit = plan.limit.map_or(String::new(), |limit| format!(" of {} allowed", memory(limit)));
    let help = match plan.peak_with_help() {
        same if same == plan.peak() => String::new(),
        more => format!(", {} while many features are dead and get help,", memory(more)),
    };
    output.row("memory", format!("about {}{help}{limit}", memory(plan.peak())));
    if seconds.iter().any(Option::is_some) {
        // Steps of runs that train together follow one another.
        let sum: f64 = seconds.iter().flatten().sum();
        let untimed = seconds.iter().filter(|seconds| seconds.is_none()).count();
        let rest = if untimed > 0 {
            format!("; {untimed} of the runs have methods that are not timed")
        } else {
            String::new()
        };
        output.row(
            "time",
            format!("about {} for the steps, as timed now{rest}", super::progress::duration(sum)),
        );
    }
    output
}

/// A table of runs.
pub(super) fn swept(outcome: &SweepOutcome) -> Output {
    let json = |run: &SweptRun| match &run.outcome {
        Some(Ok(o)) => serde_json::json!({
            "run": run.name, "status": "finished", "steps": o.steps, "tokens": o.tokens, "seconds": o.seconds, "loss": o.loss,
            "fve": o.fve, "l0": o.l0, "dead": o.dead, "dead_share": o.dead_share, "l0_threshold": o.l0_threshold,
        }),
        Some(Err(message)) => serde_json::json!({"run": run.name, "status": "failed", "error": message}),
        None => serde_json::json!({"run": run.name, "status": "not begun"}),
    };
    let mut output = Output::new(serde_json::json!({
        "out": outcome.out, "seconds": outcome.seconds, "runs": outcome.runs.iter().map(json).collect::<Vec<_>>(),
    }));
    output.row("run", "   FVE      L0   by threshold   dead     time");
    for run in &outcome.runs {
        let line = match &run.outcome {
            Some(Ok(o)) => format!(
                "{:6.4}  {:6.1}   {:>12}  {:4.1} %  {}",
                o.fve,
                o.l0,
                o.l0_threshold.map_or("–".to_owned(), |l0| format!("{l0:.1}")),
                100.0 * o.dead_share,
                super::progress::duration(o.seconds)
            ),
            Some(Err(_)) => "failed".to_owned(),
            None => "not begun".to_owned(),
        };
        output.row(&run.name, line);
    }
    output.row("time", super::progress::duration(outcome.seconds));
    if let Some(failures) = outcome.failures() {
        output.failed(failures);
    }
    output
}
