//! A row in 8 bits: its direction alone.

/// The largest number of a row.
const LARGEST: f32 = 127.0;

/// Writes `row` in units of a 127th of its largest number, rounded; zeros for a row of zeros.
pub(super) fn quantise(row: &[f32], out: &mut [i8]) {
    let largest = row.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    // The reciprocal of a row that is hardly anything is infinite.
    let factor = LARGEST / largest;
    let factor = if factor.is_finite() { factor } else { 0.0 };
    out.iter_mut().zip(row).for_each(|(q, x)| *q = (x * factor).round_ties_even() as i8);
}

/// Cosine of two rows: `Σab / √(Σa²·Σb²)` with sums of whole numbers. None if one is all zeros.
pub(super) fn cosine(a: &[i8], b: &[i8]) -> Option<f32> {
    let (aa, bb) = (dot(a, a), dot(b, b));
    (aa > 0 && bb > 0).then(|| (dot(a, b) as f64 / (aa as f64 * bb as f64).sqrt()) as f32)
}

/// Numbers whose products fit into an i32.
const PIECE: usize = 1 << 16;

fn dot(a: &[i8], b: &[i8]) -> i64 {
    let piece = |(a, b): (&[i8], &[i8])| -> i64 {
        i64::from(a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum::<i32>())
    };
    a.chunks(PIECE).zip(b.chunks(PIECE)).map(piece).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::chance::{Purpose, generator, normal};

    fn random(d: usize, seed: u64) -> Vec<f32> {
        let mut rng = generator(seed, Purpose::Directions, 3, d as u64);
        (0..d).map(|_| normal(&mut rng)).collect()
    }

    fn exact(a: &[f32], b: &[f32]) -> f64 {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    fn kept(row: &[f32]) -> Vec<i8> {
        let mut out = vec![1; row.len()];
        quantise(row, &mut out);
        out
    }

    /// Rows that share more and more, as a feature's do on its way to its last one.
    #[test]
    fn cosines_in_eight_bits_are_those_of_the_rows() {
        for (d, allowed) in [(16, 0.012), (128, 0.008), (768, 0.005), (4096, 0.002)] {
            let mut worst = 0.0_f64;
            for seed in 0..40 {
                let (last, other) = (random(d, seed), random(d, seed + 1000));
                let share = seed as f32 / 39.0;
                let mut row: Vec<f32> =
                    last.iter().zip(&other).map(|(a, b)| 0.01 * (share * a + (1.0 - share) * b)).collect();
                // Every other row has a component as large as ten usual ones.
                row[d / 2] += if seed % 2 == 0 { 0.1 } else { 0.0 };
                let found = cosine(&kept(&row), &kept(&last)).unwrap();
                worst = worst.max((f64::from(found) - exact(&row, &last)).abs());
            }
            println!("d = {d}: the worst is {worst}");
            assert!(worst > 0.0 && worst < allowed, "d = {d}: {worst}");
        }
    }

    #[test]
    fn equal_directions_are_equal_and_zeros_have_none() {
        let row = random(300, 1);
        let doubled: Vec<f32> = row.iter().map(|x| 2.0 * x).collect();
        let turned: Vec<f32> = row.iter().map(|x| -x).collect();
        assert_eq!(kept(&row), kept(&doubled));
        assert_eq!(cosine(&kept(&row), &kept(&doubled)), Some(1.0));
        assert_eq!(cosine(&kept(&row), &kept(&turned)), Some(-1.0));
        assert_eq!(kept(&[0.0; 3]), [0; 3]);
        assert_eq!(kept(&[f32::from_bits(1), 0.0]), [0; 2]);
        assert_eq!(cosine(&[0; 3], &[1, 2, 3]), None);
        // Longer than what one i32 holds.
        assert_eq!(cosine(&vec![127; 200_000], &vec![127; 200_000]), Some(1.0));
    }
}
