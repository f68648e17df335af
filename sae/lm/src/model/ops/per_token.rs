//! A product of two small matrices for every token, the left one mostly zeros: what gates of experts do to
//! their hidden units.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{slice, with_slice};

#[derive(Debug, Clone, Copy)]
struct PerToken {
    rows: usize,
    inner: usize,
    columns: usize,
}

/// `a [T, p, q]`, `b [T, q, r]` → `[T, p, r]`, one product for every token. Zeros of `a` cost nothing in the
/// forward pass.
///
/// # Errors
/// Numbers of tokens or inner widths that differ; tensors that are not f32 on the CPU.
pub fn per_token(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (tokens, rows, inner) = a.dims3()?;
    let (of_b, inner_of_b, columns) = b.dims3()?;
    if (of_b, inner_of_b) != (tokens, inner) {
        candle_core::bail!("products per token of {:?} with {:?}", a.dims(), b.dims());
    }
    a.contiguous()?.apply_op2(&b.contiguous()?, PerToken { rows, inner, columns })
}

impl PerToken {
    /// `out += a b` of one token.
    fn product(self, a: &[f32], b: &[f32], out: &mut [f32]) {
        for (a, out) in a.chunks_exact(self.inner).zip(out.chunks_exact_mut(self.columns)) {
            for (&a, b) in a.iter().zip(b.chunks_exact(self.columns)).filter(|(a, _)| **a != 0.0) {
                out.iter_mut().zip(b).for_each(|(out, b)| *out += a * b);
            }
        }
    }

    /// `da = g bᵀ` of one token.
    fn of_left(self, g: &[f32], b: &[f32], da: &mut [f32]) {
        for (g, da) in g.chunks_exact(self.columns).zip(da.chunks_exact_mut(self.inner)) {
            for (da, b) in da.iter_mut().zip(b.chunks_exact(self.columns)) {
                *da = g.iter().zip(b).map(|(g, b)| g * b).sum();
            }
        }
    }

    /// `db += aᵀ g` of one token.
    fn of_right(self, a: &[f32], g: &[f32], db: &mut [f32]) {
        for (a, g) in a.chunks_exact(self.inner).zip(g.chunks_exact(self.columns)) {
            for (&a, db) in a.iter().zip(db.chunks_exact_mut(self.columns)).filter(|(a, _)| **a != 0.0) {
                db.iter_mut().zip(g).for_each(|(db, g)| *db += a * g);
            }
        }
    }

    /// One result of `size` numbers for every token, from the token's part of `x` and of `y`.
    fn each(
        self,
        (x, of_x): (&[f32], usize),
        (y, of_y): (&[f32], usize),
        size: usize,
        one: impl Fn(Self, &[f32], &[f32], &mut [f32]) + Sync,
    ) -> Vec<f32> {
        let mut out = vec![0.0; x.len() / of_x.max(1) * size];
        if !out.is_empty() {
            let parts = x.par_chunks_exact(of_x).zip(y.par_chunks_exact(of_y));
            out.par_chunks_exact_mut(size).zip(parts).for_each(|(out, (x, y))| one(self, x, y, out));
        }
        out
    }
}

impl CustomOp2 for PerToken {
    fn name(&self) -> &'static str {
        "product-per-token"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Self { rows, inner, columns } = *self;
        let a = (slice(a, la)?, rows * inner);
        let out = self.each(a, (slice(b, lb)?, inner * columns), rows * columns, Self::product);
        Ok((CpuStorage::F32(out), Shape::from((la.dims()[0], rows, columns))))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Self { rows, inner, columns } = *self;
        let (of_a, of_b, of_g) = (rows * inner, inner * columns, rows * columns);
        let gradients = with_slice(grad, |g| {
            let da = with_slice(b, |b| self.each((g, of_g), (b, of_b), of_a, Self::of_left))?;
            let db = with_slice(a, |a| self.each((a, of_a), (g, of_g), of_b, Self::of_right))?;
            Ok::<_, candle_core::Error>((da, db))
        });
        let (da, db) = gradients??;
        Ok((
            Some(Tensor::from_vec(da, a.dims(), a.device())?),
            Some(Tensor::from_vec(db, b.dims(), b.device())?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agree, normal};
    use super::*;

    #[test]
    fn agrees_with_candles_batched_matmul_also_where_the_left_has_zeros() {
        let (a, b) = (normal(&[5, 3, 4], 1), normal(&[5, 4, 6], 2));
        agree(&[&a, &b], &per_token(&a, &b).unwrap(), &a.matmul(&b).unwrap(), 1e-5);
        let holes = candle_core::Var::from_tensor(&a.relu().unwrap()).unwrap();
        agree(&[&holes, &b], &per_token(&holes, &b).unwrap(), &holes.matmul(&b).unwrap(), 1e-5);
    }
}
