//! Latent scaling: how much of a feature's row is in something else, at the strengths that the feature fires with; and what a feature is.
//!
//! A crosscoder's sparsity can hide a feature at one site in two ways (Minder et al. 2025, arXiv 2504.02922): its row there may shrink to 0
//! although it is there, so that it is in the error (complete shrinkage), or other features may reconstruct it there (latent decoupling). So a
//! row that is 0 at a site does not prove it. With w the stronger site's row and f a feature's codes, `β = argmin Σ‖β·f·w − r‖²` =
//! `Σ f⟨w, r⟩ / (‖w‖² Σ f²)` is measured on two r of each site:
//!
//! - the error with the feature's own part added back, `x − x̂ + f·w_site`;
//! - the reconstruction less its bias, `x̂ − b_dec`.
//!
//! ν is β at the weaker site over β at the stronger one: near 0 where the weaker site does not have it, near 1 where it does.

/// A relative norm below this, or above 1 less this, is exclusive to one site.
pub const EXCLUSIVE: f32 = 0.1;
/// ν from which on a feature is at the weaker site after all.
pub const PRESENT: f64 = 0.5;
/// A cosine of both rows below this is a feature that both sites have in different directions.
pub const ROTATED: f32 = 0.5;

/// Sums over tokens of a feature, at two sites.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// Tokens it fired on.
    pub fired: u64,
    /// Σ f².
    pub squares: f64,
    /// Σ f⟨w, x − x̂⟩ at each site.
    pub errors: [f64; 2],
    /// Σ f⟨w, x̂ − b_dec⟩ at each site.
    pub reconstructions: [f64; 2],
}

/// A feature's rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rows {
    /// Norms at both sites.
    pub norms: [f32; 2],
    /// Which is the stronger.
    pub stronger: usize,
    /// ⟨w, w_site⟩ at each site, with w the stronger row.
    pub along: [f64; 2],
    /// Cosine of both rows.
    pub cosine: Option<f32>,
}

impl Rows {
    /// Of rows of one width.
    pub fn of(a: &[f32], b: &[f32]) -> Self {
        let dot = |x: &[f32], y: &[f32]| kernels::wide::dot(x, y);
        let squares = [dot(a, a), dot(b, b)];
        let norms = squares.map(f64::sqrt);
        let stronger = usize::from(norms[1] > norms[0]);
        let across = dot(a, b);
        let mut along = [across; 2];
        along[stronger] = squares[stronger];
        let product = norms[0] * norms[1];
        let cosine = (product > 0.0).then(|| (across / product) as f32);
        Self { norms: norms.map(|norm| norm as f32), stronger, along, cosine }
    }

    /// ((‖b‖ − ‖a‖) / the larger + 1) / 2.
    pub fn relative(&self) -> f32 {
        let [a, b] = self.norms;
        let larger = a.max(b);
        if larger > 0.0 { 0.5 * ((b - a) / larger + 1.0) } else { 0.5 }
    }

    /// ν of the error and of the reconstruction; none where the stronger site has nothing of it.
    pub fn ratios(&self, sums: &Sums) -> [Option<f64>; 2] {
        let (strong, weak) = (self.stronger, 1 - self.stronger);
        let error = [0, 1].map(|site| sums.errors[site] + self.along[site] * sums.squares);
        let ratio = |of: [f64; 2]| (sums.fired > 0 && of[strong] > 0.0).then(|| of[weak] / of[strong]);
        [ratio(error), ratio(sums.reconstructions)]
    }

    /// What the feature is.
    pub fn class(&self, sums: &Sums) -> &'static str {
        let relative = self.relative();
        if sums.fired == 0 {
            return "silent";
        }
        if relative > EXCLUSIVE && relative < 1.0 - EXCLUSIVE {
            return if self.cosine.is_some_and(|cosine| cosine < ROTATED) { "rotated" } else { "shared" };
        }
        let is_there = |ratio: Option<f64>| ratio.is_some_and(|ratio| ratio >= PRESENT);
        match self.ratios(sums) {
            [error, _] if is_there(error) => "shrunken",
            [_, reconstruction] if is_there(reconstruction) => "decoupled",
            _ => "exclusive",
        }
    }
}
