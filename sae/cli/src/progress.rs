//! Progress on stderr: a bar in a terminal, plain lines elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use sae::Progress;

/// Plain lines are at least this far apart.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Lines of a stage's parts are at least this far apart: under a bar, and as plain lines.
const PARTS_EVERY: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(60)];
/// Lines of parts under a bar at most: a bar that is higher than its terminal is drawn over and over.
const PARTS: usize = 20;

/// Shows progress to a person, or keeps quiet with `--quiet`.
pub struct Terminal {
    bar: Option<ProgressBar>,
    fancy: bool,
    quiet: bool,
    stop: Arc<AtomicBool>,
    stage: Stage,
    /// Lines of the stage's parts, under the bar.
    parts: String,
}

struct Stage {
    name: String,
    total: Option<u64>,
    unit: String,
    started: Instant,
    last_line: Instant,
    last_parts: Instant,
    first: Option<u64>,
}

impl Terminal {
    /// `stop` is what Ctrl-C sets.
    pub fn new(quiet: bool, stop: Arc<AtomicBool>) -> Self {
        let now = Instant::now();
        let stage = Stage {
            name: String::new(),
            total: None,
            unit: String::new(),
            started: now,
            last_line: now,
            last_parts: now,
            first: None,
        };
        Self { bar: None, fancy: std::io::stderr().is_terminal(), quiet, stop, stage, parts: String::new() }
    }

    fn line(&self, text: &str) {
        if !self.quiet {
            // A closed stderr is not a reason to stop a long job.
            let _ = writeln!(std::io::stderr(), "{}", storage::bucket::readable(text));
        }
    }
}

/// `1234567` → `1.23 M`.
pub fn count(n: f64) -> String {
    match n.abs() {
        a if a >= 1e9 => format!("{:.2} G", n / 1e9),
        a if a >= 1e6 => format!("{:.2} M", n / 1e6),
        a if a >= 1e4 => format!("{:.1} k", n / 1e3),
        _ => format!("{n:.0}"),
    }
}

/// A rate, per second or, where that is below 1, per minute: `37 answers/min`.
fn rate(per_second: f64, unit: &str) -> String {
    match per_second {
        rate if rate >= 1.0 || rate == 0.0 => format!("{} {unit}/s", count(rate)),
        rate if rate >= 1.0 / 6.0 => format!("{} {unit}/min", count(60.0 * rate)),
        rate => format!("{:.1} {unit}/min", 60.0 * rate),
    }
}

/// `3725` seconds → `1 h 02 min`.
pub fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}

impl Progress for Terminal {
    fn begin(&mut self, name: &str, total: Option<u64>, unit: &str) {
        let now = Instant::now();
        self.parts.clear();
        self.stage = Stage {
            name: name.into(),
            total,
            unit: unit.into(),
            started: now,
            last_line: now,
            last_parts: now,
            first: None,
        };
        if self.quiet {
            return;
        }
        if !self.fancy {
            self.line(&format!("{name} …"));
            return;
        }
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let template = match total {
            Some(_) => "{prefix:>10} {bar:28} {percent:>3} %  {eta} left  {msg}",
            None => "{prefix:>10} {spinner} {elapsed}  {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸ "));
        }
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        self.bar = Some(bar);
    }

    fn advance(&mut self, done: u64, note: &str) {
        // A resumed job begins in the middle: the rate counts from there.
        let first = *self.stage.first.get_or_insert(done);
        let seconds = self.stage.started.elapsed().as_secs_f64();
        let per_second = (done - first.min(done)) as f64 / seconds.max(1e-9);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(format!("{}  {note}{}", rate(per_second, &self.stage.unit), self.parts));
        } else if self.stage.last_line.elapsed() >= LINE_EVERY {
            self.stage.last_line = Instant::now();
            let left = match self.stage.total {
                Some(total) if per_second > 0.0 => {
                    let left = duration((total.saturating_sub(done)) as f64 / per_second);
                    format!("{:.0} %, {left} left", 100.0 * done as f64 / total.max(1) as f64)
                }
                _ => count(done as f64),
            };
            let stage = &self.stage;
            self.line(&format!("{}: {left}, {}  {note}", stage.name, rate(per_second, &stage.unit)));
        }
    }

    fn parts(&mut self, lines: &mut dyn FnMut() -> Vec<String>) {
        let every = PARTS_EVERY[usize::from(!self.fancy)];
        if self.quiet || self.stage.last_parts.elapsed() < every {
            return;
        }
        self.stage.last_parts = Instant::now();
        let lines = lines();
        if self.bar.is_none() {
            return lines.iter().for_each(|line| self.line(&format!("      {line}")));
        }
        self.parts = lines.iter().take(PARTS).map(|line| format!("\n      {line}")).collect();
        if lines.len() > PARTS {
            self.parts.push_str(&format!("\n      … {} more", lines.len() - PARTS));
        }
    }

    fn end(&mut self, summary: &str) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let took = duration(self.stage.started.elapsed().as_secs_f64());
        self.line(&format!("{:>10}  {summary} ({took})", self.stage.name));
    }

    fn remark(&mut self, message: &str) {
        match &self.bar {
            Some(bar) => bar.println(format!("      note  {message}")),
            None => self.line(&format!("      note  {message}")),
        }
    }

    fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [rate(12_345.0, "tokens"), rate(0.5, "answers"), rate(0.02, "answers"), rate(0.0, "rows")],
            ["12.3 k tokens/s", "30 answers/min", "1.2 answers/min", "0 rows/s"]
        );
        assert_eq!([count(999.0), count(12_345.0), count(2_500_000.0)], ["999", "12.3 k", "2.50 M"]);
        assert_eq!([duration(5.4), duration(65.0), duration(3725.0)], ["5 s", "1 min 05 s", "1 h 02 min"]);
    }
}
