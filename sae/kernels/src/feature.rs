//! What one feature needs after the forward pass, in one visit to each of its rows: gradients, projection, Adam, unit norm.
//!
//! With `W_e`, `W_d` the feature's encoder and decoder rows `[d]`, and for each token `b` that it was matched with the code
//! `v_b`, the loss's gradient at the reconstruction `g_b[d]`, the slope `s_b = g_b · W_d` and the centred input `c_b = x_b − b_dec`:
//!
//! ```text
//! ∂L/∂W_d = Σ_b v_b g_b        ∂L/∂W_e = Σ_b s_b c_b        ∂L/∂b_enc = Σ_b s_b
//! ```
//!
//! The centred input makes `b_dec` a parameter of the encoder too: its share `−Σ_f (Σ_b s_b)_f W_e,f` is added up here,
//! from the rows before their update. No gradient matrix is ever stored: a feature's gradient rows live in cache.

use super::adam::{self, AdamStep};
use super::gather::add_rows;
use super::vector::{axpy, dot, scale, squared_norm};

/// Where one kind of gradient comes from: tokens, their share, and what the gradient at the reconstruction is.
///
/// Without codes (an empty slice) a source has no gradient of the decoder: a reconstruction with frozen decoder rows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Source<'a> {
    /// Tokens of the batch that the feature was matched with.
    pub tokens: &'a [u32],
    /// Codes `v_b`, times the loss's constant.
    pub codes: &'a [f32],
    /// Slopes `s_b`, times the loss's constant.
    pub slopes: &'a [f32],
    /// `[B, d]`; times the constant it is the loss's gradient at the reconstruction.
    pub errors: &'a [f32],
    /// `x − b_dec`, `[B, d]`.
    pub centred: &'a [f32],
}

/// Makes `out` ∂L/∂W_d, `[d]`, of `sources` together.
pub fn decoder_gradient(out: &mut Vec<f32>, d: usize, sources: &[Source<'_>]) {
    out.clear();
    out.resize(d, 0.0);
    for source in sources {
        add_rows(out, source.errors, source.tokens, source.codes);
    }
}

/// Gradients of one feature's encoder.
#[derive(Debug, Default, Clone)]
pub struct EncoderGradient {
    /// `∂L/∂W_e`, `[d]`.
    pub row: Vec<f32>,
    /// `∂L/∂b_enc`.
    pub bias: f32,
    /// `Σ_b s_b`: how the loss changes with a shift of the feature's input along its encoder row. The same as `bias` unless part of
    /// the slopes goes through another bias.
    pub input: f32,
}

impl EncoderGradient {
    /// Sets the gradients to those of `sources` together; rows have `d` numbers.
    pub fn collect(&mut self, d: usize, sources: &[Source<'_>]) {
        self.row.clear();
        self.row.resize(d, 0.0);
        self.bias = 0.0;
        for source in sources {
            add_rows(&mut self.row, source.centred, source.tokens, source.slopes);
            self.bias += source.slopes.iter().sum::<f32>();
        }
        self.input = self.bias;
    }
}

/// One step on a decoder row and its first and second moments, `[d]` each: removes from `gradient` what is parallel to the row, applies
/// Adam, and makes the row's norm 1.
///
/// Returns the row's norm before it was made 1 (how far the step left the sphere), or `None` if a weight is no longer finite or the row
/// has vanished.
pub fn update_decoder(
    [row, first, second]: [&mut [f32]; 3],
    gradient: &mut [f32],
    step: &AdamStep,
) -> Option<f32> {
    remove_parallel(gradient, row);
    adam::update(step, row, first, second, gradient);
    let norm = make_unit(row);
    (norm.is_finite() && norm > 0.0).then_some(norm)
}

/// The same for a row `[sites · d]` whose parts have norms that add up to 1: removes from `gradient` what changes that sum, applies Adam, and
/// divides by the sum. With one site it is [`update_decoder`].
pub fn update_decoder_of_sites(
    [row, first, second]: [&mut [f32]; 3],
    sites: usize,
    gradient: &mut [f32],
    step: &AdamStep,
) -> Option<f32> {
    let width = row.len() / sites.max(1);
    // The slope of the sum of norms is each part at norm 1.
    let (mut along, mut squares) = (0.0_f64, 0.0_f64);
    let norms: Vec<f32> = row.chunks_exact(width).map(|part| norm_squared(part).sqrt()).collect();
    let inverse = |norm: f32| if norm > 0.0 { 1.0 / norm } else { 0.0 };
    for ((part, gradient), &norm) in row.chunks_exact(width).zip(gradient.chunks_exact(width)).zip(&norms) {
        along += f64::from(inverse(norm)) * crate::wide::dot(part, gradient);
        squares += if norm > 0.0 { 1.0 } else { 0.0 };
    }
    let share = if squares > 0.0 { (along / squares) as f32 } else { 0.0 };
    for ((part, gradient), &norm) in row.chunks_exact(width).zip(gradient.chunks_exact_mut(width)).zip(&norms)
    {
        subtract(gradient, share * inverse(norm), part);
    }
    adam::update(step, row, first, second, gradient);
    let sum: f32 = row.chunks_exact(width).map(|part| norm_squared(part).sqrt()).sum();
    if !(sum.is_finite() && sum > 0.0) {
        return None;
    }
    row.iter_mut().for_each(|w| *w /= sum);
    Some(sum)
}

/// One step on an encoder row `[d]` and a bias, each with its first and second moments: adds the feature's share of `∂L/∂b_dec` to
/// `b_dec_gradient[d]` and applies Adam. Returns whether all weights are still finite.
pub fn update_encoder(
    [row, first, second]: [&mut [f32]; 3],
    [bias, bias_first, bias_second]: [&mut f32; 3],
    gradient: &EncoderGradient,
    step: &AdamStep,
    b_dec_gradient: &mut [f32],
) -> bool {
    if gradient.input != 0.0 {
        subtract(b_dec_gradient, gradient.input, row);
    }
    *bias = step.apply(*bias, bias_first, bias_second, gradient.bias);
    adam::update(step, row, first, second, &gradient.row);
    bias.is_finite() && norm_squared(row).is_finite()
}

for_this_processor! {
    /// `out -= a · x`.
    pub fn subtract / subtract_portable(out: &mut [f32], a: f32, x: &[f32]) {
        axpy(out, -a, x);
    }
}

for_this_processor! {
    /// `‖x‖²`.
    pub fn norm_squared / norm_squared_portable(x: &[f32]) -> f32 {
        squared_norm(x)
    }
}

for_this_processor! {
    /// Removes from `gradient` its component along the unit row `direction`.
    pub fn remove_parallel / remove_parallel_portable(gradient: &mut [f32], direction: &[f32]) {
        let along = dot(gradient, direction);
        axpy(gradient, -along, direction);
    }
}

for_this_processor! {
    /// Divides `row` by its norm and returns the norm; leaves a row without a usable norm alone.
    pub fn make_unit / make_unit_portable(row: &mut [f32]) -> f32 {
        let norm = squared_norm(row).sqrt();
        if norm > 0.0 && norm.is_finite() {
            scale(row, 1.0 / norm);
        }
        norm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: usize = 19;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + seed * 53) % 41) as f32 / 10.0 - 2.0).collect()
    }

    #[test]
    fn gradients_add_the_sources() {
        let (errors, centred, other) = (numbers(6 * D, 1), numbers(6 * D, 2), numbers(6 * D, 3));
        let main = Source {
            tokens: &[0, 3, 5],
            codes: &[1.0, 0.5, 2.0],
            slopes: &[0.1, -0.2, 0.3],
            errors: &errors,
            centred: &centred,
        };
        let aux = Source { tokens: &[1], codes: &[0.25], slopes: &[4.0], errors: &other, centred: &centred };
        let (mut of_decoder, mut of_encoder) = (Vec::new(), EncoderGradient::default());
        decoder_gradient(&mut of_decoder, D, &[main, aux]);
        of_encoder.collect(D, &[main, aux]);
        for c in 0..D {
            let decoder = errors[c] + 0.5 * errors[3 * D + c] + 2.0 * errors[5 * D + c] + 0.25 * other[D + c];
            let encoder =
                0.1 * centred[c] - 0.2 * centred[3 * D + c] + 0.3 * centred[5 * D + c] + 4.0 * centred[D + c];
            assert!((of_decoder[c] - decoder).abs() < 1e-5 && (of_encoder.row[c] - encoder).abs() < 1e-5);
        }
        assert!((of_encoder.bias - 4.2).abs() < 1e-6 && of_encoder.input == of_encoder.bias);
        decoder_gradient(&mut of_decoder, D, &[]);
        of_encoder.collect(D, &[]);
        assert!(of_decoder.iter().chain(&of_encoder.row).all(|&g| g == 0.0) && of_encoder.bias == 0.0);
    }

    #[test]
    fn a_step_keeps_the_decoder_row_on_the_sphere() {
        let mut decoder = numbers(D, 2);
        make_unit(&mut decoder);
        let before = decoder.clone();
        let (mut first, mut second, mut gradient) = ([0.0; D], [0.0; D], numbers(D, 5));
        let step = AdamStep::new(1, 0.01, (0.9, 0.999), 1e-9);
        let norm = update_decoder([&mut decoder, &mut first, &mut second], &mut gradient, &step).unwrap();
        assert!((norm_squared(&decoder) - 1.0).abs() < 1e-6 && (norm - 1.0).abs() > 1e-4);
        assert!(dot(&gradient, &before).abs() < 1e-5, "the parallel part is gone");
    }

    #[test]
    fn an_encoder_row_gives_b_dec_its_share() {
        let (mut row, mut bias) = (numbers(D, 1), 0.5);
        let before = row.clone();
        let (mut first, mut second, mut bias_first, mut bias_second) = ([0.0; D], [0.0; D], 0.0, 0.0);
        let gradient = EncoderGradient { row: numbers(D, 6), bias: 2.0, input: 2.0 };
        let step = AdamStep::new(1, 0.01, (0.9, 0.999), 1e-9);
        let mut b_dec_gradient = vec![1.0; D];
        let biases = [&mut bias, &mut bias_first, &mut bias_second];
        assert!(update_encoder(
            [&mut row, &mut first, &mut second],
            biases,
            &gradient,
            &step,
            &mut b_dec_gradient
        ));
        assert!((bias - 0.49).abs() < 1e-6, "Adam's first step is lr · sign");
        for c in 0..D {
            assert!((b_dec_gradient[c] - (1.0 - 2.0 * before[c])).abs() < 1e-5);
            let sign = if gradient.row[c].abs() < 1e-6 { 0.0 } else { gradient.row[c].signum() };
            assert!((row[c] - (before[c] - 0.01 * sign)).abs() < 1e-6, "{c}: {}", gradient.row[c]);
        }
    }

    #[test]
    fn lost_finiteness_is_reported() {
        let step = AdamStep::new(1, 0.01, (0.9, 0.999), 1e-9);
        let (mut first, mut second, mut gradient) = ([0.0; D], [0.0; D], numbers(D, 6));
        gradient[3] = f32::NAN;
        let (mut row, mut bias) = (numbers(D, 1), [0.5, 0.0, 0.0]);
        assert_eq!(update_decoder([&mut row, &mut first, &mut second], &mut gradient.clone(), &step), None);
        let (mut row, mut first, mut second) = (numbers(D, 1), [0.0; D], [0.0; D]);
        let gradient = EncoderGradient { row: gradient, bias: 0.0, input: 0.0 };
        let biases = bias.each_mut();
        let rows = [&mut row[..], &mut first, &mut second];
        assert!(!update_encoder(rows, biases, &gradient, &step, &mut [0.0; D]));
    }

    #[test]
    fn both_variants_give_the_same_bits() {
        let direction = numbers(D, 3);
        let (mut a, mut b) = (numbers(D, 4), numbers(D, 4));
        remove_parallel(&mut a, &direction);
        remove_parallel_portable(&mut b, &direction);
        assert_eq!(a, b);
        assert_eq!(make_unit(&mut a).to_bits(), make_unit_portable(&mut b).to_bits());
        assert_eq!(a, b);
        assert_eq!(norm_squared(&a).to_bits(), norm_squared_portable(&b).to_bits());
        subtract(&mut a, 0.3, &direction);
        subtract_portable(&mut b, 0.3, &direction);
        assert_eq!(a, b);
    }

    /// By the definition: the gradient less its share along the slope of Σ‖part‖, Adam written out, divided by the sum of norms.
    #[test]
    fn rows_of_sites_have_norms_that_add_up_to_one() {
        let (sites, width) = (3, 5);
        let number = |i: usize, k: f32| ((i as f32 + 1.0) * k).sin();
        let mut row: Vec<f32> = (0..sites * width).map(|i| number(i, 0.7)).collect();
        row[width..2 * width].fill(0.0);
        let mut gradient: Vec<f32> = (0..sites * width).map(|i| number(i, 1.3)).collect();
        let norm = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
        let doubles = |row: &[f32]| row.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        let slope: Vec<f64> = doubles(&row)
            .chunks(width)
            .flat_map(|part| {
                let length = norm(part);
                part.iter().map(|x| if length > 0.0 { x / length } else { 0.0 }).collect::<Vec<_>>()
            })
            .collect();
        let share = slope.iter().zip(doubles(&gradient)).map(|(s, g)| s * g).sum::<f64>()
            / slope.iter().map(|s| s * s).sum::<f64>();
        let step = AdamStep::new(1, 0.01, (0.9, 0.999), 1e-8);
        let moved: Vec<f64> = doubles(&row)
            .iter()
            .zip(doubles(&gradient).iter().zip(&slope).map(|(g, s)| g - share * s))
            // The first step of Adam is the sign of the gradient times the rate.
            .map(|(w, g)| w - 0.01 * g / (g.abs() + 1e-8))
            .collect();
        let sum: f64 = moved.chunks(width).map(norm).sum();
        let (mut first, mut second) = (vec![0.0; sites * width], vec![0.0; sites * width]);
        let found = update_decoder_of_sites([&mut row, &mut first, &mut second], sites, &mut gradient, &step);
        assert!((f64::from(found.unwrap()) - sum).abs() < 1e-5);
        for (found, moved) in row.iter().zip(&moved) {
            assert!((f64::from(*found) - moved / sum).abs() < 1e-5, "{found} {}", moved / sum);
        }
        let norms: f64 = doubles(&row).chunks(width).map(norm).sum();
        assert!((norms - 1.0).abs() < 1e-6);
    }
}
