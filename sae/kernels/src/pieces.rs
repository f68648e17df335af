//! Large results written piece by piece, by tasks.

use rayon::prelude::*;

/// A vector made of pieces of these sizes, one after another. Task `i` is given piece `i`, full of zeros, and all threads take part.
///
/// `vec![0.0; n]` clears all of the memory on one thread before anything else happens, and by the time a number is written its place has left
/// the cache; here a task clears its piece just before it writes it.
#[allow(unsafe_code)]
pub fn pieces(sizes: &[usize], task: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let total = sizes.iter().sum();
    let mut out: Vec<f32> = Vec::with_capacity(total);
    let mut rest = &mut out.spare_capacity_mut()[..total];
    let mut parts = Vec::with_capacity(sizes.len());
    for &size in sizes {
        let (part, after) = rest.split_at_mut(size);
        parts.push(part);
        rest = after;
    }
    parts.into_par_iter().enumerate().for_each(|(i, part)| {
        part.iter_mut().for_each(|number| {
            number.write(0.0);
        });
        // SAFETY: every number of the part was just written.
        task(i, unsafe { &mut *(std::ptr::from_mut(part) as *mut [f32]) });
    });
    // SAFETY: the parts make up all `total` numbers, and each was written.
    unsafe { out.set_len(total) };
    out
}

/// [`pieces`] of `size` numbers, the last one perhaps smaller, `total` in all.
pub fn equal_pieces(total: usize, size: usize, task: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let size = size.max(1);
    let sizes: Vec<usize> = (0..total).step_by(size).map(|at| size.min(total - at)).collect();
    pieces(&sizes, task)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_has_its_piece_and_finds_zeros() {
        let sizes = [3, 0, 5, 1];
        let made = pieces(&sizes, |i, piece| {
            assert!(piece.len() == sizes[i] && piece.iter().all(|v| *v == 0.0));
            piece.iter_mut().enumerate().for_each(|(j, v)| *v = (10 * i + j) as f32);
        });
        assert_eq!(made, [0.0, 1.0, 2.0, 20.0, 21.0, 22.0, 23.0, 24.0, 30.0]);
        assert!(pieces(&[], |_, _| {}).is_empty());
        let made = equal_pieces(7, 3, |i, piece| piece.fill(i as f32));
        assert_eq!(made, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0]);
    }
}
