//! The largest CETT that a loss allows.

use storage::cett::CettLoss;

use crate::Result;

/// The bisection ends where the bounds are so near.
const WIDTH: f64 = 1e-3;

/// What a CETT comes to.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Cross-entropy, nats per token.
    pub ce: f64,
    /// Share of units left out.
    pub left_out: f64,
}

/// Bisects the CETT between 0 and 1: the perplexity must grow by less than `percent` % from `exp(ce_all)`. What is returned was measured:
/// the lower bound at the end, or a CETT of 0, which leaves out what is exactly 0.
///
/// # Errors
/// Whatever `measure` fails with.
pub fn search(
    percent: f64,
    ce_all: f64,
    mut measure: impl FnMut(f64) -> Result<Measured>,
) -> Result<CettLoss> {
    let growth = |measured: &Measured| (measured.ce - ce_all).exp() - 1.0;
    let (mut low, mut high) = (0.0, 1.0);
    let mut best = None;
    while high - low > WIDTH {
        let middle = 0.5 * (low + high);
        let measured = measure(middle)?;
        if growth(&measured) < percent / 100.0 {
            (low, best) = (middle, Some(measured));
        } else {
            high = middle;
        }
    }
    let measured = match best {
        Some(measured) => measured,
        None => measure(0.0)?,
    };
    Ok(CettLoss {
        percent,
        cett: low,
        left_out: measured.left_out,
        ce: measured.ce,
        growth: growth(&measured),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_found_and_what_is_returned_was_measured() {
        // The perplexity grows by c²: 4 % at 0.2.
        let mut asked = Vec::new();
        let found = search(4.0, 1.5, |cett| {
            asked.push(cett);
            Ok(Measured { ce: 1.5 + (1.0 + cett * cett).ln(), left_out: cett / 2.0 })
        })
        .unwrap();
        assert!(found.cett < 0.2 && found.cett > 0.2 - WIDTH, "{found:?}");
        assert!(asked.contains(&found.cett) && found.left_out == found.cett / 2.0);
        assert!(found.growth < 0.04 && found.growth > 0.0395);
        let nothing = search(1.0, 1.0, |cett| {
            Ok(Measured { ce: 1.0 + 9.0 * cett.signum() * cett.ceil(), left_out: 0.3 })
        });
        let nothing = nothing.unwrap();
        assert_eq!((nothing.cett, nothing.left_out, nothing.growth), (0.0, 0.3, 0.0));
    }
}
