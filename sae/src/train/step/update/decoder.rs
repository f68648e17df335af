//! Decoder rows: gradient, projection, Adam, unit norm.

use rayon::prelude::*;

use super::super::Stepper;
use super::super::options::Rule;
use super::super::prefilter::Quantised;
use super::{Packed, TASK_FEATURES, Triple, lost, panels, triples};
use crate::Result;
use crate::train::state::TrainState;
use kernels::adam::AdamStep;
use kernels::feature;

/// A thread's memory.
#[derive(Debug, Default)]
struct Memory {
    gradient: Vec<f32>,
    row: Vec<i8>,
}

/// What the features of a task come to.
struct TaskSums {
    norms: f64,
    lost: Option<usize>,
}

impl Stepper {
    /// Updates all decoder rows. Returns their mean norm before it was made 1.
    pub(super) fn update_decoder(
        &self,
        state: &mut TrainState,
        packed: Option<&mut Quantised>,
        adam: &AdamStep,
    ) -> Result<f64> {
        let (d, step) = (state.d, state.step + 1);
        let tasks: Vec<_> = triples(&mut state.w_dec, d).zip(panels(packed)).enumerate().collect();
        let sums: Vec<TaskSums> = tasks
            .into_par_iter()
            .map_init(Memory::default, |memory, (task, (rows, panel))| {
                self.update_decoder_rows(task * TASK_FEATURES, d, rows, panel, adam, memory)
            })
            .collect();
        lost(step, sums.iter().map(|task| task.lost))?;
        Ok(sums.iter().map(|task| task.norms).sum::<f64>() / state.features as f64)
    }

    fn update_decoder_rows(
        &self,
        first: usize,
        d: usize,
        [values, firsts, seconds]: Triple<'_>,
        mut panel: Packed<'_>,
        adam: &AdamStep,
        Memory { gradient, row }: &mut Memory,
    ) -> TaskSums {
        let mut sums = TaskSums { norms: 0.0, lost: None };
        let moments = firsts.chunks_exact_mut(d).zip(seconds.chunks_exact_mut(d));
        for (i, (value, (first_moment, second_moment))) in values.chunks_exact_mut(d).zip(moments).enumerate()
        {
            self.decoder_gradient(first + i, d, gradient);
            match feature::update_decoder([value, first_moment, second_moment], gradient, adam) {
                Some(norm) => sums.norms += f64::from(norm),
                None => sums.lost = sums.lost.or(Some(first + i)),
            }
            if let Some((panel, fold)) = &mut panel {
                panel.set(i, value, 0.0, fold, row);
            }
        }
        sums
    }

    /// ∂L/∂W_dec of feature `f`.
    pub(in super::super) fn decoder_gradient(&self, f: usize, d: usize, out: &mut Vec<f32>) {
        let matrices = &self.matrices;
        let main = self.main.source(f, self.errors_of(f), &[]);
        let mut second = self.second.source(f, &matrices.second, &[]);
        let aux = self.aux.source(f, &matrices.aux, &[]);
        if self.options.rule == Rule::Gated {
            // The decoder is held constant where the gate's codes are decoded.
            second.codes = &[];
        }
        feature::decoder_gradient(out, d, &[main, second, aux]);
        if let Some(help) = self.help_of(f) {
            out.iter_mut().zip(&help.decoder).for_each(|(g, h)| *g += h);
        }
    }

    /// The errors that feature `f` is to blame for: of all nested dictionaries that have it.
    fn errors_of(&self, f: usize) -> &[f32] {
        let level = self.options.widths.partition_point(|&width| width <= f);
        self.matrices.nested.get(level).unwrap_or(&self.matrices.errors)
    }
}
