//! Gemma 3n's residual streams: AltUp (Baykal et al. 2023, arXiv:2301.13310) and the low-rank map next to
//! attention.
//!
//! ```text
//! embedding ─▶ n streams of the same norm
//! block:  streams ─ predict ─▶ predictions ── the active one through the branches ──▶ activated
//!         predictions + (activated − active prediction) · coefficients ─ correct ─▶ streams
//! after the last block: mean of the streams, each brought back and to the norm of the first
//! ```
//!
//! The hooks of the residual stream are those of the active stream; a tap that changes it leaves the others as
//! they are.

use candle_core::{D, Tensor};

use super::config::{Config, NormConfig, StreamsConfig};
use super::load::{BlockLoader, Linear, Loader, Norm};
use crate::Result;

/// Below this a stream's mean square counts as this.
const LEAST: f64 = 1e-5;

/// How streams are made of the embedding, and one of the streams.
#[derive(Debug)]
pub(super) struct Streams {
    config: StreamsConfig,
    /// Of all but the first stream.
    split: Vec<Linear>,
    join: Vec<Linear>,
}

impl Streams {
    pub fn load(loader: &mut Loader<'_>, config: &Config, streams: StreamsConfig) -> Result<Self> {
        let d = config.hidden_size;
        let mut all = |name: &str| -> Result<Vec<Linear>> {
            (0..streams.count - 1).map(|i| loader.linear(&format!("{name}.{i}"), d, d)).collect()
        };
        Ok(Self {
            config: streams,
            split: all("altup_projections")?,
            join: all("altup_unembed_projections")?,
        })
    }

    /// The streams, each `[rows, len, d_model]`, of the embedding `x`.
    pub fn split(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        let size = mean_square(x)?.sqrt()?;
        let others = self.split.iter().map(|map| of_size(&map.forward(x)?, &size));
        std::iter::once(Ok(x.clone())).chain(others).collect()
    }

    /// What the final norm reads of the streams after the last block.
    pub fn join(&self, streams: &[Tensor]) -> Result<Tensor> {
        let size = mean_square(&streams[0])?.sqrt()?;
        let mut sum = streams[0].clone();
        for (map, stream) in self.join.iter().zip(&streams[1..]) {
            sum = (sum + of_size(&map.forward(stream)?, &size)?)?;
        }
        Ok((sum / self.config.count as f64)?)
    }

    pub fn active(&self) -> usize {
        self.config.active
    }
}

fn mean_square(x: &Tensor) -> Result<Tensor> {
    Ok(x.sqr()?.mean_keepdim(D::Minus1)?)
}

/// `x` with the root mean square `size [rows, len, 1]`.
fn of_size(x: &Tensor, size: &Tensor) -> Result<Tensor> {
    let own = mean_square(x)?.maximum(LEAST)?.sqrt()?;
    Ok(x.broadcast_mul(&size.broadcast_div(&own)?)?)
}

/// One block's prediction and correction.
#[derive(Debug)]
pub(super) struct AltUp {
    config: StreamsConfig,
    router_norm: Norm,
    router: Linear,
    prediction: Linear,
    correction: Linear,
    /// `[d_model]`
    scale: Option<Tensor>,
}

impl AltUp {
    pub fn load(
        loader: &mut BlockLoader<'_, '_>,
        streams: StreamsConfig,
        norm: NormConfig,
        d: usize,
    ) -> Result<Self> {
        let n = streams.count;
        Ok(Self {
            config: streams,
            router_norm: loader.norm("altup.router_norm", d, norm)?,
            router: loader.linear("altup.modality_router", n, d, false)?,
            prediction: loader.linear("altup.prediction_coefs", n * n, n, false)?,
            correction: loader.linear("altup.correction_coefs", n, n, false)?,
            scale: match streams.scaled {
                true => Some(loader.take("altup.correct_output_scale", &[d])?),
                false => None,
            },
        })
    }

    pub fn active(&self) -> usize {
        self.config.active
    }

    /// `[rows, len, streams]` of a stream.
    fn modalities(&self, x: &Tensor) -> Result<Tensor> {
        let d = x.dim(2)? as f64;
        Ok(self.router.forward(&(self.router_norm.forward(x)? / d)?)?.tanh()?)
    }

    /// What the streams are taken for before the block: each and a mixture of all.
    pub fn predict(&self, streams: &[Tensor]) -> Result<Vec<Tensor>> {
        let n = streams.len();
        let coefficients = self.prediction.forward(&self.modalities(&streams[self.config.active])?)?;
        let predict = |i: usize| -> Result<Tensor> {
            let mut sum = streams[i].clone();
            for (j, stream) in streams.iter().enumerate() {
                sum = (sum + stream.broadcast_mul(&coefficients.narrow(2, i * n + j, 1)?)?)?;
            }
            Ok(sum)
        };
        (0..n).map(predict).collect()
    }

    /// The streams after the block, where its branches made `activated` of the active prediction.
    pub fn correct(&self, predictions: &[Tensor], activated: &Tensor) -> Result<Vec<Tensor>> {
        let coefficients = (self.correction.forward(&self.modalities(activated)?)? + 1.0)?;
        let news = (activated - &predictions[self.config.active])?;
        let correct = |(i, prediction): (usize, &Tensor)| -> Result<Tensor> {
            Ok((prediction + news.broadcast_mul(&coefficients.narrow(2, i, 1)?)?)?)
        };
        predictions.iter().enumerate().map(correct).collect()
    }

    /// What the gate of the block's own embedding reads of the corrected streams.
    pub fn for_the_gate(&self, streams: &[Tensor]) -> Result<Tensor> {
        let active = &streams[self.config.active];
        match &self.scale {
            Some(scale) => Ok(active.broadcast_mul(scale)?),
            None => Ok(active.clone()),
        }
    }
}

/// `h + norm(W_right W_left h)`.
#[derive(Debug)]
pub(super) struct Laurel {
    left: Linear,
    right: Linear,
    norm: Norm,
}

impl Laurel {
    pub fn load(loader: &mut BlockLoader<'_, '_>, rank: usize, norm: NormConfig, d: usize) -> Result<Self> {
        Ok(Self {
            left: loader.linear("laurel.linear_left", rank, d, false)?,
            right: loader.linear("laurel.linear_right", d, rank, false)?,
            norm: loader.norm("laurel.post_laurel_norm", d, norm)?,
        })
    }

    pub fn forward(&self, h: &Tensor) -> Result<Tensor> {
        Ok((h + self.norm.forward(&self.right.forward(&self.left.forward(h)?)?)?)?)
    }
}
