//! Codes that are corrected once: a step of LISTA (Gregor and LeCun 2010) as an encoder.
//!
//! ```text
//! z⁰ = W_enc x̄ + b;   a = pick(z⁰)                    a first guess
//! z¹ = W_enc (x̄ + η (x̄ − a W_dec)) + b;   codes = pick(z¹)    what the guess left is encoded too, η times
//! ```
//!
//! Decoder rows take part in encoding, so their norms cannot be folded into the encoder.

use super::pick::{Pick, PickMemory};
use super::{Codes, Dictionary};
use kernels::encode::products;
use kernels::gather::add_rows;

/// How such a dictionary selects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Refined {
    /// η.
    pub step: f32,
    /// How the first guess is cut.
    pub first: Pick,
    /// How the codes are cut.
    pub then: Pick,
}

/// Makes `centred` `x̄ + step · (x̄ − a W_dec)`, with `a` the codes of `features`.
pub fn shift(centred: &mut [f32], w_dec: &[f32], (features, codes): (&[u32], &[f32]), step: f32) {
    let mut made = vec![0.0; centred.len()];
    add_rows(&mut made, w_dec, features, codes);
    centred.iter_mut().zip(made).for_each(|(x, made)| *x += step * (*x - made));
}

impl Dictionary {
    /// The codes of `x[n, d]` with one correction.
    pub(super) fn refine(&self, x: &[f32], refined: &Refined) -> Codes {
        let d = self.d_in;
        self.by_chunks(x, |buffer| {
            products(&mut buffer.products, &buffer.centred, &self.w_enc, d);
            let first = self.cut(&buffer.products, refined.first);
            for (i, row) in buffer.centred.chunks_exact_mut(d).enumerate() {
                shift(row, &self.w_dec, first.row(i), refined.step);
            }
            products(&mut buffer.products, &buffer.centred, &self.w_enc, d);
            self.cut(&buffer.products, refined.then)
        })
    }

    /// What `pick` takes of `products[n, F] + b_enc`.
    fn cut(&self, products: &[f32], pick: Pick) -> Codes {
        let (mut codes, mut z, mut memory) = (Codes::default(), Vec::new(), PickMemory::default());
        for row in products.chunks_exact(self.d_sae) {
            z.clear();
            z.extend(row.iter().zip(&self.b_enc).map(|(product, bias)| product + bias));
            for &f in pick.of(&z, &mut memory) {
                codes.features.push(f);
                codes.values.push(z[f as usize]);
            }
            codes.offsets.push(codes.features.len());
        }
        codes
    }
}

impl Refined {
    /// The same for rows, and biases, that are `factor` times as large.
    pub(super) fn rescale(&mut self, factor: f32) {
        (self.first, self.then) = (self.first.scaled(factor), self.then.scaled(factor));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Selection;
    use super::super::tests::small;
    use super::*;

    /// Rows (1, 0), (.8, .6), (0, 1), x = (1, .4): z⁰ (1, 1.04, .4), what two leave (−.832, −.224), z¹ (.7504, .8, .3328).
    #[test]
    fn golden_step() {
        let mut dictionary = small(2, 3, Selection::TopK(2));
        dictionary.w_enc = vec![1.0, 0.0, 0.8, 0.6, 0.0, 1.0];
        dictionary.w_dec = dictionary.w_enc.clone();
        dictionary.b_enc = vec![0.0; 3];
        dictionary.b_dec = vec![0.0; 2];
        let codes = |then| {
            let refined = Refined { step: 0.3, first: Pick::Best(2), then };
            Dictionary { selection: Selection::Refined(refined), ..dictionary.clone() }.encode(&[1.0, 0.4])
        };
        let all = codes(Pick::Best(3));
        assert_eq!(all.features, [0, 1, 2]);
        for (got, expected) in all.values.iter().zip([0.7504, 0.8, 0.3328]) {
            assert!((got - expected).abs() < 1e-6, "{all:?}");
        }
        assert_eq!(codes(Pick::Best(2)).features, [0, 1]);
        assert_eq!(codes(Pick::Above(0.76)).features, [1]);
    }
}
