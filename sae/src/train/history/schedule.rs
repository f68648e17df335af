//! At which steps snapshots are taken.

/// Steps at which a run of `steps` steps has snapshots, ascending, at most `snapshots` after the beginning, which is one too. None for 0.
///
/// Much happens early, so three fifths of them are at equal distances up to the end, and the others before the first of those,
/// each at half the step of the next.
pub(super) fn steps(snapshots: usize, steps: u64) -> Vec<u64> {
    if snapshots == 0 {
        return Vec::new();
    }
    let equal = (3 * snapshots as u64).div_ceil(5);
    let early = snapshots as u64 - equal;
    let at = |i: u64| (u128::from(i) * u128::from(steps)).div_ceil(u128::from(equal)) as u64;
    let mut taken: Vec<u64> = (1..=equal).map(at).collect();
    let first = taken[0];
    taken.extend((1..=early.min(63)).map(|i| first >> i));
    // What is halved to nothing is the beginning.
    taken.push(0);
    taken.sort_unstable();
    taken.dedup();
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn often_at_first_then_evenly_to_the_end() {
        assert!(steps(0, 100).is_empty());
        assert_eq!(steps(1, 100), [0, 100]);
        assert_eq!(steps(5, 300), [0, 25, 50, 100, 200, 300]);
        let twenty = steps(20, 12_000);
        assert_eq!(twenty.len(), 21);
        assert_eq!(twenty[..10], [0, 3, 7, 15, 31, 62, 125, 250, 500, 1000]);
        assert_eq!(twenty[10..], (2..=12).map(|i| i * 1000).collect::<Vec<_>>());
    }

    #[test]
    fn any_run_has_its_beginning_its_end_and_no_step_twice() {
        for snapshots in 1..60 {
            for run in [1, 2, 3, 7, 60, 1953, u64::MAX / 2] {
                let taken = steps(snapshots, run);
                assert_eq!((taken.first(), taken.last()), (Some(&0), Some(&run)), "{snapshots} of {run}");
                assert!(taken.is_sorted_by(|a, b| a < b) && taken.len() <= snapshots + 1);
            }
        }
    }
}
