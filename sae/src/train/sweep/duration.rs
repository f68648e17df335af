//! How long runs take: a few steps of each shape are timed on made-up activations before anything begins.

use super::plan::Plan;
use crate::train::config::{Method, TrainConfig};
use crate::train::measure::{StepShape, time_steps};
use crate::{Progress, Result};

/// Steps of a shape that are timed.
const STEPS: usize = 3;

impl Plan {
    /// Seconds that the steps of each run take on this machine, in the order of `runs`; none for methods with a
    /// penalty, whose active pairs depend on how far it has come, and for nested dictionaries. Shapes that several runs share are timed once.
    ///
    /// # Errors
    /// Threads that the system does not give; [`Error::Stopped`](crate::Error::Stopped).
    pub fn seconds(&self, threads: Option<usize>, progress: &mut dyn Progress) -> Result<Vec<Option<f64>>> {
        let mut timed: Vec<(StepShape, f64)> = Vec::new();
        let mut seconds = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            let Some(shape) = shape(run.config(), run.width()) else {
                seconds.push(None);
                continue;
            };
            let known = timed.iter().find(|(other, _)| *other == shape).map(|(_, rate)| *rate);
            let rate = match known {
                Some(rate) => rate,
                None => {
                    let rate = time_steps(shape, None, STEPS, threads, 1, progress)?.tokens_per_second;
                    timed.push((shape, rate));
                    rate
                }
            };
            seconds.push(Some(run.tokens() as f64 / rate));
        }
        Ok(seconds)
    }
}

/// What a step of the run is like while few features are dead.
fn shape(config: &TrainConfig, d: usize) -> Option<StepShape> {
    // Of a cross-layer transcoder a step of one layer says little.
    let timed = !config.cross_layer
        && matches!(
            config.method,
            Method::Topk
                | Method::AbsTopk
                | Method::MutualChoice
                | Method::FeatureChoice
                | Method::BlockChoice
                | Method::Gradient
                | Method::GradientMutual
                | Method::GradientFeature
        );
    timed.then_some(StepShape {
        d,
        features: config.d_sae?,
        k: config.k,
        batch: config.batch,
        method: config.method,
        exact: config.exact,
        dead: 0.0,
    })
}
