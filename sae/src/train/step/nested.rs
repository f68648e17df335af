//! Nested dictionaries (Matryoshka): which of them a feature belongs to, and their reconstructions.
//!
//! With `e_0, e_1, …, e_L` the errors of the nested dictionaries, the smallest first, a feature that is added with the l-th is to blame for
//! `e_l + e_{l+1} + … + e_L`. Where the inner ones are *detached*, each sees what the smaller ones reconstruct as a constant, so a feature is
//! to blame for its own dictionary and for the whole, `e_l + e_L`: it is not bent to help the larger ones.
//!
//! Features are *sorted* by how often they fire (`TrainState::rates`): the smallest dictionary is that of the most frequent features at
//! this step, and which features those are may change. Ties go to the lower feature.

use super::options::StepOptions;
use crate::train::state::TrainState;
use kernels::gather::{add_rows, dot_rows};
use kernels::reduce;

/// A token's features, codes and slopes.
pub type Row<'a> = (&'a [u32], &'a [f32], &'a mut [f32]);

/// The nested dictionaries of a step.
#[derive(Debug, Default)]
pub struct Nests {
    /// How many there are; 0 for a single dictionary.
    count: usize,
    /// Whether inner ones see smaller ones as constants.
    detached: bool,
    /// Which dictionary adds each feature, `[F]`.
    levels: Vec<u32>,
    /// Whether levels do not ascend with features.
    sorted: bool,
}

/// A thread's memory.
#[derive(Debug, Default)]
pub struct NestMemory {
    /// Entries of a token by dictionary.
    order: Vec<usize>,
    features: Vec<u32>,
    values: Vec<f32>,
    slopes: Vec<f32>,
}

impl Nests {
    /// Makes them those of this step.
    pub fn set(&mut self, options: &StepOptions, state: &TrainState) {
        (self.count, self.detached, self.sorted) =
            (options.widths.len(), options.detached_widths, options.sorted_widths);
        self.levels.clear();
        if self.count == 0 {
            return;
        }
        let level = |place: usize| options.widths.partition_point(|&width| width <= place) as u32;
        self.levels.extend((0..state.features).map(level));
        if self.sorted {
            let mut order: Vec<usize> = (0..state.features).collect();
            order.sort_by(|&a, &b| state.rates[b].total_cmp(&state.rates[a]));
            order.into_iter().enumerate().for_each(|(place, f)| self.levels[f] = level(place));
        }
    }

    /// Which of the sums of errors feature `f` is to blame for; none if that is the error of the whole.
    pub fn level(&self, f: usize) -> Option<usize> {
        let level = *self.levels.get(f)? as usize;
        (level + 1 < self.count).then_some(level)
    }

    /// Errors and slopes of a token. `error` becomes that of the whole, `blamed[l]` what features of the l-th dictionary are to blame for
    /// (there is one less than dictionaries: the last is `error` itself). Returns the sum of all squares.
    pub fn reconstruct(
        &self,
        w_dec: &[f32],
        (features, values, slopes): Row<'_>,
        error: &mut [f32],
        blamed: &mut [&mut [f32]],
        wanted: &[f32],
        memory: &mut NestMemory,
    ) -> f64 {
        if !self.sorted {
            return self.by_level(w_dec, (features, values, slopes), error, blamed, wanted);
        }
        memory.order.clear();
        memory.order.extend(0..features.len());
        memory.order.sort_by_key(|&i| self.levels[features[i] as usize]);
        memory.features.clear();
        memory.features.extend(memory.order.iter().map(|&i| features[i]));
        memory.values.clear();
        memory.values.extend(memory.order.iter().map(|&i| values[i]));
        memory.slopes.resize(features.len(), 0.0);
        let row = (&*memory.features, &*memory.values, &mut *memory.slopes);
        let squares = self.by_level(w_dec, row, error, blamed, wanted);
        memory.order.iter().zip(&memory.slopes).for_each(|(&i, &slope)| slopes[i] = slope);
        squares
    }

    /// The same of features that ascend by dictionary.
    fn by_level(
        &self,
        w_dec: &[f32],
        (features, values, slopes): Row<'_>,
        error: &mut [f32],
        blamed: &mut [&mut [f32]],
        wanted: &[f32],
    ) -> f64 {
        error.iter_mut().zip(wanted).for_each(|(e, c)| *e = -c);
        let (mut start, mut squares) = (0, 0.0);
        let mut ranges = Vec::with_capacity(self.count);
        for level in 0..self.count {
            let end = features.partition_point(|&f| self.levels[f as usize] as usize <= level);
            add_rows(error, w_dec, &features[start..end], &values[start..end]);
            squares += reduce::sum_of_squares(error);
            if let Some(own) = blamed.get_mut(level) {
                own.copy_from_slice(error);
            }
            ranges.push(start..end);
            start = end;
        }
        let mut after: &[f32] = error;
        for own in blamed.iter_mut().rev() {
            own.iter_mut().zip(after).for_each(|(own, e)| *own += e);
            if !self.detached {
                after = own;
            }
        }
        for (level, range) in ranges.into_iter().enumerate() {
            let seen = blamed.get(level).map_or(&*error, |own| &**own);
            dot_rows(&mut slopes[range.clone()], w_dec, &features[range], seen);
        }
        squares
    }
}
