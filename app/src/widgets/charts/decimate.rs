//! Fewer points, same picture: the smallest and the largest value of each pixel column.

/// The points of a curve within `from..=to`, at most about two for each of `columns`. `xs` ascends; values
/// that are not finite break nothing and are left out.
pub fn decimate(xs: &[f64], ys: &[Option<f32>], from: f64, to: f64, columns: usize) -> Vec<[f64; 2]> {
    let n = xs.len().min(ys.len());
    let xs = &xs[..n];
    // One point beyond each end, so that the line reaches the border.
    let first = xs.partition_point(|x| *x < from).saturating_sub(1);
    let last = (xs.partition_point(|x| *x <= to) + 1).min(n).max(first);
    let columns = columns.max(1);
    let finite = (first..last).filter(|i| ys[*i].is_some_and(f32::is_finite));
    let point = |i: usize| [xs[i], f64::from(ys[i].unwrap_or(f32::NAN))];
    if last - first <= 2 * columns {
        return finite.map(point).collect();
    }
    let width = (xs[last - 1] - xs[first]).max(f64::MIN_POSITIVE) / columns as f64;
    let mut out: Vec<[f64; 2]> = Vec::with_capacity(2 * columns);
    let mut bucket: Option<(usize, usize, usize)> = None;
    let flush = |bucket: Option<(usize, usize, usize)>, out: &mut Vec<[f64; 2]>| {
        if let Some((_, low, high)) = bucket {
            out.push(point(low.min(high)));
            if low != high {
                out.push(point(low.max(high)));
            }
        }
    };
    for i in finite {
        let column = ((xs[i] - xs[first]) / width) as usize;
        bucket = match bucket {
            Some((c, low, high)) if c == column => {
                Some((c, if ys[i] < ys[low] { i } else { low }, if ys[i] > ys[high] { i } else { high }))
            }
            done => {
                flush(done, &mut out);
                Some((column, i, i))
            }
        };
    }
    flush(bucket, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spikes_survive_and_the_number_is_bounded() {
        let xs: Vec<f64> = (0..100_000).map(f64::from).collect();
        let mut ys = vec![Some(0.0f32); xs.len()];
        ys[54_321] = Some(9.0);
        ys[777] = Some(f32::NAN);
        ys[778] = None;
        let points = decimate(&xs, &ys, 0.0, 1e9, 300);
        assert!(points.len() <= 604, "{}", points.len());
        assert!(points.iter().any(|p| p[1] == 9.0));
        assert!(points.windows(2).all(|w| w[0][0] < w[1][0]));
    }

    #[test]
    fn few_points_stay_as_they_are_and_a_window_keeps_its_neighbours() {
        let xs = [0.0, 1.0, 2.0, 3.0, 4.0];
        let ys = [Some(5.0), None, Some(7.0), Some(8.0), Some(9.0)];
        assert_eq!(decimate(&xs, &ys, 0.0, 4.0, 10), [[0.0, 5.0], [2.0, 7.0], [3.0, 8.0], [4.0, 9.0]]);
        assert_eq!(decimate(&xs, &ys, 3.0, 3.0, 10), [[2.0, 7.0], [3.0, 8.0], [4.0, 9.0]]);
        assert!(decimate(&[], &[], 0.0, 1.0, 10).is_empty());
    }
}
