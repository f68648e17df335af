//! The experts of a mixture-of-experts layer: MLPs, each run on the tokens that chose it.
//!
//! Expert e maps a token x to `W_down,e (act(W_gate,e x) ∘ W_up,e x)`, or without a gate to
//! `W_down,e act(W_up,e x)`. Tokens arrive sorted by expert, one
//! row per choice.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::super::compute::{Compute, Rounded};
use super::{activate, gated, grouped_linear};
use crate::model::config::Activation;

/// Which choices go to which expert: choice `order[i]` is the i-th row of the sorted inputs.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// Choices `token · k + rank`, sorted by expert, then by number; those that are left out are not there.
    pub order: Vec<u32>,
    /// Rows `offsets[e]..offsets[e + 1]` belong to expert e.
    pub offsets: Arc<Vec<usize>>,
}

impl Dispatch {
    /// From the experts of every choice, `[tokens · k]`, all below `experts`.
    pub fn new(choices: &[u32], experts: usize) -> Self {
        Self::of((0..).zip(choices.iter().copied()), experts)
    }

    /// The same without the choices of weight 0; `weights` is as long as `choices`. Where none has a weight, the
    /// first stays, so that there is something to run and gradients, which are 0, have a way to the weights.
    pub fn of_weighed(choices: &[u32], weights: &[f32], experts: usize) -> Self {
        let all = (0..).zip(choices.iter().copied()).zip(weights);
        let none = weights.iter().all(|weight| *weight == 0.0);
        let runs = |((number, _), weight): &((u32, u32), &f32)| **weight != 0.0 || (none && *number == 0);
        Self::of(all.filter(runs).map(|(choice, _)| choice), experts)
    }

    fn of(choices: impl Iterator<Item = (u32, u32)> + Clone, experts: usize) -> Self {
        let mut offsets = vec![0; experts + 1];
        for (_, e) in choices.clone() {
            offsets[e as usize + 1] += 1;
        }
        for e in 0..experts {
            offsets[e + 1] += offsets[e];
        }
        let mut next = offsets.clone();
        let mut order = vec![0; offsets[experts]];
        for (choice, e) in choices {
            order[next[e as usize]] = choice;
            next[e as usize] += 1;
        }
        Self { order, offsets: Arc::new(offsets) }
    }

    /// The expert of every sorted row.
    pub fn experts(&self) -> Vec<u32> {
        let count = |(e, range): (usize, &[usize])| std::iter::repeat_n(e as u32, range[1] - range[0]);
        self.offsets.windows(2).enumerate().flat_map(count).collect()
    }
}

/// A mixture's weights, stacked over experts.
#[derive(Debug, Clone)]
pub struct ExpertWeights {
    /// `[E, 2 · hidden, d_model]`, gate rows first; `[E, hidden, d_model]` of experts without a gate.
    pub gate_up: Tensor,
    /// `[E, d_model, hidden]`.
    pub down: Tensor,
    /// `[E, 2 · hidden]` and `[E, d_model]`.
    pub biases: Option<(Tensor, Tensor)>,
    /// Of the gate, or of the only hidden units.
    pub activation: Activation,
    /// Whether there is a gate.
    pub gated: bool,
    /// `gate_up` and `down` in bfloat16, if they multiply in that.
    rounded: Option<[Rounded; 2]>,
}

impl ExpertWeights {
    /// Weights in single precision; the fields say what each of them is.
    pub fn new(
        gate_up: Tensor,
        down: Tensor,
        biases: Option<(Tensor, Tensor)>,
        activation: Activation,
        gated: bool,
    ) -> Self {
        Self { gate_up, down, biases, activation, gated, rounded: None }
    }

    /// Multiplies in `compute` from now on.
    pub fn set_compute(&mut self, compute: Compute) {
        self.rounded = compute.rounded().zip(compute.rounded()).map(|(up, down)| [up, down]);
    }

    /// `x [choices, d_model]` sorted by expert → each expert's output, `[choices, d_model]`.
    ///
    /// # Errors
    /// An `x` of a different width than the experts, or with a number of rows that `dispatch` was not made
    /// for.
    pub fn forward(&self, x: &Tensor, dispatch: &Dispatch) -> Result<Tensor> {
        self.output(&self.hidden(x, dispatch)?, dispatch)
    }

    /// `x [choices, d_model]` sorted by expert → hidden units of each expert, `[choices, hidden]`.
    ///
    /// # Errors
    /// As [`ExpertWeights::forward`].
    pub fn hidden(&self, x: &Tensor, dispatch: &Dispatch) -> Result<Tensor> {
        let rounded = self.rounded.as_ref().map(|[gate_up, _]| gate_up);
        let mut hidden = grouped_linear(x, &self.gate_up, &dispatch.offsets, rounded)?;
        if let Some((bias, _)) = &self.biases {
            hidden = (hidden + of_rows(bias, dispatch)?)?;
        }
        match self.gated {
            true => gated(&hidden, self.activation),
            false => activate(&hidden, self.activation),
        }
    }

    /// Hidden units `[choices, hidden]` sorted by expert → each expert's output, `[choices, d_model]`.
    ///
    /// # Errors
    /// Units of a different width, or a number of rows that `dispatch` was not made for.
    pub fn output(&self, hidden: &Tensor, dispatch: &Dispatch) -> Result<Tensor> {
        let rounded = self.rounded.as_ref().map(|[_, down]| down);
        let y = grouped_linear(hidden, &self.down, &dispatch.offsets, rounded)?;
        match &self.biases {
            Some((_, bias)) => y + of_rows(bias, dispatch)?,
            None => Ok(y),
        }
    }
}

/// The bias of the expert of every sorted row.
fn of_rows(bias: &Tensor, dispatch: &Dispatch) -> Result<Tensor> {
    bias.index_select(&Tensor::new(dispatch.experts(), bias.device())?, 0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agree, normal};
    use super::*;

    #[test]
    fn dispatch_sorts_choices_by_expert() {
        let d = Dispatch::new(&[2, 0, 2, 3, 0, 2], 5);
        assert_eq!(d.order, [1, 4, 0, 2, 5, 3]);
        assert_eq!(*d.offsets, [0, 2, 2, 5, 6, 6]);
        assert_eq!(d.experts(), [0, 0, 2, 2, 2, 3]);
        let some = Dispatch::of_weighed(&[2, 0, 2, 3], &[0.0, 0.5, 0.25, 0.0], 5);
        assert_eq!(
            (some.order.as_slice(), some.experts().as_slice()),
            ([1, 2].as_slice(), [0, 2].as_slice())
        );
        let none = Dispatch::of_weighed(&[2, 0, 2, 3], &[0.0; 4], 5);
        assert_eq!((none.order.as_slice(), none.experts().as_slice()), ([0].as_slice(), [2].as_slice()));
    }

    /// Each expert's rows through candle's own operations, with and without biases.
    #[test]
    fn agrees_with_the_composed_form_and_leaves_idle_experts_without_gradient() {
        let (e, hidden, d) = (4, 6, 5);
        let dispatch = Dispatch::new(&[3, 0, 0, 3, 2, 0, 3], e);
        let (x, gate_up, down) =
            (normal(&[7, d], 1), normal(&[e, 2 * hidden, d], 2), normal(&[e, d, hidden], 3));
        let (inner, outer) = (normal(&[e, 2 * hidden], 4), normal(&[e, d], 5));
        for biased in [false, true] {
            let biases = biased.then(|| (inner.as_tensor().clone(), outer.as_tensor().clone()));
            let [first, second] = [&gate_up, &down].map(|weight| weight.as_tensor().clone());
            let weights = ExpertWeights::new(first, second, biases, Activation::Silu, true);
            let one = |i: usize| {
                let rows = dispatch.offsets[i + 1] - dispatch.offsets[i];
                let x = x.narrow(0, dispatch.offsets[i], rows).unwrap();
                let mut v = x.matmul(&gate_up.get(i).unwrap().t().unwrap()).unwrap();
                if biased {
                    v = v.broadcast_add(&inner.get(i).unwrap()).unwrap();
                }
                let gate = v.narrow(1, 0, hidden).unwrap().silu().unwrap();
                let h = (gate * v.narrow(1, hidden, hidden).unwrap()).unwrap();
                let y = h.matmul(&down.get(i).unwrap().t().unwrap()).unwrap();
                if biased { y.broadcast_add(&outer.get(i).unwrap()).unwrap() } else { y }
            };
            let composed = Tensor::cat(&[one(0), one(2), one(3)], 0).unwrap();
            let fused = weights.forward(&x, &dispatch).unwrap();
            agree(&[&x, &gate_up, &down], &fused, &composed, 1e-5);
        }
    }
}
