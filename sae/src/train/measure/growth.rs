//! How the time of a step grows, next to a law.
//!
//! The parts of a step at a base shape, each grown by what it is proportional to:
//!
//! ```text
//! search          B·F·d      the product in 8 bits
//! errors, group   B·k·d      active pairs are decoded and gathered
//! update          F·d        gradients, Adam, norms, packing: every row of every matrix once
//! prepare         B·d
//! ```
//!
//! all divided by the number of threads. Dead features are not in the law: what they cost beyond it is what their auxiliary loss costs.

use serde::Serialize;

use super::{StepShape, StepTimes, time_steps};
use crate::{Progress, Result};

/// A shape next to the base.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// What changed: `F`, `B`, `k`, `d`, `dead` or `threads`.
    pub what: &'static str,
    /// The shape.
    pub shape: StepShape,
    /// Threads.
    pub threads: usize,
    /// Measured, tokens per second.
    pub tokens_per_second: f64,
    /// By the law.
    pub expected: f64,
}

/// How many features, tokens per batch, active and dead features are looked at.
const FEATURES: [usize; 5] = [4096, 16_384, 65_536, 131_072, 262_144];
const BATCHES: [usize; 4] = [512, 1024, 4096, 8192];
const MATCHES: [usize; 4] = [8, 16, 64, 128];
const DEAD: [f64; 3] = [0.1, 0.3, 0.6];
const WIDTHS: [usize; 4] = [128, 256, 1024, 2048];

/// Bytes that a step of `shape` holds: values and moments of both matrices, rows in 8 bits, four batches.
fn bytes(shape: &StepShape) -> u64 {
    let (d, features, batch) = (shape.d as u64, shape.features as u64, shape.batch as u64);
    25 * d * features + 4 * d * batch * 8
}

/// Times `base` and shapes that differ from it in one thing, if they fit in `memory` bytes.
///
/// # Errors
/// As [`time_steps`].
pub fn growth(
    base: StepShape,
    memory: u64,
    steps: usize,
    threads: Option<usize>,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<(StepTimes, Vec<Point>)> {
    let measured = time_steps(base, None, steps, threads, seed, progress)?;
    let most = measured.threads;
    let mut shapes: Vec<(&'static str, StepShape, usize)> = Vec::new();
    shapes.extend(FEATURES.map(|features| ("F", StepShape { features, ..base }, most)));
    shapes.extend(WIDTHS.map(|d| ("d", StepShape { d, ..base }, most)));
    shapes.extend(BATCHES.map(|batch| ("B", StepShape { batch, ..base }, most)));
    shapes.extend(MATCHES.map(|k| ("k", StepShape { k, ..base }, most)));
    shapes.extend(DEAD.map(|dead| ("dead", StepShape { dead, ..base }, most)));
    shapes.extend((1..most).map(|threads| ("threads", base, threads)));
    shapes.retain(|(_, shape, _)| bytes(shape) <= memory && shape.k <= shape.features);
    let mut points = Vec::new();
    for (what, shape, threads) in shapes {
        let times = time_steps(shape, None, steps, Some(threads), seed, progress)?;
        points.push(Point {
            what,
            shape,
            threads,
            tokens_per_second: times.tokens_per_second,
            expected: expected(&measured, &shape, threads),
        });
    }
    Ok((measured, points))
}

/// Tokens per second of `shape` by the law, from what was measured at the base.
fn expected(measured: &StepTimes, shape: &StepShape, threads: usize) -> f64 {
    let base = &measured.shape;
    let ratio = |a: usize, b: usize| a as f64 / b as f64;
    let (d, features) = (ratio(shape.d, base.d), ratio(shape.features, base.features));
    let (k, batch) = (ratio(shape.k, base.k), ratio(shape.batch, base.batch));
    let part = |part: &str| match part {
        "search" => batch * features * d,
        "errors" | "group" => batch * k * d,
        "update" => features * d,
        _ => batch * d,
    };
    let milliseconds: f64 = measured.parts.iter().map(|p| p.milliseconds * part(p.part)).sum();
    shape.batch as f64 / milliseconds * 1e3 * ratio(threads, measured.threads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quiet;
    use crate::train::Method;

    const BASE: StepShape =
        StepShape { d: 32, features: 200, k: 4, batch: 64, method: Method::Topk, exact: false, dead: 0.0 };

    #[test]
    fn the_law_gives_the_base_back_and_grows_as_it_says() {
        let measured = time_steps(BASE, None, 2, Some(1), 1, &mut Quiet).unwrap();
        let parts: f64 = measured.parts.iter().map(|p| p.milliseconds).sum();
        let same = expected(&measured, &BASE, 1);
        assert!((same - 64.0 / parts * 1e3).abs() < 1e-6 * same);
        assert!((expected(&measured, &BASE, 3) - 3.0 * same).abs() < 1e-6 * same);
        // Everything is proportional to d.
        let wide = expected(&measured, &StepShape { d: 64, ..BASE }, 1);
        assert!((wide - 0.5 * same).abs() < 1e-6 * same);
    }

    #[test]
    fn shapes_that_do_not_fit_are_left_out() {
        let (_, points) = growth(BASE, 3_000_000, 1, Some(1), 1, &mut Quiet).unwrap();
        assert!(points.iter().all(|p| bytes(&p.shape) <= 3_000_000));
        assert!(points.iter().any(|p| p.what == "k") && points.iter().any(|p| p.what == "dead"));
        assert!(!points.iter().any(|p| p.shape.features > 4096));
    }
}
