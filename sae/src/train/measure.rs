//! A training step to be timed: for `benches/train_step.rs`.

use super::random::{Purpose, generator, normal};
use super::state::TrainState;
use super::step::options::Aux;
use super::step::{StepOptions, Stepper};
use crate::Result;

/// A step on one random batch `[rows, d]` that can be repeated, with `features` features and `k` matches a token. It uses the threads
/// of the pool that it is called in.
pub fn repeated_step(d: usize, features: usize, k: usize, rows: usize) -> impl FnMut() -> Result<()> + Send {
    let mut rng = generator(1, Purpose::Rows, 0, 0);
    let x: Vec<f32> = (0..rows * d).map(|_| normal(&mut rng)).collect();
    let mut state = TrainState::new(features, vec![0.0; d], 1);
    let options = StepOptions {
        // Steps from scratch, as other libraries time theirs: nothing is dead yet.
        aux: Aux { coefficient: 1.0 / 32.0, k: d / 2, zipf: None },
        input_variance: d as f64,
        ..StepOptions::topk(k)
    };
    let mut stepper = Stepper::new(options);
    move || stepper.step(&mut state, &x, 1e-4).map(|_| ())
}
