//! From the features of each row to the rows of each feature: a counting sort, so the order is fixed.

/// Groups entries by feature, rows ascending within a feature.
///
/// `rows` yields each row's features; `place(slot, row, i)` is told that entry `i` of `row` belongs at `slot` of the grouped
/// arrays. Returns the offsets `[features + 1]` of each feature's slots. One pass to count, one to place; sequential.
///
/// # Panics
/// If a feature is not below `features`.
pub fn by_feature<'a, I>(features: usize, rows: I, mut place: impl FnMut(usize, usize, usize)) -> Vec<usize>
where
    I: Iterator<Item = &'a [u32]> + Clone,
{
    let mut offsets = vec![0_usize; features + 1];
    for &feature in rows.clone().flatten() {
        offsets[feature as usize + 1] += 1;
    }
    for i in 0..features {
        offsets[i + 1] += offsets[i];
    }
    let mut next = offsets.clone();
    for (row, list) in rows.enumerate() {
        for (i, &feature) in list.iter().enumerate() {
            let slot = &mut next[feature as usize];
            place(*slot, row, i);
            *slot += 1;
        }
    }
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_in_row_order() {
        let rows: [&[u32]; 4] = [&[1, 3], &[], &[0, 1], &[1]];
        let mut grouped = vec![(9, 9); 5];
        let offsets = by_feature(5, rows.iter().copied(), |slot, row, i| grouped[slot] = (row, i));
        assert_eq!(offsets, [0, 1, 4, 4, 5, 5]);
        assert_eq!(grouped, [(2, 0), (0, 0), (2, 1), (3, 0), (0, 1)]);
    }
}
