//! From how often a feature fires to the normal number above which it does.

/// The quantile of the standard normal distribution at `p` in (0, 1), to 1.2e-9 of its size (Acklam's
/// rational approximation); −∞ at 0, ∞ at 1.
fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 6] = [
        -39.696_830_286_653_76,
        220.946_098_424_520_5,
        -275.928_510_446_968_7,
        138.357_751_867_269,
        -30.664_798_066_147_16,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -54.476_098_798_224_06,
        161.585_836_858_040_9,
        -155.698_979_859_886_6,
        66.801_311_887_719_72,
        -13.280_681_552_885_72,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -0.322_396_458_041_136_5,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        7.784_695_709_041_462e-3,
        0.322_467_129_070_039_8,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    const TAIL: f64 = 0.02425;
    let polynomial = |c: &[f64], x: f64| c.iter().fold(0.0, |sum, c| sum * x + c);
    if p <= 0.0 {
        f64::NEG_INFINITY
    } else if p >= 1.0 {
        f64::INFINITY
    } else if p < TAIL {
        let q = (-2.0 * p.ln()).sqrt();
        polynomial(&C, q) / polynomial(&D, q)
    } else if p > 1.0 - TAIL {
        let q = (-2.0 * (1.0 - p).ln()).sqrt();
        -polynomial(&C, q) / polynomial(&D, q)
    } else {
        let q = p - 0.5;
        q * polynomial(&A, q * q) / polynomial(&B, q * q)
    }
}

/// The number that a standard normal one exceeds with `probability`.
pub(super) fn firing(probability: f32) -> f32 {
    -normal_quantile(f64::from(probability)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_those_of_tables() {
        for (p, expected) in [(0.5, 0.0), (0.025, 1.959_964), (0.4, 0.253_347), (0.0005, 3.290_527)] {
            assert!((firing(p) - expected).abs() < 2e-6, "{p}: {}", firing(p));
            assert!((firing(1.0 - p) + expected).abs() < 1e-4, "{p}: {}", firing(1.0 - p));
        }
        assert_eq!(firing(0.0), f32::INFINITY);
        assert_eq!(firing(1.0), f32::NEG_INFINITY);
    }
}
