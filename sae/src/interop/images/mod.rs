//! Pictures as a dataset: whitened patches, so that dictionaries can be learned on natural images.
//!
//! ```text
//! PNG, JPEG ── Picture [0, 1] ── places drawn by seed ── patches [n, d] ┬─ mean, covariance ── eigenvectors ── W, W⁻¹
//!                                (flat ones left out)                   └─ W (x − mean) ─ Sink ── parts, journal, manifest
//! ```
//!
//! A patch is `patch × patch` pixels, row by row, of grey (Y' = 0.2126 R' + 0.7152 G' + 0.0722 B', the pixels
//! as they are stored, over their largest value) or of R', G' and B' in turn. Whitening is ZCA: with the mean
//! μ and the covariance E diag(λ) Eᵀ of the patches that are trained on,
//!
//! ```text
//! W = E diag(1 / √max(λ, floor · mean(λ))) Eᵀ        activation = W (patch − μ)        patch = W⁻¹ activation + μ
//! ```
//!
//! so components above the floor have variance 1 and are uncorrelated; those below, where a JPEG has little
//! but noise, are kept small instead of being blown up, which is what the low-pass of Olshausen & Field
//! (1996), R(f) = f exp(−(f/f₀)⁴), is for. ZCA of stationary images is that filter, up to the choice of the
//! low-pass, with the spectrum measured instead of assumed. μ, W and W⁻¹ are the table `whitening` of the
//! dataset.
//!
//! Held out is a band across each picture, as high as its share: no patch of the rest touches it. Documents
//! are pictures, and the bands of pictures. Pictures are read twice, one at a time; nothing else is in
//! memory.

mod draw;
mod picture;
mod run;
#[cfg(test)]
mod tests;

pub use run::{ImagesConfig, run};
