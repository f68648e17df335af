//! Student's t distribution: quantiles for intervals from few seeds.

/// The quantile `p` (0.5 ≤ p < 1) of Student's t with `df` degrees of freedom (above 0).
pub fn quantile(p: f64, df: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while upper_tail(high, df) > 1.0 - p && high < 1e12 {
        high *= 2.0;
    }
    // Bisection to the last digits: called a few hundred times in a comparison.
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if upper_tail(middle, df) > 1.0 - p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// P(T > t) for t ≥ 0: half of the regularised incomplete beta function I_x(df/2, 1/2) at x = df / (df + t²).
fn upper_tail(t: f64, df: f64) -> f64 {
    0.5 * incomplete_beta(df / (df + t * t), 0.5 * df, 0.5)
}

/// The regularised incomplete beta function, by its continued fraction (Abramowitz & Stegun 26.5.8), evaluated by Lentz's method.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // The fraction converges quickly on the left of the mean only.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp() / a;
    let tiny = 1e-300;
    let term = |m: usize| {
        let n = (m / 2) as f64;
        match m {
            0 => 1.0,
            _ if m.is_multiple_of(2) => n * (b - n) * x / ((a + 2.0 * n - 1.0) * (a + 2.0 * n)),
            _ => -(a + n) * (a + b + n) * x / ((a + 2.0 * n) * (a + 2.0 * n + 1.0)),
        }
    };
    let (mut value, mut c, mut d) = (1.0, 1.0, 0.0);
    for m in 0..500 {
        let numerator = term(m);
        d = 1.0 + numerator * d;
        d = 1.0 / if d.abs() < tiny { tiny } else { d };
        c = 1.0 + numerator / c;
        c = if c.abs() < tiny { tiny } else { c };
        value *= c * d;
        if (1.0 - c * d).abs() < 1e-15 {
            break;
        }
    }
    front * (value - 1.0)
}

/// ln Γ(x) for x > 0, by Stirling's series after the recurrence has made x large.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 12.0 {
        shift += x.ln();
        x += 1.0;
    }
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5))
        - 1.0 / (1680.0 * x.powi(7));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From printed tables of the distribution.
    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (p, df, expected) in [
            (0.975, 1.0, 12.7062),
            (0.975, 2.0, 4.30265),
            (0.975, 4.0, 2.77645),
            (0.975, 10.0, 2.22814),
            (0.975, 1e6, 1.95996),
            (0.8, 1.0, 1.37638),
            (0.8, 2.0, 1.06066),
            (0.8, 30.0, 0.85377),
            (0.95, 5.0, 2.01505),
        ] {
            let found = quantile(p, df);
            assert!((found - expected).abs() < 2e-4 * expected, "{p} {df}: {found}");
        }
    }

    /// With one degree of freedom the distribution is Cauchy's, with two it has a closed form.
    #[test]
    fn tails_agree_with_closed_forms() {
        for t in [0.1_f64, 0.7, 1.0, 3.0, 40.0] {
            let cauchy = 0.5 - t.atan() / std::f64::consts::PI;
            assert!((upper_tail(t, 1.0) - cauchy).abs() < 1e-12, "{t}");
            let two = 0.5 - 0.5 * t / (2.0 + t * t).sqrt();
            assert!((upper_tail(t, 2.0) - two).abs() < 1e-12, "{t}");
        }
    }
}
