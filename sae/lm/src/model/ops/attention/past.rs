//! Keys and values of the tokens that a model has seen, and attention of the tokens that follow them.

use candle_core::{Result, Tensor};

use super::super::with_slice;
use super::blocks::{Attend, Columns, Inputs, TransposedPanels};
use super::{AttentionMask, Heads};
use kernels::gemm::Mat;
use kernels::product::{PANEL, pack_into, panel_numbers};

/// Tokens that there is room for at first.
const ROOM: usize = 64;

/// Keys and values of one row of tokens in one block, as attention reads them: normed, rotated, and as a tap
/// left them.
#[derive(Debug, Default)]
pub struct Past {
    kv_heads: usize,
    /// `[tokens, kv_heads · d_head]`
    keys: Vec<f32>,
    /// `[tokens, kv_heads · d_value]`
    values: Vec<f32>,
    tokens: usize,
    /// The keys of each head, with room for more tokens.
    turned: TransposedPanels,
    room: usize,
}

impl Past {
    /// Adds tokens: `k [1, len, kv_heads · d_head]`, `v [1, len, kv_heads · d_value]`.
    ///
    /// # Errors
    /// More than one row, or a width that is not that of the tokens before.
    pub fn append(&mut self, k: &Tensor, v: &Tensor, kv_heads: usize) -> Result<()> {
        let (rows, len, width) = k.dims3()?;
        let fits = rows == 1 && kv_heads > 0 && width.is_multiple_of(kv_heads) && v.dims3()?.1 == len;
        if !fits || (self.tokens > 0 && width * self.tokens != self.keys.len()) {
            candle_core::bail!("keys {:?} and values {:?} after {} tokens", k.dims(), v.dims(), self.tokens);
        }
        with_slice(k, |k| self.keys.extend_from_slice(k))?;
        with_slice(v, |v| self.values.extend_from_slice(v))?;
        self.kv_heads = kv_heads;
        let first = self.tokens;
        self.tokens += len;
        self.turn(first);
        Ok(())
    }

    /// Turns the keys of the tokens from `first` on.
    fn turn(&mut self, first: usize) {
        let width = self.keys.len() / self.tokens.max(1);
        let d = width / self.kv_heads;
        let mut first = first / PANEL * PANEL;
        if self.tokens > self.room {
            self.room = self.tokens.next_power_of_two().max(ROOM);
            let each = panel_numbers(d, self.room);
            self.turned = TransposedPanels { panels: vec![0.0; self.kv_heads * each], each };
            first = 0;
        }
        let tokens = self.tokens - first;
        let n = panel_numbers(d, tokens);
        for head in 0..self.kv_heads {
            let keys = Mat::strided(&self.keys[first * width + head * d..], tokens, d, width);
            let at = if n == 0 { 0 } else { head * self.turned.each + first * d };
            pack_into(keys.t(), &mut self.turned.panels[at..at + n]);
        }
    }

    /// z of the last tokens, `[1, len, heads · d_value]`, where their queries are `q [1, len, heads · d_head]`;
    /// `mask` is that of all tokens. No gradient reaches q.
    ///
    /// # Errors
    /// A `q`, `heads` or `mask` that does not belong to the keys kept here.
    pub fn attend(&self, q: &Tensor, heads: &Heads, mask: &AttentionMask) -> Result<Tensor> {
        let (rows, len, width) = q.dims3()?;
        let (n, kv, tokens) = (heads.heads, self.kv_heads, self.tokens);
        let of_keys = self.keys.len() / tokens.max(1);
        let fits = rows == 1
            && len <= tokens
            && (mask.len, mask.starts.len()) == (tokens, tokens)
            && kv == heads.kv_heads
            && kv > 0
            && n.is_multiple_of(kv)
            && width == of_keys / kv * n;
        if !fits {
            candle_core::bail!("attention of {:?} after {tokens} tokens, mask of {}", q.dims(), mask.len);
        }
        let of_values = self.values.len() / tokens.max(1);
        let attend = Attend {
            mask: mask.clone(),
            past: tokens - len,
            heads: heads.clone(),
            d_head: of_keys / kv,
            d_value: of_values / kv,
        };
        let z = with_slice(q, |q| {
            let inputs = Inputs {
                q: Columns { data: q, width, at: 0 },
                k: Columns { data: &self.keys, width: of_keys, at: 0 },
                v: Columns { data: &self.values, width: of_values, at: 0 },
            };
            attend.forward_with(&inputs, &self.turned)
        })?;
        Tensor::from_vec(z, (1, len, n * attend.d_value), q.device())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::normal;
    use super::super::attention;
    use super::*;

    /// Token by token and in pieces against all at once: the same bits where products have panels.
    fn check(tokens: usize, pieces: &[usize], heads: &Heads, d_head: usize, d_value: usize) {
        let q = normal(&[1, tokens, heads.heads * d_head], 1);
        let k = normal(&[1, tokens, heads.kv_heads * d_head], 2);
        let v = normal(&[1, tokens, heads.kv_heads * d_value], 3);
        let mask = |n: usize| AttentionMask::new(&vec![1; n], n);
        let whole = attention(&q, &k, &v, heads, &mask(tokens)).unwrap();
        let (mut past, mut at) = (Past::default(), 0);
        for &len in pieces.iter().cycle() {
            let len = len.min(tokens - at);
            if len == 0 {
                break;
            }
            let [q, k, v, expected] = [&q, &k, &v, &whole].map(|x| x.narrow(1, at, len).unwrap());
            past.append(&k, &v, heads.kv_heads).unwrap();
            at += len;
            let z = past.attend(&q, heads, &mask(at)).unwrap();
            let [z, expected] = [z, expected].map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
            for (found, expected) in z.iter().zip(&expected) {
                let exact = kernels::product::has_panels();
                let near = if exact { 0.0 } else { 1e-5 * expected.abs().max(0.1) };
                assert!((found - expected).abs() <= near, "{found}, {expected} before token {at}");
            }
        }
        assert_eq!(at, tokens);
    }

    const PLAIN: Heads =
        Heads { heads: 4, kv_heads: 2, scale: 0.5, soft_cap: None, window: None, sinks: None };

    #[test]
    fn token_by_token_is_as_all_at_once() {
        check(150, &[1], &PLAIN, 8, 8);
        check(300, &[70, 1, 1, 130], &Heads { kv_heads: 4, ..PLAIN }, 4, 6);
    }

    #[test]
    fn windows_caps_and_sinks_too() {
        let sinks = Some(std::sync::Arc::new(vec![0.5, -1.0, 3.0, 0.0]));
        check(90, &[40, 1], &Heads { window: Some(9), soft_cap: Some(0.8), ..PLAIN }, 8, 8);
        check(140, &[3], &Heads { sinks, window: Some(50), ..PLAIN }, 6, 10);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let k = normal(&[1, 3, 8], 1);
        let mut past = Past::default();
        past.append(&k, &k, 2).unwrap();
        assert!(past.append(&normal(&[1, 1, 6], 2), &k, 2).is_err());
        let mask = AttentionMask::new(&[1, 1], 2);
        assert!(past.attend(&normal(&[1, 1, 16], 2), &PLAIN, &mask).is_err(), "a mask of other tokens");
    }
}
