//! Rows that keep some of their numbers and have 0 elsewhere.

/// Makes `row` the `k` largest positive of `row + bias`, ties to the lower place, and 0 elsewhere; NaN is 0. `bits` is memory to be used
/// again.
pub fn best(row: &mut [f32], bias: &[f32], k: usize, bits: &mut Vec<u32>) {
    bits.resize(row.len(), 0);
    let positive = positive_sums(row, bias, bits);
    if positive <= k {
        return;
    }
    if k == 0 {
        return row.fill(0.0);
    }
    // Bits of positive numbers are in their order.
    let (_, least, _) = bits[..positive].select_nth_unstable(positive - k);
    let least = f32::from_bits(*least);
    let over = keep_from(row, least) - k;
    // The last of those that tie.
    row.iter_mut().rev().filter(|v| **v == least).take(over).for_each(|v| *v = 0.0);
}

for_this_processor! {
    /// Makes `codes` relu(codes + bias), NaN to 0. Writes the bits of those above 0 to the front of `bits` and returns their number.
    fn positive_sums / positive_sums_portable(codes: &mut [f32], bias: &[f32], bits: &mut [u32]) -> usize {
        for (code, bias) in codes.iter_mut().zip(bias) {
            let sum = *code + bias;
            *code = if sum > 0.0 { sum } else { 0.0 };
        }
        let mut n = 0;
        for code in codes {
            bits[n] = code.to_bits();
            n += usize::from(*code > 0.0);
        }
        n
    }
}

for_this_processor! {
    /// Makes codes below `least` 0 and returns how many are left.
    fn keep_from / keep_from_portable(codes: &mut [f32], least: f32) -> usize {
        let mut kept = 0_u32;
        for code in codes {
            kept += u32::from(*code >= least);
            *code = if *code >= least { *code } else { 0.0 };
        }
        kept as usize
    }
}

for_this_processor! {
    /// Makes `row` 0 where `codes`, which are not negative, are.
    pub fn where_positive / where_positive_portable(row: &mut [f32], codes: &[f32]) {
        for (v, code) in row.iter_mut().zip(codes) {
            *v = if *code == 0.0 { 0.0 } else { *v };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // Few distinct values, so that ties are everywhere.
        #[test]
        fn keeps_what_sorting_keeps(values in prop::collection::vec(-3_i8..5, 1..60), k in 0_usize..30) {
            let bias = vec![0.5; values.len()];
            let mut row: Vec<f32> = values.iter().map(|v| f32::from(*v)).collect();
            best(&mut row, &bias, k, &mut Vec::new());
            let mut order: Vec<usize> = (0..values.len()).filter(|i| f32::from(values[*i]) + 0.5 > 0.0).collect();
            order.sort_by_key(|i| (-values[*i], *i));
            order.truncate(k);
            for (i, v) in values.iter().enumerate() {
                let expected = if order.contains(&i) { f32::from(*v) + 0.5 } else { 0.0 };
                prop_assert_eq!(row[i], expected);
            }
        }
    }

    #[test]
    fn what_is_no_number_is_not_kept() {
        let mut row = [f32::NAN, 2.0, -1.0, 3.0];
        best(&mut row, &[0.0; 4], 1, &mut Vec::new());
        assert_eq!(row, [0.0, 0.0, 0.0, 3.0]);
        let mut slopes = [5.0, 6.0, f32::NAN, 7.0];
        where_positive(&mut slopes, &row);
        assert_eq!(slopes, [0.0, 0.0, 0.0, 7.0]);
    }
}
